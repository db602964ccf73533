# Looks at a host, read only: who we are, the sshd that serves us, every file OpenSSH would read, what OpenSSH says.
# One `target` record opens each side; the records after it belong to it.

# immutable PATH: chattr +i or +a, where the file system and lsattr tell.
immutable() {
  flags_=$(lsattr -d "$1" 2>/dev/null) || return 1
  case ${flags_%% *} in *i* | *a*) return 0 ;; esac
  return 1
}

# folder_state FOLDER: whether files can be put there, in $FOLDER_STATE.
folder_state() {
  if [ ! -d "$1/" ]; then
    FOLDER_STATE=missing
  elif ! as_client test -w "$1/" || immutable "$1/"; then
    FOLDER_STATE='readonly'
  else
    FOLDER_STATE=writable
  fi
}

# file_facts PATH: what is at PATH, and its bytes; fails when there is nothing to read.
file_facts() {
  record file "$1"
  folder_state "${1%/*}"
  record file.folder "$FOLDER_STATE"
  if [ -d "$1" ]; then
    record file.problem directory
    return 1
  fi
  if ! resolve "$1"; then
    if [ -L "$1" ]; then record file.problem dangling; else record file.problem missing; fi
    return 1
  fi
  record file.real "$REAL"
  record file.meta "$(ls -ldn "$REAL" 2>/dev/null)"
  if ! as_client test -w "${REAL%/*}/" || ! as_client test -w "$REAL"; then record file.readonly permission; fi
  if immutable "$REAL" || immutable "${REAL%/*}/"; then record file.readonly immutable; fi
  if ! as_client test -r "$1"; then
    record file.problem unreadable
    return 1
  fi
  record_file file.bytes "$1" || return 1
}

# include_patterns FILE: the arguments of its Include lines, one a line.
include_patterns() {
  awk '{
    sub(/\r$/, "")
    line = $0
    sub(/^[ \t\f]+/, "", line)
    if (!match(tolower(line), /^"?include"?[ \t\f]*=?[ \t\f]*/)) next
    if (tolower(substr(line, 1, 9)) !~ /^"?include["= \t\f]/) next
    rest = substr(line, RLENGTH + 1)
    while (length(rest) > 0) {
      sub(/^[ \t\f]+/, "", rest)
      first = substr(rest, 1, 1)
      if (first == "" || first == "#") break
      if (first == "\"") {
        rest = substr(rest, 2)
        end = index(rest, "\"")
        if (end == 0) break
        print substr(rest, 1, end - 1)
        rest = substr(rest, end + 1)
      } else {
        if (match(rest, /[ \t\f]/)) { print substr(rest, 1, RSTART - 1); rest = substr(rest, RSTART) }
        else { print rest; rest = "" }
      }
    }
  }' "$1" 2>/dev/null
}

