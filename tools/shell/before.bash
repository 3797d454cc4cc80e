# The values of a list: as last saved in the cache, else as bundled. Python is not started.
# $1: the list, $2: the prefix. Not `compgen -W`: it expands the values as shell code.
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
# shtab passes a word that begins with a dash as "": `-o -` is complete.
_smallest_file() { local typed="${COMP_WORDS[COMP_CWORD]//\\/}"; compgen -f -- "${typed#[\"\']}"; }
_smallest_dir() { local typed="${COMP_WORDS[COMP_CWORD]//\\/}"; compgen -d -- "${typed#[\"\']}"; }
# The player presets; after the first character also programs on PATH, but no shell keywords.
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
