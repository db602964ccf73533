# shellcheck shell=sh
# The host side of the frame (frame.ts is the other side): reads the data, writes records. Sent before every script.
# POSIX sh and base utilities only. Definitions only: half of it runs nothing. Names that begin with frame_ are ours.
#
# For scripts, which define main():
#   has NAME             there is a datum NAME
#   get NAME             sets $value to the first datum NAME (trailing newlines kept); 1 if there is none
#   get_file NAME PATH   writes the first datum NAME into the file PATH (any byte); 1 if there is none or the write fails
#   each NAME FUNC       calls FUNC once per datum NAME with its encoded text as $1; what FUNC returns is ignored
#   decode TEXT          sets $value to what an encoded text stands for
#   decode_file TEXT PATH
#   record NAME VALUE    answers one record; NAME is [A-Za-z0-9_.-]+
#   record_files NAME AS SUMS   answers the bytes of files, one after the other, in one record NAME. SUMS is what cksum says of
#                        them and goes before as NAME.sums; one over 1 MiB is left out and named in NAME.toobig. AS is a
#                        command that runs `cat FILE…` (`command`, or as another user)
#   finish               ends the answer; without it the answer does not count
# record, record_files and finish count: call them in the main shell, not in a pipeline, ( ) or $( ).

frame_newline='
'
frame_tab='	'
frame_count=0
frame_max=1048576

# What the frame's last line calls, with the data on stdin. Nothing of the script runs before the data are complete.
frame_main() {
  LC_ALL=C
  PATH="${PATH:-/usr/bin:/bin}:/usr/sbin:/sbin:/usr/local/sbin"
  export LC_ALL PATH
  umask 077
  unset CDPATH ENV
  cd / || exit 98
  set -u
  read_data || exit 98
  main
}

# Takes the data from stdin once and checks that they are whole: shells run a cut-off here-document, so its last line
# must be `end.`, which no datum can be cut down to. From here on stdin is /dev/null for everything that follows.
read_data() {
  [ "${frame_read:-no}" = no ] || return 0
  frame_data=
  # The frame sets frame_size. Shells read byte by byte: of little that is faster than a process.
  if [ "${frame_size:-9999}" -le 2000 ]; then
    while IFS= read -r frame_line; do
      frame_data=$frame_data$frame_line$frame_newline
    done
    frame_data=${frame_data%"$frame_newline"}
  else
    frame_data=$(cat) || return 1
  fi
  exec </dev/null
  case $frame_data in
    end.) frame_data= ;;
    *"${frame_newline}end.") frame_data=${frame_data%end.} ;;
    *) return 1 ;;
  esac
  frame_read=yes
  frame_part
}

# Long texts go to $frame_long, a numbered line each, and leave a tab and their number behind, which no encoded text begins
# with: every look-up splits all of $frame_data.
frame_part() {
  frame_short='' frame_long='' frame_longs=0
  frame_words "$frame_newline"
  for frame_line in $frame_data; do
    if [ "${#frame_line}" -gt 1000 ]; then
      frame_longs=$((frame_longs + 1))
      frame_long="$frame_long$frame_longs ${frame_line#* }$frame_newline"
      frame_line="${frame_line%% *} $frame_tab$frame_longs"
    fi
    frame_short=$frame_short$frame_line$frame_newline
  done
  frame_words_end
  frame_data=$frame_short
}

# Sets $frame_text to the whole of the encoded text $1.
frame_whole() {
  frame_text=$1
  case $1 in "$frame_tab"*) ;; *) return 0 ;; esac
  frame_words "$frame_newline"
  for frame_line in $frame_long; do
    case $frame_line in "${1#?} "*) frame_text=${frame_line#* } ;; esac
  done
  frame_words_end
}

# Splitting at a given separator only, without globbing; frame_words_end puts both back.
frame_words() {
  frame_ifs=$IFS
  case $- in *f*) frame_glob=no ;; *) frame_glob=yes ;; esac
  IFS=$1
  set -f
}
frame_words_end() {
  IFS=$frame_ifs
  [ "$frame_glob" = no ] || set +f
}

