# The values of a list: as last saved in the cache, else as bundled. Python is not started.
function _smallest_list
  set -l folder "$SMALLEST_CACHE_DIR"
  if test -z "$folder"
    set folder "$XDG_CACHE_HOME"
    test -n "$folder"; or set folder "$HOME/.cache"
    set folder "$folder/smallest"
    test -d "$HOME/Library/Caches"; and set folder "$HOME/Library/Caches/smallest"
  end
  if test -r "$folder/$argv[1].tsv"
    string match -- '*' < "$folder/$argv[1].tsv"
  else
    set -l known _smallest_known_$argv[1]
    printf '%s\n' $$known
  end
end
# The player presets; after the first character also programs on PATH.
function _smallest_program
  printf '%s\n' $_smallest_known_players
  set -l typed (commandline -ct)
  test -n "$typed"; and __fish_complete_command
end
