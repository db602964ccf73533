# Takes the lock, stages the new files, has OpenSSH on the host judge them in place of the old ones, and starts the
# supervisor. Nothing that OpenSSH reads is touched here: the supervisor installs, after this session has ended.

# refuse STEP CODE REASON: the answer when something is not as it must be; gives the lock back.
refuse() {
  record failed.step "$1"
  record failed.code "$2"
  record failed.reason "$3"
  [ -z "${T:-}" ] || rm -rf "${T:?}"
  finish
  exit 0
}

# take_lock: one transaction per target; a lock is broken only when nobody looks after it any more.
take_lock() {
  if (umask 077 && mkdir -p "$TARGET") 2>/dev/null; then :; else
    T=
    refuse arm not-writable "cannot make the state folder $TARGET"
  fi
  tries_=0
  until (umask 077 && mkdir "$TARGET/lock") 2>/dev/null; do
    tries_=$((tries_ + 1))
    now
    lock_boot_='' lock_until_=0 lock_who_='' lock_pid_='' lock_start_=''
    if [ -f "$TARGET/lock/info" ]; then
      {
        read -r lock_boot_
        read -r lock_until_
        read -r lock_pid_ lock_start_
        IFS= read -r lock_who_
      } <"$TARGET/lock/info"
    fi
    boot_id
    if [ "$lock_boot_" = "$BOOT" ]; then
      if alive "$TARGET/lock/supervisor" || same_process "${lock_pid_:-0}" "$lock_start_" ||
        { [ -e "$TARGET/lock/armed" ] && [ "$NOW" -le "$lock_until_" ]; }; then
        left_=$(((lock_until_ - NOW) / 100 + 1))
        [ "$left_" -gt 0 ] || left_=1
        T=
        record locked.seconds "$left_"
        refuse arm locked "another transaction, by $lock_who_, is under way for $left_ s at most"
      fi
    elif [ -z "$lock_boot_" ] && [ "$tries_" -le 3 ]; then
      # Made a moment ago, not yet described.
      sleep 1
      continue
    fi
    if [ "$tries_" -gt 6 ]; then
      T=
      refuse arm locked "the lock $TARGET/lock cannot be taken over"
    fi
    if [ -e "$TARGET/lock/armed" ] || [ -e "$TARGET/lock/reverting" ] || [ -e "$TARGET/lock/confirmed" ]; then
      # In a process of its own: it ends with the old state, or the new where it had been confirmed.
      sh "$TARGET/lock/run.sh" recover "$TARGET/lock" </dev/null >/dev/null 2>&1
      record recovered "$(head -n 1 "$TARGET/last" 2>/dev/null)"
    else
      mv "$TARGET/lock" "$TARGET/stale.$TXID" 2>/dev/null && rm -rf "$TARGET/stale.$TXID"
    fi
  done
  T=$TARGET/lock
}

# stage: everything the supervisor needs, in T. Returns with the number of files in $FILES.
stage() {
  now
  ARMED_AT=$NOW
  get seconds && SECONDS_=$value
  get controller && who_=$value || who_=unknown
  boot_id
  process $$
  {
    printf '%s\n' "$BOOT" "$((NOW + SECONDS_ * 100 + 1000))" "$$ $START"
    printf '%s\n' "$who_"
  } >"$T/info.tmp" && mv "$T/info.tmp" "$T/info"
  get_file supervisor "$T/run.sh" || return 1
  : >"$T/args"
  each sshd.arg stage_arg
  : >"$T/argv"
  each daemon.argv stage_argv
  if get reload; then
    : >"$T/reload"
    each reload stage_reload
  fi
  get_file record "$T/record" || rm -f "$T/record"
  {
    printf 'txid %s\nseconds %s\nside %s\nconfig %s\narmedat %s\n' "$TXID" "$SECONDS_" "$SIDE" "$CONFIG" "$ARMED_AT"
    printf 'waitpid %s\nwaitstart %s\n' "$SESSION" "$SESSION_START"
    for key_ in exe pid pidstart identity manager unit pidfile owner activation; do
      if get "$key_"; then printf '%s %s\n' "$key_" "$value"; fi
    done
  } >"$T/conf" || return 1
  FILES=0
  while get "w$FILES.path"; do
    path_=$value
    printf '%s\n' "$path_" >"$T/$FILES.path"
    if resolve "$path_"; then real_=$REAL; else real_=$path_; fi
    printf '%s\n' "$real_" >"$T/$FILES.real"
    get "w$FILES.sum"
    printf '%s\n' "$value" >"$T/$FILES.sum"
    if [ -e "$real_" ]; then
      cp -p "$real_" "$T/$FILES.old" || return 1
    fi
    if get "w$FILES.bytes"; then
      like_=$real_
      if [ ! -e "$real_" ]; then
        like_=
        if get "w$FILES.like"; then
          resolve "$value" && like_=$REAL
        fi
      fi
      # The staged copy carries the attributes too, so that it can stand in for the file when it is judged.
      if [ -n "$like_" ]; then
        printf '%s\n' "$like_" >"$T/$FILES.like"
        cp -p "$like_" "$T/$FILES.new" || return 1
      elif get owner && [ -n "$value" ]; then
        : >"$T/$FILES.new"
        chown "$value" "$T/$FILES.new" || return 1
      fi
      get_file "w$FILES.bytes" "$T/$FILES.new" || return 1
      get "w$FILES.newsum"
      sum_of "$T/$FILES.new"
      [ "$SUM" = "$value" ] || return 1
    fi
    FILES=$((FILES + 1))
  done
}

