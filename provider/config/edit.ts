/**
 * Plans the smallest edit that makes wanted values effective, and its undoing. Pure: trees in, bytes out. Every plan is
 * tried on the candidate tree and checked by the model before it is returned; what cannot be shown to be right is a
 * refusal.
 */
import { printable } from "../errors";
import { canonical, type Option, optionByKeyword, optionsOf, type Values } from "../settings";
import { optionsIn, significant, statementText, winners } from "./effective";
import { lexLine, lineEnd, splitLines } from "./lex";
import { matchesGlob, PROBE_HOST, probeHosts, sampleHost } from "./patterns";
import { type Block, type IncludeLine, type PlacedStatement, type Reading, readTree } from "./read";
import { candidateTree } from "./tree";
import type { ByteString, Chain, Edit, EditPlan, Placement, Tree } from "./types";

/** The name of our drop-in: sorts before what distributions and cloud images put there. */
export const DROP_IN_NAME = "00-pulumi-ssh-keepalive.conf";

/** The first line of files we create. */
export const HEADER_COMMENT = '# Managed by pulumi-ssh-keepalive: changes here are undone by the next "pulumi up".\n';

/** What {@link planEdit} needs to know. */
export interface EditInput {
  readonly chain: Chain;
  /** Canonical values by OpenSSH's spelling; options left out are not managed. */
  readonly wanted: Values;
  /**
   * Values as OpenSSH itself gave them (`sshd -T`; for a client `ssh -G` of the first of {@link probeHosts}). Default:
   * the model's. Where a line sets an option and the two differ, the plan is a refusal.
   */
  readonly effectiveNow?: Values;
  /** Server only; a client's edits always follow its own rules. */
  readonly placement: Placement;
  /** A client's Host patterns. Default `["*"]`. */
  readonly hosts?: readonly string[];
  /** The edits we made before; those of options no longer in `wanted` are undone. */
  readonly previous: readonly Edit[];
  /** Default {@link DROP_IN_NAME}. */
  readonly dropInName?: string;
  /** Whether a client's main file is a user's own; one we create there carries no header comment. Default false. */
  readonly isUsersFile?: boolean;
  /** Whether a file may be created: a server's drop-in (its folder must exist), a client's missing main file. */
  readonly newFileAllowed: boolean;
}

/** What {@link planUndo} needs to know. */
export interface UndoInput {
  readonly chain: Chain;
  readonly edits: readonly Edit[];
}

type Spliced = Extract<Edit, { kind: "spliced" }>;
type Created = Extract<Edit, { kind: "created" }>;

/**
 * A splice whose `option` is empty frames others: a Host line, a blank line, or the newline that a file's last line
 * lacked. It is undone after the last option in its file.
 */
const FRAME = "";

/** Whether a splice only put blank lines in. */
function isBlank(edit: Spliced): boolean {
  return edit.removed.length === 0 && edit.inserted.every((line) => line.trim() === "");
}

/** A tree on its way to the plan's, with the edits of ours that stand in it. */
interface Draft {
  readonly tree: Tree;
  readonly edits: readonly Edit[];
  /** Earlier edits whose lines are gone: an edit of the same option inherits what they had replaced. */
  readonly lost: readonly Spliced[];
  readonly left: readonly string[];
}

const linesOf = (tree: Tree, file: string): readonly ByteString[] => splitLines(tree.files.get(file) ?? "");

const where = (file: string, index: number): string => `${printable(file)}:${index + 1}`;

function write(tree: Tree, file: string, bytes: ByteString | null): Tree {
  return candidateTree(tree, new Map([[file, bytes]]));
}

function startsAt(lines: readonly ByteString[], at: number, wanted: readonly ByteString[]): boolean {
  return at >= 0 && at + wanted.length <= lines.length && wanted.every((line, i) => lines[at + i] === line);
}

// ---------------------------------------------------------------------------------------------------------------------
// Edits and where they stand now

/**
 * Finds earlier edits in the files as they are now: at their place, shifted like a neighbour, or as the one exact
 * occurrence that could be ours.
 */
function settle(tree: Tree, previous: readonly Edit[]): Draft {
  const reading = readTree(tree);
  const found = new Map<Edit, Edit>();
  const deltas = new Map<string, Set<number>>();
  const taken = new Set<string>();
  const claim = (edit: Spliced, at: number): void => {
    found.set(edit, { ...edit, at });
    deltas.set(edit.file, (deltas.get(edit.file) ?? new Set()).add(at - edit.at));
    edit.inserted.forEach((_, i) => {
      taken.add(`${edit.file} ${at + i}`);
    });
  };
  const free = (edit: Spliced, at: number): boolean => {
    if (!startsAt(linesOf(tree, edit.file), at, edit.inserted)) return false;
    if (edit.inserted.some((_, i) => taken.has(`${edit.file} ${at + i}`))) return false;
    // The same text in someone's Match block is not ours: a server's edits are never there.
    return !(
      tree.side === "server" &&
      reading.statements.some((s) => s.file === edit.file && s.index === at && s.scope.kind === "some")
    );
  };
  const splices = previous.filter((e): e is Spliced => e.kind === "spliced" && e.inserted.length > 0);
  const exact = (e: Spliced) => (free(e, e.at) ? e.at : undefined);
  const shifted = (e: Spliced) => [...(deltas.get(e.file) ?? [])].map((d) => e.at + d).find((at) => free(e, at));
  const unique = (e: Spliced) => {
    const all = linesOf(tree, e.file).flatMap((_, at) => (free(e, at) ? [at] : []));
    return all.length === 1 ? all[0] : undefined;
  };
  // Blank lines come last and go by their neighbours: they look all alike.
  for (const [blank, find] of [
    [false, exact],
    [false, shifted],
    [false, unique],
    [false, shifted],
    [false, unique],
    [true, shifted],
    [true, exact],
  ] as const) {
    for (const edit of splices) {
      if (found.has(edit) || isBlank(edit) !== blank) continue;
      const at = find(edit);
      if (at !== undefined) claim(edit, at);
    }
  }
  const created = previous.filter((e) => e.kind === "created" && tree.files.has(e.file));
  return {
    tree,
    edits: previous.flatMap((e) => (created.includes(e) ? [e] : (found.get(e) ?? []))),
    lost: splices.filter((e) => !found.has(e) && e.option !== FRAME),
    left: [],
  };
}

