/**
 * What the tests of the transaction share: the life-cycle driven without the engine, in this process or in one that can
 * be killed, and the invariants that hold on a host after whatever happened.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import ts from "typescript";
import { type Failure, isKeepaliveError } from "../../provider/errors";
import { failureOf, forgetLooks } from "../../provider/fleet";
import { type Applied, type Bag, check, create, type Reporter, remove, update } from "../../provider/lifecycle";
import { below, bytesOf } from "../support/below";
import { type LightHost, startLightHost } from "../support/lightHost";
import { makeTempFolder, projectRoot, setupModule, type TempFolder } from "../support/tempFolder";
import { until } from "../support/until";

export { until };

/** Takes what the life-cycle says. */
export function listener(): Reporter & { readonly lines: string[] } {
  const lines: string[] = [];
  return { lines, info: (text) => lines.push(text), warn: (text) => lines.push(text) };
}

/** A folder for this file's hosts; the connector's own files go there too, and the user's agent is out of reach. */
export function testFolder(): TempFolder {
  const folder = makeTempFolder();
  process.env.TMPDIR = folder.path;
  process.env.XDG_RUNTIME_DIR = "";
  process.env.SSH_AUTH_SOCK = "";
  afterAll(() => folder.remove());
  return folder;
}

/** A host that notes each command in its log, with a drop-in folder in which something stands. */
export function hostThatCounts(folder: TempFolder): Promise<LightHost> {
  return startLightHost({
    folder,
    extraLines: ["LogLevel VERBOSE"],
    files: ({ dir, head }) => ({
      sshd_config: `Include ${dir}/sshd_config.d/*.conf\n${head}`,
      "sshd_config.d/50-more.conf": "PasswordAuthentication no\n",
    }),
  });
}

/** Commands that a {@link hostThatCounts} was given so far. */
export const commands = (host: LightHost): Promise<number> => logged(host, "Starting session");

/** Server settings for one light host, as a program gives them; half of the time is for a login on a busy machine. */
export function serverOn(host: LightHost, more: Bag = {}): Bag {
  return {
    hosts: { h: { ...host.connection } },
    server: { clientAliveInterval: 60, clientAliveCountMax: 3 },
    confirmTimeout: 60,
    ...more,
  };
}

/** A create that must succeed. */
export async function created(news: Bag): Promise<Applied> {
  forgetLooks();
  const applied = await create(news, listener());
  expect(applied.failures).toEqual([]);
  return applied;
}

/** A create that must fail; its only error line. */
export async function refusedCreate(news: Bag): Promise<string> {
  forgetLooks();
  const { failures } = await create(news, listener());
  expect(failures).toHaveLength(1);
  return failures[0] ?? "";
}

/** An update that must succeed. */
export async function updated(before: Applied, news: Bag): Promise<Applied> {
  forgetLooks();
  const applied = await update(before.id, before.outputs, news, listener());
  expect(applied.failures).toEqual([]);
  return applied;
}

/** A delete that must succeed; what it said. */
export async function removed(applied: Applied): Promise<readonly string[]> {
  forgetLooks();
  const report = listener();
  await remove(applied.id, applied.outputs, report);
  return report.lines;
}

/** A delete that must fail. */
export async function refusedRemove(applied: Applied): Promise<string> {
  forgetLooks();
  return remove(applied.id, applied.outputs, listener()).then(
    () => "it worked",
    (error: unknown) => (isKeepaliveError(error) ? error.message : `no error of ours: ${String(error)}`),
  );
}

/** What a preview says of the host `h`. */
export async function preview(news: Bag): Promise<readonly string[]> {
  forgetLooks();
  const checked = await check(news, true, listener());
  if (checked.failures.length > 0) return checked.failures.map((f) => f.reason);
  return checked.pendingChanges?.h ?? [];
}

/** The failure of work that must fail. */
export async function failure(work: Promise<unknown>): Promise<Failure> {
  return work.then(
    () => {
      throw new Error("it worked");
    },
    (error: unknown) => failureOf(error, "h"),
  );
}

