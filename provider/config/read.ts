/**
 * Reads a whole configuration: follows Includes in OpenSSH's order and says for every line under which Match and Host
 * blocks it stands.
 */
import { printable } from "../errors";
import { meantOnThisSide, type Option, optionByKeyword, type Side } from "../settings";
import { argumentValue, lexLine, readLine, type Span, splitLines } from "./lex";
import { matchesList } from "./patterns";
import type { ByteString, Chain, ReadProblem, Scope, Statement, Tree } from "./types";

/** A Match or Host line as met once in reading order (a file that is included twice is met twice). */
export interface Block {
  readonly kind: "Host" | "Match";
  /** As written, without indentation and line end. */
  readonly header: string;
  readonly file: string;
  /** 0-based. */
  readonly index: number;
  /** Host patterns, or Match criteria and their arguments. */
  readonly words: readonly string[];
  /** The blocks that must apply as well: those around the Includes that lead here. */
  readonly outer: readonly Block[];
  /** Whether it applies to everyone by itself: `Match all`, `Host *` and the like. */
  readonly forEveryone: boolean;
}

/** A line of some file, and the Include lines that lead to it from the main file. */
export interface Place {
  readonly file: string;
  /** 0-based. */
  readonly index: number;
}

/** A Statement with what an edit needs to know. */
export interface PlacedStatement extends Statement {
  readonly index: number;
  /** All blocks that must apply for it to count, outermost first. */
  readonly blocks: readonly Block[];
  /** The Include lines that lead here, outermost first. */
  readonly trail: readonly Place[];
  readonly option?: Option;
  /** Canonical value of a managed option; a client's `none` stays `none`: it leaves the option unset. */
  readonly value?: string;
  readonly span: Span;
}

/** An Include line as met in reading order. */
export interface IncludeLine extends Place {
  readonly blocks: readonly Block[];
  readonly trail: readonly Place[];
  /** Absolute patterns in the order written. */
  readonly patterns: readonly string[];
  /** How many statements were read before it. */
  readonly order: number;
}

/** A step in reading order: a block begins, or a line sets something. */
export type Event =
  | { readonly kind: "block"; readonly block: Block }
  | { readonly kind: "statement"; readonly statement: PlacedStatement };

/** Everything a Chain says, with places. */
export interface Reading extends Chain {
  readonly statements: readonly PlacedStatement[];
  readonly events: readonly Event[];
  readonly includes: readonly IncludeLine[];
}

const MAX_DEPTH = 16; // SERVCONF_MAX_DEPTH, READCONF_MAX_DEPTH
const MAX_FILES_READ = 1024; // Includes may fan out; a hostile tree must not keep us busy

/** The file patterns of a file's Include lines as written, whatever block they stand in. `bytes` may be broken. */
export function includePatterns(bytes: ByteString, side: Side): readonly string[] {
  return splitLines(bytes).flatMap((line) => {
    const lexed = lexLine(line, side);
    return lexed.kind === "directive" && lexed.keyword.toLowerCase() === "include" ? lexed.args : [];
  });
}

/**
 * The absolute form of an Include pattern, the key of {@link Tree.globs}: relative names go under `includeBase`, a
 * client's `~/` under `home` (readconf.c, GLOB_TILDE; sshd does not know `~`). Undefined when it cannot be told.
 */
export function absolutePattern(
  pattern: string,
  tree: Pick<Tree, "side" | "includeBase"> & { readonly home?: string },
): string | undefined {
  if (pattern.startsWith("/")) return pattern;
  if (!pattern.startsWith("~")) return pattern === "" ? undefined : `${tree.includeBase}/${pattern}`;
  if (tree.side === "server" || tree.home === undefined) return undefined;
  return pattern === "~" || pattern.startsWith("~/") ? `${tree.home}${pattern.slice(1)}` : undefined;
}

function appliesToEveryone(side: Side, kind: Block["kind"], words: readonly string[]): boolean {
  const any = (list: readonly string[]) => list.some((p) => /^\*+$/.test(p)) && !list.some((p) => p.startsWith("!"));
  if (kind === "Host") return any(words);
  if (words.length === 1) return words[0]?.toLowerCase() === "all";
  if (side === "server" || words.length === 0 || words.length % 2 === 1) return false;
  return words.every((word, i) => (i % 2 === 0 ? /^(original)?host$/i.test(word) : any(word.split(","))));
}

function scopeOf(blocks: readonly Block[]): Scope {
  const some = blocks.findLast((b) => !b.forEveryone);
  if (some !== undefined) return { kind: "some", header: some.header, file: some.file, line: some.index + 1 };
  const last = blocks.at(-1);
  return { kind: "everyone", via: last === undefined ? "global" : last.kind === "Host" ? "Host *" : "Match all" };
}

const readings = new WeakMap<Tree, Reading>();

/** The full reading of a tree; computed once per tree object. Never throws. */
export function readTree(tree: Tree): Reading {
  const known = readings.get(tree);
  if (known !== undefined) return known;
  const reading = read(tree);
  readings.set(tree, reading);
  return reading;
}

