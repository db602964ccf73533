# What happens to a host's files and daemon, whoever does it: the supervisor on the host, the confirming login, the next
# run after a crash, or the boot guard. Staged on the host as $T/run.sh and run as `sh run.sh VERB T`.
#
# T is the lock folder of one target. Few files, since each is to be synced, and removed again:
#   conf    what is to be done, a line "KEY VALUE" each (load)
#   seen    what OpenSSH reads, as it was seen (as_seen)
#   N.new   the new bytes of file N, from 0 (missing: the file is to be removed)
#   N.old   its old bytes (missing: there was no file)
# armed.TXID holds until when the lock lasts though nobody looks after it; by.PID.START is a login that confirms.
# The decision is one rename: armed.TXID -> confirmed.TXID, or armed.TXID -> reverting.TXID. Who loses does nothing. Who
# carries a decision out ends with one more, to over.TXID, and gives the lock back. With the transaction's id in the
# names nobody takes a later transaction, which has its files at the same place, for the one it knows.

# load T: the transaction's settings into variables. Lists have a line for each: $SSHD_ARGS for sshd's test modes,
# $DAEMON_ARGV the daemon's command line, $RELOAD how it is told to read its files (empty: as its manager does), $SPECS
# whom to judge for. $FILES is the number of files to change; file_of tells of each.
load() {
  T=$1
  TARGET=${T%/lock}
  TXID='' SECONDS_=60 SIDE=server EXE='' CONFIG='' PID='' PID_START='' MANAGER=none UNIT='' PIDFILE=''
  WAIT_PID='' WAIT_START='' OWNER_='' ACTIVATION=reload SOCKET='' ARMED_AT=0 JUDGED_AT='' CLIENT_USER='' CLIENT_HOME=''
  FORGET='' SSHD_ARGS='' DAEMON_ARGV='' RELOAD='' SPECS='' FILES=0
  while IFS= read -r line_; do
    key_=${line_%%' '*}
    rest_=${line_#* }
    case $key_ in
      txid) TXID=$rest_ ;;
      seconds) SECONDS_=$rest_ ;;
      side) SIDE=$rest_ ;;
      exe) EXE=$rest_ ;;
      config) CONFIG=$rest_ ;;
      pid) PID=$rest_ ;;
      pidstart) PID_START=$rest_ ;;
      manager) MANAGER=$rest_ ;;
      unit) UNIT=$rest_ ;;
      pidfile) PIDFILE=$rest_ ;;
      waitpid) WAIT_PID=$rest_ ;;
      waitstart) WAIT_START=$rest_ ;;
      owner) OWNER_=$rest_ ;;
      activation) ACTIVATION=$rest_ ;;
      socket) SOCKET=$rest_ ;;
      armedat) ARMED_AT=$rest_ ;;
      judgedat) JUDGED_AT=$rest_ ;;
      user) CLIENT_USER=$rest_ ;;
      home) CLIENT_HOME=$rest_ ;;
      forget) FORGET=yes ;;
      arg) SSHD_ARGS=$SSHD_ARGS$rest_$NL ;;
      argv) DAEMON_ARGV=$DAEMON_ARGV$rest_$NL ;;
      reload) RELOAD=$RELOAD$rest_$NL ;;
      spec) SPECS=$SPECS$rest_$NL ;;
      path)
        eval "path_$FILES=\$rest_ real_$FILES='' sum_$FILES='' newsum_$FILES='' like_$FILES=''"
        FILES=$((FILES + 1))
        ;;
      # Of the file whose path came last.
      real | sum | newsum | like) eval "${key_}_$((FILES - 1))=\$rest_" ;;
    esac
  done <"$T/conf"
}

# file_of N: file N, from 0: $FILE_PATH as OpenSSH names it, $FILE_REAL behind links, $FILE_SUM as seen before (or
# "absent"), $FILE_NEWSUM of the new bytes (empty: it is to be removed), $FILE_LIKE whose owner, mode and labels it takes.
file_of() {
  eval "FILE_PATH=\$path_$1 FILE_REAL=\$real_$1 FILE_SUM=\$sum_$1 FILE_NEWSUM=\$newsum_$1 FILE_LIKE=\$like_$1"
}

