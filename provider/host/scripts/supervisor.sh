# What happens to a host's files and daemon, whoever does it: the supervisor on the host, the confirming login, the next
# run after a crash, or the boot guard. Staged on the host as $T/run.sh and run as `sh run.sh VERB T`.
#
# T is the lock folder of one target. Each file to change is numbered from 0:
#   N.path  the path as OpenSSH names it      N.sum   checksum seen before, or "absent"
#   N.real  the file behind links             N.new   new bytes (missing: the file is to be removed)
#   N.old   old bytes (missing: there was no file)   N.like  whose owner, mode and labels a new file takes
# The decision is one rename: armed -> confirmed, or armed -> reverting. Who loses does nothing.

# load T: the transaction's settings into variables.
load() {
  T=$1
  TARGET=${T%/lock}
  TXID='' SECONDS_=60 SIDE=server EXE='' CONFIG='' PID='' PID_START='' OLD_IDENTITY='' MANAGER=none UNIT='' PIDFILE=''
  WAIT_PID='' WAIT_START='' OWNER_='' ACTIVATION=reload
  while read -r key_ rest_; do
    case $key_ in
      txid) TXID=$rest_ ;;
      seconds) SECONDS_=$rest_ ;;
      side) SIDE=$rest_ ;;
      exe) EXE=$rest_ ;;
      config) CONFIG=$rest_ ;;
      pid) PID=$rest_ ;;
      pidstart) PID_START=$rest_ ;;
      identity) OLD_IDENTITY=$rest_ ;;
      manager) MANAGER=$rest_ ;;
      unit) UNIT=$rest_ ;;
      pidfile) PIDFILE=$rest_ ;;
      waitpid) WAIT_PID=$rest_ ;;
      waitstart) WAIT_START=$rest_ ;;
      owner) OWNER_=$rest_ ;;
      activation) ACTIVATION=$rest_ ;;
      armedat) ARMED_AT=$rest_ ;;
    esac
  done <"$T/conf"
}

# log TEXT: one line in the transaction's log.
log() {
  now
  printf '%s %s\n' "$NOW" "$*" >>"$T/log" 2>/dev/null
}

# status WORD...: what the supervisor is at; one rename, so that readers never see half a line.
status() {
  now
  printf '%s %s\n' "$*" "$NOW" >"$T/status.tmp" && mv -f "$T/status.tmp" "$T/status"
  log "$*"
}

# flush PATH: to the disk; GNU and busybox sync take a file, others sync everything.
flush() { sync "$1" 2>/dev/null || sync; }

# line FILE: its first line in $LINE.
line() {
  LINE=
  IFS= read -r LINE <"$1"
}

# attributes FILE: mode with ACL mark, owner, group and security label, in $ATTRIBUTES.
attributes() {
  # shellcheck disable=SC2046,SC2012 # columns of ls -n; the name is the last and not used
  set -- "$1" $(ls -ldn "$1" 2>/dev/null | awk '{ print $1, $3, $4 }')
  ATTRIBUTES="${2:-} ${3:-} ${4:-}"
  if [ -e /sys/fs/selinux/enforce ]; then
    ATTRIBUTES="$ATTRIBUTES $(ls -dZ "$1" 2>/dev/null | awk '{ print $1 }')"
  fi
}

