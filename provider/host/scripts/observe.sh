# Looks at a host, read only: who we are, the sshd that serves us, every file OpenSSH would read, what OpenSSH says.
# One `target` record opens each side; the records after it belong to it.

# Facts that cost a process are asked for all paths at once, at the end of a side: their number is what a look's time
# goes to. A line each: $LOOKED, the paths to be asked about; $READS, the files whose bytes are wanted; $OURS, those of
# our own, which another user may not read.
LOOKED=
READS=
OURS=

# look_at PATH: it will be asked about.
look_at() {
  case $NL$LOOKED in *"$NL$1$NL"*) ;; *) LOOKED=$LOOKED$1$NL ;; esac
}

# may r|w PATH: the user whose files these are may read or write it.
may() {
  if other_user; then as_client test "-$1" "$2"; else test "-$1" "$2"; fi
}

# folder_state FOLDER: whether files can be put there, in $FOLDER_STATE.
folder_state() {
  if [ ! -d "$1/" ]; then
    FOLDER_STATE=missing
    return 0
  fi
  look_at "$1/"
  if may w "$1/"; then FOLDER_STATE=writable; else FOLDER_STATE='readonly'; fi
}

# file_facts PATH: what is at PATH; fails when there is nothing to read.
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
  look_at "$1"
  look_at "$REAL"
  look_at "${REAL%/*}/"
  if ! may w "${REAL%/*}/" || ! may w "$REAL"; then record file.readonly permission; fi
  if [ ! -f "$REAL" ] || ! may r "$1"; then
    record file.problem unreadable
    return 1
  fi
  READS=$READS$1$NL
}

# include_patterns FILE...: the arguments of their Include lines, one a line.
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
  }' "$@" 2>/dev/null
}

# included FILE: an Include of the chain matches it.
included() {
  record glob.match "$1"
  wave_=$wave_$1$NL
}

