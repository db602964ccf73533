/** tools/setup.js: what it takes for an engine, for installed packages, and how it says what is missing. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import { makeTempFolder, projectRoot, type TempFolder } from "../support/tempFolder";

const script = join(projectRoot(), "tools", "setup.js");

/** The parts of the module that are tested here; it is plain JavaScript. */
const setup = require(script) as {
  readonly BUILD_VERSION: string;
  readonly ENGINE_FILES: readonly string[];
  readonly MINIMUM_ENGINE: string;
  versionAtLeast(have: string, want: string): boolean;
  findEngine(env: NodeJS.ProcessEnv): Record<"pulumi" | "binDir" | "kind" | "version" | "reason", string | undefined>;
  findOpenSsh(env: NodeJS.ProcessEnv): { readonly ssh?: string; readonly missing: readonly string[] };
  packagesMisfit(root: string): string | undefined;
  parseArguments(args: readonly string[]): readonly string[];
  withLock<T>(file: string, work: () => Promise<T>): Promise<T>;
};
const { summarize } = require(join(projectRoot(), "tools", "test.js")) as {
  summarize(result: unknown): { passed: number; failed: number; skipped: readonly string[] };
};

let temporary: TempFolder;
let made = 0;
beforeAll(() => {
  temporary = makeTempFolder();
});
afterAll(() => temporary.remove());

const newFolder = () => {
  const folder = join(temporary.path, `f${++made}`);
  mkdirSync(folder);
  return folder;
};

/** A folder with executables: name → shell script. */
const programs = (files: Readonly<Record<string, string>>, folder = newFolder()) => {
  mkdirSync(folder, { recursive: true });
  for (const [name, text] of Object.entries(files)) {
    writeFileSync(join(folder, name), `#!/bin/sh\n${text}\n`, { mode: 0o755 });
  }
  return folder;
};

const engine = (version: string, folder?: string) =>
  programs(Object.fromEntries(setup.ENGINE_FILES.map((file) => [file, `echo v${version}`])), folder);

test.each([
  ["v20.19.0", "20.19", true],
  ["v20.18.9", "20.19", false],
  ["go1.26.8", "1.25.8", true],
  ["go1.9", "1.25", false],
  ["3.220.0", "3.220.0", true],
  ["v3.99.1-dev.5", "3.220.0", false],
  ["", "1", false],
])("version %p is at least %p: %p", (have, want, expected) => {
  expect(setup.versionAtLeast(have, want)).toBe(expected);
});

describe("findEngine", () => {
  const env = (PATH: string, home = newFolder()) => ({ PATH, PULUMI_HOME: home });

  test("takes a new enough pulumi on PATH, also through a package manager's link", () => {
    const binDir = engine(setup.MINIMUM_ENGINE);
    const linked = newFolder();
    symlinkSync(join(binDir, "pulumi"), join(linked, "pulumi"));
    expect(setup.findEngine(env(binDir))).toMatchObject({ kind: "path", binDir, version: setup.MINIMUM_ENGINE });
    expect(setup.findEngine(env(linked))).toMatchObject({ kind: "path", binDir, pulumi: join(linked, "pulumi") });
  });

  test("passes over one that is too old, and one without its language host, for the cache", () => {
    const home = newFolder();
    const cached = engine("0", join(home, "versions", setup.BUILD_VERSION, "bin"));
    const wrapper = programs({ pulumi: "echo the npm wrapper was started >&2; exit 1" });
    for (const bin of [engine("3.1.0"), wrapper, newFolder()]) {
      const found = setup.findEngine(env(bin, home));
      expect(found).toMatchObject({ kind: "cache", binDir: cached, version: setup.BUILD_VERSION });
    }
  });

  test("says what it looked at when there is none", () => {
    const home = newFolder();
    const old = engine("3.1.0");
    programs({ pulumi: "" }, join(home, "versions", setup.BUILD_VERSION, "bin"));
    const { reason } = setup.findEngine(env(old, home));
    expect(reason).toContain(`${join(old, "pulumi")} is 3.1.0, at least ${setup.MINIMUM_ENGINE} is needed`);
    expect(reason).toContain(`no complete engine in ${join(home, "versions")}`);
    expect(setup.findEngine(env("relative")).reason).toContain("no pulumi on PATH");
  });
});

test("names the packages that OpenSSH's missing programs are in", () => {
  expect(setup.findOpenSsh({ PATH: newFolder() }).missing).toContain("openssh-client");
  const client = programs({ ssh: "", "ssh-keygen": "", "ssh-agent": "", sshd: "" });
  expect(setup.findOpenSsh({ PATH: client })).toMatchObject({ ssh: join(client, "ssh"), missing: [] });
});

