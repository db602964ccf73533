# Takes the lock, stages the new files, has OpenSSH on the host judge them in place of the old ones, and starts the
# supervisor. Nothing that OpenSSH reads is touched here: the supervisor installs, after this session has ended.
# `staged` prints run.sh (scripts.ts).

# refuse STEP CODE REASON: the answer when something is not as it must be; gives the lock back.
refuse() {
  record failed.step "$1"
  record failed.code "$2"
  record failed.reason "$3"
  [ -z "$T" ] || give_back
  finish
  exit 0
}

# lock: takes the lock, or says who has it.
lock() {
  get seconds && SECONDS_=$value || SECONDS_=60
  get controller && who_=$value || who_=someone
  take_lock "$SECONDS_" "$who_"
  case $? in
    0) return 0 ;;
    1)
      record locked.seconds "$LOCK_LEFT"
      refuse arm locked "$WHY"
      ;;
    *) refuse arm not-writable "$WHY" ;;
  esac
}

# stage: everything the supervisor needs, in T. Returns with the number of files in $FILES, and in $STAGED what is to be
# seen of those whose bytes matter, for as_seen; in $LINKED those that have got a second name, which a replacement would
# part.
stage() {
  STAGED='' LINKED=
  staged >"$T/run.sh" || return 1
  : >"$T/args"
  each sshd.arg stage_arg
  : >"$T/argv"
  each daemon.argv stage_argv
  if get reload; then
    : >"$T/reload"
    each reload stage_reload
  fi
  if has record; then
    get_file record "$T/record" && get recordsum || return 1
    STAGED=$STAGED$value' '$T/record$NL
  else
    : >"$T/forget"
  fi
  if get version; then printf '%s\n' "$value" >"$T/version"; fi
  if has remembered; then get_file remembered "$T/remembered" || return 1; fi
  : >"$T/seen"
  each unchanged stage_seen
  matches_=0
  each matches stage_matches
  {
    printf 'txid %s\nseconds %s\nside %s\nconfig %s\n' "$TXID" "$SECONDS_" "$SIDE" "$CONFIG"
    printf 'user %s\nhome %s\n' "$CLIENT_USER" "$CLIENT_HOME"
    printf 'waitpid %s\nwaitstart %s\n' "$SESSION" "$SESSION_START"
    for key_ in exe pid pidstart identity manager unit socket pidfile owner activation; do
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
      copy_of "$real_" "$T/$FILES.old" || return 1
      [ "$value" = absent ] || STAGED=$STAGED$value' '$T/$FILES.old$NL
      # shellcheck disable=SC2046,SC2012 # columns of ls -n: mode, names
      set -- $(ls -ldn "$real_")
      [ "${2:-}" = 1 ] || LINKED="$LINKED $real_"
    fi
    if has "w$FILES.bytes"; then
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
        copy_of "$like_" "$T/$FILES.new" || return 1
      elif get owner && [ -n "$value" ]; then
        : >"$T/$FILES.new"
        chown "$value" "$T/$FILES.new" || return 1
      fi
      get_file "w$FILES.bytes" "$T/$FILES.new" || return 1
      get "w$FILES.newsum"
      printf '%s\n' "$value" >"$T/$FILES.newsum"
      STAGED=$STAGED$value' '$T/$FILES.new$NL
    fi
    FILES=$((FILES + 1))
  done
}

# copy_of FILE COPY: the copy is the file's equal in owner, mode, and ACL and label where cp can carry them.
copy_of() { { cp -a -- "$1" "$2" || cp -p -- "$1" "$2"; } 2>/dev/null; }

# stage_seen ENCODED: a line "CRC SIZE PATH" (or "absent - PATH") that OpenSSH reads and that was seen so.
stage_seen() {
  decode "$1"
  printf '%s\n' "$value" >>"$T/seen"
}

# stage_matches ENCODED: an Include pattern and, a line each, what it matched.
stage_matches() {
  decode "$1"
  printf '%s\n' "$value" >"$T/matches.$matches_"
  matches_=$((matches_ + 1))
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

# validate: OpenSSH's word on the whole configuration with the staged files in place, and when that was, in $JUDGED_AT
# (empty: not in their very places). Sets $WHY on failure.
validate() {
  JUDGED_AT=
  : >"$T/specs"
  each spec stage_spec
  if [ ! -s "$T/specs" ]; then return 0; fi
  get managed && MANAGED=$value
  if get copy; then BY_COPY=yes; else BY_COPY=; fi
  live_=$CONFIG
  if [ "$SIDE" = client ] && [ ! -e "$CONFIG" ]; then
    # Without a file of the user's own ssh still reads the system's, which a candidate that stands in its place does too.
    [ -z "$BY_COPY" ] && [ "$CONFIG" = "$CLIENT_HOME/.ssh/config" ] || live_=none
  fi
  # What sshd said when the files were looked at still holds, they are the same: if it now says what is to come of that,
  # the first dump need not be made again.
  wanted_dump_=
  if [ -z "$BY_COPY" ] && get dump; then wanted_dump_=$value; fi
  judge "$T/live" "$live_" "${wanted_dump_:+1}"
  if [ -n "$BY_COPY" ]; then
    # Without the right to a mount namespace: copies whose Includes name copies, trusted only if the copy of what is
    # there is dumped exactly as what is there.
    each copy stage_copy
    get copy.live && judge "$T/unchanged" "$value"
    get copy.candidate
    # A client's file that goes away has no copy.
    [ -f "$value" ] || value=none
    judge "$T/candidate" "$value"
    n_=0
    while [ -f "$T/live.$n_" ]; do
      if [ "$live_" != none ] && ! cmp -s "$T/live.$n_" "$T/unchanged.$n_"; then
        WHY="a copy of the configuration is not read as the original is, so a candidate cannot be judged without root"
        return 1
      fi
      n_=$((n_ + 1))
    done
  else
    now
    if [ "$SIDE" = server ]; then JUDGED_AT=$NOW; fi
    unshare -m sh "$T/run.sh" inside "$T" "$T/candidate" "$CONFIG" </dev/null >"$T/inside" 2>&1
    inside_=$?
    if [ "$inside_" -ne 0 ]; then
      WHY="the candidate could not be put in place for judgement (exit $inside_): $(head -c 300 "$T/inside")"
      return 1
    fi
  fi
  n_=0
  while [ -f "$T/candidate.$n_" ]; do
    line "$T/candidate.$n_.exit"
    candidate_exit_=$LINE
    if [ "$n_" = 0 ] && [ -n "$wanted_dump_" ]; then
      sum_of "$T/candidate.0"
      if [ "$candidate_exit_" = 0 ] && [ "$SUM" = "$wanted_dump_" ]; then
        n_=1
        continue
      fi
      # To say what is wrong.
      wanted_dump_=
      judge "$T/live" "$live_"
    fi
    line "$T/live.$n_.exit"
    if [ "$candidate_exit_" != 0 ] && { [ "$LINE" = 0 ] || [ "$n_" = 0 ]; }; then
      WHY="OpenSSH refuses the candidate: $(head -c 600 "$T/candidate.$n_")"
      return 1
    fi
    if [ "$candidate_exit_" = 0 ] && [ "$LINE" = 0 ] && differ "$T/live.$n_" "$T/candidate.$n_"; then
      WHY="the candidate changes more than the managed options: $DIFFERENCE"
      return 1
    fi
    n_=$((n_ + 1))
  done
  WHY=
  [ -z "$wanted_dump_" ] || return 0
  CANDIDATE=$(cat "$T/candidate.0")
  each want wanted_in_candidate
  [ -z "$WHY" ]
}

# wanted_in_candidate ENCODED: a line such as "clientaliveinterval 60" stands in what OpenSSH said of the candidate.
wanted_in_candidate() {
  decode "$1"
  dump_has "$value" "$CANDIDATE" || WHY="${WHY:+$WHY; }OpenSSH would not have \"$value\""
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

# start_supervisor: a process that neither this connection nor a logout ends.
start_supervisor() {
  # Only root may write there, and start services.
  if [ -d /run/systemd/system ] && [ -w /run/systemd/system ] && command -v systemd-run >/dev/null 2>&1; then
    systemd-run --quiet --collect --unit="pulumi-ssh-keepalive-$TXID" -p Restart=on-abnormal \
      /bin/sh "$T/run.sh" supervise "$T" </dev/null >"$T/start" 2>&1 || {
      WHY="systemd-run: $(head -c 300 "$T/start")"
      return 1
    }
  else
    # A process that starts it once more when it is killed. Their standard output ends when the supervisor is ready, or is
    # no more; that is waited for.
    # shellcheck disable=SC2016 # expanded by the inner shell
    set -- sh -c 'trap "" HUP
      sh "$1" supervise "$2" &
      exec >/dev/null
      wait $!
      [ $? -le 128 ] || exec sh "$1" supervise "$2"' sh "$T/run.sh" "$T"
    if command -v setsid >/dev/null 2>&1; then set -- setsid "$@"; fi
    start_=$("$@" </dev/null 2>/dev/null &)
  fi
  now
  until_=$((NOW + 1000))
  while [ ! -s "$T/status" ]; do
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
  T=
  if [ "$SIDE" = client ]; then
    get client_user && user_=$value || user_=
    client_place "$user_" "$CONFIG" || refuse arm bad-input "no user $user_"
  fi
  if get target; then TARGET=$value; else target_folder "$SIDE" "$CONFIG"; fi
  lock
  if get tidy; then
    # Nothing to do but to bring to its end what an earlier transaction left.
    give_back
    record tidied yes
    finish
    exit 0
  fi
  find_sshd
  # Not an ssh session: no connection to outlive.
  if get local; then
    SESSION=
    SESSION_START=
  fi
  stage || refuse arm not-writable "the files cannot be staged in $T (disk full?)"
  # The daemon too, where there is /proc: what it knows of its files must not have changed either.
  if [ -r /proc/self/auxv ] && get pid && pid_=$value && get identity && [ -n "$value" ]; then
    STAGED=$STAGED$value' '/proc/$pid_/auxv$NL
  fi
  if ! as_seen before "$STAGED" || [ -n "$LINKED" ]; then
    CHANGED=$CHANGED$LINKED
    case $CHANGED in
      " $T/"*) refuse arm not-writable "the files did not arrive whole in $T (disk full?)" ;;
      *" /proc/"*) CHANGED=" sshd was started, or has read its files, again" ;;
    esac
    refuse install changed-meanwhile "changed after it was looked at:$CHANGED"
  fi
  validate || refuse validate validate "$WHY"
  MANAGER=
  if get manager; then MANAGER=$value; fi
  if ! place_guard "$MANAGER"; then
    take_guard_away
    get noguard || refuse arm boot-guard "$WHY"
  fi
  # The time runs from here: judging can be slow.
  now
  printf 'armedat %s\njudgedat %s\n' "$NOW" "$JUDGED_AT" >>"$T/conf" ||
    refuse arm not-writable "the files cannot be staged in $T (disk full?)"
  printf '%s\n' $((NOW + SECONDS_ * 100 + 1000)) >"$T/armed.$TXID"
  flush "$T"/* "$T"
  if ! start_supervisor; then
    decide reverting
    take_guard_away
    refuse arm supervisor "the supervisor did not start: $WHY"
  fi
  record armed "$TXID"
  finish
}
