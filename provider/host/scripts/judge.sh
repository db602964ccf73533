# OpenSSH's word on a configuration: what is there, and what would be there with the staged files in place.

# judge NAME CONFIG [FIRST]: what OpenSSH says with CONFIG, for everyone and for each connection the Match lines name, in a
# file NAME.N each and, if it failed, how it ended in NAME.N.exit, from number FIRST on; runs where the files to judge are
# in place.
judge() {
  from_=${3:-0}
  judged_=0
  probes_=$SPECS
  if [ "$SIDE" = client ]; then
    CLIENT_CONFIG=$2
    # A copy can be named with -F only, which leaves the system's file out: so both are, to be compared.
    case ${BY_COPY:-}$2 in yes/*) CLIENT_CONFIG=${2%/*}/./${2##*/} ;; esac
  fi
  while [ -n "$probes_" ]; do
    probe_=${probes_%%"$NL"*}
    probes_=${probes_#*"$NL"}
    if [ "$judged_" -ge "$from_" ]; then
      if [ "$SIDE" = client ]; then client_says "$probe_"; else sshd_would "$2" "$probe_"; fi
      if [ "$RC" != 0 ]; then
        printf '%s\n' "$RC" >"$1.$judged_.exit"
      elif [ -e "$1.$judged_.exit" ]; then
        # It was asked before.
        rm -f "$1.$judged_.exit"
      fi
      printf '%s\n' "$SAID" >"$1.$judged_"
    fi
    judged_=$((judged_ + 1))
  done
}

# exit_of NAME: how that dump ended, in $LINE.
exit_of() {
  LINE=0
  [ ! -f "$1.exit" ] || line "$1.exit"
}

# inside T NAME CONFIG: in a mount namespace of its own, puts the staged files in place and judges them there.
inside() {
  load "$1"
  mount --make-rprivate / 2>/dev/null
  n_=0
  while [ "$n_" -lt "$FILES" ]; do
    file_of "$n_"
    if [ ! -f "$T/$n_.old" ]; then
      appear "$n_" "$FILE_REAL" || return 3
    elif [ -n "$FILE_NEWSUM" ]; then
      mount --bind "$T/$n_.new" "$FILE_REAL" || return 3
    else
      # An empty file says what a missing one says.
      cp -p "$T/$n_.old" "$T/$n_.none" && : >"$T/$n_.none" && mount --bind "$T/$n_.none" "$FILE_REAL" || return 3
    fi
    n_=$((n_ + 1))
  done
  judge "$2" "$3"
}

# appear N FILE: a file that is not there yet: another folder takes the place of its own. A server's holds everything
# that the real one holds; a client's new file is its user's first, and nothing else in there matters to ssh.
appear() {
  place_=${2%/*}
  copy_=$T/folder.$1
  if [ "$SIDE" = server ]; then
    [ -d "$place_" ] || return 1
    # What is in it, also where the folder is a link.
    if [ ! -d "$copy_" ]; then cp -a "$place_/." "$copy_" 2>/dev/null || cp -Rp "$place_/." "$copy_" || return 1; fi
    cp -p "$T/$1.new" "$copy_/${2##*/}" && mount --bind "$copy_" "$place_"
    return
  fi
  until [ -d "$place_" ]; do place_=${place_%/*}; done
  below_=${2#"$place_"/}
  mkdir -p "$copy_/$below_" && rmdir "$copy_/$below_" && cp -p "$T/$1.new" "$copy_/$below_" || return 1
  if other_user; then chown -R "$OWNER_" "$copy_" || return 1; fi
  mount --bind "$copy_" "${place_:-/}"
}

# differ A B: the dumps differ in more than the managed options; the first differences in $DIFFERENCE.
differ() {
  grep -v -i -E "$MANAGED" "$1" >"$T/a"
  grep -v -i -E "$MANAGED" "$2" >"$T/b"
  if cmp -s "$T/a" "$T/b"; then return 1; fi
  DIFFERENCE=$(diff "$T/a" "$T/b" | grep '^[<>]' | head -n 6)
}
