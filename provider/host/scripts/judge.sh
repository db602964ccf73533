# OpenSSH's word on a configuration: what is there, and what would be there with the staged files in place.

# judge FOLDER CONFIG: what OpenSSH says with CONFIG, for everyone and for each connection the Match lines name, one
# file each in FOLDER; runs where the files to judge are in place.
judge() {
  mkdir -p "$1"
  if [ "$SIDE" = client ]; then
    CLIENT_CONFIG=$2
    judged_=0
    while IFS= read -r probe_; do
      client_says "$probe_"
      printf '%s\n' "$SAID" >"$1/$judged_"
      printf '%s\n' "$RC" >"$1/$judged_.exit"
      judged_=$((judged_ + 1))
    done <"$T/specs"
    return 0
  fi
  judged_=0
  while IFS= read -r spec_; do
    set -- "$1" "$2" "$EXE" -T -f "$2"
    while IFS= read -r arg_; do
      set -- "$@" "$arg_"
    done <"$T/args"
    [ "$spec_" = - ] || set -- "$@" -C "$spec_"
    folder_=$1
    config_=$2
    shift 2
    sshd_says "$@"
    printf '%s\n' "$SAID" >"$folder_/$judged_"
    printf '%s\n' "$RC" >"$folder_/$judged_.exit"
    set -- "$folder_" "$config_"
    judged_=$((judged_ + 1))
  done <"$T/specs"
}

# inside T FOLDER CONFIG: in a mount namespace of its own, puts the staged files in place and judges them there.
inside() {
  load "$1"
  CLIENT_USER=
  if [ -f "$T/client" ]; then
    {
      IFS= read -r CLIENT_USER
      IFS= read -r CLIENT_HOME
    } <"$T/client"
  fi
  mount --make-rprivate / 2>/dev/null
  n_=0
  while [ -f "$T/$n_.path" ]; do
    line "$T/$n_.real"
    if [ ! -f "$T/$n_.new" ] || [ ! -f "$T/$n_.old" ]; then
      # A file comes or goes: a copy of its folder takes the folder's place.
      folder_=${LINE%/*}
      if [ ! -d "$folder_" ]; then return 3; fi
      copy_=$T/folder.$n_
      cp -a "$folder_" "$copy_" 2>/dev/null || cp -Rp "$folder_" "$copy_" || return 3
      mount --bind "$copy_" "$folder_" || return 3
      if [ -f "$T/$n_.new" ]; then cp -p "$T/$n_.new" "$LINE" || return 3; else rm -f "$LINE"; fi
    else
      mount --bind "$T/$n_.new" "$LINE" || return 3
    fi
    n_=$((n_ + 1))
  done
  judge "$2" "$3"
}

# differ A B: the dumps differ in more than the managed options; the first differences in $DIFFERENCE.
differ() {
  grep -v -i -E "$MANAGED" "$1" >"$T/a"
  grep -v -i -E "$MANAGED" "$2" >"$T/b"
  if cmp -s "$T/a" "$T/b"; then return 1; fi
  DIFFERENCE=$(diff "$T/a" "$T/b" | grep '^[<>]' | head -n 6)
}
