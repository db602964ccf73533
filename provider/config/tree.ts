/** Trees made from trees: the one after a plan, and one whose Includes lead to copies. */
import { lexLine, splitLines } from "./lex";
import { matchesGlob } from "./patterns";
import { absolutePattern } from "./read";
import type { ByteString, Tree } from "./types";

/**
 * The tree after `writes` (path → new bytes, `null` removes): a new file appears in the list of every Include pattern
 * that matches it, at its place in the C locale; a removed one vanishes from them.
 */
export function candidateTree(tree: Tree, writes: ReadonlyMap<string, ByteString | null>): Tree {
  const files = new Map(tree.files);
  const added: string[] = [];
  for (const [path, bytes] of writes) {
    if (bytes === null) files.delete(path);
    else {
      if (!files.has(path)) added.push(path);
      files.set(path, bytes);
    }
  }
  const globs = new Map<string, readonly string[]>();
  for (const [pattern, paths] of tree.globs) {
    const fresh = added.filter((path) => !paths.includes(path) && matchesGlob(path, pattern));
    const kept = paths.filter((path) => writes.get(path) !== null);
    globs.set(pattern, fresh.length === 0 ? kept : [...kept, ...fresh].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0)));
  }
  return { ...tree, files, globs };
}

/** A copy of a tree under another folder. */
export interface RewrittenCopy {
  /** Copy's path → bytes. */
  readonly files: ReadonlyMap<string, ByteString>;
  /** The copy of the main file. */
  readonly main: string;
}

/**
 * The tree as copies under `prefix` (an absolute folder path of safe characters, chosen by the caller) with every
 * Include, relative ones and those in Match and Host blocks too, rewritten to the explicit list of copies that it led
 * to. A pattern that matched nothing becomes a path that does not exist. Everything else stays byte for byte, so that
 * OpenSSH reads the copy as it reads the original, whoever runs it.
 */
export function rewriteForCopy(tree: Tree, prefix: string): RewrittenCopy {
  const copies = new Map([...tree.files.keys()].map((path, i) => [path, `${prefix}/copy-${i}.conf`]));
  const missing = `${prefix}/nothing-matched.conf`;
  const rewriteLine = (line: ByteString): ByteString => {
    const lexed = lexLine(line, tree.side);
    if (lexed.kind !== "directive" || lexed.keyword.toLowerCase() !== "include") return line;
    const first = lexed.spans[0];
    const last = lexed.spans.at(-1);
    if (first === undefined || last === undefined) return line;
    const paths = lexed.args.flatMap((arg) => {
      const pattern = absolutePattern(arg, tree);
      const matched = (pattern === undefined ? undefined : tree.globs.get(pattern)) ?? [];
      return matched.length === 0 ? [missing] : matched.map((path) => copies.get(path) ?? missing);
    });
    return line.slice(0, first[0]) + paths.join(" ") + line.slice(last[1]);
  };
  const files = new Map<string, ByteString>();
  for (const [path, bytes] of tree.files) {
    files.set(copies.get(path) ?? missing, splitLines(bytes).map(rewriteLine).join(""));
  }
  return { files, main: copies.get(tree.main) ?? `${prefix}/main-does-not-exist.conf` };
}
