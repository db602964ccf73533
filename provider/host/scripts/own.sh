# Takes ownership of a configuration that needs no edit, or gives it up (no datum `record`): only the record changes.

main() {
  read_data
  get side && SIDE=$value
  get config && CONFIG=$value
  get txid && TXID=$value
  target_folder "$SIDE" "$CONFIG"
  if ! (umask 077 && mkdir -p "$TARGET") 2>/dev/null; then
    record failed "cannot make the state folder $TARGET"
  elif [ -d "$TARGET/lock" ]; then
    record failed "another transaction is under way"
  else
    sum_of "$TARGET/record"
    get before
    if [ "$SUM" != "$value" ]; then
      record failed "the record changed after it was looked at"
    elif ! get record; then
      rm -f "$TARGET/record" "$TARGET/loaded"
      rmdir "$TARGET" 2>/dev/null
      record owned no
    elif get_file record "$TARGET/record.$TXID" && flush "$TARGET/record.$TXID" &&
      mv -f "$TARGET/record.$TXID" "$TARGET/record"; then
      if get identity; then
        printf '%s\n' "$value" >"$TARGET/loaded.$TXID" && mv -f "$TARGET/loaded.$TXID" "$TARGET/loaded"
      fi
      record owned yes
    else
      record failed "cannot write in $TARGET"
    fi
  fi
  finish
}