/** The edit of ours that the line belongs to. */
function ownEdit(draft: Draft, file: string, index: number): Edit | undefined {
  const line = linesOf(draft.tree, file)[index];
  return draft.edits.find((e) => {
    if (e.file !== file) return false;
    if (e.kind === "created") return line !== undefined && e.lines.includes(line);
    return index >= e.at && index < e.at + e.inserted.length;
  });
}

/** Moves records of the file for a replacement of `count` lines at `at` by `size` lines. */
function shift(edits: readonly Edit[], file: string, at: number, count: number, size: number): readonly Edit[] {
  return edits.map((e) =>
    e.kind === "spliced" && e.file === file && e.at >= at + count ? { ...e, at: e.at + size - count } : e,
  );
}

function optionOfLine(tree: Tree, line: ByteString): Option | undefined {
  const lexed = lexLine(line, tree.side);
  return lexed.kind === "directive" ? optionByKeyword(tree.side, lexed.keyword) : undefined;
}

/** The options an edit of ours is about; none for a frame. */
function optionsOfEdit(tree: Tree, edit: Edit): readonly string[] {
  if (edit.kind === "spliced") return edit.option === FRAME ? [] : [edit.option];
  return edit.lines.flatMap((line) => optionOfLine(tree, line)?.name ?? []);
}

function optionsOfEdits(draft: Draft): ReadonlySet<string> {
  return new Set(draft.edits.flatMap((e) => optionsOfEdit(draft.tree, e)));
}

/** Replaces `count` (0 or 1) lines at `at` and keeps the records: the one way in which a planned edit changes a file. */
function splice(
  draft: Draft,
  file: string,
  at: number,
  count: 0 | 1,
  inserted: readonly ByteString[],
  option: string,
): Draft {
  const lines = linesOf(draft.tree, file);
  const removed = lines.slice(at, at + count);
  const tree = write(draft.tree, file, [...lines.slice(0, at), ...inserted, ...lines.slice(at + count)].join(""));
  const created = draft.edits.find((e): e is Created => e.kind === "created" && e.file === file);
  if (created !== undefined) {
    const untouched = created.lines.join("") === draft.tree.files.get(file);
    const place = created.lines.findIndex((l) => option !== FRAME && optionOfLine(tree, l)?.name === option);
    const others = created.lines.filter((_, i) => i !== place);
    const into = place < 0 ? others.length : place;
    const next = untouched ? linesOf(tree, file) : [...others.slice(0, into), ...inserted, ...others.slice(into)];
    const record: Edit = { ...created, lines: next };
    return { ...draft, tree, edits: draft.edits.map((e) => (e === created ? record : e)) };
  }
  const own = count === 0 ? undefined : draft.edits.find((e) => e === ownEdit(draft, file, at));
  if (own?.kind === "spliced") {
    const from = at - own.at;
    const composed: Edit = {
      ...own,
      option: own.option === FRAME ? option : own.option,
      inserted: [...own.inserted.slice(0, from), ...inserted, ...own.inserted.slice(from + count)],
    };
    const edits = shift(draft.edits, file, at, count, inserted.length).map((e) =>
      e.kind === "spliced" && e.file === file && e.at === own.at ? composed : e,
    );
    return { ...draft, tree, edits };
  }
  // What stood there before us, not what someone made of our line since.
  const heir = option === FRAME ? undefined : draft.lost.find((e) => e.file === file && e.option === option);
  const record: Edit = { kind: "spliced", file, option, at, removed: heir?.removed ?? removed, inserted };
  return {
    ...draft,
    tree,
    edits: [...shift(draft.edits, file, at, count, inserted.length), record],
    lost: draft.lost.filter((e) => e !== heir),
  };
}

// ---------------------------------------------------------------------------------------------------------------------
// Undoing