# chain MAIN BASE HOME: every file of the Include chain and what each pattern matched; the order is the reader's matter.
chain() {
  todo_=$1
  seen_=
  files_=0
  while [ -n "$todo_" ]; do
    file_=${todo_%%"$NL"*}
    case $todo_ in *"$NL"*) todo_=${todo_#*"$NL"} ;; *) todo_= ;; esac
    case $NL$seen_$NL in *"$NL$file_$NL"*) continue ;; esac
    seen_=$seen_$NL$file_
    files_=$((files_ + 1))
    if [ "$files_" -gt 256 ]; then
      record chain.toomany 256
      return 0
    fi
    file_facts "$file_" || continue
    patterns_=$(include_patterns "$file_")
    while IFS= read -r pattern_; do
      [ -n "$pattern_" ] || continue
      # shellcheck disable=SC2088 # the file's own tilde
      case $pattern_ in
        /*) ;;
        '~/'*) [ -n "$3" ] && pattern_=$3/${pattern_#\~/} ;;
        *) pattern_=$2/$pattern_ ;;
      esac
      case $NL$seen_$NL in *"${NL}glob:$pattern_$NL"*) continue ;; esac
      seen_=$seen_${NL}glob:$pattern_
      record glob "$pattern_"
      folder_=${pattern_%/*}
      case $folder_ in
        *[\*\?\[]*) ;;
        *)
          folder_state "$folder_"
          [ "$FOLDER_STATE" = missing ] || record glob.folder "$FOLDER_STATE"
          ;;
      esac
      saved_=$IFS
      IFS=
      # shellcheck disable=SC2086 # pathname expansion is what is wanted; IFS is empty
      set -- "$1" "$2" "$3" $pattern_
      IFS=$saved_
      shown_=3
      for match_ in "$@"; do
        if [ "$shown_" -gt 0 ]; then
          shown_=$((shown_ - 1))
          continue
        fi
        [ -e "$match_" ] || [ -L "$match_" ] || continue
        [ ! -d "$match_" ] || continue
        record glob.match "$match_"
        todo_=$todo_${todo_:+$NL}$match_
      done
      set -- "$1" "$2" "$3"
    done <<END
$patterns_
END
  done
}

# unloaded FILE PIDFILE: FILE came to its place or changed when PIDFILE had been written, or at the same time: clocks of
# file systems tick slowly, and what cannot be told apart counts as changed. By the time of the last status change where
# find knows how: a file that is moved into place keeps its time of modification.
unloaded() {
  older_=$(find "$2" -prune -newermc "$1" 2>/dev/null) || older_=$(find "$2" -prune -newer "$1" 2>/dev/null)
  [ -z "$older_" ]
}

# newer FILE REFERENCE: FILE came to its place or changed after REFERENCE was written.
newer() {
  found_=$(find "$1" -prune -cnewer "$2" 2>/dev/null) || found_=$(find "$1" -prune -newer "$2" 2>/dev/null)
  [ -n "$found_" ]
}

# changed_since_load PIDFILE PID: names files and Include folders changed since the daemon read them.
changed_since_load() {
  since_=
  # sshd writes its PidFile at every start and re-execution, after reading its files (sshd.c main).
  judge_=unloaded
  if [ -r "$1" ] && read -r in_pidfile_ <"$1" && [ "$in_pidfile_" = "$2" ]; then since_=$1; fi
  # After a revert its files are newer than its PidFile, and what it loaded all the same. The daemon has not read any
  # files since that was noted, or it would be another one by now.
  if [ -n "$IDENTITY" ] && [ -f "$TARGET/asof" ] && [ "$(cat "$TARGET/asof")" = "$IDENTITY" ]; then
    since_=$TARGET/asof
    judge_=newer
  fi
  if [ -n "$since_" ]; then
    record daemon.loaded pidfile
    while IFS= read -r file_; do
      case $file_ in
        '') continue ;;
        glob:*)
          place_=${file_#glob:}
          place_=${place_%/*}
          [ -d "$place_" ] || continue
          # Its time of modification: names that came and went.
          if [ "$judge_" = newer ]; then
            [ -z "$(find "$place_/" -prune -newer "$since_" 2>/dev/null)" ] || record daemon.newer "$place_"
          else
            [ -n "$(find "$since_" -prune -newer "$place_/" 2>/dev/null)" ] || record daemon.newer "$place_"
          fi
          ;;
        *)
          if "$judge_" "$file_" "$since_"; then
            record daemon.newer "$file_"
          elif resolve "$file_" && "$judge_" "$REAL" "$since_"; then
            record daemon.newer "$file_"
          fi
          ;;
      esac
    done <<END
$seen_
END
  elif process "$2" && [ -n "$START" ]; then
    record daemon.loaded start
    now
    hz_=$(getconf CLK_TCK 2>/dev/null) || hz_=100
    # Two seconds of grace: wall clock and boot clock meet in whole seconds here.
    since_=$(($(date +%s) - (NOW - START * 100 / hz_) / 100 + 2))
    while IFS= read -r file_; do
      case $file_ in '' | glob:*) continue ;; esac
      at_=$(stat -L -c %Z "$file_" 2>/dev/null) || at_=$(stat -L -f %c "$file_" 2>/dev/null) || continue
      [ "$at_" -le "$since_" ] || record daemon.newer "$file_"
    done <<END
$seen_
END
  else
    record daemon.loaded unknown
  fi
}

# leftovers: what earlier transactions left for this target.
leftovers() {
  record target.folder "$TARGET"
  [ ! -f "$TARGET/record" ] || record_file target.record "$TARGET/record"
  [ ! -f "$TARGET/loaded" ] || record target.loaded "$(cat "$TARGET/loaded")"
  [ ! -f "$TARGET/last" ] || record_file target.last "$TARGET/last"
  lock_state
  if [ "$LOCK" != none ]; then
    record target.lock "$LOCK"
    record target.lock.left "$LOCK_LEFT"
    record target.lock.who "$LOCK_WHO"
  fi
}

# real_path FILE: behind links, or FILE itself.
real_path() {
  if resolve "$1"; then printf '%s' "$REAL"; else printf '%s' "$1"; fi
}

# given_daemon CONFIG: for a session that no sshd serves (local): the listening sshd that uses CONFIG.
given_daemon() {
  fits_=
  for proc_ in /proc/[0-9]*; do
    pid_=${proc_#/proc/}
    process "$pid_" || continue
    [ "$COMM" = sshd ] || continue
    # A container's daemon has a configuration of its own.
    [ "$(readlink "$proc_/ns/pid" 2>/dev/null)" = "$(readlink /proc/self/ns/pid 2>/dev/null)" ] || continue
    parent_=$PPID_
    case $(tr '\0' ' ' <"$proc_/cmdline" 2>/dev/null) in
      'sshd: '*'[listener]'*) ;;
      # Another title is a connection's; -i is sshd started for one connection.
      'sshd: '* | *' -i '*) continue ;;
    esac
    daemon_args "$pid_"
    daemon_options
    [ "$(real_path "${DAEMON_CONFIG:-/etc/ssh/sshd_config}")" = "$(real_path "$1")" ] || continue
    # A child that serves a connection has the daemon as its parent.
    process "$parent_" && [ "$COMM" = sshd ] && continue
    fits_="$fits_ $pid_"
  done
  # shellcheck disable=SC2086 # a list of numbers
  set -- $fits_
  if [ $# -gt 1 ]; then record daemon.several "$*"; fi
  if [ $# -eq 1 ]; then LISTENER=$1; fi
}

observe_server() {
  record target server
  get server_config && wanted_=$value || wanted_=
  get sshd_path && exe_=$value || exe_=
  find_sshd
  if get local; then
    # Whoever sits here may have logged in through another daemon than the one that is meant.
    SESSION='' LISTENER=''
  fi
  [ -n "$SESSION" ] || [ -n "$LISTENER" ] || given_daemon "${wanted_:-/etc/ssh/sshd_config}"
  config_=$wanted_
  set --
  if [ -n "$LISTENER" ]; then
    daemon_args "$LISTENER"
    daemon_exe "$LISTENER"
    if [ -z "$exe_" ]; then exe_=${EXE:-${ARGS%%"$NL"*}}; fi
    daemon_options
    while IFS= read -r word_; do
      [ -z "$word_" ] || set -- "$@" "$word_"
    done <<END
$DAEMON_WORDS
END
    config_=${config_:-$DAEMON_CONFIG}
    record daemon.config "${DAEMON_CONFIG:-/etc/ssh/sshd_config}"
    record daemon.realconfig "$(real_path "${DAEMON_CONFIG:-/etc/ssh/sshd_config}")"
    record daemon.pid "$LISTENER"
    process "$LISTENER" && record daemon.start "$START"
    record daemon.argv "$ARGS"
    for word_ in "$@"; do record daemon.arg "$word_"; done
    service_of "$LISTENER"
    record daemon.manager "$MANAGER"
    record daemon.unit "$UNIT"
    record daemon.socket "$SOCKET"
    record daemon.activation "$ACTIVATION"
  elif [ -n "$SESSION" ] && ! started_for_connection "$SESSION"; then
    record daemon.gone "$SESSION"
    return 0
  elif [ -n "$SESSION" ]; then
    # ssh.socket with Accept=yes or inetd: each connection starts its own sshd, which reads the files afresh.
    record daemon.perconnection "$SESSION"
    init_system
    record daemon.manager "$INIT"
    daemon_exe "$SESSION"
    case $EXE in */sshd) [ -n "$exe_" ] || exe_=$EXE ;; esac
  fi
  config_=${config_:-/etc/ssh/sshd_config}
  if [ -z "$exe_" ]; then exe_=$(command -v sshd) || exe_=; fi
  record sshd.path "$exe_"
  record config "$config_"
  record config.real "$(real_path "$config_")"
  target_folder server "$config_"
  leftovers
  chain "$config_" /etc/ssh ''
  if [ ! -x "$exe_" ]; then
    record sshd.missing "$exe_"
    return 0
  fi
  record sshd.version "$("$exe_" -V 2>&1 </dev/null | grep OpenSSH_ | head -n 1)"
  [ -e "$config_" ] || return 0
  set -- "$exe_" -T -f "$config_" "$@"
  if ! sshd_says "$@"; then
    # `Match LocalPort` and old releases want every attribute of a connection named; this one is nobody's.
    case $SAID in
      *"'Match "* | *"Match "*"connection test"*) sshd_says "$@" -C "$NOBODY" && record sshd.spec "$NOBODY" ;;
    esac
  fi
  record sshd.exit "$RC"
  record sshd.dump "$SAID"
  if [ -n "$LISTENER" ]; then
    pidfile_=$(printf '%s\n' "$SAID" | awk 'tolower($1) == "pidfile" { sub(/^[^ ]+ /, ""); print; exit }')
    identity "$LISTENER" "$pidfile_"
    record daemon.pidfile "$pidfile_"
    record daemon.identity "$IDENTITY"
    changed_since_load "$pidfile_" "$LISTENER"
  fi
}

