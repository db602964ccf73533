/** OpenSSH as the judge: trees from real folders, dumps by the installed sshd and ssh, nothing outside the temp folder. */
import { execFile, execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { absolutePattern, type EditPlan, includePatterns, type Tree } from "../../../provider/config";
import { matchesGlob } from "../../../provider/config/patterns";
import { optionByKeyword, type Side } from "../../../provider/settings";
import { projectRoot, setupModule } from "../../support/tempFolder";

/** What a dump said: setting lines that we do not manage, and the managed values. */
export interface Dump {
  readonly ok: boolean;
  readonly error: string;
  readonly others: readonly string[];
  readonly managed: Readonly<Record<string, string>>;
}

let found: { readonly sshd: string; readonly ssh: string } | undefined;

/** The installed programs; a test that needs them fails with this sentence when they are missing. */
export function programs(): { readonly sshd: string; readonly ssh: string } {
  if (found !== undefined) return found;
  const { sshd, ssh, missing } = setupModule().findOpenSsh();
  if (sshd === undefined || ssh === undefined) throw new Error(`OpenSSH is not installed: ${missing.join(", ")}`);
  setupModule().ensurePrivsepFolder();
  found = { sshd, ssh };
  return found;
}

/** A host key for `sshd -T -h`. */
export function makeHostKey(folder: string): string {
  const key = join(folder, "host_key");
  execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", key]);
  return key;
}

function run(file: string, args: readonly string[]): Promise<{ ok: boolean; out: string; err: string }> {
  return new Promise((done) => {
    execFile(file, [...args], { encoding: "latin1", timeout: 20_000, maxBuffer: 1 << 24 }, (e, out, err) => {
      done({ ok: e === null, out, err });
    }).stdin?.end();
  });
}

function dump(side: Side, result: { ok: boolean; out: string; err: string }): Dump {
  const managed: Record<string, string> = {};
  const others: string[] = [];
  for (const line of result.out.split("\n")) {
    const [keyword = "", value = ""] = line.split(" ");
    const option = optionByKeyword(side, keyword);
    if (option === undefined) others.push(line);
    else managed[option.name] = value === "true" ? "yes" : value === "false" ? "no" : value;
  }
  return { ok: result.ok, error: result.err, others, managed };
}

/** `sshd -T` (with `-C connection` if given). */
export async function sshdDump(main: string, key: string, connection?: string): Promise<Dump> {
  const extra = connection === undefined ? [] : ["-C", connection];
  return dump("server", await run(programs().sshd, ["-T", "-f", main, "-h", key, ...extra]));
}

/** `ssh -G` for a host name. Only for files without `Match exec`: it would run the command. */
export async function sshDump(main: string, host: string): Promise<Dump> {
  return dump("client", await run(programs().ssh, ["-G", "-F", main, host]));
}

function glob(pattern: string): readonly string[] {
  let paths = ["/"];
  for (const part of pattern.split("/").slice(1)) {
    paths = paths.flatMap((folder) => {
      const literal = part.replace(/\\(.)/g, "$1");
      const names =
        /[*?[]/.test(part) && existsSync(folder) && statSync(folder).isDirectory() ? readdirSync(folder) : [literal];
      return names.filter((n) => n === literal || matchesGlob(`/${n}`, `/${part}`)).map((n) => join(folder, n));
    });
  }
  return paths.filter((p) => existsSync(p)).sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
}

/** The tree OpenSSH would read for `main`, from the disk. */
export function treeFromDisk(main: string, side: Side): Tree {
  const home = homedir();
  const base = { side, includeBase: side === "server" ? "/etc/ssh" : `${home}/.ssh`, home };
  const files = new Map<string, string>();
  const globs = new Map<string, readonly string[]>();
  const visit = (path: string) => {
    if (files.has(path) || !existsSync(path)) return;
    files.set(path, readFileSync(path, "latin1"));
    for (const written of includePatterns(files.get(path) ?? "", side)) {
      const pattern = absolutePattern(written, base);
      if (pattern === undefined || globs.has(pattern)) continue;
      const paths = glob(pattern);
      globs.set(pattern, paths);
      paths.forEach(visit);
    }
  };
  visit(main);
  return { ...base, main, files, globs };
}

/** Writes a plan or any set of files; refuses paths outside `folder`. */
export function writeFiles(folder: string, writes: EditPlan["writes"]): void {
  for (const [path, bytes] of writes) {
    if (!resolve(path).startsWith(`${resolve(folder)}/`)) throw new Error(`${path} is outside the temporary folder`);
    mkdirSync(dirname(path), { recursive: true });
    if (bytes === null) rmSync(path);
    else writeFileSync(path, bytes, { encoding: "latin1", mode: 0o600 });
  }
}

/** The corpus of real files, or why its tests are skipped. */
export function corpus(): { readonly folder: string } | { readonly reason: string } {
  const folder = process.env.SSH_KEEPALIVE_CORPUS ?? join(projectRoot(), "..", "shared", "corpus");
  return existsSync(join(folder, "INDEX.tsv")) ? { folder } : { reason: "no corpus of real configuration files" };
}

/** The corpus's files of one side and whether OpenSSH 9.2 is known to load them. */
export function corpusFiles(folder: string, side: Side): readonly { readonly name: string; readonly loads: boolean }[] {
  const rows = readFileSync(join(folder, "INDEX.tsv"), "utf8").split("\n").slice(1);
  return rows
    .map((row) => row.split("\t"))
    .filter(([file = ""]) => file.startsWith(side === "server" ? "sshd/" : "ssh/"))
    .map(([name = "", , loads]) => ({ name, loads: loads === "yes" }));
}

/** Runs `work` on every item, four at a time. */
export async function inParallel<T>(
  items: readonly T[],
  work: (item: T, index: number) => Promise<void>,
): Promise<void> {
  let next = 0;
  const lane = async () => {
    while (next < items.length) {
      const index = next++;
      const item = items[index];
      if (item !== undefined) await work(item, index);
    }
  };
  await Promise.all(Array.from({ length: 4 }, lane));
}