/** Puts back what a located splice had replaced. */
function putBack(draft: Draft, edit: Spliced): Draft {
  const { file, at } = edit;
  const lines = linesOf(draft.tree, file);
  const end = at + edit.inserted.length;
  let removed = edit.removed;
  let edits: readonly Edit[] = draft.edits.filter((e) => e !== edit);
  const last = removed.at(-1);
  const ragged = last !== undefined && lineEnd(last) === "";
  if (ragged && end < lines.length) {
    // It was the file's last line, without newline; now others follow.
    const eol = lineEnd(lines[at] ?? "") || "\n";
    removed = [...removed.slice(0, -1), last + eol];
    const frame: Edit = {
      ...{ kind: "spliced", file, option: FRAME, at: at + removed.length - 1 },
      ...{ removed: [last], inserted: [last + eol] },
    };
    edits = [...shift(edits, file, at, edit.inserted.length, removed.length), frame];
  } else {
    edits = shift(edits, file, at, edit.inserted.length, removed.length);
  }
  const tree = write(draft.tree, file, [...lines.slice(0, at), ...removed, ...lines.slice(end)].join(""));
  return { ...draft, tree, edits };
}

/** Takes our lines out of a file we created; without others' lines in it the file goes. */
function takeOut(draft: Draft, edit: Created, which: (line: ByteString) => boolean): Draft {
  const { file } = edit;
  const keep = edit.lines.filter((l) => !which(l));
  let rest = [...linesOf(draft.tree, file)];
  const left = [...draft.left];
  for (const line of edit.lines.filter(which)) {
    const at = rest.indexOf(line);
    if (at >= 0) rest = rest.toSpliced(at, 1);
    else if (optionOfLine(draft.tree, line) !== undefined) {
      left.push(`${printable(file)}: our line was changed or removed since: ${printable(line.trim(), 200)}`);
    }
  }
  const edits = draft.edits.flatMap((e) => (e !== edit ? [e] : keep.length > 0 ? [{ ...edit, lines: keep }] : []));
  return { ...draft, tree: write(draft.tree, file, rest.length === 0 ? null : rest.join("")), edits, left };
}

/** All that no edit and no undo may change: statements we do not manage, in order, with their conditions. */
function unmanaged(tree: Tree): string {
  return significant(readTree(tree));
}

/** Undoes the option edits that `which` names, then the frames that no option needs any more. */
function undo(draft: Draft, which: (edit: Edit, option: string) => boolean): Draft {
  let now = draft;
  // From the bottom up, so that each edit's place stays right for the next.
  for (;;) {
    const next = now.edits.findLast(
      (e): e is Spliced => e.kind === "spliced" && e.option !== FRAME && which(e, e.option),
    );
    if (next === undefined) break;
    now = putBack(now, next);
  }
  for (const created of now.edits.filter((e): e is Created => e.kind === "created")) {
    const mine = (line: ByteString): boolean => {
      const option = optionOfLine(now.tree, line);
      return option !== undefined && which(created, option.name);
    };
    if (!created.lines.some(mine)) continue;
    const bare = takeOut(now, created, mine);
    const options = created.lines.some((l) => !mine(l) && optionOfLine(now.tree, l) !== undefined);
    if (options) {
      now = bare;
      continue;
    }
    const whole = takeOut(now, created, () => true);
    if (unmanaged(whole.tree) === unmanaged(now.tree)) now = whole;
    else {
      const message = `${printable(created.file)}: the block we began holds others' lines now`;
      now = { ...bare, edits: bare.edits.filter((e) => e.file !== created.file), left: [...bare.left, message] };
    }
  }
  for (const lost of now.lost.filter((e) => which(e, e.option))) {
    const message = `${where(lost.file, lost.at)}: our ${lost.option} line was changed or removed since`;
    now = { ...now, lost: now.lost.filter((e) => e !== lost), left: [...now.left, message] };
  }
  return undoFrames(now);
}