# chain MAIN BASE HOME: every file of the Include chain and what each pattern matched; the order is the reader's matter.
# In waves: the main file, what it includes, what those include.
chain() {
  wave_=$1$NL
  seen_=
  files_=0
  while [ -n "$wave_" ]; do
    found_=$wave_
    wave_=
    set -- "$1" "$2" "$3"
    while [ -n "$found_" ]; do
      file_=${found_%%"$NL"*}
      found_=${found_#*"$NL"}
      case $NL$seen_$NL in *"$NL$file_$NL"*) continue ;; esac
      seen_=$seen_$NL$file_
      files_=$((files_ + 1))
      if [ "$files_" -gt 256 ]; then
        record chain.toomany 256
        return 0
      fi
      if file_facts "$file_"; then set -- "$@" "$file_"; fi
    done
    [ $# -gt 3 ] || break
    main_=$1 base_=$2 home_=$3
    shift 3
    patterns_=$(include_patterns "$@")
    set -- "$main_" "$base_" "$home_"
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
      each_match "$pattern_" included
    done <<END
$patterns_
END
  done
}

# times_of PATH...: a line each in $times_: names, bytes, time of the last status change and of the last modification in
# seconds, path. busybox's stat knows whole seconds only.
times_of() {
  times_=$(find "$@" -prune -printf '%n %s %C@ %T@ %p\n' 2>/dev/null) ||
    times_=$(stat -c '%h %s %Z %Y %n' "$@" 2>/dev/null) ||
    times_=$(stat -f '%l %z %Fc %Fm %N' "$@" 2>/dev/null)
}

# facts_at_once DAEMON: what there is to say of $LOOKED; the identity of the process DAEMON (empty: none) in $IDENTITY;
# the bytes of $READS and $OURS.
facts_at_once() {
  IDENTITY=
  auxv_=/proc/${1:-none}/auxv
  frame_words "$NL"
  # shellcheck disable=SC2086 # a line each
  set -- $LOOKED
  frame_words_end
  times_=
  if [ $# -gt 0 ]; then
    times_of "$@"
    record times "$times_"
    if command -v lsattr >/dev/null 2>&1; then record attributes "$(lsattr -d "$@" 2>/dev/null)"; fi
  fi
  # A huge file is not read at all.
  huge_=
  while IFS=' ' read -r _ size_ _ _ path_; do
    if [ "${size_:-0}" -gt "$frame_max" ]; then huge_=$huge_$path_$NL; fi
  done <<END
$times_
END
  if other_user; then
    bytes_of as_client "$READS"
    READS=
  fi
  bytes_of command "$READS$OURS"
}

# bytes_of AS LIST: the bytes of the files of LIST, read by `AS cat`.
bytes_of() {
  as_=$1
  rest_=$2
  set --
  if [ -r "$auxv_" ]; then set -- "$auxv_"; fi
  while [ -n "$rest_" ]; do
    file_=${rest_%%"$NL"*}
    rest_=${rest_#*"$NL"}
    if [ -n "$huge_" ] && resolve "$file_"; then
      case $NL$huge_ in
        *"$NL$REAL$NL"*)
          record bytes.toobig "$file_"
          continue
          ;;
      esac
    fi
    set -- "$@" "$file_"
  done
  [ $# -gt 0 ] || return 0
  sums_=$("$as_" cksum "$@" 2>/dev/null)
  case $sums_ in
    *" $auxv_"*)
      # The first line; empty bytes are those of a process that ends.
      IDENTITY=${sums_%%" $auxv_"*}
      sums_=${sums_#*" $auxv_"}
      case $IDENTITY in *' 0') IDENTITY= ;; esac
      ;;
  esac
  record_files bytes "$as_" "$sums_"
}

# loaded_when PIDFILE PID: what tells when the daemon PID last read its files, for who knows the times of $LOOKED.
loaded_when() {
  # sshd writes its PidFile at every start and re-execution, after reading its files (sshd.c main).
  if [ -r "$1" ] && read -r in_pidfile_ <"$1" && [ "$in_pidfile_" = "$2" ]; then
    look_at "$1"
    record daemon.loaded "$1"
  elif process "$2" && [ -n "$START" ]; then
    now
    hz_=$(getconf CLK_TCK 2>/dev/null) || hz_=100
    # Two seconds of grace: wall clock and boot clock meet in whole seconds here.
    record daemon.loaded $(($(date +%s) - (NOW - START * 100 / hz_) / 100 + 2))
  fi
  # After a revert its files are newer than its PidFile, and what it loaded all the same: supervisor.sh knows_files.
  if [ -f "$TARGET/asof" ]; then
    look_at "$TARGET/asof"
    line "$TARGET/asof"
    record daemon.asof "$LINE"
  fi
}

# leftovers: what earlier transactions left for this target.
leftovers() {
  record target.folder "$TARGET"
  for file_ in record last; do
    [ ! -f "$TARGET/$file_" ] || OURS=$OURS$TARGET/$file_$NL
  done
  if [ -f "$TARGET/loaded" ]; then
    line "$TARGET/loaded"
    record target.loaded "$LINE"
  fi
  lock_state
  if [ "$LOCK" != none ]; then
    record target.lock "$LOCK"
    record target.lock.left "$LOCK_LEFT"
    record target.lock.who "$LOCK_WHO"
  fi
}

# given_daemon CONFIG: for a session that no sshd serves (local): the listening sshd that uses CONFIG.
given_daemon() {
  fits_=
  resolve "$1" || REAL=$1
  given_=$REAL
  for proc_ in /proc/[0-9]*; do
    pid_=${proc_#/proc/}
    process "$pid_" || continue
    [ "$COMM" = sshd ] || continue
    # A container's daemon has a configuration of its own.
    [ "$(readlink "$proc_/ns/pid" 2>/dev/null)" = "$(readlink /proc/self/ns/pid 2>/dev/null)" ] || continue
    parent_=$PPID_
    daemon_args "$pid_"
    # Another title than a listener's is a connection's; -i is sshd started for one connection.
    case $ARGS$NL in 'sshd: '* | *"$NL-i$NL"*) continue ;; esac
    daemon_options
    resolve "${DAEMON_CONFIG:-/etc/ssh/sshd_config}" || REAL=${DAEMON_CONFIG:-/etc/ssh/sshd_config}
    [ "$REAL" = "$given_" ] || continue
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
    resolve "${DAEMON_CONFIG:-/etc/ssh/sshd_config}" || REAL=${DAEMON_CONFIG:-/etc/ssh/sshd_config}
    record daemon.realconfig "$REAL"
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
  resolve "$config_" || REAL=$config_
  record config.real "$REAL"
  target_folder server "$config_"
  leftovers
  chain "$config_" /etc/ssh ''
  if [ ! -x "$exe_" ]; then
    record sshd.missing "$exe_"
  else
    if resolve "$exe_"; then look_at "$REAL"; fi
    program_=$REAL
    if [ -e "$config_" ]; then sshd_dump "$@"; fi
  fi
  facts_at_once "$LISTENER"
  if [ -x "$exe_" ]; then version "$program_"; fi
  if [ -n "$LISTENER" ]; then
    [ -n "$IDENTITY" ] || identity "$LISTENER" "${pidfile_:-}"
    record daemon.identity "$IDENTITY"
  fi
}

# sshd_dump ARG...: what sshd would do with the files as they are, and its daemon's PidFile; in a mount namespace of its
# own where that can be had, which shows that it can, in one process.
sshd_dump() {
  set -- "$exe_" -T -f "$config_" "$@"
  who_we_are
  RC=1
  if [ "$OUR_UID" = 0 ] && [ "$SYSTEM" = Linux ] && command -v unshare >/dev/null; then
    SAID=$(unshare -m "$@" 2>/dev/null </dev/null)
    RC=$?
    if [ "$RC" -eq 0 ]; then record namespace yes; else namespace; fi
  fi
  if [ "$RC" -ne 0 ] && ! sshd_says "$@"; then
    # `Match LocalPort` and old releases want every attribute of a connection named; this one is nobody's.
    case $SAID in
      *"'Match "* | *"Match "*"connection test"*) sshd_says "$@" -C "$NOBODY" && record sshd.spec "$NOBODY" ;;
    esac
  fi
  record sshd.exit "$RC"
  record sshd.dump "$SAID"
  [ -n "$LISTENER" ] || return 0
  pidfile_=
  for word_ in pidfile PidFile; do
    case $NL$SAID in *"$NL$word_ "*) pidfile_=$NL$SAID pidfile_=${pidfile_#*"$NL$word_ "} ;; esac
  done
  pidfile_=${pidfile_%%"$NL"*}
  record daemon.pidfile "$pidfile_"
  loaded_when "$pidfile_" "$LISTENER"
}

# program_line PATH: what the host says of that file, one of $LOOKED, in $PROGRAM; changes with every upgrade.
program_line() {
  PROGRAM=$NL${times_:-}$NL
  case $PROGRAM in
    *" $1$NL"*)
      PROGRAM=${PROGRAM%%" $1$NL"*}
      PROGRAM="${PROGRAM##*"$NL"} $1"
      ;;
    *) PROGRAM= ;;
  esac
}

