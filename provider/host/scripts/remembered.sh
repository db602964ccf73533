# A host that has not changed since it was as wanted says so by itself: `remembered`, which a transaction left in the state
# folder, tells what it was judged by (remembered.ts writes it, docs/short-look.md says why this is enough). Read only.

# found FILE: a pattern that is remembered matches it now.
found() { found_=$found_$NL$1; }

# holds SIDE CONFIG [FILE]: all that is remembered of that configuration still is so, as far as files tell. Costs one
# process, which sums up FILE too: "CRC SIZE" in $SUM. Sets $TARGET, and what else is remembered in variables.
holds() {
  state_root
  memory_=
  for memory_ in "$STATE/$1"-*/remembered; do
    { IFS= read -r LINE <"$memory_"; } 2>/dev/null && [ "$LINE" = "config $2" ] && break
    memory_=
  done
  [ -n "$memory_" ] || return 1
  TARGET=${memory_%/*}
  [ ! -e "$TARGET/lock" ] || return 1
  get "$1.wish" || return 1
  wish_=$value
  shift 2
  also_=${1:-}
  sums_='' args_='' files_='' globs_='' found_='' expected_=''
  owner_='' exe_='' program_='' pidfile_='' whole_=
  while IFS= read -r LINE; do
    rest_=${LINE#* }
    case $LINE in
      'match '*)
        expected_=$expected_$NL$rest_
        continue
        ;;
    esac
    # The matches of the pattern before are complete.
    [ "$found_" = "$expected_" ] || return 1
    found_='' expected_=
    case $LINE in
      'config '*) ;;
      'wish '*) [ "$wish_" = "$rest_" ] || return 1 ;;
      'owner '*) owner_=$rest_ ;;
      'exe '*) exe_=$rest_ ;;
      'program '*) program_=$rest_ ;;
      'pidfile '*) pidfile_=$rest_ ;;
      'arg '*) args_=$args_$rest_$NL ;;
      'absent '*) if [ -e "$rest_" ] || [ -L "$rest_" ]; then return 1; fi ;;
      'record '* | 'seen '*)
        sums_=$sums_$rest_$NL
        rest_=${rest_#* }
        rest_=${rest_#* }
        set -- "$@" "$rest_"
        case $LINE in 'seen '*) files_=$files_$rest_$NL ;; esac
        ;;
      'glob '*)
        globs_=$globs_$rest_$NL
        each_match "$rest_" found
        ;;
      end) whole_=yes ;;
      *) return 1 ;;
    esac
  done <"$memory_"
  [ -n "$whole_" ] || return 1
  now_=$(cksum "$@" 2>/dev/null)$NL
  if [ -n "$also_" ]; then
    SUM=${now_%%" $also_$NL"*}
    now_=${now_#*"$NL"}
  fi
  [ "$now_" = "$sums_" ]
}

# program_path: the path in $program_, "NAMES BYTES CHANGED MODIFIED PATH", in $REAL.
program_path() {
  REAL=$program_
  for _ in names bytes changed modified; do REAL=${REAL#* }; done
}

# client_unchanged: ssh would read what it did, and is the same program.
client_unchanged() {
  ! get client_user || return 1
  get client_config && config_=$value || config_=
  client_place '' "$config_" && holds client "$CLIENT_CONFIG" || return 1
  program_path
  times_of "$REAL"
  [ "$times_" = "$program_" ]
}

# server_unchanged: the daemon that serves us has read, and sshd would read, what they did. A daemon that was started since
# is the reader's matter: when it read its files is told beside when they changed.
server_unchanged() {
  ! get local || return 1
  find_sshd
  [ -n "$LISTENER" ] && [ -r "/proc/$LISTENER/auxv" ] || return 1
  daemon_options
  get server_config && config_=$value || config_=${DAEMON_CONFIG:-/etc/ssh/sshd_config}
  holds server "$config_" "/proc/$LISTENER/auxv" || return 1
  # The daemon still runs the file that stands there: no other release was put in its place.
  # shellcheck disable=SC3013 # without -ef the look is a whole one
  [ "$exe_" -ef "/proc/$LISTENER/exe" ] 2>/dev/null || return 1
  if get sshd_path && [ "$value" != "$exe_" ]; then return 1; fi
  IDENTITY=$SUM
  case $IDENTITY in *' 0') return 1 ;; esac
  LINE=
  if [ -f "$TARGET/loaded" ]; then line "$TARGET/loaded"; fi
  if [ "$LINE" = "$IDENTITY" ]; then
    record target server
  else
    [ "$ARGS$NL" = "$args_" ] && started_since || return 1
  fi
  record unchanged "$owner_ $TARGET"
}

# started_since: what tells whether the daemon, another process than it was, has read $files_ as they are.
started_since() {
  program_path
  LOOKED=$REAL$NL
  frame_words "$NL"
  # shellcheck disable=SC2086 # a line each
  set -- $files_
  for path_ in "$@"; do
    resolve "$path_" || break
    look_at "$path_"
    look_at "$REAL"
  done
  for path_ in $globs_; do
    if [ -d "${path_%/*}/" ]; then look_at "${path_%/*}/"; fi
  done
  for path_ in "$pidfile_" "$TARGET/asof"; do
    if [ -e "$path_" ]; then look_at "$path_"; fi
  done
  # shellcheck disable=SC2086 # a line each
  times_of $LOOKED
  frame_words_end
  case $NL$times_$NL in *"$NL$program_$NL"*) ;; *) return 1 ;; esac
  record target server
  record target.folder "$TARGET"
  record daemon.pid "$LISTENER"
  record daemon.identity "$IDENTITY"
  record times "$times_"
  for path_ in "$@"; do
    record file "$path_"
    if resolve "$path_"; then record file.real "$REAL"; fi
  done
  rest_=$globs_
  while [ -n "$rest_" ]; do
    record glob "${rest_%%"$NL"*}"
    rest_=${rest_#*"$NL"}
  done
  loaded_when "$pidfile_" "$LISTENER"
}

# unchanged: every side that is asked about still is as it was when it was as wanted. Answers that, or nothing: the
# client's side first, which answers last.
unchanged() {
  get server.wish || get client.wish || return 1
  client_=
  if get client; then
    client_unchanged || return 1
    client_="$owner_ $TARGET"
  fi
  if get server; then server_unchanged || return 1; fi
  if [ -n "$client_" ]; then
    record target client
    record unchanged "$client_"
  fi
}
