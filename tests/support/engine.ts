/** Drives the real Pulumi CLI on throw-away projects with a backend, home and plugin folder of their own. */
import { spawn } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { cp, mkdir, mkdtemp, symlink, writeFile } from "node:fs/promises";
import { delimiter, dirname, join } from "node:path";
import { projectRoot, setupModule, type TempFolder } from "./tempFolder";

/** What a project is made from. */
export interface ProjectOptions {
  /** The run's folder; the project lives in a folder of its own below it. */
  readonly folder: TempFolder;
  /**
   * The program: text of an `index.js` (plain CommonJS starts fastest), or files by name (give a `Pulumi.yaml` to say
   * more than the runtime), or an existing folder, whose files are copied without its node_modules.
   */
  readonly program: string | Readonly<Record<string, string>> | { readonly folder: string };
  /** Project name. Default `test`. */
  readonly name?: string;
  /** Runtime for Pulumi.yaml where the program brings none. Default `nodejs`. */
  readonly runtime?: string;
  /** The package under test. Default: this project. */
  readonly packageRoot?: string;
  /**
   * How the package gets into node_modules: `copy` (default) holds what npm would install; `symlink` is what a
   * workspace or `npm link` makes.
   */
  readonly link?: "copy" | "symlink";
  /** Variables for every call, on top of the environment of the tests; undefined removes one. */
  readonly env?: Readonly<Record<string, string | undefined>>;
}

/** How a call ended; a failing one is an answer, not an exception. */
export interface Outcome {
  /** Exit status; -1 when a signal or the timeout ended it. */
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
  /** Wall-clock time in milliseconds. */
  readonly ms: number;
  readonly timedOut: boolean;
}

/** The parts of `pulumi preview --json` that tests look at. */
export interface PreviewDigest {
  readonly steps?: readonly {
    /** `create`, `update`, `same`, `delete`, … */
    readonly op: string;
    readonly urn: string;
    readonly diffReasons?: readonly string[];
    readonly detailedDiff?: Readonly<Record<string, { readonly kind: string; readonly inputDiff: boolean }>> | null;
    readonly oldState?: Readonly<Record<string, unknown>>;
    readonly newState?: Readonly<Record<string, unknown>>;
  }[];
  readonly diagnostics?: readonly { readonly message?: string; readonly severity?: string; readonly urn?: string }[];
  /** Number of steps by operation. */
  readonly changeSummary?: Readonly<Record<string, number>>;
}

/** One call of the CLI. */
export interface CallOptions {
  /** Default ten minutes; then the whole process group is killed. */
  readonly timeoutMs?: number;
  /** Variables for this call alone; undefined removes one. */
  readonly env?: Readonly<Record<string, string | undefined>>;
}

/** A project with at most one selected stack; calls are to be made one after the other. */
export interface Project {
  /** Absolute path, the program's files inside. */
  readonly dir: string;
  /** The environment of every call. */
  readonly env: Readonly<NodeJS.ProcessEnv>;
  /** Any call of the CLI: arguments after `pulumi`. */
  pulumi(args: readonly string[], options?: CallOptions): Promise<Outcome>;
  /** Creates and selects a stack. Default `dev`. */
  init(stack?: string): Promise<Outcome>;
  /** Sets a value; a secret is encrypted and goes to the CLI on its standard input. */
  setConfig(key: string, value: string, options?: { readonly secret?: boolean }): Promise<Outcome>;
  preview(args?: readonly string[], options?: CallOptions): Promise<Outcome>;
  /** `preview --json`, parsed; `digest` is undefined when what came is not JSON. */
  previewJson(
    args?: readonly string[],
    options?: CallOptions,
  ): Promise<Outcome & { digest: PreviewDigest | undefined }>;
  up(args?: readonly string[], options?: CallOptions): Promise<Outcome>;
  refresh(args?: readonly string[], options?: CallOptions): Promise<Outcome>;
  destroy(args?: readonly string[], options?: CallOptions): Promise<Outcome>;
  /** `stack export`, parsed; secrets stay encrypted. Throws when there is no stack. */
  exportState(): Promise<StackState>;
  /** Replaces or adds files of the program. */
  write(files: Readonly<Record<string, string>>): Promise<void>;
}

/** The parts of an exported stack that tests look at. */
export interface StackState {
  readonly deployment: {
    readonly resources?: readonly {
      readonly urn: string;
      readonly type: string;
      readonly id?: string;
      readonly inputs?: Readonly<Record<string, unknown>>;
      readonly outputs?: Readonly<Record<string, unknown>>;
      readonly initErrors?: readonly string[];
    }[];
  };
}

const TIMEOUT_MS = 600_000;

