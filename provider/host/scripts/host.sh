# Facts about the host that several scripts need: where state lives, which sshd serves us, what OpenSSH says.
# POSIX sh and base utilities; Linux reads /proc, other systems fall back to ps. Writes nothing.

NL='
'

# Whose client file it is; empty: our own, or the system's.
CLIENT_USER=
CLIENT_HOME=

# system: this system's name as uname(1) says it, in $SYSTEM, and its release in $RELEASE.
system() {
  { read -r SYSTEM </proc/sys/kernel/ostype && read -r RELEASE </proc/sys/kernel/osrelease; } 2>/dev/null && return 0
  SYSTEM=$(uname -sr)
  RELEASE=${SYSTEM#* }
  SYSTEM=${SYSTEM%% *}
}

# who_we_are: our effective user, number in $OUR_UID and name in $OUR_NAME (empty when it has none); once a script.
OUR_UID='' OUR_NAME=''
who_we_are() {
  [ -z "$OUR_UID" ] || return 0
  ids_=$(id)
  # `uid=0(root) gid=0(root) …` (POSIX id); euid is named where it differs.
  case $ids_ in
    *' euid='*) ids_=${ids_#*' euid='} ;;
    *) ids_=${ids_#uid=} ;;
  esac
  ids_=${ids_%%' '*}
  OUR_UID=${ids_%%'('*}
  OUR_NAME=${ids_#"$OUR_UID"}
  OUR_NAME=${OUR_NAME#'('}
  OUR_NAME=${OUR_NAME%')'}
}

# now: centiseconds since boot (monotonic where /proc is, wall clock elsewhere) in $NOW.
now() {
  if read -r up_ idle_ 2>/dev/null </proc/uptime; then
    NOW=$((${up_%.*} * 100 + 1${up_#*.} - 100))
  else
    NOW=$(($(date +%s) * 100))
  fi
}

# nap: about 50 ms, or one second where sleep takes whole seconds only.
nap() { sleep 0.05 2>/dev/null || sleep 1; }

# boot_id: changes with every boot, in $BOOT; fit for a file name.
boot_id() {
  if read -r BOOT 2>/dev/null </proc/sys/kernel/random/boot_id; then return 0; fi
  BOOT=$(sysctl -n kern.boottime 2>/dev/null | tr -cd 'A-Za-z0-9-')
  BOOT=${BOOT:-unknown}
}

# state_root: the folder that keeps records, locks and backups, in $STATE. The variable lets several daemons of one
# machine keep their state apart (test fleets); sudo drops it.
state_root() {
  if [ -n "${PULUMI_SSH_KEEPALIVE_STATE_DIR:-}" ]; then
    STATE=$PULUMI_SSH_KEEPALIVE_STATE_DIR
    return 0
  fi
  who_we_are
  if [ "$OUR_UID" = 0 ]; then
    STATE=/var/lib/pulumi-ssh-keepalive
  else
    STATE=${XDG_STATE_HOME:-${HOME:-/}/.local/state}/pulumi-ssh-keepalive
  fi
}

# target_folder SIDE PATH: the state folder of one managed configuration, in $TARGET.
target_folder() {
  state_root
  sum_=$(
    cksum <<END
$2
END
  )
  TARGET=$STATE/$1-${sum_% *}-${sum_#* }
}

# sum_of FILE: "CRC SIZE", or "absent", in $SUM.
sum_of() {
  if [ -e "$1" ] || [ -L "$1" ]; then
    SUM=$(cksum <"$1" 2>/dev/null) || SUM=unreadable
  else
    SUM=absent
  fi
}

# each_match PATTERN FUNC: calls FUNC with each file that PATTERN matches.
each_match() {
  each_match_=$2
  saved_=$IFS
  IFS=
  # shellcheck disable=SC2086 # pathname expansion is what is wanted; IFS is empty
  set -- $1
  IFS=$saved_
  for match_ in "$@"; do
    { [ -e "$match_" ] || [ -L "$match_" ]; } && [ ! -d "$match_" ] || continue
    "$each_match_" "$match_"
  done
}

# line FILE: its first line in $LINE.
line() {
  LINE=
  IFS= read -r LINE <"$1"
}

# with_lines LIST COMMAND...: runs COMMAND with each line of LIST (which ends with a newline) as one more argument.
with_lines() {
  lines_=$1
  shift
  while [ -n "$lines_" ]; do
    set -- "$@" "${lines_%%"$NL"*}"
    lines_=${lines_#*"$NL"}
  done
  "$@"
}

# resolve FILE: the file behind links (40 at most), in $REAL; fails on a dangling link.
resolve() {
  REAL=$1
  hops_=0
  while [ -L "$REAL" ]; do
    hops_=$((hops_ + 1))
    [ "$hops_" -le 40 ] || return 1
    to_=$(readlink "$REAL" 2>/dev/null) || {
      to_=$(ls -ld "$REAL")
      to_=${to_##* -> }
    }
    case $to_ in
      /*) REAL=$to_ ;;
      *) REAL=${REAL%/*}/$to_ ;;
    esac
  done
  # No $(…): a process each time is what a look's time goes to. $REAL is absolute, so it does not matter where we are.
  CDPATH='' cd -P -- "${REAL%/*}/" 2>/dev/null || return 1
  REAL=${PWD%/}/${REAL##*/}
  cd /
  [ -e "$REAL" ]
}

# process PID: $PPID_, $COMM and $START (clock ticks since boot, empty without /proc); fails when there is none. $LAID: where
# the kernel put its program and its stack, drawn anew whenever a process executes itself ("1 0": not for us to know, and
# zeros where there is nothing to tell).
process() {
  if [ -d /proc/self ]; then
    stat_=
    { read -r stat_ <"/proc/$1/stat"; } 2>/dev/null || return 1
    COMM=${stat_#*\(}
    COMM=${COMM%\)*}
    # shellcheck disable=SC2086 # fields of /proc/PID/stat are split on purpose
    set -- ${stat_##*\) }
    # One that has ended and is not yet waited for is none.
    case $1 in Z | X) return 1 ;; esac
    PPID_=$2
    START=${20}
    LAID="${24} ${26}"
  else
    line_=$(ps -o ppid= -o comm= -p "$1" 2>/dev/null) || return 1
    # shellcheck disable=SC2086 # two columns
    set -- $line_
    PPID_=$1
    COMM=${2##*/}
    START=
    LAID='1 0'
  fi
}

# same_process PID START: it still is the process that was seen.
same_process() { process "$1" && [ "$START" = "$2" ]; }

# alive FILE: the process named in it ("PID START") still runs.
alive() {
  [ -f "$1" ] && read -r alive_pid_ alive_start_ <"$1" && same_process "$alive_pid_" "$alive_start_"
}

# confirming FOLDER: in this lock folder a login confirms, and lives: it brings to its end what it decides.
confirming() {
  for by_ in "$1"/by.*; do
    by_=${by_##*/by.}
    if same_process "${by_%%.*}" "${by_#*.}"; then return 0; fi
  done
  return 1
}

# any PATH...: one of them is there (for patterns).
any() {
  for any_ in "$@"; do
    if [ -e "$any_" ]; then return 0; fi
  done
  return 1
}

# lock_state: the lock of $TARGET, in $LOCK:
#   none   there is none
#   new    made a moment ago, nobody has put a name to it yet
#   live   someone works under it: the process that took it, its supervisor, or a login that may still confirm
#   stale  left by a crash or before a reboot, and nobody looks after it any more
# The holder's file is named held.BOOT.UNTIL.PID.START.TXID (path in $LOCK_HELD), so that taking a stale lock over is one
# rename of that very name. $LOCK_LEFT: seconds that a live one may last; $LOCK_WHO: its holder, for people.
lock_state() {
  LOCK=none LOCK_HELD='' LOCK_LEFT=1 LOCK_WHO=someone
  [ -d "$TARGET/lock" ] || return 0
  LOCK=new
  for LOCK_HELD in "$TARGET/lock"/held.*; do :; done
  if [ ! -e "$LOCK_HELD" ]; then
    LOCK_HELD=
    return 0
  fi
  { IFS= read -r LOCK_WHO <"$TARGET/lock/who"; } 2>/dev/null || LOCK_WHO=someone
  rest_=${LOCK_HELD##*/held.}
  lock_boot_=${rest_%%.*} rest_=${rest_#*.}
  lock_until_=${rest_%%.*} rest_=${rest_#*.}
  lock_pid_=${rest_%%.*} rest_=${rest_#*.}
  lock_start_=${rest_%%.*}
  # Once it is armed its time counts from there.
  for armed_ in "$TARGET/lock"/armed.*; do
    [ -f "$armed_" ] && { read -r armed_ <"$armed_"; } 2>/dev/null || armed_=
    case $armed_ in '' | *[!0-9]*) ;; *) lock_until_=$armed_ ;; esac
  done
  boot_id
  now
  LOCK=stale
  case $lock_until_ in '' | *[!0-9]*) return 0 ;; esac
  if [ "$lock_boot_" = "$BOOT" ] && { same_process "${lock_pid_:-0}" "$lock_start_" || alive "$TARGET/lock/supervisor" ||
    confirming "$TARGET/lock" || { any "$TARGET/lock"/armed.* && [ "$NOW" -le "$lock_until_" ]; }; }; then
    LOCK=live
    LOCK_LEFT=$(((lock_until_ - NOW) / 100 + 1))
    [ "$LOCK_LEFT" -gt 0 ] || LOCK_LEFT=1
  fi
}

# find_sshd: walks up from this shell to the sshd that serves this session.
#   $SESSION, $SESSION_START  the process of this connection (empty when this is no ssh session)
#   $LISTENER                 the daemon that accepted it (empty when sshd was started for this connection alone)
find_sshd() {
  SESSION=
  SESSION_START=
  LISTENER=
  at_=$$
  top_=
  below_=
  while [ "$at_" -gt 0 ] && process "$at_"; do
    case $COMM in
      sshd | sshd-session | sshd-auth)
        below_=$top_
        below_start_=${top_start_:-}
        top_=$at_
        top_start_=$START
        top_comm_=$COMM
        ;;
      *) [ -z "$top_" ] || break ;;
    esac
    at_=$PPID_
  done
  [ -n "$top_" ] || return 0
  daemon_args "$top_"
  case $top_comm_:$ARGS in
    # A title that is not a listener's is a connection's; -i is sshd started for one connection (inetd, Accept=yes).
    sshd-session:* | sshd-auth:* | sshd:'sshd: '* | *"${NL}-i${NL}"* | *"${NL}-i")
      SESSION=$top_
      SESSION_START=$top_start_
      ;;
    *)
      LISTENER=$top_
      SESSION=$below_
      SESSION_START=$below_start_
      ;;
  esac
}

# daemon_args PID: its arguments, one a line (argv[0] first), in $ARGS. sshd >= 8.2 rewrites its title to
# `sshd: ARGV [listener] N of M-O startups` (sshd.c), so words are taken from there.
daemon_args() {
  ARGS=
  { IFS= read -r ARGS <"/proc/$1/cmdline"; } 2>/dev/null
  case $ARGS in
    'sshd: '*'[listener]'*) ;;
    'sshd: '*) return 0 ;;
    *)
      # Not a title; `read` drops the zero bytes between the words.
      if [ -r "/proc/$1/cmdline" ]; then
        ARGS=$(tr '\0' '\n' <"/proc/$1/cmdline" 2>/dev/null)
      else
        ARGS=$(ps -o args= -p "$1" 2>/dev/null | tr ' ' '\n')
      fi
      return 0
      ;;
  esac
  # Blanks inside words are not told from those between them; sshd takes no operands, so that a word which is neither an
  # option nor an option's argument belongs to the word before it.
  rest_=${ARGS#sshd: }
  rest_="${rest_%%' [listener]'*} "
  ARGS=
  held_=${rest_%%' '*}
  rest_=${rest_#*' '}
  wants_=no
  while [ -n "$rest_" ]; do
    word_=${rest_%%' '*}
    rest_=${rest_#*' '}
    case $wants_:$word_ in
      yes:* | no:-*)
        ARGS=$ARGS$held_$NL
        held_=$word_
        if [ "$wants_" = no ] && bare_option "$word_"; then wants_=yes; else wants_=no; fi
        ;;
      *) held_="$held_ $word_" ;;
    esac
  done
  ARGS=$ARGS$held_
}

# option_of WORD: its last option, with the argument if that stands in the word too, in $OPTION (getopt(3): flags without
# argument may stand before in the same word).
option_of() {
  OPTION=${1#-}
  while :; do
    case $OPTION in [46DGQRTdeiqrtV]?*) OPTION=${OPTION#?} ;; *) return 0 ;; esac
  done
}

# bare_option WORD: it ends with an option whose argument is the next word.
bare_option() {
  option_of "$1"
  case $OPTION in [CEbcfghkopu]) return 0 ;; esac
  return 1
}

# daemon_options: what $ARGS name with -f, in $DAEMON_CONFIG (empty: nothing), and the options that also matter to
# `sshd -T`, one word a line, in $DAEMON_WORDS (getopt(3): flags without argument may stand before in the same word).
daemon_options() {
  DAEMON_CONFIG=
  DAEMON_WORDS=
  flag_=
  first_=1
  while IFS= read -r word_; do
    if [ "$first_" = 1 ]; then
      first_=0
      continue
    fi
    if [ -z "$flag_" ]; then
      case $word_ in -*) option_of "$word_" ;; *) continue ;; esac
      word_=$OPTION
      case $word_ in
        [CEbcfghkopu])
          flag_=$word_
          continue
          ;;
        [CEbcfghkopu]*)
          flag_=${word_%"${word_#?}"}
          word_=${word_#?}
          ;;
        *) continue ;;
      esac
    fi
    case $flag_ in
      f) DAEMON_CONFIG=$word_ ;;
      [ohpc]) DAEMON_WORDS="$DAEMON_WORDS-$flag_$NL$word_$NL" ;;
    esac
    flag_=
  done <<END