/** The files OpenSSH reads for a light host, by path relative to its folder; those that go meanwhile are left out. */
export function configuration(host: LightHost): Readonly<Record<string, string>> {
  const files: Record<string, string> = { sshd_config: readFileSync(host.configPath, "latin1") };
  for (const name of below(path.join(host.dir, "sshd_config.d"))) {
    const bytes = bytesOf(path.join(host.dir, "sshd_config.d", name));
    if (bytes !== undefined) files[`sshd_config.d/${name}`] = bytes;
  }
  return files;
}

/** Pids of processes of ours on the host of that state folder. */
export function processesOn(stateDir: string): readonly string[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, "latin1").includes(`${stateDir}/`);
      } catch {
        return false;
      }
    });
}

/** The folder of the one configuration that a light host's state is about. */
export function stateFolder(stateDir: string, side = "server"): string {
  const [name] = readdirSync(stateDir).filter((entry) => entry.startsWith(`${side}-`));
  if (name === undefined) throw new Error(`${stateDir} holds nothing about a ${side}`);
  return path.join(stateDir, name);
}

/** What is wrong with a host that is at rest: empty when a login works and nothing is left lying about. */
export async function troubles(host: LightHost): Promise<readonly string[]> {
  const login = await host.ssh("echo in");
  const stray = below(host.dir).filter((name) => /(^|\/)\.pulumi-ssh-keepalive/.test(name));
  const state = below(host.stateDir).filter((name) =>
    /^[^/]+\/(lock|stale|over|new)\b|\.(tmp|[0-9a-f]{16})$/.test(name.replace(/^([^/]+\/)backups\/.*/, "$1backups")),
  );
  const readable = below(host.stateDir)
    .map((name) => path.join(host.stateDir, name))
    .filter((file) => ((statSync(file, { throwIfNoEntry: false })?.mode ?? 0) & 0o077) !== 0);
  return [
    ...(login.stdout === "in\n" ? [] : [`no login: ${login.stderr}`]),
    ...stray.map((name) => `stray file ${name}`),
    ...state.map((name) => `state left: ${name}`),
    ...readable.map((name) => `others may read ${name}`),
    ...processesOn(host.stateDir).map((pid) => `process ${pid} is left`),
  ];
}

/** Waits until a host is at rest, then checks that nothing is wrong with it. */
export async function expectSound(host: LightHost, seconds = 60): Promise<void> {
  await until(() => processesOn(host.stateDir).length === 0, "the end of the supervisor", seconds);
  expect(await troubles(host)).toEqual([]);
}

/** Logins the host's sshd has accepted so far. */
export async function logins(host: LightHost): Promise<number> {
  return logged(host, "Accepted publickey");
}

/** How a light host's daemon is started by hand. */
export interface DaemonOptions {
  /** Arguments behind `-f CONFIG`. */
  readonly args?: readonly string[];
  /** The main file; default the host's own. */
  readonly config?: string;
  /** Shell commands that run before, in a mount namespace of the daemon's own (root). */
  readonly inNamespace?: string;
  /** Words before the daemon's own command line, for example `setpriv --reuid 12345`. */
  readonly as?: readonly string[];
}

/** Stops a light host and starts its daemon in another way; resolves when it listens. Ends with the run's folder. */
export async function restarted(host: LightHost, options: DaemonOptions = {}): Promise<ChildProcess> {
  await host.stop();
  return started(host, options);
}

