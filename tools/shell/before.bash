# The values of a list, as the tool last kept it, else as it was when this was made. No Python is started.
# $1 the list, $2 what is typed. `compgen -W` would run what a value holds, so none is used.
_smallest_list() {
  local folder="${SMALLEST_CACHE_DIR:-}" known="_smallest_known_$1" typed="${2//\\/}" lines value rest
  if [[ -z $folder ]]; then
    folder="${XDG_CACHE_HOME:-$HOME/.cache}/smallest"
    [[ ${OSTYPE:-} == darwin* ]] && folder="$HOME/Library/Caches/smallest"
  fi
  if [[ -r $folder/$1.tsv ]]; then lines=$(<"$folder/$1.tsv"); else lines=${!known}; fi
  typed=${typed#[\"\']}
  while IFS=$'\t' read -r value rest; do
    [[ -n $value && $value == "$typed"* ]] && printf '%q\n' "$value"
  done <<<"$lines"
}
_smallest_voices() { _smallest_list voices "$1"; }
_smallest_models() { _smallest_list models "$1"; }
_smallest_languages() { _smallest_list languages "$1"; }
_smallest_devices() { _smallest_list devices "$1"; }
# A word that begins with a dash comes here as "": `-o -` is whole.
_smallest_file() { local typed="${COMP_WORDS[COMP_CWORD]//\\/}"; compgen -f -- "${typed#[\"\']}"; }
_smallest_dir() { local typed="${COMP_WORDS[COMP_CWORD]//\\/}"; compgen -d -- "${typed#[\"\']}"; }
# The players that are known by name; once something is typed, what is on PATH too, and no word of the shell's.
_smallest_program() {
  local each
  while read -r each; do
    [[ $each == "$1"* ]] && printf '%s\n' "$each"
  done <<<"$_smallest_known_players"
  [[ -n $1 ]] || return 0
  while read -r each; do
    type -P -- "$each" >/dev/null && printf '%s\n' "$each"
  done < <(compgen -c -- "$1")
}