function undoFrames(draft: Draft): Draft {
  let now = draft;
  const needed = new Set(now.edits.flatMap((e) => (e.kind === "spliced" && e.option !== FRAME ? [e.file] : [])));
  for (;;) {
    const frames = now.edits.filter((e): e is Spliced => e.kind === "spliced" && e.option === FRAME);
    const frame = frames.filter((e) => !needed.has(e.file)).sort((a, b) => b.at - a.at)[0];
    if (frame === undefined) return now;
    const lines = linesOf(now.tree, frame.file);
    const addedNewline = frame.removed.length > 0;
    if (addedNewline && frame.at + frame.inserted.length < lines.length) {
      now = { ...now, edits: now.edits.filter((e) => e !== frame) }; // lines follow now: the newline has to stay
      continue;
    }
    const without = putBack(now, frame);
    if (unmanaged(without.tree) === unmanaged(now.tree)) {
      now = without;
      continue;
    }
    const message = `${where(frame.file, frame.at)}: the block we began holds others' lines now`;
    const kept = (e: Edit) => e === frame || (e.kind === "spliced" && e.file === frame.file && isBlank(e)); // and its spacing
    now = { ...now, edits: now.edits.filter((e) => !kept(e)), left: [...now.left, message] };
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// Making values effective

/** An attempt: a way to make one option effective, tried in order until one passes the check. */
type Attempt = (draft: Draft) => Draft | undefined;

/** What an edit of one option is checked against. */
interface Aim {
  readonly input: EditInput;
  readonly option: Option;
  readonly value: string;
  readonly hosts: readonly string[];
  readonly samples: readonly string[];
}

/** Line number at which the comment block that leads to line `index` begins, or `index`. */
function aboveComments(lines: readonly ByteString[], index: number): number {
  let at = index;
  while (at > 0 && /^[ \t]*#/.test(lines[at - 1] ?? "")) at--;
  return at;
}

/** Inserts lines given without line ends, with those of the neighbouring lines, after adding a missing final newline. */
function insertLines(draft: Draft, file: string, at: number, texts: readonly string[], option: string): Draft {
  const lines = linesOf(draft.tree, file);
  const last = lines.at(-1);
  const eol = lineEnd(lines[at - 1] ?? "") || lineEnd(lines[at - 2] ?? lines[at] ?? "") || "\n";
  let now = draft;
  if (at === lines.length && last !== undefined && lineEnd(last) === "") {
    now = splice(now, file, at - 1, 1, [last + eol], FRAME);
  }
  return splice(
    now,
    file,
    at,
    0,
    texts.map((text) => text + eol),
    option,
  );
}

/** The winning line with its value replaced, nothing else. */
function inPlace(winner: PlacedStatement, aim: Aim): Attempt {
  return (draft) => {
    const line = linesOf(draft.tree, winner.file)[winner.index] ?? "";
    const changed = line.slice(0, winner.span[0]) + aim.value + line.slice(winner.span[1]);
    return splice(draft, winner.file, winner.index, 1, [changed], aim.option.name);
  };
}

/** Index of the first line of `file` that ends its global part, or the number of lines. */
function globalEnd(lines: readonly ByteString[], side: Tree["side"]): number {
  const at = lines.findIndex((line) => {
    const lexed = lexLine(line, side);
    if (lexed.kind === "nothing") return false;
    return ["match", ...(side === "client" ? ["host"] : [])].includes(lexed.keyword.toLowerCase());
  });
  return at < 0 ? lines.length : at;
}

/** A new line in a file's global part: after a commented-out default, else before the first block, else at the end. */
function newGlobalLine(file: string, aim: Aim): Attempt {
  return (draft) => {
    const { side, files } = draft.tree;
    if (!files.has(file)) return undefined;
    const lines = linesOf(draft.tree, file);
    const end = globalEnd(lines, side);
    const names = [aim.option.name, ...aim.option.aliases].join("|");
    const commented = new RegExp(`^[ \\t]*#+[ \\t]*(?:${names})[ \\t=]`, "i");
    const after = lines.slice(0, end).findLastIndex((line) => commented.test(line));
    const at = after >= 0 ? after + 1 : end < lines.length ? aboveComments(lines, end) : end;
    return insertLines(draft, file, at, [`${aim.option.name} ${aim.value}`], aim.option.name);
  };
}

/** A new global line right before the Include of the main file that leads to the winner. */
function beforeInclude(winner: PlacedStatement, aim: Aim): Attempt {
  return (draft) => {
    const via = winner.trail[0];
    if (via === undefined) return undefined;
    const lines = linesOf(draft.tree, via.file);
    if (via.index >= globalEnd(lines, draft.tree.side)) return undefined;
    const text = `${aim.option.name} ${aim.value}`;
    return insertLines(draft, via.file, aboveComments(lines, via.index), [text], aim.option.name);
  };
}

/** Where our drop-in may go: the first folder pattern in the main file's global part that takes its name. */
function dropInPlace(reading: Reading, input: EditInput): { path: string; include: IncludeLine } | string {
  const { main } = reading.tree;
  const name = input.dropInName ?? DROP_IN_NAME;
  for (const include of reading.includes) {
    if (include.file !== main || include.blocks.length > 0) continue;
    for (const pattern of include.patterns) {
      const folder = pattern.slice(0, pattern.lastIndexOf("/"));
      const path = `${folder}/${name}`;
      if (/[*?[\]\\]/.test(folder) || !/[*?[]/.test(pattern) || !matchesGlob(path, pattern)) continue;
      const before = reading.statements
        .slice(0, include.order)
        .find((s) => s.option !== undefined && input.wanted[s.option.name] !== undefined);
      if (before === undefined) return { path, include };
      return `${where(before.file, before.index)} sets ${before.keyword} before the Include of ${printable(folder)}`;
    }
  }
  return `${printable(main)} includes no folder for files like ${printable(name)} outside its Match blocks`;
}

/** A line in our drop-in, which is created, or gets the line appended to its global part. */
function inDropIn(path: string, aim: Aim): Attempt {
  return (draft) => {
    if (draft.tree.files.has(path)) return newGlobalLine(path, aim)(draft);
    if (!aim.input.newFileAllowed) return undefined;
    const lines = [HEADER_COMMENT, `${aim.option.name} ${aim.value}\n`];
    const record: Edit = { kind: "created", file: path, lines };
    return { ...draft, tree: write(draft.tree, path, lines.join("")), edits: [...draft.edits, record] };
  };
}

function serverAttempts(draft: Draft, aim: Aim): readonly Attempt[] | string {
  const reading = readTree(draft.tree);
  const { main } = reading.tree;
  const { placement } = aim.input;
  const winner = winners(reading).byOption.get(aim.option.name);
  if (winner?.scope.kind === "everyone" && winner.scope.via === "Match all" && aim.option.inMatch) {
    return [inPlace(winner, aim)]; // nothing global beats it
  }
  if (winner !== undefined && ownEdit(draft, winner.file, winner.index) !== undefined) {
    if (placement === "auto" || (placement === "main") === (winner.file === main)) return [inPlace(winner, aim)];
  }
  if (placement === "main") {
    if (winner === undefined) return [newGlobalLine(main, aim)];
    return winner.file === main ? [inPlace(winner, aim)] : [beforeInclude(winner, aim), newGlobalLine(main, aim)];
  }
  const place = dropInPlace(reading, aim.input);
  const attempts: Attempt[] = [];
  if (
    placement === "dropIn" &&
    typeof place !== "string" &&
    !aim.input.newFileAllowed &&
    !draft.tree.files.has(place.path)
  ) {
    return `${printable(place.path)} does not exist and may not be created`;
  }
  if (typeof place !== "string") {
    const inIt = winner?.file === place.path;
    attempts.push(inIt ? inPlace(winner, aim) : inDropIn(place.path, aim));
    if (winner !== undefined && !inIt && winner.file !== main) attempts.push(inPlace(winner, aim));
  } else if (placement === "dropIn") {
    return place;
  }
  if (placement === "auto") attempts.push(winner === undefined ? newGlobalLine(main, aim) : inPlace(winner, aim));
  if (placement === "auto" && winner !== undefined) attempts.push(beforeInclude(winner, aim));
  return attempts;
}

const INDENT = "    ";

/** The last block of the main file with exactly these Host patterns, and a line in it after its last directive. */
function inOwnBlock(aim: Aim): Attempt {
  return (draft) => {
    const reading = readTree(draft.tree);
    const { main } = reading.tree;
    const block = blocksOfMain(reading).findLast((b) => isFor(b, aim.hosts));
    if (block === undefined) return undefined;
    const lines = linesOf(draft.tree, main);
    const inside = [...reading.statements, ...reading.includes].flatMap((s) =>
      s.file === main && s.blocks.at(-1) === block ? [s.index] : [],
    );
    const last = Math.max(block.index, ...inside);
    const indent = last === block.index ? INDENT : (/^[ \t]*/.exec(lines[last] ?? "")?.[0] ?? INDENT);
    return insertLines(draft, main, last + 1, [`${indent}${aim.option.name} ${aim.value}`], aim.option.name);
  };
}

/** Host and Match lines that stand in the main file itself. */
function blocksOfMain(reading: Reading): readonly Block[] {
  return reading.events.flatMap((e) =>
    e.kind === "block" && e.block.file === reading.tree.main && e.block.outer.length === 0 ? [e.block] : [],
  );
}

function isFor(block: Block, hosts: readonly string[]): boolean {
  return block.kind === "Host" && block.words.length === hosts.length && hosts.every((h) => block.words.includes(h));
}

/** A block of our own at the end of the main file, which is created if missing. */
function blockAtEnd(aim: Aim): Attempt {
  return (draft) => {
    const { main } = draft.tree;
    const header = `Host ${aim.hosts.join(" ")}`;
    const text = `${INDENT}${aim.option.name} ${aim.value}`;
    if (!draft.tree.files.has(main)) {
      if (!aim.input.newFileAllowed) return undefined;
      const comment = aim.input.isUsersFile === true ? [] : [HEADER_COMMENT];
      const record: Edit = { kind: "created", file: main, lines: [...comment, `${header}\n`, `${text}\n`] };
      return { ...draft, tree: write(draft.tree, main, record.lines.join("")), edits: [...draft.edits, record] };
    }
    const lines = linesOf(draft.tree, main);
    const spaced = lines.length === 0 || /^\s*$/.test(lines.at(-1) ?? "");
    const below = spaced ? draft : insertLines(draft, main, lines.length, [""], FRAME);
    const framed = insertLines(below, main, linesOf(below.tree, main).length, [header], FRAME);
    return insertLines(framed, main, linesOf(framed.tree, main).length, [text], aim.option.name);
  };
}

/** A block of our own right before the main file's block that decides now; never before a line outside any block. */
function blockBefore(winner: PlacedStatement, aim: Aim): Attempt {
  return (draft) => {
    const reading = readTree(draft.tree);
    const { main } = reading.tree;
    const outermost = winner.blocks[0];
    if (outermost === undefined || outermost.file !== main || outermost.outer.length > 0) return undefined;
    const lines = linesOf(draft.tree, main);
    const at = aboveComments(lines, outermost.index);
    const header = insertLines(draft, main, at, [`Host ${aim.hosts.join(" ")}`], FRAME);
    const option = insertLines(header, main, at + 1, [`${INDENT}${aim.option.name} ${aim.value}`], aim.option.name);
    return insertLines(option, main, at + 2, [""], FRAME);
  };
}

/** By the first line in reading order that keeps a sample host from getting the wanted value. */
function clientAttempts(draft: Draft, aim: Aim): readonly Attempt[] | string {
  const reading = readTree(draft.tree);
  const { main, files } = reading.tree;
  if (!files.has(main) && !aim.input.newFileAllowed) return `${printable(main)} does not exist and may not be created`;
  const everyone = aim.hosts.length === 1 && aim.hosts[0] === "*";
  const deciding = aim.samples.flatMap((host) => {
    const winner = winners(reading, host).byOption.get(aim.option.name);
    return winner === undefined || winner.value === aim.value ? [] : [winner];
  });
  const order = new Map(reading.statements.map((s, i) => [s, i]));
  const winner = deciding.sort((a, b) => (order.get(a) ?? 0) - (order.get(b) ?? 0))[0];
  if (winner === undefined) {
    const ends: Attempt[] = [inOwnBlock(aim), blockAtEnd(aim)];
    return everyone ? [...ends, newGlobalLine(main, aim)] : ends;
  }
  const innermost = winner.blocks.at(-1);
  const ours = innermost !== undefined && winner.blocks.length === 1 && isFor(innermost, aim.hosts);
  const mayChange = ours || (everyone && winner.scope.kind === "everyone");
  const attempts: Attempt[] = mayChange ? [inPlace(winner, aim)] : [inOwnBlock(aim)];
  attempts.push(blockBefore(winner, aim));
  if (everyone) attempts.push(winner.trail.length > 0 ? beforeInclude(winner, aim) : newGlobalLine(main, aim));
  if (!everyone && winner.blocks.length === 0) {
    return `${where(winner.file, winner.index)} sets ${winner.keyword} for every host before any Host block, and the first value wins`;
  }
  return attempts;
}

// ---------------------------------------------------------------------------------------------------------------------
// Checking a draft by the model

/** The most work, in samples × lines, that judging blocks for some may cost; real files stay far below. */
const MAX_JUDGING = 2e7;

/** The samples by which blocks for some are judged: a name for every pattern of the blocks that set one of the options. */
function namedHosts(reading: Reading, aims: readonly Aim[]): readonly string[] {
  const blocks = new Set(
    reading.statements.flatMap((s) =>
      aims.some((a) => a.option === s.option) && s.scope.kind === "some" ? s.blocks : [],
    ),
  );
  const names = new Set<string>();
  for (const { kind, words } of blocks) {
    const lists = words.filter((_, i) => kind === "Host" || /^!?(original)?host$/i.test(words[i - 1] ?? ""));
    for (const pattern of lists.flatMap((w) => (kind === "Host" ? [w] : w.split(",")))) {
      names.add(sampleHost(pattern.replace(/^!/, "")));
    }
  }
  return [...names];
}

/**
 * Why the draft must not be used, or undefined. `before` is the tree as found, `without` the one without our earlier
 * edits: what blocks for some say there must go on counting, also where an edit of ours had happened to agree.
 */
function objection(before: Tree, without: Tree, draft: Draft, aims: readonly Aim[]): string | undefined {
  const old = readTree(before);
  const now = readTree(draft.tree);
  const problem = now.problems.find((p) => p.kind !== "missing");
  if (problem !== undefined) return `it would break ${printable(problem.file)}: ${problem.message}`;
  if (unmanaged(before) !== unmanaged(draft.tree)) return "other settings would come under other conditions";
  const client = before.side === "client";
  const forSome = (reading: Reading): string =>
    reading.statements
      .filter((s) => s.option !== undefined && s.scope.kind === "some")
      .map(statementText)
      .join("\n");
  if (!client && forSome(old) !== forSome(now)) return "a Match block's own values would change";
  for (const { option, value, samples } of aims) {
    for (const host of samples) {
      const winner = winners(now, host).byOption.get(option.name);
      if ((winner?.value ?? option.defaultValue) !== value) {
        const by = winner === undefined ? "no line" : where(winner.file, winner.index);
        return `${option.name} would stay ${winner?.value ?? option.defaultValue} (set by ${by})`;
      }
    }
  }
  if (!client) return undefined;
  const base = readTree(without);
  const overridden = new Set(aims.flatMap((a) => a.samples.map((h) => winners(base, h).byOption.get(a.option.name))));
  const names = namedHosts(base, aims);
  if (names.length * base.events.length > MAX_JUDGING) return "too many blocks for some set it to be judged";
  for (const host of names) {
    for (const { option } of aims) {
      const was = winners(base, host).byOption.get(option.name);
      if (was === undefined || was.scope.kind !== "some" || overridden.has(was)) continue;
      if (was.blocks.every((b) => b.forEveryone || aims.some((aim) => isFor(b, aim.hosts)))) continue;
      const is = winners(now, host).byOption.get(option.name);
      if (is?.value !== was.value) {
        return `${option.name} ${was.value} of "${printable(was.scope.header, 100)}" (${where(was.file, was.index)}) would no longer count`;
      }
    }
  }
  return undefined;
}

// ---------------------------------------------------------------------------------------------------------------------
// Plans

function refuse(reason: string): EditPlan {
  return { writes: new Map(), edits: [], notes: [], left: [], refusal: reason };
}

/** What changed between two trees, as writes. */
function changes(before: Tree, after: Tree): ReadonlyMap<string, ByteString | null> {
  const writes = new Map<string, ByteString | null>();
  for (const [path, bytes] of after.files) if (before.files.get(path) !== bytes) writes.set(path, bytes);
  for (const path of before.files.keys()) if (!after.files.has(path)) writes.set(path, null);
  return writes;
}

/** Why a chain cannot be edited at all, or undefined. A client's missing main file can: it is created. */
function unfit(chain: Chain): string | undefined {
  const problem = readTree(chain.tree).problems.find((p) => p.kind !== "missing" || chain.tree.side === "server");
  if (problem === undefined) return undefined;
  const line = problem.line === undefined ? "" : `:${problem.line}`;
  return `${printable(problem.file)}${line}: ${problem.message}`;
}

function unsafeInput(input: EditInput, hosts: readonly string[]): string | undefined {
  for (const option of optionsIn(input.chain, input.wanted)) {
    const value = input.wanted[option.name] ?? "";
    if (canonical(option, value) !== value) return `${printable(value, 60)} is not a value for ${option.name}`;
  }
  const bad = hosts.find((h) => !/^!?[^\s"'#\\!,\u0000-\u0020\u007f-\uffff]+$/.test(h));
  if (bad !== undefined) return `"${printable(bad, 60)}" is not a Host pattern`;
  if (probeHosts(hosts).length === 0) return "the Host patterns name no host";
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(input.dropInName ?? DROP_IN_NAME)) return "the drop-in's name is not plain";
  return undefined;
}

/**
 * Plans the smallest edit after which every wanted value is effective; options that are effective already are not
 * touched, and edits of ours for options no longer wanted are undone. Comments, order, indentation, line ends and all
 * other bytes stay. The plan has been checked on its candidate tree: the wanted values are effective, every other
 * statement is there in the same order under the same conditions, and no block for some lost its own value; otherwise
 * `refusal` says why and `writes` is empty. Never throws.
 */
export function planEdit(input: EditInput): EditPlan {
  const { chain } = input;
  const { tree } = chain;
  const hosts = tree.side === "client" ? (input.hosts ?? ["*"]) : ["*"];
  const reason = unfit(chain) ?? unsafeInput(input, hosts);
  if (reason !== undefined) return refuse(reason);

  const samples = tree.side === "client" ? probeHosts(hosts) : [PROBE_HOST];
  const disagreement = disagrees(input, samples[0] ?? PROBE_HOST);
  if (disagreement !== undefined) return refuse(disagreement);

  const options = optionsIn(chain, input.wanted);
  const aims = options.map((option): Aim => {
    return { input, option, value: input.wanted[option.name] ?? "", hosts, samples };
  });
  const settled = settle(tree, input.previous);
  const without = undo(settled, () => true).tree;
  let draft = settled;
  draft = undo(draft, (edit, option) => input.wanted[option] === undefined || isForOtherHosts(draft, edit, hosts));

  const edited: Aim[] = [];
  for (const aim of aims) {
    if (isEffective(draft, tree, aim)) continue;
    edited.push(aim);
    draft = undoMisplaced(draft, aim);
    if (isEffective(draft, tree, aim)) continue;
    const attempts = tree.side === "server" ? serverAttempts(draft, aim) : clientAttempts(draft, aim);
    if (typeof attempts === "string") return refuse(attempts);
    let why: string | undefined;
    let done: Draft | undefined;
    // Where no edit serves, what stood there before ours may.
    const asBefore: Attempt = (d) =>
      optionsOfEdits(d).has(aim.option.name) ? undo(d, (_, o) => o === aim.option.name) : undefined;
    for (const attempt of [...attempts, asBefore]) {
      const next = attempt(draft);
      if (next === undefined) continue;
      const against = objection(tree, without, next, edited);
      if (against === undefined) {
        done = next;
        break;
      }
      if (attempt !== asBefore) why = against;
    }
    if (done === undefined)
      return refuse(`${aim.option.name} ${aim.value} cannot be set by an edit: ${why ?? "no place for it was found"}`);
    draft = done;
  }
  const writes = changes(tree, draft.tree);
  if (writes.size > 0) {
    // Values that OpenSSH gave and no line sets are beyond the model; what was touched is not.
    const touched = aims.filter((aim) =>
      aim.samples.some((h) => winners(readTree(draft.tree), h).byOption.has(aim.option.name)),
    );
    const against = objection(tree, without, draft, touched) ?? disturbed(tree, draft, input);
    if (against !== undefined) return refuse(against);
  }
  return {
    writes,
    edits: [...draft.edits, ...draft.lost],
    notes: notesOf(input, draft, aims, writes),
    left: draft.left,
  };
}

/** Whether OpenSSH's own values contradict the model where a line decides, or a block decides that we cannot judge. */
function disagrees(input: EditInput, host: string): string | undefined {
  const { byOption, uncertain } = winners(readTree(input.chain.tree), host);
  for (const option of optionsIn(input.chain, input.wanted)) {
    const said = input.effectiveNow?.[option.name];
    const winner = byOption.get(option.name);
    if (said === undefined || said === (winner?.value ?? option.defaultValue)) continue;
    const hidden = uncertain.find((s) => s.option === option && s.value === said);
    if (hidden !== undefined) {
      return `${option.name} ${said} is set by "${printable(hidden.scope.kind === "some" ? hidden.scope.header : "", 100)}" (${where(hidden.file, hidden.index)}), a condition that is someone's intent`;
    }
    if (winner !== undefined) {
      return `OpenSSH says ${option.name} ${printable(said, 40)}, but ${where(winner.file, winner.index)} reads as ${winner.value}`;
    }
  }
  return undefined;
}

/** Whether the option needs no edit: by OpenSSH's own word while nothing of it changed, else by the model. */
function isEffective(draft: Draft, before: Tree, aim: Aim): boolean {
  return aim.samples.every((host, i) => {
    const winner = winners(readTree(draft.tree), host).byOption.get(aim.option.name);
    const wasSet = winners(readTree(before), host).byOption.has(aim.option.name);
    const said = i === 0 && !wasSet ? aim.input.effectiveNow?.[aim.option.name] : undefined;
    return (winner?.value ?? said ?? aim.option.defaultValue) === aim.value;
  });
}

/** Whether a client's earlier edit stands in a block for other hosts than those wanted now. */
function isForOtherHosts(draft: Draft, edit: Edit, hosts: readonly string[]): boolean {
  if (draft.tree.side === "server") return false;
  const begun = draft.edits.flatMap((e) => {
    const from = e.kind === "created" ? linesOf(draft.tree, e.file).map((l, i) => [l, i] as const) : [];
    if (e.kind === "created") return from.filter(([l]) => e.lines.includes(l)).map(([, i]) => `${e.file} ${i}`);
    return e.option === FRAME ? e.inserted.map((_, i) => `${e.file} ${e.at + i}`) : [];
  });
  return readTree(draft.tree).statements.some((s) => {
    const block = s.blocks.at(-1);
    if (block === undefined || ownEdit(draft, s.file, s.index) !== edit || s.option === undefined) return false;
    return begun.includes(`${block.file} ${block.index}`) && !isFor(block, hosts);
  });
}

/** Takes back an edit of ours that decides from the wrong place for the placement asked for now. */
function undoMisplaced(draft: Draft, aim: Aim): Draft {
  const { placement } = aim.input;
  if (draft.tree.side === "client" || placement === "auto") return draft;
  const winner = winners(readTree(draft.tree)).byOption.get(aim.option.name);
  if (winner === undefined || winner.scope.kind !== "everyone" || winner.scope.via !== "global") return draft;
  const own = ownEdit(draft, winner.file, winner.index);
  if (own === undefined || (placement === "main") === (winner.file === draft.tree.main)) return draft;
  return undo(draft, (edit, option) => edit === own && option === aim.option.name);
}

/** Whether a managed option that is neither wanted nor was ours got another value for everyone. */
function disturbed(before: Tree, draft: Draft, input: EditInput): string | undefined {
  const once = new Set(input.previous.flatMap((e) => optionsOfEdit(before, e)));
  for (const option of optionsOf(before.side)) {
    if (input.wanted[option.name] !== undefined || once.has(option.name)) continue;
    const was = winners(readTree(before)).byOption.get(option.name)?.value;
    const is = winners(readTree(draft.tree)).byOption.get(option.name)?.value;
    if (was !== is) return `${option.name} would change from ${was} to ${is}`;
  }
  return undefined;
}

function notesOf(
  input: EditInput,
  draft: Draft,
  aims: readonly Aim[],
  writes: ReadonlyMap<string, ByteString | null>,
): readonly string[] {
  const before = readTree(input.chain.tree);
  const after = readTree(draft.tree);
  const notes: string[] = [];
  for (const { option, value, samples } of aims) {
    const host = samples.find((h) => {
      const [was, is] = [before, after].map((r) => winners(r, h).byOption.get(option.name));
      return was?.value !== is?.value || (is !== undefined && writes.has(is.file) && was?.file !== is.file);
    });
    if (host === undefined) continue;
    const was = winners(before, host).byOption.get(option.name);
    const is = winners(after, host).byOption.get(option.name);
    if (is === undefined) continue;
    const old = was?.value ?? input.effectiveNow?.[option.name] ?? option.defaultValue;
    const by = was === undefined ? "by default" : was.file === is.file ? "" : `, set by ${where(was.file, was.index)}`;
    const from = by === "by default" ? `was ${old} by default` : `was ${old}${by}`;
    notes.push(`set ${option.name} ${value} in ${where(is.file, is.index)} (${from})`);
  }
  for (const { name } of optionsOf(input.chain.tree.side)) {
    const had = (edits: readonly Edit[]) => edits.some((e) => optionsOfEdit(draft.tree, e).includes(name));
    if (input.wanted[name] === undefined && had(input.previous) && !had(draft.edits)) notes.push(`undo our ${name}`);
  }
  for (const [file, bytes] of writes) if (bytes === null) notes.push(`remove ${printable(file)}`);
  return notes;
}

/**
 * Plans the undoing of our edits: the exact old bytes where the files are as we left them; where other lines changed,
 * only ours are taken back; lines of ours that someone changed since are left and named in `left`. A file we created
 * goes, unless others' lines are in it. Statements we do not manage keep their conditions, or the plan is a refusal.
 */
export function planUndo(input: UndoInput): EditPlan {
  const { tree } = input.chain;
  const gone = input.edits.filter((e) => !tree.files.has(e.file));
  const start = settle(
    tree,
    input.edits.filter((e) => tree.files.has(e.file)),
  );
  const draft = undo(start, () => true);
  if (unmanaged(tree) !== unmanaged(draft.tree)) return refuse("other settings would come under other conditions");
  const writes = changes(tree, draft.tree);
  const notes = [...writes].map(([file, bytes]) => `${bytes === null ? "removed" : "restored"} ${printable(file)}`);
  const missing = [...new Set(gone.map((e) => e.file))].map((file) => `${printable(file)}: no longer there`);
  return { writes, edits: [], notes, left: [...missing, ...draft.left] };
}