# version PROGRAM: sshd's version, as it was told when this very file was last asked: that takes as long as a dump.
version() {
  program_line "$1"
  if [ -n "$PROGRAM" ]; then record sshd.program "$PROGRAM"; fi
  known_='' said_=''
  if [ -n "$PROGRAM" ] && [ -f "$TARGET/version" ]; then
    { IFS= read -r known_ && IFS= read -r said_; } <"$TARGET/version"
  fi
  if [ -z "$said_" ] || [ "$known_" != "$PROGRAM" ]; then said_=$("$exe_" -V 2>&1 </dev/null); fi
  record sshd.version "$said_"
}

# namespace: says whether a candidate can be put in place in a mount namespace of its own.
namespace() {
  who_we_are
  if [ "$OUR_UID" = 0 ] && [ "$SYSTEM" = Linux ] && unshare -m true 2>/dev/null </dev/null; then record namespace yes; fi
}

observe_client() {
  record target client
  LOOKED='' READS='' OURS=''
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
  files_read_=$READS
  program_=
  if exe_=$(command -v ssh) && resolve "$exe_"; then
    program_=$REAL
    look_at "$REAL"
  else
    exe_=
  fi
  facts_at_once ''
  if [ -z "$exe_" ]; then
    record ssh.missing ssh
    return 0
  fi
  program_line "$program_"
  record ssh.program "$PROGRAM"
  record ssh.version "$(ssh -V 2>&1 </dev/null)"
  namespace
  # ssh -G runs the commands of `Match exec`: a look must not.
  frame_words "$NL"
  # shellcheck disable=SC2086 # a line each
  set -- $files_read_
  frame_words_end
  if [ $# -gt 0 ]; then
    exec_=$(grep -l -i -E '^[[:space:]]*"?match"?[[:space:]=].*exec' "$@" 2>/dev/null)
    if [ -n "$exec_" ]; then
      record ssh.matchexec "${exec_%%"$NL"*}"
      return 0
    fi
  fi
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
  # From a reserved network (RFC 1112, class E): addresses for documentation stand in real files.
  NOBODY='user=keepalive-nobody,host=keepalive.invalid,addr=240.0.0.254,laddr=240.0.0.253,lport=22'
  system
  record system "$SYSTEM $RELEASE"
  boot_id
  record boot "$BOOT"
  if unchanged; then
    finish
    return 0
  fi
  LOOKED=
  if get server; then observe_server; fi
  if get client; then observe_client; fi
  finish
}
