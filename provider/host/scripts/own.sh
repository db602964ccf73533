# Takes ownership of a configuration that needs no edit: only the record is written, or taken away.

main() {
  read_data
  get side && SIDE=$value
  get config && CONFIG=$value
  get txid && TXID=$value
  get controller && who_=$value || who_=someone
  target_folder "$SIDE" "$CONFIG"
  take_lock 20 "$who_"
  case $? in
    0) ;;
    1)
      record failed.code locked
      record failed "$WHY"
      record locked.seconds "$LOCK_LEFT"
      finish
      exit 0
      ;;
    *)
      record failed.code not-writable
      record failed "$WHY"
      finish
      exit 0
      ;;
  esac
  sum_of "$TARGET/record"
  get before
  if [ "$SUM" != "$value" ]; then
    record failed.code changed-meanwhile
    record failed "the record changed after it was looked at"
  elif ! get record; then
    rm -f "$TARGET/record" "$TARGET/loaded" "$TARGET/asof" "$TARGET/version" "$TARGET/remembered"
  elif get_file record "$T/record" && get recordsum && sum_of "$T/record" && [ "$SUM" = "$value" ] &&
    flush "$T/record" && mv -f "$T/record" "$TARGET/record"; then
    if get identity; then
      printf '%s\n' "$value" >"$T/loaded" && mv -f "$T/loaded" "$TARGET/loaded"
    fi
    if get_file remembered "$T/remembered"; then mv -f "$T/remembered" "$TARGET/remembered"; fi
    flush "$TARGET"
  else
    record failed.code not-writable
    record failed "cannot write in $TARGET (disk full?)"
  fi
  give_back
  # Where nothing of ours is left the folder goes too.
  rmdir "$TARGET" 2>/dev/null
  finish
}