/** Makes a project. Throws when there is no engine on this machine: `npm run setup` gets one. */
export async function makeProject(options: ProjectOptions): Promise<Project> {
  const engine = setupModule().findEngine();
  if ("reason" in engine) throw new Error(`${engine.reason}: run \`npm run setup\``);
  const name = options.name ?? "test";
  // Short names: control sockets end up below TMPDIR.
  const dir = await mkdtemp(join(options.folder.path, "p-"));
  const home = join(dir, ".home");
  const temporary = join(dir, ".t");
  for (const made of [home, temporary, join(dir, ".state")]) await mkdir(made, { mode: 0o700 });

  const write = async (files: Readonly<Record<string, string>>) => {
    for (const [file, contents] of Object.entries(files)) {
      await mkdir(dirname(join(dir, file)), { recursive: true });
      await writeFile(join(dir, file), contents);
    }
  };
  await write({
    "package.json": JSON.stringify({ name, version: "0.0.0", private: true, main: "index.js" }),
    "Pulumi.yaml": `name: ${name}\nruntime: ${options.runtime ?? "nodejs"}\n`,
  });
  const { program } = options;
  if (typeof program === "string") await write({ "index.js": program });
  else if (isFolder(program)) {
    const { folder } = program;
    await cp(folder, dir, { recursive: true, filter: (from) => from !== join(folder, "node_modules") });
  } else await write(program);
  await installPackage(dir, options.packageRoot ?? projectRoot(), options.link ?? "copy");

  const ownBin = setupModule().versionBin(process.env, setupModule().BUILD_VERSION);
  const env: NodeJS.ProcessEnv = { ...process.env };
  // The developer's agent, project and account must not decide how a test ends.
  for (const key of Object.keys(env)) if (/^(PULUMI_|SSH_|NODE_OPTIONS$|GRPC_)/.test(key)) delete env[key];
  Object.assign(env, {
    // Optional language hosts are in our own cache even where the engine is the official one.
    PATH: [engine.binDir, dirname(process.execPath), env.PATH ?? "", ownBin].join(delimiter),
    HOME: home,
    TMPDIR: temporary,
    PULUMI_HOME: join(home, ".pulumi"),
    PULUMI_BACKEND_URL: `file://${join(dir, ".state")}`,
    PULUMI_CONFIG_PASSPHRASE: "test",
    PULUMI_SKIP_UPDATE_CHECK: "true",
    PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION: "true",
    NO_COLOR: "1",
    ...options.env,
  });

  const pulumi = (args: readonly string[], call: CallOptions & { readonly input?: string } = {}) =>
    runEngine(engine.pulumi, ["--non-interactive", ...args], dir, { ...env, ...call.env }, call);
  const preview = (args: readonly string[] = [], call?: CallOptions) => pulumi(["preview", ...args], call);

  return {
    dir,
    env,
    pulumi,
    write,
    preview,
    init: (stack = "dev") => pulumi(["stack", "init", stack]),
    setConfig: (key, value, { secret = false } = {}) =>
      pulumi(["config", "set", secret ? "--secret" : "--plaintext", key], { input: value }),
    previewJson: async (args = [], call) => {
      const outcome = await preview(["--json", ...args], call);
      return { ...outcome, digest: parseJson<PreviewDigest>(outcome.stdout) };
    },
    up: (args = [], call) => pulumi(["up", "--yes", "--skip-preview", ...args], call),
    refresh: (args = [], call) => pulumi(["refresh", "--yes", "--skip-preview", ...args], call),
    destroy: (args = [], call) => pulumi(["destroy", "--yes", "--skip-preview", ...args], call),
    exportState: async () => {
      const { code, stdout, stderr } = await pulumi(["stack", "export"]);
      const state = parseJson<StackState>(stdout);
      if (code !== 0 || state === undefined) throw new Error(`stack export exited with ${code}: ${stderr}`);
      return state;
    },
  };
}

const isFolder = (program: object): program is { readonly folder: string } =>
  "folder" in program && Object.keys(program).length === 1;

/**
 * A node_modules folder of links to this project's packages, and the package under test as npm would install it. The
 * copy's real path has node_modules in it, as a user's has, and Pulumi's serializer decides by that.
 */
async function installPackage(dir: string, packageRoot: string, link: "copy" | "symlink"): Promise<void> {
  const { name, files = [] } = JSON.parse(readFileSync(join(packageRoot, "package.json"), "utf8")) as {
    readonly name: string;
    readonly files?: readonly string[];
  };
  const modules = join(dir, "node_modules");
  await mkdir(modules);
  const installed = join(projectRoot(), "node_modules");
  for (const entry of readdirSync(installed)) {
    if (entry !== name) await symlink(join(installed, entry), join(modules, entry));
  }
  if (link === "symlink") return symlink(packageRoot, join(modules, name));
  for (const file of ["package.json", ...files].filter((entry) => existsSync(join(packageRoot, entry)))) {
    await cp(join(packageRoot, file), join(modules, name, file), { recursive: true });
  }
}

function parseJson<T>(text: string): T | undefined {
  try {
    return JSON.parse(text) as T;
  } catch {
    return undefined;
  }
}

function runEngine(
  command: string,
  args: readonly string[],
  cwd: string,
  env: NodeJS.ProcessEnv,
  { timeoutMs = TIMEOUT_MS, input = "" }: CallOptions & { readonly input?: string },
): Promise<Outcome> {
  const started = performance.now();
  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd, env, detached: true, stdio: ["pipe", "pipe", "pipe"] });
    const output = { stdout: "", stderr: "" };
    let timedOut = false;
    const timer = setTimeout(() => {
      timedOut = true;
      // The engine puts plugins into groups of their own; they end when it is gone, at the latest with the folder.
      if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
    }, timeoutMs);
    const finish = (code: number) => {
      clearTimeout(timer);
      resolve({ code, ...output, ms: Math.round(performance.now() - started), timedOut });
    };
    for (const stream of ["stdout", "stderr"] as const) {
      child[stream].setEncoding("utf8").on("data", (text: string) => {
        output[stream] += text;
      });
    }
    child.stdin.on("error", () => {});
    child.stdin.end(input);
    child.once("error", (error) => {
      output.stderr += error.message;
      finish(-1);
    });
    // `exit` and not `close` after a timeout: a plugin that lives on may hold the pipes open.
    child.once("exit", (code) => {
      if (timedOut) finish(code ?? -1);
    });
    child.once("close", (code) => finish(code ?? -1));
  });
}