stage_arg() {
  decode "$1"
  printf '%s\n' "$value" >>"$T/args"
}

stage_argv() {
  decode "$1"
  printf '%s\n' "$value" >>"$T/argv"
}

stage_reload() {
  decode "$1"
  printf '%s\n' "$value" >>"$T/reload"
}

# unchanged ENCODED: a line "CRC SIZE PATH" (or "absent - PATH"): the file still is what was seen.
unchanged() {
  decode "$1"
  rest_=${value#* }
  path_=${rest_#* }
  sum_of "$path_"
  case $value in
    "$SUM $path_" | "absent - $path_") [ "$SUM" != absent ] || return 0 ;;
  esac
  [ "$SUM $path_" = "$value" ] || CHANGED="$CHANGED $path_"
}

# same_matches ENCODED: an Include pattern and, a line each, what it matched: still so.
same_matches() {
  decode "$1"
  pattern_=${value%%"$NL"*}
  saved_=$IFS
  IFS=
  # shellcheck disable=SC2086 # pathname expansion is what is wanted; IFS is empty
  set -- $pattern_
  IFS=$saved_
  found_=$pattern_
  for match_ in "$@"; do
    [ -e "$match_" ] || [ -L "$match_" ] || continue
    [ ! -d "$match_" ] || continue
    found_=$found_$NL$match_
  done
  [ "$found_" = "$value" ] || CHANGED="$CHANGED $pattern_"
}

# validate: OpenSSH's word on the whole configuration with the staged files in place. Sets $WHY on failure.
validate() {
  : >"$T/specs"
  each spec stage_spec
  if [ ! -s "$T/specs" ]; then return 0; fi
  get managed && MANAGED=$value
  if [ "$SIDE" = client ]; then printf '%s\n%s\n' "$CLIENT_USER" "$CLIENT_HOME" >"$T/client"; fi
  live_=$CONFIG
  [ "$SIDE" != client ] || [ -e "$CONFIG" ] || live_=none
  judge "$T/live" "$live_"
  if get copy; then
    # Without the right to a mount namespace: copies whose Includes name copies, trusted only if the copy of what is
    # there is dumped exactly as what is there.
    each copy stage_copy
    get copy.live && judge "$T/unchanged" "$value"
    get copy.candidate && judge "$T/candidate" "$value"
    n_=0
    while [ -f "$T/live/$n_" ]; do
      if [ "$live_" != none ] && ! cmp -s "$T/live/$n_" "$T/unchanged/$n_"; then
        WHY="a copy of the configuration is not read as the original is, so a candidate cannot be judged without root"
        return 1
      fi
      n_=$((n_ + 1))
    done
  else
    unshare -m sh "$T/run.sh" inside "$T" "$T/candidate" "$CONFIG" </dev/null >"$T/inside" 2>&1
    inside_=$?
    if [ "$inside_" -ne 0 ]; then
      WHY="the candidate could not be put in place for judgement (exit $inside_): $(head -c 300 "$T/inside")"
      return 1
    fi
  fi
  n_=0
  while [ -f "$T/live/$n_" ]; do
    line "$T/candidate/$n_.exit"
    candidate_exit_=$LINE
    line "$T/live/$n_.exit"
    if [ "$candidate_exit_" != 0 ] && { [ "$LINE" = 0 ] || [ "$n_" = 0 ]; }; then
      WHY="OpenSSH refuses the candidate: $(head -c 600 "$T/candidate/$n_")"
      return 1
    fi
    if [ "$candidate_exit_" = 0 ] && [ "$LINE" = 0 ] && differ "$T/live/$n_" "$T/candidate/$n_"; then
      WHY="the candidate changes more than the managed options: $DIFFERENCE"
      return 1
    fi
    n_=$((n_ + 1))
  done
  WHY=
  each want wanted_in_candidate
  [ -z "$WHY" ]
}

# wanted_in_candidate ENCODED: a line such as "clientaliveinterval 60" stands in what OpenSSH said of the candidate.
wanted_in_candidate() {
  decode "$1"
  grep -q -i -x -e "$value" "$T/candidate/0" || WHY="${WHY:+$WHY; }OpenSSH would not have \"$value\""
}

# stage_spec ENCODED: a -C specification, a host name for ssh -G, or "-". `group=NAME` becomes a member of that group.
stage_spec() {
  decode "$1"
  case $value in
    group=*)
      name_=${value#group=}
      name_=${name_%%,*}
      member_=$(awk -F: -v g="$name_" '$1 == g { split($4, m, ","); print m[1]; exit }' /etc/group 2>/dev/null)
      [ -n "$member_" ] || return 0
      value="user=$member_,${value#*,}"
      ;;
  esac
  printf '%s\n' "$value" >>"$T/specs"
}

# stage_copy ENCODED: first line a path below T, the rest the file.
stage_copy() {
  decode "$1"
  path_=${value%%"$NL"*}
  case $path_ in
    */../* | *'//'*) return 1 ;;
    "$T"/*)
      mkdir -p "${path_%/*}"
      printf '%s' "${value#*"$NL"}" >"$path_"
      ;;
  esac
}

# place_guard: where systemd starts sshd, a unit that reverts an unconfirmed change before sshd starts after a reboot.
place_guard() {
  [ "$SIDE" = server ] || return 0
  get manager || return 0
  [ "$value" = systemd ] || return 0
  key_=${TARGET##*/}
  unit_=/etc/systemd/system/pulumi-ssh-keepalive-$key_.service
  {
    printf '%s\n' "$unit_" "/etc/systemd/system/sysinit.target.wants/${unit_##*/}"
  } >"$T/guard"
  mkdir -p /etc/systemd/system/sysinit.target.wants 2>/dev/null
  if {
    cat >"$unit_" <<END
[Unit]
Description=Reverts an unconfirmed change to the SSH keepalive settings
DefaultDependencies=no
ConditionPathExists=$T/conf
RequiresMountsFor=$TARGET /etc/ssh
After=local-fs.target
Before=ssh.service sshd.service ssh.socket sshd.socket sysinit.target
[Service]
Type=oneshot
ExecStart=/bin/sh $T/run.sh guard $T
END
  } 2>/dev/null && ln -sf "$unit_" "/etc/systemd/system/sysinit.target.wants/${unit_##*/}" 2>/dev/null; then
    flush "$unit_"
    return 0
  fi
  rm -f "$unit_" "/etc/systemd/system/sysinit.target.wants/${unit_##*/}" "$T/guard" 2>/dev/null
  return 1
}