/**
 * Flattens the main file and its Includes into Statements in reading order, each with its scope. What cannot be edited
 * safely is in `problems`; this never throws.
 */
export function readChain(tree: Tree): Chain {
  return readTree(tree);
}

function read(tree: Tree): Reading {
  const { side } = tree;
  const events: Event[] = [];
  const statements: PlacedStatement[] = [];
  const includes: IncludeLine[] = [];
  const problems = new Map<string, ReadProblem>();
  const ignoreUnknown: string[] = [];
  let filesRead = 0;

  const problem = (kind: ReadProblem["kind"], file: string, message: string, index?: number) => {
    const line = index === undefined ? {} : { line: index + 1 };
    problems.set(`${kind} ${file} ${index}`, { kind, file, ...line, message: printable(message, 400) });
  };

  const visit = (file: string, outer: readonly Block[], trail: readonly Place[]): void => {
    if (trail.length > MAX_DEPTH || ++filesRead > MAX_FILES_READ) {
      const last = trail.at(-1) ?? { file, index: 0 };
      const why = trail.length > MAX_DEPTH ? "Includes are nested too deeply" : "Includes lead to too many files";
      problem("include-depth", last.file, `${why} (a file may include itself)`, last.index);
      return;
    }
    const bytes = tree.files.get(file);
    if (bytes === undefined) {
      if (trail.length === 0) problem("missing", file, `${file} does not exist`);
      else problem("include-not-read", file, `${file} is included but was not read`);
      return;
    }
    if (bytes.startsWith("\xef\xbb\xbf")) problem("bom", file, "the file begins with a byte order mark", 0);
    const nul = bytes.indexOf("\0");
    if (nul >= 0) problem("nul", file, "the file holds a NUL byte", bytes.slice(0, nul).split("\n").length - 1);

    let block: Block | undefined;
    for (const [index, text] of splitLines(bytes).entries()) {
      const { lexed, doubt } = readLine(text, side);
      if (doubt !== undefined) problem("syntax", file, doubt, index);
      if (lexed.kind === "nothing") continue;
      if (lexed.kind === "bad") {
        problem("syntax", file, `${lexed.message}: ${lexed.keyword}`, index);
        continue;
      }
      const { keyword, args, spans, words } = lexed;
      const lower = keyword.toLowerCase();
      const blocks = block === undefined ? outer : [...outer, block];
      if (lower === "match" || (lower === "host" && side === "client")) {
        const kind = lower === "match" ? "Match" : "Host";
        const of = kind === "Match" ? words : args;
        if (of.length === 0 || of.includes("")) problem("syntax", file, `${kind} without a condition`, index);
        const forEveryone = appliesToEveryone(side, kind, of);
        block = { kind, header: text.trim(), file, index, words: of, outer, forEveryone };
        events.push({ kind: "block", block });
      } else if (lower === "include") {
        const patterns: string[] = [];
        if (args.length === 0) problem("syntax", file, "Include without a file name", index);
        const at: IncludeLine = { file, index, blocks, trail, patterns, order: statements.length };
        includes.push(at);
        for (const arg of args) {
          const pattern = absolutePattern(arg, tree);
          const matched = pattern === undefined ? undefined : tree.globs.get(pattern);
          if (pattern !== undefined) patterns.push(pattern);
          if (matched === undefined) problem("include-not-read", file, `Include ${arg} could not be followed`, index);
          for (const path of matched ?? []) visit(path, blocks, [...trail, { file, index }]);
        }
      } else {
        const option = optionByKeyword(side, keyword);
        const ignored = side === "client" && ignoreUnknown.some((list) => matchesList(lower, list));
        if (lower === "ignoreunknown" && args[0] !== undefined) ignoreUnknown.push(args[0]);
        const meant = ignored ? undefined : meantOnThisSide(side, keyword);
        if (meant !== undefined) {
          const other = side === "server" ? "ssh_config" : "sshd_config";
          problem("wrong-side", file, `${keyword} belongs in ${other}; ${meant.name} was meant here`, index);
        }
        const scope = scopeOf(blocks);
        let value: string | undefined;
        if (option !== undefined) {
          const [arg = ""] = args;
          value = option.kind === "time" && side === "client" && arg === "none" ? "none" : argumentValue(option, arg);
          if (value === undefined || args.length !== 1) {
            problem("syntax", file, `${keyword} has no value that OpenSSH takes: ${args.join(" ")}`, index);
          }
          if (!option.inMatch && scope.kind === "some") {
            problem("syntax", file, `${keyword} is not allowed within a Match block`, index);
          }
        }
        const statement: PlacedStatement = {
          ...{ file, line: index + 1, index, keyword, args, scope, blocks, trail, span: spans[0] ?? [0, 0] },
          ...(option === undefined ? {} : { option }),
          ...(value === undefined ? {} : { value }),
        };
        statements.push(statement);
        events.push({ kind: "statement", statement });
      }
    }
  };
  visit(tree.main, [], []);
  return { tree, statements, problems: [...problems.values()], events, includes };
}