# put BYTES DEST LIKE: DEST gets the content of the file BYTES and the attributes of LIKE (or 0600 and $OWNER_ where
# LIKE is empty), by a rename in its own folder from a name that no Include pattern matches. Sets $WHY on failure.
put() {
  tmp_=${2%/*}/.pulumi-ssh-keepalive.$TXID
  rm -f -- "$tmp_"
  WHY="cannot write in ${2%/*}"
  if [ -n "$3" ]; then
    cp -a -- "$3" "$tmp_" 2>/dev/null || cp -p -- "$3" "$tmp_" 2>/dev/null || {
      rm -f -- "$tmp_"
      return 1
    }
  else
    (umask 077 && : >"$tmp_") 2>/dev/null || return 1
    if [ -n "$OWNER_" ] && ! chown "$OWNER_" "$tmp_"; then
      rm -f -- "$tmp_"
      return 1
    fi
  fi
  # A full disk leaves a short file: the checksum tells.
  cat "$1" >"$tmp_" 2>/dev/null
  sum_of "$1"
  wanted_sum_=$SUM
  sum_of "$tmp_"
  if [ "$SUM" != "$wanted_sum_" ]; then
    rm -f -- "$tmp_"
    WHY="the new bytes did not arrive whole in ${2%/*} (disk full?)"
    return 1
  fi
  if [ -n "$3" ]; then
    attributes "$3"
    wanted_attributes_=$ATTRIBUTES
    attributes "$tmp_"
    if [ "$ATTRIBUTES" != "$wanted_attributes_" ]; then
      rm -f -- "$tmp_"
      WHY="owner, mode, ACL or label of $3 cannot be carried over ($wanted_attributes_ became $ATTRIBUTES)"
      return 1
    fi
  fi
  flush "$tmp_"
  if ! mv -f -- "$tmp_" "$2" 2>/dev/null; then
    rm -f -- "$tmp_"
    return 1
  fi
  flush "${2%/*}"
}

# install_files: every file, each only if it still is what was seen.
install_files() {
  n_=0
  while [ -f "$T/$n_.path" ]; do
    line "$T/$n_.real"
    real_=$LINE
    line "$T/$n_.sum"
    sum_of "$real_"
    if [ "$SUM" != "$LINE" ]; then
      WHY="$real_ changed after it was looked at"
      return 1
    fi
    if [ -f "$T/$n_.new" ]; then
      if [ ! -d "${real_%/*}" ]; then
        (umask 077 && mkdir "${real_%/*}") || {
          WHY="cannot make ${real_%/*}"
          return 1
        }
        [ -z "$OWNER_" ] || chown "$OWNER_" "${real_%/*}"
        : >"$T/$n_.folder"
      fi
      like_=
      [ ! -f "$T/$n_.like" ] || {
        line "$T/$n_.like"
        like_=$LINE
      }
      put "$T/$n_.new" "$real_" "$like_" || return 1
    else
      WHY="cannot remove $real_"
      rm -f -- "$real_" 2>/dev/null || return 1
      flush "${real_%/*}"
    fi
    log "installed $real_"
    n_=$((n_ + 1))
  done
}

# restore_files: each file back, if it still is what we installed; otherwise it is left and named in the log.
restore_files() {
  LEFT=
  n_=0
  while [ -f "$T/$n_.path" ]; do
    line "$T/$n_.real"
    real_=$LINE
    line "$T/$n_.sum"
    before_=$LINE
    after_=absent
    if [ -f "$T/$n_.new" ]; then
      sum_of "$T/$n_.new"
      after_=$SUM
    fi
    sum_of "$real_"
    if [ "$SUM" = "$before_" ]; then
      :
    elif [ "$SUM" != "$after_" ]; then
      LEFT="$LEFT $real_"
      log "left $real_: someone changed it since"
    elif [ -f "$T/$n_.old" ]; then
      like_=$real_
      [ -e "$real_" ] || like_=$T/$n_.old
      if put "$T/$n_.old" "$real_" "$like_"; then
        log "restored $real_"
      else
        LEFT="$LEFT $real_"
        log "could not restore $real_: $WHY"
      fi
    else
      rm -f -- "$real_"
      flush "${real_%/*}"
      [ ! -f "$T/$n_.folder" ] || rmdir "${real_%/*}" 2>/dev/null
      log "removed $real_"
    fi
    n_=$((n_ + 1))
  done
}

# sshd_tests: `sshd -t` on the files as they are.
sshd_tests() {
  set -- "$EXE" -t -f "$CONFIG"
  while IFS= read -r arg_; do
    set -- "$@" "$arg_"
  done <"$T/args"
  sshd_says "$@"
}

# daemon_now: the pid of the daemon after an activation, in $DAEMON: the same one, or its successor.
daemon_now() {
  DAEMON=
  if same_process "$PID" "$PID_START"; then
    DAEMON=$PID
    return 0
  fi
  if [ "$MANAGER" = systemd ] && [ -n "$UNIT" ]; then
    DAEMON=$(systemctl show -p MainPID --value "$UNIT" 2>/dev/null)
    [ "${DAEMON:-0}" -gt 0 ] 2>/dev/null && process "$DAEMON" && return 0
  fi
  DAEMON=
  if [ -n "$PIDFILE" ] && read -r DAEMON 2>/dev/null <"$PIDFILE" && process "$DAEMON" && [ "$COMM" = sshd ]; then
    return 0
  fi
  DAEMON=
  return 1
}

# tell_daemon: makes the daemon read its files again, by the way that fits. Returns before it has.
tell_daemon() {
  if [ -f "$T/reload" ]; then
    set --
    while IFS= read -r arg_; do
      set -- "$@" "$arg_"
    done <"$T/reload"
    "$@" </dev/null >>"$T/log" 2>&1
    return
  fi
  case $MANAGER in
    systemd) systemctl "$ACTIVATION" "$UNIT" </dev/null >>"$T/log" 2>&1 ;;
    *) same_process "$PID" "$PID_START" && kill -HUP "$PID" ;;
  esac
}

# reread BEFORE: waits (10 s at most) until the daemon's identity is another than BEFORE; sets $WHY on failure.
reread() {
  now
  until_=$((NOW + 1000))
  while :; do
    if daemon_now; then
      identity "$DAEMON" "$PIDFILE"
      if [ "$DAEMON" != "$PID" ] || [ "$IDENTITY" != "$1" ]; then
        process "$DAEMON"
        printf '%s %s %s\n' "$DAEMON" "$START" "$IDENTITY" >"$T/daemon"
        return 0
      fi
    fi
    now
    if [ "$NOW" -gt "$until_" ]; then
      if [ -n "$DAEMON" ]; then
        WHY="the daemon $DAEMON did not read its files again"
      else
        WHY="the daemon ended instead of reading its files again"
      fi
      return 1
    fi
    [ -n "$DAEMON" ] || [ "$MANAGER" != none ] || [ -f "$T/reload" ] || {
      WHY="the daemon ended instead of reading its files again"
      return 1
    }
    nap
  done
}

# activate: the new files in force, proven; nothing to do for a client or where each connection starts its own sshd.
activate() {
  if [ "$SIDE" = client ] || [ -z "$PID" ]; then return 0; fi
  # A HUP with files that sshd refuses would end it: look once more, now that they are in place.
  if ! sshd_tests; then
    WHY="sshd refuses the installed files: $SAID"
    return 1
  fi
  : >"$T/activating"
  if ! tell_daemon; then
    WHY="the reload failed"
    return 1
  fi
  reread "$OLD_IDENTITY"
}

# bring_back: the daemon on the old files, in the state it was found in; tries until the time is over.
bring_back() {
  if [ "$SIDE" = client ] || [ -z "$PID" ] || [ ! -e "$T/activating" ]; then return 0; fi
  now
  limit_=$((NOW + 3000))
  while :; do
    if sshd_tests; then
      if daemon_now; then
        identity "$DAEMON" "$PIDFILE"
        PID=$DAEMON
        process "$DAEMON" && PID_START=$START
        before_=$IDENTITY
        tell_daemon && reread "$before_" && return 0
      elif [ "$MANAGER" = systemd ]; then
        systemctl reset-failed "$UNIT" >/dev/null 2>&1
        systemctl reload-or-restart "$UNIT" >>"$T/log" 2>&1 && daemon_now && return 0
      else
        set --
        while IFS= read -r arg_; do
          set -- "$@" "$arg_"
        done <"$T/argv"
        # The daemon itself, by its own command line; -D would hold us, so it goes to the background.
        if command -v setsid >/dev/null 2>&1; then set -- setsid "$@"; fi
        "$@" </dev/null >/dev/null 2>&1 &
        nap
        nap
        daemon_now && return 0
        kill -0 $! 2>/dev/null && return 0
      fi
    else
      log "sshd refuses the restored files: $SAID"
    fi
    log "the daemon is not back yet: ${WHY:-}"
    now
    [ "$NOW" -le "$limit_" ] || return 1
    sleep 1
  done
}

# unlock OUTCOME: what happened goes to $TARGET/last, guard and lock go away in one rename.
unlock() {
  {
    printf '%s %s\n' "$TXID" "$1"
    cat "$T/log"
  } >"$TARGET/last.tmp" 2>/dev/null && mv -f "$TARGET/last.tmp" "$TARGET/last"
  if [ -f "$T/guard" ]; then
    while IFS= read -r guard_; do
      rm -f -- "$guard_"
    done <"$T/guard"
  fi
  rm -rf "$TARGET/gone"
  mv "$T" "$TARGET/gone" 2>/dev/null && rm -rf "$TARGET/gone"
}

# revert: after `reverting` was won. Ends with the old files and the old daemon, and says what could not be brought back.
revert() {
  status reverting
  restore_files
  outcome_=reverted
  [ -z "$LEFT" ] || outcome_="reverted, left alone:$LEFT"
  if ! bring_back; then outcome_="$outcome_, the daemon is not back"; fi
  status "$outcome_"
  unlock "$outcome_"
}

# settle: after `confirmed` was won. Backups and the record to their places; may run twice.
settle() {
  stamp_=$(date -u +%Y%m%dT%H%M%SZ)-$TXID
  BACKUP=$TARGET/backups/$stamp_
  if mkdir -p "$BACKUP"; then
    n_=0
    while [ -f "$T/$n_.path" ]; do
      cp "$T/$n_.path" "$BACKUP/$n_.path"
      [ ! -f "$T/$n_.old" ] || cp "$T/$n_.old" "$BACKUP/$n_.old"
      n_=$((n_ + 1))
    done
    kept_=0
    for each_ in $(ls "$TARGET/backups" | sort -r); do
      kept_=$((kept_ + 1))
      [ "$kept_" -le 5 ] || rm -rf "${TARGET:?}/backups/${each_:?}"
    done
  fi
  if [ -f "$T/record" ]; then
    cp "$T/record" "$TARGET/record.tmp" && flush "$TARGET/record.tmp" && mv -f "$TARGET/record.tmp" "$TARGET/record"
  else
    rm -f "$TARGET/record"
  fi
  log "confirmed"
  unlock confirmed
}

# decide OUTCOME: the one rename; fails for who comes second.
decide() { mv "$T/armed" "$T/$1" 2>/dev/null; }

# fail_and_revert STEP: the supervisor's own failure.
fail_and_revert() {
  printf '%s\n%s\n' "$1" "$WHY" >"$T/failure"
  log "failed $1: $WHY"
  if decide reverting; then
    cp "$T/failure" "$TARGET/last-failure" 2>/dev/null
    revert
  fi
  exit 0
}

# supervise T: waits until the session that armed it has ended (proof that it outlives a lost connection), installs,
# activates, and reverts unless someone confirms in time.
supervise() {
  load "$1"
  cd / || exit 1
  trap '' HUP
  trap 'WHY="the host is shutting down"; fail_and_revert confirm' TERM
  deadline_=$((ARMED_AT + SECONDS_ * 100))
  process $$
  printf '%s %s\n' "$$" "$START" >"$T/supervisor"
  status ready
  if [ -n "$WAIT_PID" ]; then
    patience_=$((ARMED_AT + SECONDS_ * 100 / 3))
    while same_process "$WAIT_PID" "$WAIT_START"; do
      [ -e "$T/armed" ] || break
      now
      if [ "$NOW" -gt "$patience_" ]; then
        WHY="the session that armed it did not end"
        fail_and_revert arm
      fi
      nap
    done
    nap
  fi
  if [ -e "$T/armed" ]; then
    install_files || fail_and_revert install
    status installed
    activate || fail_and_revert activate
    status activated
  fi
  while [ -e "$T/armed" ]; do
    now
    left_=$((deadline_ - NOW))
    if [ "$left_" -le 0 ]; then
      WHY="nobody confirmed within $SECONDS_ s"
      fail_and_revert confirm
    fi
    if [ "$left_" -lt 100 ]; then nap; else sleep 0.3 2>/dev/null || sleep 1; fi
  done
  # Someone else decided. They complete a confirmation; a revert is ours to do.
  if [ -e "$T/reverting" ]; then
    revert
  elif [ -e "$T/confirmed" ]; then
    sleep 5
    [ ! -e "$T/confirmed" ] || settle
  fi
}

# alive FILE: the process named in it ("PID START") still runs.
alive() {
  [ -f "$1" ] && read -r alive_pid_ alive_start_ <"$1" && same_process "$alive_pid_" "$alive_start_"
}

# recover T: an armed or decided transaction that nobody looks after any more, brought to its end.
recover() {
  load "$1"
  if [ -e "$T/confirmed" ]; then
    settle
  elif [ -e "$T/reverting" ] || decide reverting; then
    revert
  fi
}

# guard T: at boot, before sshd starts: files only, the daemon is not there yet.
guard() {
  [ -f "$1/conf" ] || exit 0
  load "$1"
  PID=
  if [ -e "$T/armed" ] || [ -e "$T/reverting" ] || [ -e "$T/confirmed" ]; then
    log "the host was restarted"
    recover "$1"
  fi
}
