# bash splits --flag=value into three words: rejoin them as --flag value.
# IFS as bash sets it: shtab's functions split lists of words, whatever the user's is.
_smallest() {
  local IFS=$' \t\n'
  local -a words=()
  local each last="" place=0
  for each in "${COMP_WORDS[@]}"; do
    if [[ $each == "=" && $last == --* ]]; then
      ((place == COMP_CWORD)) && words+=("")
    else
      words+=("$each")
    fi
    ((place == COMP_CWORD)) && break
    last=$each
    ((place += 1))
  done
  local -a COMP_WORDS=("${words[@]}")
  local COMP_CWORD=$((${#words[@]} - 1))
  _shtab_smallest
}
complete -o bashdefault -F _smallest smallest
