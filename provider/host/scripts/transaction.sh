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

# setting KEY VALUE: one more line for $T/conf, in $conf_. A value with a newline, which the target of a user's link may
# have, would be more than one: $SPLIT names it.
setting() {
  case $2 in *"$NL"*) SPLIT=$2 ;; esac
  conf_=$conf_$1' '$2$NL
}

# stage: everything the supervisor needs, in T, and loaded from there. In $STAGED what is to be seen of those files whose
# bytes matter, for as_seen; in $LINKED those that have got a second name, which a replacement would part. Sets $CODE and
# $WHY on failure.
stage() {
  STAGED='' LINKED='' SPLIT='' conf_=
  CODE=not-writable
  WHY="the files cannot be staged in $T (disk full?)"
  staged >"$T/run.sh" || return 1
  if has record; then
    get_file record "$T/record" && get recordsum || return 1
    STAGED=$STAGED$value' '$T/record$NL
  fi
  if get version; then printf '%s\n' "$value" >"$T/version"; fi
  if has remembered; then get_file remembered "$T/remembered" || return 1; fi
  # What the controller knows, and what only the host does.
  get_file seen "$T/seen" && get_file conf "$T/conf" || return 1
  setting txid "$TXID"
  setting seconds "$SECONDS_"
  setting side "$SIDE"
  setting config "$CONFIG"
  setting user "$CLIENT_USER"
  setting home "$CLIENT_HOME"
  setting waitpid "$SESSION"
  setting waitstart "$SESSION_START"
  each spec stage_spec
  n_=0
  while get "w$n_.path"; do
    if resolve "$value"; then real_=$REAL; else real_=$value; fi
    setting path "$value"
    setting real "$real_"
    get "w$n_.sum" && setting sum "$value"
    if get "w$n_.newsum"; then
      setting newsum "$value"
      if [ -e "$real_" ]; then
        setting like "$real_"
      elif get "w$n_.like" && resolve "$value"; then
        setting like "$REAL"
      fi
    fi
    n_=$((n_ + 1))
  done
  if [ -n "$SPLIT" ]; then
    CODE=config-not-understood
    WHY="a name has a newline in it: $SPLIT"
    return 1
  fi
  printf '%s' "$conf_" >>"$T/conf" || return 1
  load "$T"
  n_=0
  while [ "$n_" -lt "$FILES" ]; do
    file_of "$n_"
    if [ -e "$FILE_REAL" ]; then
      copy_of "$FILE_REAL" "$T/$n_.old" || return 1
      [ "$FILE_SUM" = absent ] || STAGED=$STAGED$FILE_SUM' '$T/$n_.old$NL
      # shellcheck disable=SC2046,SC2012 # columns of ls -n: mode, names
      set -- $(ls -ldn "$FILE_REAL")
      [ "${2:-}" = 1 ] || LINKED="$LINKED $FILE_REAL"
    fi
    if [ -n "$FILE_NEWSUM" ]; then
      # The staged copy carries the attributes too, so that it can stand in for the file when it is judged.
      if [ -n "$FILE_LIKE" ]; then
        copy_of "$FILE_LIKE" "$T/$n_.new" || return 1
      elif [ -n "$OWNER_" ]; then
        : >"$T/$n_.new"
        chown "$OWNER_" "$T/$n_.new" || return 1
      fi
      get_file "w$n_.bytes" "$T/$n_.new" || return 1
      STAGED=$STAGED$FILE_NEWSUM' '$T/$n_.new$NL
    fi
    n_=$((n_ + 1))
  done
}

# copy_of FILE COPY: the copy is the file's equal in owner, mode, and ACL and label where cp can carry them.
copy_of() { { cp -a -- "$1" "$2" || cp -p -- "$1" "$2"; } 2>/dev/null; }

# validate: OpenSSH's word on the whole configuration with the staged files in place, and when that was, in $JUDGED_AT
# (empty: not in their very places). Sets $WHY on failure.
validate() {
  JUDGED_AT=
  [ -n "$SPECS" ] || return 0
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
    inside_=$(unshare -m sh "$T/run.sh" inside "$T" "$T/candidate" "$CONFIG" </dev/null 2>&1) || {
      WHY="the candidate could not be put in place for judgement (exit $?): $(printf '%s' "$inside_" | head -c 300)"
      return 1
    }
  fi
  n_=0
  while [ -f "$T/candidate.$n_" ]; do
    exit_of "$T/candidate.$n_"
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
    exit_of "$T/live.$n_"
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
  setting spec "$value"
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
  stage || refuse arm "$CODE" "$WHY"
  # The daemon too, where there is /proc: what it knows of its files must not have changed either.
  if [ -r /proc/self/auxv ] && get identity && [ -n "$value" ]; then
    STAGED=$STAGED$value' '/proc/$PID/auxv$NL
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
