/**
 * One physical line of an OpenSSH configuration file, read as OpenSSH 9.2 reads it (misc.c strdelim and argv_split,
 * servconf.c and readconf.c process_*_config_line), with the place of every argument, so that an edit can replace a
 * value and nothing else.
 */
import { parse as parseSshConfig } from "ssh-config";
import { canonical, type Option, optionByKeyword, type Side } from "../settings";
import type { ByteString } from "./types";

/** Where an argument stands in its line, quotes and escapes included: [start, end). */
export type Span = readonly [start: number, end: number];

/** What one line says. */
export type LexedLine =
  /** Blank, a comment, or something OpenSSH passes over. */
  | { readonly kind: "nothing" }
  /** A keyword and its arguments. */
  | {
      readonly kind: "directive";
      /** As OpenSSH sees it: quotes gone, case as written. */
      readonly keyword: string;
      /** Quotes and escapes resolved; a trailing comment is not among them. */
      readonly args: readonly string[];
      /** One for each of `args`. */
      readonly spans: readonly Span[];
      /** The rest split the way a Match line is read: blanks and one `=` separate (match_cfg_line). */
      readonly words: readonly string[];
    }
  /** OpenSSH refuses the line whatever the keyword. */
  | { readonly kind: "bad"; readonly keyword: string; readonly message: string };

const BLANKS = " \t\r\n"; // misc.c WHITESPACE

/** The lines of a file, each with its line end; joined they are the file again. */
export function splitLines(bytes: ByteString): readonly ByteString[] {
  return bytes.match(/[^\n]*\n|[^\n]+$/g) ?? [];
}

/** A line's end: CRLF, LF, or nothing (a last line without newline). */
export function lineEnd(line: ByteString): "\r\n" | "\n" | "" {
  if (line.endsWith("\r\n")) return "\r\n";
  return line.endsWith("\n") ? "\n" : "";
}

function skip(text: string, from: number, end: number, what: string): number {
  let i = from;
  while (i < end && what.includes(text.charAt(i))) i++;
  return i;
}

/** The next word and where the one after it begins (undefined: the text is used up). Misc.c strdelim. */
function strdelim(
  text: string,
  from: number,
  end: number,
): { readonly word: string; readonly next: number | undefined } | undefined {
  let i = from;
  while (i < end && !` \t\r\n"=`.includes(text.charAt(i))) i++;
  const head = text.slice(from, i);
  if (i >= end) return { word: head, next: undefined };
  if (text.charAt(i) === '"') {
    const close = text.indexOf('"', i + 1);
    if (close < 0 || close >= end) return undefined;
    return { word: head + text.slice(i + 1, close), next: skip(text, close + 1, end, BLANKS) };
  }
  const equals = text.charAt(i) === "=";
  let next = skip(text, i + 1, end, BLANKS);
  if (!equals && next < end && text.charAt(next) === "=") next = skip(text, next + 1, end, BLANKS);
  return { word: head, next };
}

/** Arguments and their places, or undefined when a quote stays open. Misc.c argv_split with comments ending the line. */
function argvSplit(
  text: string,
  from: number,
  end: number,
): { readonly args: readonly string[]; readonly spans: readonly Span[] } | undefined {
  const args: string[] = [];
  const spans: Span[] = [];
  for (let i = from; i < end; ) {
    if (text.charAt(i) === " " || text.charAt(i) === "\t") {
      i++;
      continue;
    }
    if (text.charAt(i) === "#") break;
    const start = i;
    let quote = "";
    let arg = "";
    for (; i < end; i++) {
      const c = text.charAt(i);
      if (c === "\\") {
        const escaped = i + 1 < end ? text.charAt(i + 1) : "";
        if (escaped !== "" && (`'"\\`.includes(escaped) || (quote === "" && escaped === " "))) i++;
        arg += text.charAt(i);
      } else if (quote === "" && (c === " " || c === "\t")) {
        break;
      } else if (quote === "" && (c === '"' || c === "'")) {
        quote = c;
      } else if (c === quote) {
        quote = "";
      } else {
        arg += c;
      }
    }
    if (quote !== "") return undefined;
    args.push(arg);
    spans.push([start, i]);
  }
  return { args, spans };
}

