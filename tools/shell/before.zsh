# The values of a list: as last saved in the cache, else as bundled. Python is not started.
_smallest_list() {
  local folder=${SMALLEST_CACHE_DIR:-} known=_smallest_known_$1
  local -a rows
  if [[ -z $folder ]]; then
    folder=${XDG_CACHE_HOME:-$HOME/.cache}/smallest
    [[ $OSTYPE == darwin* ]] && folder=$HOME/Library/Caches/smallest
  fi
  if [[ -r $folder/$1.tsv ]]; then rows=("${(@f)$(<$folder/$1.tsv)}"); else rows=("${(@P)known}"); fi
  rows=("${(@)rows//\\/\\\\}")
  rows=("${(@)rows//:/\\:}")
  rows=("${(@)rows/$'\t'/:}")
  rows=("${(@)rows:#}")
  _describe -t $1 $1 rows
}
_smallest_nothing() { return 1 }
_smallest_voices() { _smallest_list voices }
_smallest_models() { _smallest_list models }
_smallest_languages() { _smallest_list languages }
_smallest_devices() { _smallest_list devices }
# The player presets; after the first character also programs on PATH.
_smallest_program() {
  local ret=1
  compadd -a _smallest_known_players && ret=0
  [[ -n $PREFIX ]] && _command_names -e && ret=0
  return ret
}