observe_client() {
  record target client
  get client_user && user_=$value || user_=
  get client_config && config_=$value || config_=
  if ! client_place "$user_" "$config_"; then
    record client.nouser "$user_"
    return 0
  fi
  if [ -n "$user_" ]; then record client.owner "$(id -u "$user_"):$(id -g "$user_")"; fi
  record config "$CLIENT_CONFIG"
  record config.base "$CLIENT_BASE"
  record config.home "$CLIENT_HOME"
  target_folder client "$CLIENT_CONFIG"
  leftovers
  chain "$CLIENT_CONFIG" "$CLIENT_BASE" "$CLIENT_HOME"
  if ! command -v ssh >/dev/null 2>&1; then
    record ssh.missing ssh
    return 0
  fi
  record ssh.version "$(ssh -V 2>&1 </dev/null | head -n 1)"
  # ssh -G runs the commands of `Match exec`: a look must not.
  while IFS= read -r file_; do
    case $file_ in '' | glob:*) continue ;; esac
    if grep -i -E -q '^[[:space:]]*"?match"?[[:space:]=].*exec' "$file_" 2>/dev/null; then
      record ssh.matchexec "$file_"
      return 0
    fi
  done <<END
$seen_
END
  # A file that is not there yet: what ssh does without it.
  [ -e "$CLIENT_CONFIG" ] || [ "$CLIENT_CONFIG" = "$CLIENT_HOME/.ssh/config" ] || CLIENT_CONFIG=none
  each probe say_client
}

# say_client ENCODED: what ssh would do for one host name.
say_client() {
  decode "$1"
  probe_=$value
  client_says "$probe_"
  record ssh.probe "$probe_"
  record ssh.exit "$RC"
  record ssh.dump "$SAID"
}

main() {
  read_data
  NOBODY='user=keepalive-nobody,host=keepalive.invalid,addr=192.0.2.255,laddr=192.0.2.254,lport=22'
  record uid "$(id -u)"
  record user "$(id -un 2>/dev/null)"
  record uname "$(uname -srm)"
  boot_id
  record boot "$BOOT"
  now
  record now "$NOW"
  # Whether a candidate can be put in place in a mount namespace of its own.
  if [ "$(uname -s)" = Linux ] && unshare -m true 2>/dev/null </dev/null; then record namespace yes; fi
  if get server; then observe_server; fi
  if get client; then observe_client; fi
  finish
}