/** Reads one physical line (its line end included or not). */
export function lexLine(line: ByteString, side: Side): LexedLine {
  let end = line.endsWith("\n") ? line.length - 1 : line.length;
  // sshd strips leading blanks while loading the file; ssh leaves them to strdelim, which amounts to the same.
  const start = side === "server" ? skip(line, 0, end, " \t\r") : 0;
  while (end > start + 1 && ` \t\r\n\f`.includes(line.charAt(end - 1))) end--;
  let first = strdelim(line, start, end);
  if (first !== undefined && first.word === "" && first.next !== undefined) first = strdelim(line, first.next, end);
  if (first === undefined || first.word === "" || first.word.startsWith("#")) return { kind: "nothing" };
  const keyword = first.word;
  const rest = first.next === undefined ? end : skip(line, first.next, end, side === "client" ? BLANKS : "");
  if (rest >= end) return { kind: "bad", keyword, message: "the keyword has no argument" };
  const split = argvSplit(line, rest, end);
  if (split === undefined) return { kind: "bad", keyword, message: "a quote is left open" };
  const words: string[] = [];
  for (let at: number | undefined = rest; at !== undefined; ) {
    const next = strdelim(line, at, end);
    if (next === undefined || next.word === "" || next.word.startsWith("#")) break;
    words.push(next.word);
    at = next.next;
  }
  return { kind: "directive", keyword, ...split, words };
}

/**
 * The canonical value an argument gives an option, or undefined when OpenSSH 9.2 refuses it. Beyond
 * {@link canonical}: flags in any case (strcasecmp in parse_multistate), and a sign and zeros that strtol skips.
 */
export function argumentValue(option: Option, text: string): string | undefined {
  if (option.kind === "flag") return canonical(option, text.toLowerCase());
  const digits = text.replace(/^[ \t\r\n\f\v]*\+?(?=\d)/, "");
  return canonical(option, option.kind === "count" ? digits.replace(/^0+(?=\d)/, "") : digits);
}

const STRUCTURE = ["include", "match", "host"];

/** Whether a keyword decides what we read or edit on this side. */
function matters(side: Side, keyword: string): boolean {
  return STRUCTURE.includes(keyword) || optionByKeyword(side, keyword) !== undefined;
}

/**
 * A second, independent reading of the line's keyword by the npm package ssh-config. Returns a sentence when the two
 * readings differ about a keyword that matters here: such a line is legal but so odd that it is better not edited
 * around. Undefined when they agree or the package cannot read the line.
 */
function secondOpinion(line: ByteString, lexed: LexedLine, side: Side): string | undefined {
  if (!/include|match|host|alive|timeout/i.test(line)) return undefined;
  const ours = lexed.kind === "nothing" ? "" : lexed.keyword.toLowerCase();
  let theirs = "";
  try {
    const node = parseSshConfig(line.replace(/[\r\n]+$/, ""))[0];
    if (node !== undefined && "param" in node) theirs = node.param.replaceAll('"', "").toLowerCase();
  } catch {
    return undefined; // it throws on lines OpenSSH takes, such as `Match invalid-user`
  }
  if (ours === theirs || !(matters(side, ours) || matters(side, theirs))) return undefined;
  return `the keyword can be read as "${ours}" or as "${theirs}"`;
}

/** A line as it is read: what it says, and what makes that doubtful ({@link secondOpinion}). */
export interface ReadLine {
  readonly lexed: LexedLine;
  readonly doubt: string | undefined;
}

/** The hosts of a fleet have most lines in common: so many, up to so many bytes long, are read once. */
const REMEMBERED = { lines: 4096, length: 256 } as const;
const remembered: Readonly<Record<Side, Map<ByteString, ReadLine>>> = { server: new Map(), client: new Map() };

/** Reads one physical line and has a second look at it; by its bytes alone, so what is known of a line is kept. */
export function readLine(line: ByteString, side: Side): ReadLine {
  const lines = remembered[side];
  const known = lines.get(line);
  if (known !== undefined) return known;
  // A copy: a part of a host's answer would keep the whole of it.
  const own = Buffer.from(line, "latin1").toString("latin1");
  const lexed = lexLine(own, side);
  const read = { lexed, doubt: secondOpinion(own, lexed, side) };
  if (lines.size < REMEMBERED.lines && own.length <= REMEMBERED.length) lines.set(own, read);
  return read;
}