# log TEXT: one line in the transaction's log.
log() {
  now
  printf '%s %s\n' "$NOW" "$*" >>"$T/log" 2>/dev/null
}

# status WORD [DAEMON]: what the supervisor is at, as a further line of $T/status.
status() {
  now
  printf '%s %s %s\n' "$1" "$NOW" "${2:-}" >>"$T/status"
  log "$1"
}

# last_status: the last whole line of these: the word in $STATUS (empty: none yet), when in $STATUS_AT, and which daemon
# has read the new files in $STATUS_DAEMON ("PID START IDENTITY", or empty).
last_status() {
  STATUS='' STATUS_AT=0 STATUS_DAEMON=''
  [ -f "$T/status" ] || return 0
  while read -r word_ at_ rest_; do
    STATUS=$word_ STATUS_AT=$at_ STATUS_DAEMON=$rest_
  done <"$T/status"
}

# flush PATH...: to the disk; GNU and busybox sync take files, others sync everything.
flush() { sync "$@" 2>/dev/null || sync; }

# take_lock SECONDS WHO: the lock of $TARGET for this process and for SECONDS afterwards, with its folder in $T. What a
# crash left under it is brought to its end first, and said. Fails with $WHY, and 1 where someone works under it, for
# $LOCK_LEFT seconds at most, 2 where the state folder cannot be written.
take_lock() {
  WHY="the state folder $TARGET cannot be written"
  [ -d "$TARGET" ] || mkdir -p "$TARGET" 2>/dev/null || return 2
  boot_id
  now
  process $$
  held_=held.$BOOT.$((NOW + $1 * 100 + 1000)).$$.${START:-0}.$TXID
  waits_=0
  until mkdir "$TARGET/lock" 2>/dev/null; do
    lock_state
    case $LOCK in
      none)
        # Gone this moment, or it cannot be made at all.
        waits_=$((waits_ + 1))
        [ "$waits_" -le 3 ] || return 2
        ;;
      new)
        waits_=$((waits_ + 1))
        if [ "$waits_" -gt 3 ]; then
          # Only an empty one: whoever is slow to put a name to it then finds it gone.
          rmdir "$TARGET/lock" 2>/dev/null || {
            WHY="$TARGET/lock is not a lock of ours"
            return 1
          }
        fi
        sleep 1
        ;;
      live)
        WHY="another transaction, by $LOCK_WHO, is under way for $LOCK_LEFT s at most"
        return 1
        ;;
      stale)
        # The name says whose it is, so only one of several gets it, and nobody gets a fresh one.
        mv "$LOCK_HELD" "$TARGET/lock/$held_" 2>/dev/null || continue
        if any "$TARGET/lock"/armed.* "$TARGET/lock"/reverting.* "$TARGET/lock"/confirmed.* "$TARGET/lock"/over.*; then
          # In a process of its own: it ends with the old state, or the new where that had been confirmed.
          sh "$TARGET/lock/run.sh" recover "$TARGET/lock" </dev/null >/dev/null 2>&1
          if [ -e "$TARGET/lock/$held_" ]; then
            WHY="what an earlier transaction left in $TARGET/lock could not be brought to its end"
            return 1
          fi
        else
          # Never armed; the guard may have been placed.
          T=$TARGET/lock
          take_guard_away
          give_back
        fi
        ;;
    esac
  done
  T=$TARGET/lock
  # Cut off in the middle of their removal or of their writing, by a power cut.
  if any "$TARGET"/stale.* "$TARGET"/over.* "$TARGET"/last.* "$TARGET"/asof.*; then
    rm -rf "$TARGET"/stale.* "$TARGET"/over.* "$TARGET"/last.* "$TARGET"/asof.*
  fi
  if ! { : >"$T/$held_" && printf '%s\n' "$2" >"$T/who"; } 2>/dev/null; then
    give_back
    return 2
  fi
  WHY=
}

# give_back: the lock, before anything was armed; in one rename, so that nobody sees half of it.
give_back() {
  mv "$T" "$TARGET/stale.$TXID" 2>/dev/null && rm -rf "$TARGET/stale.$TXID"
}

# is STATE: what this transaction is at.
is() { [ -e "$T/$1.$TXID" ]; }

