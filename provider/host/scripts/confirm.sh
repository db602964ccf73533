# The new login: proves the way in, sees that the daemon that served it has read its files, reads the effective values
# there, and confirms. Also used to ask what became of a transaction (`ask`).

# answer_outcome: the transaction is over; $TARGET/last tells how.
answer_outcome() {
  # Who ended it may not yet have written how.
  now
  until_=$((NOW + 500))
  while is over && [ "$NOW" -le "$until_" ]; do
    nap
    now
  done
  if [ -f "$TARGET/last" ] && read -r last_txid_ last_outcome_ <"$TARGET/last" && [ "$last_txid_" = "$TXID" ]; then
    record outcome "$last_outcome_"
    [ ! -f "$TARGET/last-failure" ] || record failure "$(head -c 2000 "$TARGET/last-failure")"
  else
    record outcome unknown
  fi
  finish
  exit 0
}

# wanted_now ENCODED: a line such as "clientaliveinterval 60" stands in what OpenSSH says now.
wanted_now() {
  decode "$1"
  dump_has "$value" "$SAID" || WHY="${WHY:+$WHY; }OpenSSH does not have \"$value\""
}

# ours: this transaction is under way.
ours() { is armed || is reverting || is confirmed; }

# give_up WHY: this login is the proof that it must not stay; who looks after it reverts.
give_up() {
  if decide reverting; then
    printf '%s %s\n%s\n' verify verify "$1" >"$T/failure"
    log "failed verify: $1"
    alive "$T/supervisor" || revert
  fi
}

main() {
  read_data
  get txid && TXID=$value
  get side && SIDE=$value
  get config && CONFIG=$value
  get wait && limit_=$value || limit_=10
  if get target; then TARGET=$value; else target_folder "$SIDE" "$CONFIG"; fi
  T=$TARGET/lock
  find_sshd
  served_start_=$SESSION_START
  served_listener_=$LISTENER
  now
  until_=$((NOW + limit_ * 100))
  if get giveup && decide reverting; then
    load "$T"
    alive "$T/supervisor" || revert
  fi
  STATUS=
  while ours; do
    last_status
    case $STATUS in activated) break ;; esac
    now
    if [ "$NOW" -gt "$until_" ]; then
      record outcome pending
      record state "$STATUS"
      finish
      exit 0
    fi
    nap
  done
  ours || answer_outcome
  if get ask; then
    record outcome pending
    record state "$STATUS"
    finish
    exit 0
  fi
  asked_=$TXID
  load "$T"
  if [ "$TXID" != "$asked_" ]; then
    TXID=$asked_
    answer_outcome
  fi
  if [ "$SIDE" = server ] && ! get local; then
    # This login must have been accepted after the daemon read the new files, by that daemon.
    # Ticks are hundredths nearly everywhere, and this process has just begun.
    hz_=100
    process $$
    [ -z "$START" ] || [ "$START" -le "$NOW" ] || hz_=$(getconf CLK_TCK 2>/dev/null) || hz_=100
    if [ -n "$served_start_" ] && [ $((served_start_ * 100 / hz_)) -lt "$STATUS_AT" ]; then
      record outcome early
      finish
      exit 0
    fi
    if [ -n "$STATUS_DAEMON" ]; then
      if ! daemon_now; then
        give_up "the daemon has ended after it read the new files"
        record outcome daemon-ended
        finish
        exit 0
      fi
      # Its successor, should someone have restarted it, has read them too.
      if [ -n "$served_listener_" ] && [ "$served_listener_" != "${STATUS_DAEMON%% *}" ] && [ "$served_listener_" != "$DAEMON" ]; then
        give_up "the new login was served by another sshd than the one whose files were changed"
        record outcome other-daemon
        finish
        exit 0
      fi
    fi
  fi
  WHY=
  if [ "$SIDE" = client ]; then
    get client_user && user_=$value || user_=
    client_place "$user_" "$CONFIG"
    [ -e "$CONFIG" ] || [ "$CONFIG" = "$CLIENT_HOME/.ssh/config" ] || CLIENT_CONFIG=none
    if get spec; then
      client_says "$value"
      each want wanted_now
    fi
  else
    get spec || value=-
    sshd_would "$CONFIG" "$value"
    each want wanted_now
  fi
  if [ -n "$WHY" ]; then
    record outcome wrong-values
    record why "$WHY"
    give_up "$WHY"
    finish
    exit 0
  fi
  # Whoever looks after the transaction leaves the rest to us then. A rename needs no room.
  process $$
  printf '' 2>/dev/null >"$T/by.$$.$START" || mv "$T/who" "$T/by.$$.$START" 2>/dev/null
  if decide confirmed; then
    settle
    record outcome confirmed
    record backup "$BACKUP"
    finish
  else
    answer_outcome
  fi
}