$ARGS
END
}

# daemon_exe PID: the binary it runs, in $EXE (empty when it cannot be told); its arguments are in $ARGS.
daemon_exe() {
  EXE=${ARGS%%"$NL"*}
  # shellcheck disable=SC3013 # where test has no -ef the link is read
  case $EXE in /*) if [ "$EXE" -ef "/proc/$1/exe" ] 2>/dev/null; then return 0; fi ;; esac
  EXE=$(readlink "/proc/$1/exe" 2>/dev/null) || EXE=
  EXE=${EXE%' (deleted)'}
  [ -x "$EXE" ] || EXE=
}

# identity PID: empty when it cannot be told, also while the process ends; changes when the process executes itself again (the auxiliary vector holds the address of fresh random
# bytes); without /proc the PidFile's change time serves, given as $2.
identity() {
  if [ -r "/proc/$1/auxv" ]; then
    { IDENTITY=$(cksum <"/proc/$1/auxv"); } 2>/dev/null || IDENTITY=
    case $IDENTITY in *' 0') IDENTITY= ;; esac
    return 0
  fi
  IDENTITY=$(ls -ldT "${2:-/nonexistent}" 2>/dev/null) || IDENTITY=
}

# privsep_missing OUTPUT: sshd refused for want of its privilege separation folder (often so under ssh.socket).
privsep_missing() {
  case $1 in *'Missing privilege separation directory'*) return 0 ;; esac
  return 1
}

# says COMMAND...: what OpenSSH prints, in $SAID, and its exit in $RC. Warnings are left out, because they name lines;
# when it fails, $SAID is what it has to say about that.
says() {
  SAID=$("$@" 2>/dev/null </dev/null)
  RC=$?
  [ "$RC" -eq 0 ] || SAID=$("$@" 2>&1 </dev/null)
  return "$RC"
}

# sshd_says EXE ARG...: runs sshd's test modes; $SAID and $RC as for says. Where the privilege separation folder is
# missing it is provided in a mount namespace of its own, so that nothing on the host changes.
sshd_says() {
  says "$@" && return 0
  if privsep_missing "$SAID" && unshare -m true 2>/dev/null </dev/null; then
    # shellcheck disable=SC2016 # expanded by the inner shell
    says unshare -m sh -c 'mount --make-rprivate / 2>/dev/null
      mount -t tmpfs tmpfs /run && mkdir -m 755 /run/sshd && exec "$@"' sh "$@"
  fi
  return "$RC"
}

# other_user: $CLIENT_USER is someone else than we are.
other_user() { [ -n "$CLIENT_USER" ] && who_we_are && [ "$CLIENT_USER" != "$OUR_NAME" ]; }

# as_client COMMAND...: runs it as the user whose file it is. Never as ourselves: neither by a link nor by an Include
# may a user's file make root read or write what the user may not.
as_client() {
  if ! other_user; then
    "$@"
  elif command -v runuser >/dev/null 2>&1; then
    runuser -u "$CLIENT_USER" -- "$@"
  else
    # shellcheck disable=SC2016 # expanded by the user's shell
    su -s /bin/sh "$CLIENT_USER" -c 'exec "$@"' sh "$@"
  fi
}

# dump_has LINE DUMP: a line such as "clientaliveinterval 60" stands in what OpenSSH said. OpenSSH 10.6 writes keywords as
# the manual does, and flags as true and false.
dump_has() {
  case $NL$2$NL in *"$NL$1$NL"*) return 0 ;; esac
  case $1 in
    *' yes') set -- "$1" "$2" -e "${1% *} true" ;;
    *' no') set -- "$1" "$2" -e "${1% *} false" ;;
  esac
  line_=$1
  dump_=$2
  shift 2
  printf '%s\n' "$dump_" | grep -q -i -x -e "$line_" "$@"
}

# client_says NAME: what ssh would do for one host name, as the user whose file it is ($CLIENT_USER, empty for
# ourselves) with the file $CLIENT_CONFIG; sets $SAID and $RC. Without -F where the file is the one ssh reads by itself,
# because -F changes what relative Includes are under (readconf.c).
client_says() {
  who_we_are
  personal_=${HOME:-}
  case $OUR_NAME in
    '' | *[!A-Za-z0-9_.-]*) ;;
    *) eval "personal_=~$OUR_NAME" ;;
  esac
  personal_=$personal_/.ssh/config
  if [ -n "$CLIENT_USER" ] && [ "$CLIENT_CONFIG" = "$CLIENT_HOME/.ssh/config" ]; then
    says as_client ssh -G -- "$1"
  elif [ -z "$CLIENT_USER" ] && [ "$CLIENT_CONFIG" = /etc/ssh/ssh_config ] && [ ! -e "$personal_" ]; then
    says ssh -G -- "$1"
  else
    says as_client ssh -G -F "$CLIENT_CONFIG" -- "$1"
  fi
}

# client_place USER CONFIG: $CLIENT_USER, $CLIENT_HOME, $CLIENT_CONFIG and the folder relative Includes are under,
# $CLIENT_BASE; fails when there is no such user.
client_place() {
  CLIENT_USER=$1
  CLIENT_HOME=${HOME:-}
  CLIENT_BASE=/etc/ssh
  own_=
  if [ -n "$1" ]; then
    case $1 in *[!A-Za-z0-9_.-]* | [-.]*) return 1 ;; esac
    eval "CLIENT_HOME=~$1"
    case $CLIENT_HOME in /*) ;; *) return 1 ;; esac
    own_=$CLIENT_HOME/.ssh/config
  fi
  CLIENT_CONFIG=${2:-${own_:-/etc/ssh/ssh_config}}
  [ "$CLIENT_CONFIG" = /etc/ssh/ssh_config ] || CLIENT_BASE=$CLIENT_HOME/.ssh
}
