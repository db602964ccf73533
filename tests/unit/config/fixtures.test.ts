/** Edits as people will see them: each folder in fixtures/config holds files before, settings, and files after. */
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import {
  absolutePattern,
  candidateTree,
  includePatterns,
  type Placement,
  planEdit,
  planUndo,
  readChain,
  type Tree,
} from "../../../provider/config";
import { matchesGlob } from "../../../provider/config/patterns";
import type { Side, Values } from "../../../provider/settings";

const ROOT = join(__dirname, "../../fixtures/config");
const ETC = "/etc/ssh";

interface Settings {
  readonly side: Side;
  readonly main: string;
  readonly wanted: Values;
  readonly placement?: Placement;
  readonly hosts?: readonly string[];
  readonly isUsersFile?: boolean;
  readonly notes?: readonly string[];
  readonly refusal?: string;
}

function filesUnder(folder: string): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  const visit = (path: string) => {
    for (const name of existsSync(path) ? readdirSync(path).sort() : []) {
      const at = join(path, name);
      if (statSync(at).isDirectory()) visit(at);
      else found.set(`${ETC}/${relative(folder, at)}`, readFileSync(at, "latin1"));
    }
  };
  visit(folder);
  return found;
}

function treeOf(side: Side, main: string, files: ReadonlyMap<string, string>): Tree {
  const base = { side, includeBase: ETC };
  const patterns = [...files.values()].flatMap((bytes) => includePatterns(bytes, side));
  const globs = new Map(
    patterns.flatMap((written) => {
      const pattern = absolutePattern(written, base);
      return pattern === undefined ? [] : [[pattern, [...files.keys()].filter((f) => matchesGlob(f, pattern)).sort()]];
    }),
  );
  return { ...base, main, files, globs };
}

describe("edits of example configurations", () => {
  test.each(readdirSync(ROOT).sort())("%s", (name) => {
    const folder = join(ROOT, name);
    const settings = JSON.parse(readFileSync(join(folder, "settings.json"), "utf8")) as Settings;
    const before = treeOf(settings.side, `${ETC}/${settings.main}`, filesUnder(join(folder, "before")));
    const input = { placement: "auto" as const, ...settings, previous: [], newFileAllowed: true };
    const plan = planEdit({ ...input, chain: readChain(before) });
    const after = candidateTree(before, plan.writes);
    if (process.env.SSH_KEEPALIVE_WRITE_FIXTURES !== undefined) {
      for (const [path, bytes] of after.files) {
        const to = join(folder, "after", relative(ETC, path));
        mkdirSync(dirname(to), { recursive: true });
        writeFileSync(to, bytes, "latin1");
      }
      const { notes: _, refusal: __, ...rest } = settings;
      const outcome = plan.refusal === undefined ? { notes: plan.notes } : { refusal: plan.refusal };
      writeFileSync(join(folder, "settings.json"), `${JSON.stringify({ ...rest, ...outcome }, null, 2)}\n`);
      return;
    }
    expect(plan.refusal).toBe(settings.refusal);
    expect(plan.notes).toEqual(settings.notes ?? []);
    expect(Object.fromEntries(after.files)).toEqual(Object.fromEntries(filesUnder(join(folder, "after"))));

    const back = planUndo({ chain: readChain(after), edits: plan.edits });
    expect(back.left).toEqual([]);
    expect(Object.fromEntries(candidateTree(after, back.writes).files)).toEqual(Object.fromEntries(before.files));
  });
});