# decide OUTCOME: the one rename; fails for who comes second.
decide() { mv "$T/armed.$TXID" "$T/$1.$TXID" 2>/dev/null; }

# planned PATH: one of the files to change is PATH, by name or behind links; what file_of tells is of that one then.
planned() {
  PLANNED=0
  while [ "$PLANNED" -lt "$FILES" ]; do
    file_of "$PLANNED"
    if [ "$FILE_PATH" = "$1" ] || [ "$FILE_REAL" = "$1" ] || { resolve "$1" && [ "$FILE_REAL" = "$REAL" ]; }; then
      return 0
    fi
    PLANNED=$((PLANNED + 1))
  done
  return 1
}

# others FILE: a pattern matches it, and it is none of the files to change.
others() { planned "$1" || found_=$found_$NL$1; }

# pattern_holds: the pattern of $T/seen that was read last matches what it did, our own files aside.
pattern_holds() {
  [ -n "$pattern_" ] || return 0
  found_=
  each_match "$pattern_" others
  # By name, what came and what went.
  [ "$found_" = "$expected_" ] || CHANGED="$CHANGED$(
    printf '%s\n' "$found_" "$expected_" | sort | uniq -u | while IFS= read -r match_; do
      [ -z "$match_" ] || printf ' %s' "$match_"
    done
  )"
}