/** Starts a stopped light host's daemon in another way. */
export async function started(host: LightHost, options: DaemonOptions = {}): Promise<ChildProcess> {
  const before = await logged(host, "Server listening");
  const sshd = setupModule().findOpenSsh().sshd ?? "sshd";
  const log = path.join(host.dir, "sshd.log");
  const words = [
    ...(options.as ?? []),
    ...[sshd, "-D", "-E", log, "-f", options.config ?? host.configPath, ...(options.args ?? [])],
  ];
  const [file = "", ...args] =
    options.inNamespace === undefined
      ? words
      : ["unshare", "-m", "sh", "-c", `set -e\n${options.inNamespace}\nexec "$@"`, "sh", ...words];
  const daemon = spawn(file, args, { cwd: "/", detached: true, stdio: ["ignore", "ignore", "pipe"] });
  let said = "";
  daemon.stderr.setEncoding("utf8").on("data", (text: string) => {
    said += text;
  });
  daemon.unref();
  await until(async () => {
    if (daemon.exitCode !== null) throw new Error(`sshd ended: ${said}${(await host.log()).slice(-600)}`);
    return (await logged(host, "Server listening")) > before;
  }, "sshd");
  return daemon;
}

/** Ends a daemon that was started by hand. */
export async function ended(daemon: ChildProcess): Promise<void> {
  daemon.kill("SIGTERM");
  await until(() => daemon.exitCode !== null || daemon.signalCode !== null, "the end of a daemon");
}

/** Why a test that needs root and mount namespaces cannot run here; undefined when it can. */
export function noNamespaces(): string | undefined {
  if (process.getuid?.() !== 0) return "needs root";
  return spawnSync("unshare", ["-m", "true"]).status === 0 ? undefined : "needs mount namespaces";
}

/** How many lines of the host's log begin so. */
export async function logged(host: LightHost, begin: string): Promise<number> {
  return (await host.log()).split("\n").filter((line) => line.startsWith(begin)).length;
}

/** The package as JavaScript in the run's folder, for processes of its own. */
export function compiledProvider(folder: TempFolder): string {
  const to = path.join(folder.path, "package", "dist");
  if (existsSync(to)) return to;
  const from = path.join(projectRoot(), "provider");
  const options = { module: ts.ModuleKind.CommonJS, target: ts.ScriptTarget.ES2022, esModuleInterop: true };
  for (const name of below(from)) {
    const target = path.join(to, name);
    if (name.endsWith(".ts")) {
      mkdirSync(path.dirname(target), { recursive: true });
      const source = readFileSync(path.join(from, name), "utf8");
      writeFileSync(target.replace(/ts$/, "js"), ts.transpileModule(source, { compilerOptions: options }).outputText);
    }
  }
  cpSync(path.join(from, "host/scripts"), path.join(to, "host/scripts"), { recursive: true });
  for (const name of ["schema.json", "package.json"]) cpSync(path.join(projectRoot(), name), path.join(to, "..", name));
  return to;
}

/** A controller in a process of its own. */
export interface Controller {
  readonly child: ChildProcess;
  /** Resolves when it has ended, with what it wrote. */
  readonly ended: Promise<{ readonly applied?: Applied; readonly output: string }>;
  /** SIGKILL, to it alone. */
  kill(): void;
}

/** Starts a create, or an update of `before`, in a process of its own. */
export function startController(folder: TempFolder, news: Bag, before?: Applied): Controller {
  const program = `
    process.chdir("/");
    const { create, update } = require(${JSON.stringify(path.join(compiledProvider(folder), "lifecycle.js"))});
    const { news, before } = JSON.parse(require("fs").readFileSync(0, "utf8"));
    const report = { info: () => {}, warn: () => {} };
    const work = before ? update(before.id, before.outputs, news, report) : create(news, report);
    work.then((applied) => console.log(JSON.stringify(applied)), (error) => console.log(String(error)));`;
  const child = spawn(process.execPath, ["-e", program], {
    env: { ...process.env, NODE_PATH: path.join(projectRoot(), "node_modules") },
    stdio: ["pipe", "pipe", "pipe"],
  });
  child.stdin.end(JSON.stringify({ news, before }));
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => {
      output += text;
    });
  }
  const ended = new Promise<{ applied?: Applied; output: string }>((resolve) => {
    child.once("close", () => {
      const last = output.trim().split("\n").at(-1) ?? "";
      resolve(last.startsWith("{") ? { applied: JSON.parse(last) as Applied, output } : { output });
    });
  });
  return { child, ended, kill: () => void child.kill("SIGKILL") };
}