describe("packagesMisfit", () => {
  const entry = (version: string, more = {}) => ({ version, integrity: `sha512-${version}`, ...more });
  const project = (wanted: object, installed: object | undefined) => {
    const root = newFolder();
    writeFileSync(join(root, "package-lock.json"), JSON.stringify({ packages: { "": {}, ...wanted } }));
    if (installed !== undefined) {
      mkdirSync(join(root, "node_modules"));
      writeFileSync(join(root, "node_modules/.package-lock.json"), JSON.stringify({ packages: installed }));
    }
    return root;
  };
  const a = { "node_modules/a": entry("1.0.0") };

  test.each<[string, object, object | undefined, string | undefined]>([
    ["the same packages fit", a, a, undefined],
    ["more than wanted fits", a, { ...a, "node_modules/b": entry("1.0.0") }, undefined],
    [
      "another platform's package may be absent",
      { ...a, "node_modules/w": entry("1", { optional: true }) },
      a,
      undefined,
    ],
    ["a workspace's folder is no package", { ...a, "examples/x": {} }, a, undefined],
    ["nothing installed", a, undefined, "nothing is installed"],
    ["a missing package", a, {}, "node_modules/a is missing, wanted 1.0.0"],
    ["another version", a, { "node_modules/a": entry("2.0.0") }, "node_modules/a is 2.0.0, wanted 1.0.0"],
    ["a missing workspace link", { "node_modules/x": { link: true } }, {}, "node_modules/x is missing"],
  ])("%s", (_, wanted, installed, expected) => {
    expect(setup.packagesMisfit(project(wanted, installed))).toBe(expected);
  });
});

test("languages are chosen by name, and others refused", () => {
  expect(setup.parseArguments([])).toEqual([]);
  expect(setup.parseArguments(["--languages", "yaml,python"])).toEqual(["yaml", "python"]);
  expect(setup.parseArguments(["--languages=yaml"])).toEqual(["yaml"]);
  expect(() => setup.parseArguments(["--languages", "cobol"])).toThrow("no language host for cobol");
  expect(() => setup.parseArguments(["--fast"])).toThrow("unknown argument --fast");
});

test("a lock lets one in at a time, and a dead holder's lock is taken over", async () => {
  const file = join(newFolder(), "lock");
  const ended = spawnSync(process.execPath, ["-e", ""]);
  writeFileSync(file, String(ended.pid));
  let inside = 0;
  const work = async () => {
    expect(++inside).toBe(1);
    await new Promise((resolve) => setTimeout(resolve, 20));
    inside--;
  };
  await Promise.all([setup.withLock(file, work), setup.withLock(file, work)]);
  await expect(setup.withLock(file, () => Promise.reject(new Error("inside")))).rejects.toThrow("inside");
  expect(existsSync(file)).toBe(false);
});

test("without an engine, npm or Go, set-up ends with one clear sentence and no stack", () => {
  const node = newFolder();
  symlinkSync(process.execPath, join(node, "node"));
  const env = { PATH: node, HOME: temporary.path, PULUMI_HOME: newFolder() };
  const run = spawnSync(process.execPath, [script], { env, encoding: "utf8" });
  expect(run.status).toBe(1);
  const last = run.stderr.trim().split("\n").at(-1) ?? "";
  expect(last).toMatch(
    /^setup: building the engine takes Go [\d.]+ or newer and there is none on PATH: install it from go\.dev\/dl, or put /,
  );
});

test("with a Go that is too old and may not fetch a newer one, it says which is needed", () => {
  const bin = programs({ go: "printf 'go1.20.1\\nlocal\\n'" });
  symlinkSync(process.execPath, join(bin, "node"));
  const env = { PATH: [bin, dirname("/bin/sh")].join(delimiter), HOME: temporary.path, PULUMI_HOME: newFolder() };
  const run = spawnSync(process.execPath, [script], { env, encoding: "utf8" });
  expect(run.stderr).toMatch(/takes Go [\d.]+ or newer and this is go1\.20\.1/);
});

test("a suite that could not run counts as failed, and every skipped test is named", () => {
  const assertions = (...statuses: string[]) => statuses.map((status, i) => ({ status, fullName: `does ${i}` }));
  const result = {
    numPassedTests: 2,
    numFailedTests: 1,
    numRuntimeErrorTestSuites: 1,
    testResults: [
      { name: join(projectRoot(), "tests/a.test.ts"), assertionResults: assertions("passed", "pending", "failed") },
      { name: join(projectRoot(), "tests/b.test.ts"), assertionResults: assertions("todo") },
      { name: join(projectRoot(), "tests/c.test.ts"), assertionResults: [] },
    ],
  };
  expect(summarize(result)).toEqual({
    passed: 2,
    failed: 2,
    skipped: ["tests/a.test.ts: does 1", "tests/b.test.ts: does 0"],
  });
});