# as_seen before|after [STAGED]: everything OpenSSH reads still is what was seen, with our own files as they were or as
# they are to be, and so are the files that STAGED names, a line "CRC SIZE PATH" each; $CHANGED names what is not. $T/seen
# has such lines, "absent - PATH" for what was not there, and "glob PATTERN" with a line "match PATH" for what it matched.
as_seen() {
  CHANGED=
  sums_=
  when_=$1
  staged_=${2:-}
  pattern_='' expected_=''
  set --
  while IFS= read -r seen_; do
    case $seen_ in
      'glob '*)
        pattern_holds
        pattern_=${seen_#* } expected_=
        continue
        ;;
      'match '*)
        planned "${seen_#* }" || expected_=$expected_$NL${seen_#* }
        continue
        ;;
    esac
    path_=${seen_#* }
    path_=${path_#* }
    sum_=${seen_%" $path_"}
    if [ "$when_" = after ] && planned "$path_"; then sum_=${FILE_NEWSUM:-'absent -'}; fi
    if [ "$sum_" != 'absent -' ]; then
      set -- "$@" "$path_"
      sums_=$sums_$sum_' '$path_$NL
    elif [ -e "$path_" ] || [ -L "$path_" ]; then
      CHANGED="$CHANGED $path_"
    fi
  done <"$T/seen"
  pattern_holds
  sums_=$sums_$staged_
  while [ -n "$staged_" ]; do
    path_=${staged_%%"$NL"*}
    staged_=${staged_#*"$NL"}
    path_=${path_#* }
    set -- "$@" "${path_#* }"
  done
  # One process for all files; each by itself only to name the one that changed.
  if [ $# -gt 0 ] && [ "$(cksum "$@" 2>/dev/null)$NL" != "$sums_" ]; then
    for path_ in "$@"; do
      sum_of "$path_"
      case $NL$sums_ in *"$NL$SUM $path_$NL"*) ;; *) CHANGED="$CHANGED $path_" ;; esac
    done
  fi
  [ -z "$CHANGED" ]
}

# attributes FILE: mode with ACL mark, owner, group and security label, in $ATTRIBUTES.
attributes() {
  # shellcheck disable=SC2046,SC2012 # columns of ls -n: mode, names, owner, group; the file's name is the last
  set -- "$1" $(ls -ldn "$1" 2>/dev/null)
  ATTRIBUTES="${2:-} ${4:-} ${5:-}"
  if [ -e /sys/fs/selinux/enforce ]; then
    ATTRIBUTES="$ATTRIBUTES $(ls -dZ "$1" 2>/dev/null | awk '{ print $1 }')"
  fi
}

# alike A B: mode with ACL mark, owner and group are the same.
alike() {
  [ ! -e /sys/fs/selinux/enforce ] || return 1
  both_=$(ls -ldn "$1" "$2" 2>/dev/null) || return 1
  # shellcheck disable=SC2086 # columns
  set -- ${both_%%"$NL"*}
  one_="${1:-} ${3:-} ${4:-}"
  # shellcheck disable=SC2086 # columns
  set -- ${both_#*"$NL"}
  [ "$one_" = "${1:-} ${3:-} ${4:-}" ]
}

# put BYTES DEST LIKE: DEST gets the content of the file BYTES and the attributes of LIKE (or 0600 and $OWNER_ where
# LIKE is empty), by a rename in its own folder from a name that no Include pattern matches. Sets $WHY on failure.
put() {
  if other_user; then
    put_as_client "$1" "$2"
    return
  fi
  tmp_=${2%/*}/.pulumi-ssh-keepalive.$TXID
  if [ -e "$tmp_" ] || [ -L "$tmp_" ]; then rm -f -- "$tmp_" 2>/dev/null; fi
  WHY="cannot write in ${2%/*}"
  if [ -n "$3" ]; then
    { cp -a -- "$3" "$tmp_" || cp -p -- "$3" "$tmp_"; } 2>/dev/null || {
      rm -f -- "$tmp_" 2>/dev/null
      WHY="cannot write in ${2%/*} (disk full?)"
      return 1
    }
  else
    (umask 077 && : >"$tmp_") 2>/dev/null || return 1
    if [ -n "$OWNER_" ] && [ "$OWNER_" != "$(id -u):$(id -g)" ] && ! chown "$OWNER_" "$tmp_" 2>/dev/null; then
      rm -f -- "$tmp_"
      return 1
    fi
  fi
  # A full disk leaves a short file.
  cat "$1" >"$tmp_" 2>/dev/null
  if ! cmp -s "$1" "$tmp_"; then
    rm -f -- "$tmp_"
    WHY="the new bytes did not arrive whole in ${2%/*} (disk full?)"
    return 1
  fi
  if [ -n "$3" ] && ! alike "$3" "$tmp_"; then
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

# put_as_client BYTES DEST: the same in a folder that belongs to another user, and with that user's rights: in such a
# folder any name may be, or may become, a link to somewhere else.
put_as_client() {
  sum_of "$1"
  # shellcheck disable=SC2016 # expanded by the user's shell
  WHY=$(as_client sh -c '
    tmp=${1%/*}/.pulumi-ssh-keepalive.$2
    umask 077
    rm -f -- "$tmp"
    gone() { echo "$1"; rm -f -- "$tmp"; exit 1; }
    if [ -e "$1" ]; then
      cp -a -- "$1" "$tmp" 2>/dev/null || cp -p -- "$1" "$tmp" 2>/dev/null || gone "cannot write in ${1%/*}"
    else
      { : >"$tmp"; } 2>/dev/null || gone "cannot write in ${1%/*}"
    fi
    cat >"$tmp" 2>/dev/null
    [ "$(cksum <"$tmp")" = "$3" ] || gone "the new bytes did not arrive whole in ${1%/*} (disk full?)"
    if [ -e "$1" ]; then
      set -- "$1" "$2" "$(ls -ldn "$1" | cut -d " " -f 1)" "$(ls -ldn "$tmp" | cut -d " " -f 1)"
      [ "$3" = "$4" ] || gone "the mode or ACL of $1 cannot be carried over"
    fi
    sync "$tmp" 2>/dev/null || sync
    mv -f -- "$tmp" "$1" 2>/dev/null || gone "cannot write in ${1%/*}"
    sync "${1%/*}" 2>/dev/null || sync
  ' sh "$2" "$TXID" "$SUM" <"$1" 2>/dev/null) && WHY=
}

# install_files: every file, each only if it still is what was seen.
install_files() {
  n_=0
  while [ "$n_" -lt "$FILES" ]; do
    file_of "$n_"
    sum_of "$FILE_REAL"
    if [ "$SUM" != "$FILE_SUM" ]; then
      WHY="$FILE_REAL changed after it was looked at"
      return 1
    fi
    if [ -n "$FILE_NEWSUM" ]; then
      if [ ! -d "${FILE_REAL%/*}" ]; then
        printf '%s\n' "${FILE_REAL%/*}" >"$T/$n_.folder"
        as_client mkdir -m 700 -- "${FILE_REAL%/*}" 2>/dev/null || {
          WHY="cannot make ${FILE_REAL%/*}"
          return 1
        }
      fi
      put "$T/$n_.new" "$FILE_REAL" "$FILE_LIKE" || return 1
    else
      WHY="cannot remove $FILE_REAL"
      as_client rm -f -- "$FILE_REAL" 2>/dev/null || return 1
      flush "${FILE_REAL%/*}"
    fi
    log "installed $FILE_REAL"
    n_=$((n_ + 1))
  done
}

# restore_files: each file back, if it still is what we installed; otherwise it is left and named in the log.
restore_files() {
  LEFT=
  n_=0
  while [ "$n_" -lt "$FILES" ]; do
    file_of "$n_"
    # What a supervisor that was killed left half written.
    as_client rm -f -- "${FILE_REAL%/*}/.pulumi-ssh-keepalive.$TXID" 2>/dev/null
    sum_of "$FILE_REAL"
    if [ "$SUM" = "$FILE_SUM" ]; then
      :
    elif [ "$SUM" != "${FILE_NEWSUM:-absent}" ]; then
      LEFT="$LEFT $FILE_REAL"
      log "left $FILE_REAL: someone changed it since"
    elif [ -f "$T/$n_.old" ]; then
      like_=$FILE_REAL
      [ -e "$FILE_REAL" ] || like_=$T/$n_.old
      if put "$T/$n_.old" "$FILE_REAL" "$like_"; then
        log "restored $FILE_REAL"
      else
        LEFT="$LEFT $FILE_REAL"
        log "could not restore $FILE_REAL: $WHY"
      fi
    else
      as_client rm -f -- "$FILE_REAL"
      flush "${FILE_REAL%/*}"
      log "removed $FILE_REAL"
    fi
    [ ! -f "$T/$n_.folder" ] || as_client rmdir -- "${FILE_REAL%/*}" 2>/dev/null
    n_=$((n_ + 1))
  done
}

# sshd_tests: `sshd -t` on the files as they are.
sshd_tests() { with_lines "$SSHD_ARGS" sshd_says "$EXE" -t -f "$CONFIG"; }

# sshd_would CONFIG SPEC: what sshd would do with CONFIG, for the connection SPEC ("-": for everyone).
sshd_would() {
  if [ "$2" = - ]; then set -- "$1"; else set -- "$1" -C "$2"; fi
  with_lines "$SSHD_ARGS" sshd_says "$EXE" -T -f "$@"
}

# writes_pidfile: the PidFile is the daemon's. sshd takes it away before it executes itself again and writes it once it
# listens (sshd.c sighup_restart, main).
writes_pidfile() {
  PIDFILE_HAS=
  [ -n "$PIDFILE" ] && { read -r PIDFILE_HAS <"$PIDFILE"; } 2>/dev/null && [ "$PIDFILE_HAS" = "$DAEMON" ]
}

# known_as: how the daemon $DAEMON is known to have executed itself again, in $KNOWN_AS (empty: not to be told, also while
# it ends): $LAID, which takes no process, or its identity.
known_as() {
  KNOWN_AS=
  process "$DAEMON" || return 0
  KNOWN_AS=$LAID
  case $LAID in
    '1 0') ;;
    '0 '* | *' 0')
      # Nothing to tell of a process that is about to begin or to end; or of any, where the kernel tells nothing of us either.
      KNOWN_AS=
      process $$
      case $LAID in '0 '* | *' 0') ;; *) return 0 ;; esac
      ;;
    *) return 0 ;;
  esac
  identity "$DAEMON" "$PIDFILE"
  KNOWN_AS=$IDENTITY
}

# reread BEFORE LISTENS: waits (10 s at most) until the daemon is known as something else than BEFORE and, where LISTENS is
# not empty, until it has said in its PidFile that it listens; which one, "PID START IDENTITY", in $RELOADED. Sets $WHY on
# failure.
reread() {
  now
  until_=$((NOW + 1000))
  WHY="the daemon did not read its files again"
  while :; do
    if daemon_now; then
      known_as
      if [ -n "$KNOWN_AS" ] && { [ "$DAEMON" != "$PID" ] || [ "$KNOWN_AS" != "$1" ]; }; then
        WHY="the daemon does not listen again"
        if [ -z "$2" ] || writes_pidfile; then
          identity "$DAEMON" "$PIDFILE"
          if process "$DAEMON" && [ -n "$IDENTITY" ]; then
            RELOADED="$DAEMON $START $IDENTITY"
            return 0
          fi
        fi
      fi
    elif [ "$MANAGER" = none ] && [ -z "$RELOAD" ]; then
      WHY="the daemon ended instead of reading its files again"
      return 1
    fi
    now
    if [ "$NOW" -gt "$until_" ]; then
      [ -n "$DAEMON" ] || WHY="the daemon ended instead of reading its files again"
      return 1
    fi
    nap
  done
}

# activate: the new files in force, proven; nothing to do for a client or where each connection starts its own sshd.
activate() {
  CODE=activate
  RELOADED=
  if [ "$SIDE" = client ] || [ -z "$PID" ]; then return 0; fi
  # Whatever came in between, valid or not, a reload would put in force or would not survive.
  if ! as_seen after; then
    CODE=foreign-edit
    WHY="changed meanwhile, and a reload would put that in force too:$CHANGED"
    return 1
  fi
  # The same bytes in the same places were judged a moment ago; what else sshd needs to start (host keys, itself) too.
  now
  if { [ -z "$JUDGED_AT" ] || [ $((NOW - JUDGED_AT)) -gt 1000 ]; } && ! sshd_tests; then
    WHY="sshd refuses the installed files: $SAID"
    return 1
  fi
  if ! same_process "$PID" "$PID_START"; then
    WHY="the daemon is not the one that was seen any more"
    return 1
  fi
  DAEMON=$PID
  known_as
  before_=$KNOWN_AS
  printf '%s\n' "$before_" >"$T/activating"
  if writes_pidfile; then listens_=yes; else listens_=; fi
  if ! tell_daemon; then
    WHY="the reload failed: $(tail -n 1 "$T/log")"
    # Where nobody told the daemon anything, a revert has nothing to tell it either; halfway through it may have been.
    sleep 1
    if same_process "$PID" "$PID_START" && known_as && [ "$KNOWN_AS" = "$before_" ]; then
      rm -f "$T/activating"
    fi
    return 1
  fi
  reread "$before_" "$listens_"
}

# untold: the daemon was not told to read its files, or has not: it knows the old ones.
untold() {
  [ -e "$T/activating" ] || return 0
  line "$T/activating"
  DAEMON=$PID
  same_process "$PID" "$PID_START" && known_as && [ -n "$KNOWN_AS" ] && [ "$KNOWN_AS" = "$LINE" ]
}

# bring_back: the daemon on the old files, in the state it was found in; tries until the time is over.
bring_back() {
  if [ "$SIDE" = client ] || [ -z "$PID" ] || [ ! -e "$T/activating" ]; then return 0; fi
  now
  limit_=$((NOW + 3000))
  while :; do
    if sshd_tests; then
      if untold; then
        return 0
      elif daemon_now; then
        known_as
        before_=$KNOWN_AS
        PID=$DAEMON
        process "$DAEMON" && PID_START=$START
        if writes_pidfile; then listens_=yes; else listens_=; fi
        tell_daemon && reread "$before_" "$listens_" && return 0
      elif start_daemon; then
        return 0
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

# unlock STATE: what happened ($T/outcome.TXID) goes to $TARGET/last; guard and lock go away. Only one process gets past
# its first line, and none that comes late touches the next transaction's files.
unlock() {
  mv "$T/$1.$TXID" "$T/over.$TXID" 2>/dev/null || return 0
  end_lock
}

end_lock() {
  # A confirmation has told its story before.
  if [ -f "$T/outcome.$TXID" ]; then
    {
      printf '%s ' "$TXID"
      cat "$T/outcome.$TXID" "$T/log"
    } >"$TARGET/last.$TXID" 2>/dev/null
    mv -f "$TARGET/last.$TXID" "$TARGET/last" 2>/dev/null
  fi
  if [ -f "$T/failure" ]; then
    mv -f "$T/failure" "$TARGET/last-failure"
  elif [ -f "$TARGET/last-failure" ]; then
    rm -f "$TARGET/last-failure"
  fi
  take_guard_away
  mv "$T" "$TARGET/over.$TXID" 2>/dev/null && rm -rf "$TARGET/over.$TXID"
}

# knows_files before|after: remembers that the daemon knows the files as they stand, whatever their dates say: it was never
# told of others, or was told of these within what the dates or find can tell apart (whole seconds with busybox).
knows_files() {
  if [ "$SIDE" = server ] && as_seen "$1" && daemon_now; then
    identity "$DAEMON" "$PIDFILE"
    [ -z "$IDENTITY" ] || {
      printf '%s\n' "$IDENTITY" >"$TARGET/asof.$TXID" && mv -f "$TARGET/asof.$TXID" "$TARGET/asof"
    }
  fi
}

# revert: after `reverting` was won. Ends with the old files and the old daemon, and says what could not be brought back.
revert() {
  # To the end, also when the host shuts down: the next run or the boot guard would only do the same.
  trap '' TERM
  flush "$T"
  status reverting
  restore_files
  outcome_=reverted
  [ -z "$LEFT" ] || outcome_="reverted, left alone:$LEFT"
  if ! bring_back; then
    outcome_="$outcome_, the daemon is not back"
  elif [ -n "$PID" ]; then
    knows_files before
  fi
  log "$outcome_"
  printf '%s\n' "$outcome_" >"$T/outcome.$TXID"
  unlock reverting
}

# settle: after `confirmed` was won. Backups and the record to their places, by renames that need no room; may run twice.
settle() {
  flush "$T"
  # The second time it is there.
  for BACKUP in "$TARGET/backups"/*-"$TXID"; do :; done
  if [ ! -d "$BACKUP" ]; then
    # One second has room for several changes.
    now
    BACKUP=$TARGET/backups/$(date -u "+%Y%m%dT%H%M%SZ")-$NOW-$TXID
    mkdir -p "$BACKUP"
  fi
  set --
  n_=0
  while [ "$n_" -lt "$FILES" ]; do
    file_of "$n_"
    tmp_=${FILE_REAL%/*}/.pulumi-ssh-keepalive.$TXID
    if other_user || [ -e "$tmp_" ]; then as_client rm -f -- "$tmp_" 2>/dev/null; fi
    printf '%s\n' "$FILE_PATH" >"$BACKUP/$n_.path"
    if [ -f "$T/$n_.old" ]; then set -- "$@" "$T/$n_.old"; fi
    if [ -f "$T/$n_.folder" ]; then
      cat "$T/$n_.folder" >>"$TARGET/folders"
    elif [ -z "$FILE_NEWSUM" ] && grep -q -x -F -e "${FILE_PATH%/*}" "$TARGET/folders" 2>/dev/null; then
      # We made its folder too; it goes if nobody else uses it.
      as_client rmdir -- "${FILE_PATH%/*}" 2>/dev/null && rm -f "$TARGET/folders"
    fi
    n_=$((n_ + 1))
  done
  [ $# -eq 0 ] || { chmod 600 "$@" && mv "$@" "$BACKUP/"; }
  # By name, which begins with the time: the oldest first.
  set -- "$TARGET/backups"/*
  while [ $# -gt 5 ]; do
    rm -rf "$1"
    shift
  done
  log "confirmed"
  {
    printf '%s confirmed\n' "$TXID"
    while IFS= read -r line_; do
      printf '%s\n' "$line_"
    done <"$T/log"
  } >"$T/last"
  set -- "$T/last"
  last_status
  if [ -n "$STATUS_DAEMON" ]; then
    # What the daemon has read, for the next look: it is the same daemon until this changes.
    rest_=${STATUS_DAEMON#* }
    printf '%s\n' "${rest_#* }" >"$T/loaded" && set -- "$@" "$T/loaded"
  fi
  if [ -n "$FORGET" ]; then
    # From now on there is no record that says what the daemon has loaded.
    [ ! -e "$T/activating" ] || knows_files after
    rm -f "$TARGET/record" "$TARGET/version" "$TARGET/remembered"
  elif [ -f "$T/record" ]; then
    set -- "$@" "$T/record"
    for kept_ in version remembered; do
      if [ -f "$T/$kept_" ]; then set -- "$@" "$T/$kept_"; fi
    done
    # What is remembered of another state does no harm: its sums are others.
  fi
  mv -f "$@" "$TARGET/"
  flush "$TARGET" "$BACKUP"
  unlock confirmed
}

# fail_and_revert STEP: the supervisor's own failure, for the reason $WHY and with the error code $CODE.
fail_and_revert() {
  decide reverting || exit 0
  printf '%s %s\n%s\n' "$1" "${CODE:-$1}" "$WHY" >"$T/failure"
  log "failed $1: $WHY"
  revert
  exit 0
}

# crashed: the supervisor ends where it should not, by a fault of its own: what it was to undo is undone all the same.
crashed() {
  trap - EXIT
  if { is armed && decide reverting; } || is reverting; then
    log "the supervisor failed"
    revert
  fi
}

# supervise T: waits until the session that armed it has ended (proof that it outlives a lost connection), installs,
# activates, and reverts unless someone confirms in time.
supervise() {
  [ -f "$1/conf" ] || exit 0
  load "$1"
  cd / || exit 1
  CODE=
  last_status
  was_=$STATUS
  guard_parts
  trap '' HUP
  trap 'WHY="the host is shutting down" CODE=verify; fail_and_revert confirm' TERM
  trap crashed EXIT
  deadline_=$((ARMED_AT + SECONDS_ * 100))
  process $$
  printf '%s %s\n' "$$" "$START" >"$T/supervisor"
  case $was_ in
    '')
      status ready
      # Who started it waits for this.
      exec >/dev/null
      ;;
    activated) log "the supervisor was killed, this one waits on" ;;
    *)
      # It was killed, by a person or for want of memory, and nobody knows how far it was.
      WHY="the supervisor was killed" CODE=supervisor
      ! is armed || fail_and_revert confirm
      ;;
  esac
  if [ -z "$was_" ] && [ -n "$WAIT_PID" ]; then
    now
    patience_=$((NOW + SECONDS_ * 100 / 3))
    while same_process "$WAIT_PID" "$WAIT_START"; do
      is armed || break
      now
      if [ "$NOW" -gt "$patience_" ]; then
        WHY="the session that armed it did not end"
        CODE=supervisor
        fail_and_revert arm
      fi
      nap
    done
  fi
  if [ -z "$was_" ] && is armed; then
    CODE=install
    install_files || fail_and_revert install
    status installed
    if [ "$NOW" -ge "$deadline_" ]; then
      WHY="the installation took longer than $SECONDS_ s"
      fail_and_revert install
    fi
    activate || fail_and_revert activate
    status activated "$RELOADED"
  fi
  CODE=verify
  while is armed; do
    now
    left_=$((deadline_ - NOW))
    if [ "$left_" -le 0 ]; then
      WHY="nobody confirmed within $SECONDS_ s"
      fail_and_revert confirm
    fi
    if [ "$left_" -lt 100 ]; then nap; else sleep 1; fi
  done
  # Someone else decided. A revert is ours to do; a confirmation is completed by who made it, if that process lives.
  if is reverting; then revert; fi
  while is confirmed; do
    if confirming "$T"; then sleep 1; else settle; fi
  done
  # Someone took all state away, so that nobody can tell any more what was there; the guard has nothing to guard.
  [ -d "$TARGET" ] || remove_guard
}

# recover T: an armed or decided transaction that nobody looks after any more, brought to its end. Only for who took
# its lock over.
recover() {
  load "$1"
  if is over; then
    end_lock
  elif is confirmed; then
    settle
  elif is reverting || decide reverting; then
    log "the supervisor is gone"
    revert
  fi
}

# guard T: at boot, before sshd starts: files only, the daemon is not there yet.
guard() {
  [ -f "$1/conf" ] || exit 0
  load "$1"
  PID=
  log "the host was restarted"
  if is over; then
    end_lock
  elif is confirmed; then
    settle
  elif is reverting || decide reverting; then
    revert
    # sshd, which starts next, must have read its files later by their dates: in whole seconds where stat is busybox's.
    sleep 1.1 2>/dev/null || sleep 2
  else
    # The power went before it was armed.
    take_guard_away
    give_back
  fi
}