# Sets $frame_text to the encoded text of the first datum $1.
frame_find() {
  frame_found=1
  frame_words "$frame_newline"
  for frame_line in $frame_data; do
    case $frame_line in
      "$1 "*)
        frame_text=${frame_line#* }
        frame_found=0
        break
        ;;
    esac
  done
  frame_words_end
  return "$frame_found"
}

# An encoded text is a list of pieces of some KiB, tabs between them, so that it also fits the argument list of a
# printf that is not built in; each piece is for printf %b.
decode() {
  value=
  frame_whole "$1"
  frame_words "$frame_tab"
  # shellcheck disable=SC2086 # split on purpose
  set -- $frame_text
  frame_words_end
  for frame_piece do
    # Newlines, which are in most of what needs an escape, without a process; not in long texts, where that takes longer.
    while [ "${#frame_piece}" -le 500 ]; do
      case $frame_piece in *\\*) ;; *) break ;; esac
      frame_before=${frame_piece%%\\*}
      case ${frame_piece#"$frame_before"} in '\0012'*) ;; *) break ;; esac
      value=$value$frame_before$frame_newline
      frame_piece=${frame_piece#"$frame_before\\0012"}
    done
    case $frame_piece in
      *\\*)
        frame_piece=$(printf '%b.' "$frame_piece") # the dot keeps trailing newlines
        value=$value${frame_piece%.}
        ;;
      *) value=$value$frame_piece ;;
    esac
  done
}

decode_file() {
  frame_path=$2
  frame_whole "$1"
  frame_words "$frame_tab"
  # shellcheck disable=SC2086 # split on purpose
  set -- $frame_text
  frame_words_end
  {
    for frame_piece do
      printf '%b' "$frame_piece" || return 1
    done
  } >"$frame_path"
}

has() { frame_find "$1"; }

get() {
  frame_find "$1" || return 1
  decode "$frame_text"
}

get_file() {
  frame_find "$1" || return 1
  decode_file "$frame_text" "$2"
}

each() {
  frame_want=$1
  set -- "$2" # the function, then the texts, in this call's own positional parameters: FUNC may call each again
  frame_words "$frame_newline"
  for frame_line in $frame_data; do
    case $frame_line in
      "$frame_want "*) set -- "$@" "${frame_line#* }" ;;
    esac
  done
  frame_words_end
  while [ $# -gt 1 ]; do
    "$1" "$2" || :
    frame_func=$1
    shift 2
    set -- "$frame_func" "$@"
  done
}

# shellcheck disable=SC2154 # the frame sets frame_nonce
record() {
  frame_count=$((frame_count + 1))
  printf '%s %s %s -\n%s\n' "$frame_nonce" "$1" "${#2}" "$2"
}

record_files() {
  frame_name=$1 frame_as=$2 frame_sums=$3$frame_newline frame_kept='' frame_size=0
  set --
  while [ -n "$frame_sums" ]; do
    frame_line=${frame_sums%%"$frame_newline"*}
    frame_sums=${frame_sums#*"$frame_newline"}
    [ -n "$frame_line" ] || continue
    frame_text=${frame_line#* }
    frame_path=${frame_text#* }
    frame_text=${frame_text%% *}
    if [ "$frame_text" -gt "$frame_max" ]; then
      record "$frame_name.toobig" "$frame_path"
    else
      set -- "$@" "$frame_path"
      frame_kept=$frame_kept$frame_line$frame_newline
      frame_size=$((frame_size + frame_text))
    fi
  done
  [ $# -gt 0 ] || return 0
  record "$frame_name.sums" "$frame_kept"
  frame_count=$((frame_count + 1))
  printf '%s %s %s -\n' "$frame_nonce" "$frame_name" "$frame_size"
  "$frame_as" cat "$@"
  printf '\n'
}

finish() {
  printf '%s end %s -\n' "$frame_nonce" "$frame_count"
}