# start_supervisor: a process that neither this connection nor a logout ends.
start_supervisor() {
  if [ "$(id -u)" = 0 ] && [ -d /run/systemd/system ] && command -v systemd-run >/dev/null 2>&1; then
    systemd-run --quiet --collect --unit="pulumi-ssh-keepalive-$TXID" /bin/sh "$T/run.sh" supervise "$T" \
      </dev/null >"$T/start" 2>&1 || {
      WHY="systemd-run: $(head -c 300 "$T/start")"
      return 1
    }
  elif command -v setsid >/dev/null 2>&1; then
    setsid sh "$T/run.sh" supervise "$T" </dev/null >/dev/null 2>&1 &
  else
    (
      trap '' HUP
      sh "$T/run.sh" supervise "$T" </dev/null >/dev/null 2>&1 &
    )
  fi
  now
  until_=$((NOW + 1000))
  while [ ! -f "$T/status" ]; do
    now
    if [ "$NOW" -gt "$until_" ]; then
      WHY="it did not say that it is ready"
      return 1
    fi
    nap
  done
}

main() {
  read_data
  get txid && TXID=$value
  get side && SIDE=$value
  get config && CONFIG=$value
  EXE=
  get exe && EXE=$value
  CLIENT_USER='' CLIENT_HOME=''
  if [ "$SIDE" = client ]; then
    get client_user && user_=$value || user_=
    client_place "$user_" "$CONFIG" || refuse arm bad-input "no user $user_"
  fi
  T=
  target_folder "$SIDE" "$CONFIG"
  take_lock
  find_sshd
  # Not an ssh session: no connection to outlive.
  if get local; then
    SESSION=
    SESSION_START=
  fi
  stage || refuse arm not-writable "the files cannot be staged in $T (disk full?)"
  CHANGED=
  each unchanged unchanged
  each matches same_matches
  [ -z "$CHANGED" ] || refuse install changed-meanwhile "changed after it was looked at:$CHANGED"
  validate || refuse validate validate "$WHY"
  place_guard || get noguard || refuse arm boot-guard "no unit can be placed in /etc/systemd/system"
  : >"$T/armed"
  flush "$T"
  if ! start_supervisor; then
    mv "$T/armed" "$T/reverting"
    [ ! -f "$T/guard" ] || while IFS= read -r guard_; do rm -f -- "$guard_"; done <"$T/guard"
    refuse arm supervisor "the supervisor did not start: $WHY"
  fi
  record armed "$TXID"
  finish
}
