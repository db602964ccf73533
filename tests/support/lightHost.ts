/** Light hosts: real sshd processes on loopback, each with its own port, host key, configuration and state folder. */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { chmod, mkdir, readFile, stat, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { userInfo } from "node:os";
import { dirname, isAbsolute, join } from "node:path";
import pLimit from "p-limit";
import { setupModule, type TempFolder } from "./tempFolder";

/** What a host's configuration is made from. */
export interface HostSetting {
  /** The host's own folder, absolute. */
  readonly dir: string;
  readonly port: number;
  /**
   * The lines that make it a light host (address, key, PidFile, who may log in, state folder), newline at the end. To
   * stand in the global section of the main file, in front of anything that would set the same options.
   */
  readonly head: string;
}

/** Files to write before sshd starts: path relative to the host's folder → contents (mode 0644, parents made). */
export type HostFiles = Readonly<Record<string, string | Buffer>>;

/** How a light host differs from the plain one. */
export interface LightHostOptions {
  /** The run's folder; the host lives in a folder of its own below it. */
  readonly folder: TempFolder;
  /** A file name, unique in the run's folder. Default `host-N`. */
  readonly name?: string;
  /**
   * The configuration; must contain `sshd_config`. Called again with another port when that one was taken. Default:
   * the head and an `Include` of `sshd_config.d/*.conf`.
   */
  readonly files?: (setting: HostSetting) => HostFiles;
  /** Further lines for the end of the head. */
  readonly extraLines?: readonly string[];
  /** Listens on ::1 as well. Default false. */
  readonly ipv6?: boolean;
}

/** How to log in; the shape of `connection` in a program. */
export interface LightConnection {
  readonly host: string;
  readonly port: number;
  /** The user who runs the tests: sshd without root lets nobody else in. */
  readonly user: string;
  /** Text of an unencrypted ed25519 key, one per run's folder. */
  readonly privateKey: string;
  /** `ssh-ed25519 AAAA…` */
  readonly hostKey: string;
}

/** How a program ended. */
export interface Ended {
  /** Exit status; -1 when a signal or the timeout ended it. */
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** A running light host. Paths that do not begin with `/` are relative to `dir`. */
export interface LightHost {
  readonly name: string;
  readonly dir: string;
  readonly port: number;
  readonly connection: LightConnection;
  /** Absolute path of the main file. */
  readonly configPath: string;
  /** Where the host keeps what the provider leaves on it. */
  readonly stateDir: string;
  /** Process id of the listening sshd; undefined while stopped. */
  readonly pid: () => number | undefined;
  /**
   * What `sshd -T -f configPath` says: lower-case keyword → value, repeated keywords joined by newlines. Asked with a
   * full `-C`, so that Match lines do not stop it. Rejects with sshd's words when the configuration is broken.
   */
  sshdT(extraArgs?: readonly string[]): Promise<ReadonlyMap<string, string>>;
  read(path: string): Promise<string>;
  /** Writes a file as an editor would: in place, mode kept (0644 for a new one), parents made. */
  write(path: string, contents: string | Buffer): Promise<void>;
  /** What sshd logged since its first start. */
  log(): Promise<string>;
  /** Sends HUP and resolves when sshd listens again; rejects with the end of its log when the new files end it. */
  reload(): Promise<void>;
  /** Ends the daemon and, unless told to keep them, its sessions; resolves when they are gone. */
  stop(options?: { readonly keepSessions?: boolean }): Promise<void>;
  /** Starts a stopped host on the same port with the files as they are now. */
  start(): Promise<void>;
  /** Logs in with the system's ssh, strictly checked and without anything of the user's own, and runs a command. */
  ssh(command: string, options?: { readonly input?: string; readonly timeoutMs?: number }): Promise<Ended>;
}

/** A busy machine takes its time; what is there sooner is not waited for. */
const READY_TIMEOUT_MS = 60_000;
const POLL_MS = 5;
/** Below the ports that systems hand out to outgoing connections, so that a stopped host finds its own again. */
const FIRST_PORT = 20_000;
const PORTS = 12_000;
const PORT_ATTEMPTS = 20;

let hostsMade = 0;

/** Starts one light host. Rejects with the end of sshd's log when it does not come up. */
export async function startLightHost(options: LightHostOptions): Promise<LightHost> {
  const { sshd, ssh } = openSsh();
  const name = options.name ?? `host-${++hostsMade}`;
  const dir = join(options.folder.path, name);
  const stateDir = join(dir, "state");
  const configPath = join(dir, "sshd_config");
  const pidFile = join(dir, "sshd.pid");
  const logFile = join(dir, "sshd.log");
  const keyFile = join(options.folder.path, "user_key");
  const knownHosts = join(dir, "known_hosts");

  await mkdir(dir, { mode: 0o755 });
  await mkdir(stateDir, { mode: 0o700 });
  const [userKey] = await Promise.all([makeUserKey(keyFile), makeKey(join(dir, "host_key"))]);
  await writeFile(join(dir, "authorized_keys"), userKey, { mode: 0o600 });
  const hostKey = withoutComment(await readFile(join(dir, "host_key.pub"), "utf8"));

  let port = 0;
  let daemon: ChildProcess | undefined;
  const resolvePath = (path: string) => (isAbsolute(path) ? path : join(dir, path));
  const log = () => readFile(logFile, "utf8").catch(() => "");
  const endOfLog = async () => (await log()).trim().split("\n").slice(-8).join("\n");

  const sshdT = async (extraArgs: readonly string[] = []) => {
    const spec = `user=${userInfo().username},host=localhost,addr=127.0.0.1,laddr=127.0.0.1,lport=${port}`;
    const { code, stdout, stderr } = await run(sshd, ["-T", "-f", configPath, "-C", spec, ...extraArgs]);
    if (code !== 0) throw new Error(`sshd -T -f ${configPath} exited with ${code}:\n${stderr}`);
    return parseDump(stdout);
  };

  /** A light host must stay one whatever the caller's files say: loopback only, and ours to find and end. */
  const refuseStrayConfiguration = async () => {
    const dump = await sshdT();
    const ours = [`127.0.0.1:${port}`, `[::1]:${port}`];
    const stray = dump
      .get("listenaddress")
      ?.split("\n")
      .find((address) => !ours.includes(address));
    if (stray !== undefined) throw new Error(`${configPath} would listen on ${stray}: put the head in front`);
    if (dump.get("pidfile") !== pidFile) throw new Error(`${configPath} has another PidFile: put the head in front`);
  };

  /**
   * sshd writes its PidFile once it listens, and writes it anew after a HUP: a sign that depends neither on LogLevel
   * nor on a trial connection, which newer versions would count against us.
   */
  const listening = async (process: ChildProcess, before: string | undefined) => {
    const deadline = Date.now() + READY_TIMEOUT_MS;
    for (;;) {
      const now = await identity(pidFile);
      if (now !== undefined && now !== before && readFileSync(pidFile, "utf8").endsWith("\n")) return;
      if (hasEnded(process)) throw new Error(`sshd of ${name} ended:\n${await endOfLog()}`);
      if (Date.now() > deadline) throw new Error(`sshd of ${name} does not listen:\n${await endOfLog()}`);
      await pause(POLL_MS);
    }
  };

  const start = async () => {
    if (daemon !== undefined && !hasEnded(daemon)) throw new Error(`${name} runs already`);
    setupModule().ensurePrivsepFolder();
    await refuseStrayConfiguration();
    const before = await identity(pidFile);
    // In the foreground it keeps its process id through a HUP, wherever the tests run; a session of its own keeps it
    // from the terminal's signals. The temporary folder's guard ends it if this process cannot.
    const child = spawn(sshd, ["-D", "-E", logFile, "-f", configPath], { cwd: "/", detached: true, stdio: "ignore" });
    child.on("error", () => {});
    child.unref();
    daemon = child;
    await listening(child, before);
  };

  const stop = async ({ keepSessions = false } = {}) => {
    const child = daemon;
    if (child?.pid === undefined || hasEnded(child)) return;
    const sessions = keepSessions ? [] : childrenOf(child.pid);
    child.kill("SIGTERM");
    await until(() => hasEnded(child), `the end of ${name}`);
    for (const pid of sessions) signal(pid, "SIGTERM");
    await until(() => !sessions.some(isAlive), `the end of the sessions of ${name}`);
  };

  const begin = async () => {
    for (let attempt = 1; ; attempt++) {
      port = await freePort();
      const setting = { dir, port, head: head(dir, stateDir, port, options) };
      await writeFiles(dir, (options.files ?? plainFiles)(setting));
      try {
        return await start();
      } catch (error) {
        const taken = /Address already in use/.test(await log());
        if (!taken || attempt === PORT_ATTEMPTS) throw error;
        await writeFile(logFile, "");
      }
    }
  };
  await begin();
  await writeFile(knownHosts, `[127.0.0.1]:${port} ${hostKey}\n[::1]:${port} ${hostKey}\n`);

  return {
    name,
    dir,
    port,
    configPath,
    stateDir,
    connection: {
      host: "127.0.0.1",
      port,
      user: userInfo().username,
      privateKey: await readFile(keyFile, "utf8"),
      hostKey,
    },
    pid: () => (daemon === undefined || hasEnded(daemon) ? undefined : daemon.pid),
    sshdT,
    read: (path) => readFile(resolvePath(path), "utf8"),
    write: (path, contents) => writeFiles(dir, { [path]: contents }),
    log,
    start,
    stop,
    reload: async () => {
      if (daemon?.pid === undefined || hasEnded(daemon)) throw new Error(`${name} does not run`);
      const before = await identity(pidFile);
      daemon.kill("SIGHUP");
      await listening(daemon, before);
    },
    ssh: (command, { input = "", timeoutMs = READY_TIMEOUT_MS } = {}) => {
      const settings = ["BatchMode=yes", "IdentitiesOnly=yes", "StrictHostKeyChecking=yes", "LogLevel=ERROR"];
      settings.push(`UserKnownHostsFile=${knownHosts}`, "GlobalKnownHostsFile=/dev/null", "IdentityAgent=none");
      const args = ["-F", "/dev/null", "-i", keyFile, "-p", String(port), ...settings.flatMap((o) => ["-o", o])];
      return run(ssh, [...args, "127.0.0.1", command], { input, timeoutMs });
    },
  };
}

/** Several light hosts of one kind. */
export interface Fleet {
  readonly hosts: readonly LightHost[];
  /** Stops all of them. */
  stop(): Promise<void>;
}

/** Options of {@link startFleet}: those of one host, with its place in the fleet. */
export interface FleetOptions extends Omit<LightHostOptions, "files" | "name"> {
  readonly files?: (setting: HostSetting, index: number) => HostFiles;
  /** Default: `host-N`, counted through the test process. */
  readonly name?: (index: number) => string;
}

/** Starts `count` hosts, eight at a time; when one does not come up, ends the others and rejects. */
export async function startFleet(count: number, options: FleetOptions): Promise<Fleet> {
  const limit = pLimit(8);
  const { files, name, ...common } = options;
  const started = await Promise.allSettled(
    Array.from({ length: count }, (_, index) =>
      limit(() =>
        startLightHost({
          ...common,
          ...(files && { files: (setting) => files(setting, index) }),
          ...(name && { name: name(index) }),
        }),
      ),
    ),
  );
  const hosts = started.flatMap((result) => (result.status === "fulfilled" ? [result.value] : []));
  const stop = async () => {
    await Promise.all(hosts.map((host) => host.stop()));
  };
  const failure = started.find((result) => result.status === "rejected");
  if (failure !== undefined) {
    await stop();
    throw failure.reason;
  }
  return { hosts, stop };
}

function head(dir: string, stateDir: string, port: number, options: LightHostOptions): string {
  return [
    `Port ${port}`,
    // With the port again: other Port lines in the caller's files then open nothing.
    `ListenAddress 127.0.0.1:${port}`,
    ...(options.ipv6 === true ? [`ListenAddress [::1]:${port}`] : []),
    `HostKey ${dir}/host_key`,
    `PidFile ${dir}/sshd.pid`,
    `AuthorizedKeysFile ${dir}/authorized_keys`,
    "StrictModes no", // /tmp is writable for everyone
    `UsePAM ${rootIsLocked() ? "yes" : "no"}`,
    "PermitRootLogin prohibit-password",
    // The post-quantum exchange that is the default costs twenty times the processor time, for loopback.
    "KexAlgorithms curve25519-sha256",
    // A home of its own: nobody's login files are to be run for every command, nor to decide how a test ends.
    `SetEnv PULUMI_SSH_KEEPALIVE_STATE_DIR=${stateDir} HOME=${dir}`,
    ...(options.extraLines ?? []),
    "",
  ].join("\n");
}

const plainFiles = ({ dir, head }: HostSetting): HostFiles => ({
  sshd_config: `${head}Include ${dir}/sshd_config.d/*.conf\n`,
});

/** Without PAM, sshd takes a "!" in front of the password for a locked account; some distributions ship root so. */
function rootIsLocked(): boolean {
  if (process.getuid?.() !== 0) return false;
  try {
    return /^root:!/m.test(readFileSync("/etc/shadow", "utf8"));
  } catch {
    return false;
  }
}

function openSsh(): { readonly sshd: string; readonly ssh: string } {
  const { sshd, ssh, missing } = setupModule().findOpenSsh();
  if (sshd === undefined || ssh === undefined) {
    throw new Error(`OpenSSH is incomplete (${missing.join(", ")}): run \`npm run setup\``);
  }
  return { sshd, ssh };
}

async function writeFiles(dir: string, files: HostFiles): Promise<void> {
  for (const [name, contents] of Object.entries(files)) {
    const path = isAbsolute(name) ? name : join(dir, name);
    await mkdir(dirname(path), { recursive: true, mode: 0o755 });
    const isNew = !existsSync(path);
    await writeFile(path, contents);
    // Whatever the umask: OpenSSH and the provider look at modes.
    if (isNew) await chmod(path, 0o644);
  }
}

const userKeys = new Map<string, Promise<string>>();

/** One key per run's folder, however many hosts start at once. Resolves to the public line. */
function makeUserKey(file: string): Promise<string> {
  const made = userKeys.get(file) ?? makeKey(file).then(() => readFile(`${file}.pub`, "utf8"));
  userKeys.set(file, made);
  return made;
}

async function makeKey(file: string): Promise<void> {
  const { code, stderr } = await run("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-C", "light-host", "-f", file]);
  if (code !== 0) throw new Error(`ssh-keygen: ${stderr}`);
}

const withoutComment = (publicKey: string) => publicKey.trim().split(" ").slice(0, 2).join(" ");

/** A port that nobody listens on now. Another process may still be faster: sshd itself is the judge. */
async function freePort(): Promise<number> {
  for (let attempt = 0; attempt < 200; attempt++) {
    const port = FIRST_PORT + Math.floor(Math.random() * PORTS);
    const free = await new Promise<boolean>((resolve) => {
      const server = createServer();
      server.once("error", () => resolve(false));
      server.listen({ host: "127.0.0.1", port, exclusive: true }, () => server.close(() => resolve(true)));
    });
    if (free) return port;
  }
  throw new Error(`no free port between ${FIRST_PORT} and ${FIRST_PORT + PORTS}`);
}

function parseDump(dump: string): ReadonlyMap<string, string> {
  const values = new Map<string, string>();
  for (const line of dump.split("\n").filter(Boolean)) {
    const [, keyword = "", value = ""] = /^(\S+) ?(.*)$/.exec(line) ?? [];
    const earlier = values.get(keyword);
    values.set(keyword, earlier === undefined ? value : `${earlier}\n${value}`);
  }
  return values;
}

/** Changes whenever the file is written anew; undefined when it is not there. */
async function identity(file: string): Promise<string | undefined> {
  const found = await stat(file, { bigint: true }).catch(() => undefined);
  return found && `${found.ino} ${found.mtimeNs}`;
}

const hasEnded = (child: ChildProcess) =>
  child.pid === undefined || child.exitCode !== null || child.signalCode !== null;

/** The children of a process, or none where /proc does not tell (sessions then end with their clients). */
function childrenOf(pid: number): readonly number[] {
  try {
    return readdirSync("/proc")
      .filter((name) => /^\d+$/.test(name))
      .filter((name) => parentOf(name) === pid)
      .map(Number);
  } catch {
    return [];
  }
}

/** The fourth field of /proc/PID/stat, counted from behind the command's name, which may hold anything. */
function parentOf(pid: string): number | undefined {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8");
    return Number(fields.slice(fields.lastIndexOf(")") + 2).split(" ")[1]);
  } catch {
    return undefined;
  }
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // It has just ended by itself.
  }
}

/** Whether a process runs; one that has ended and is not yet waited for does not. */
function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch {
    return false;
  }
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8");
    return fields.slice(fields.lastIndexOf(")") + 2)[0] !== "Z";
  } catch {
    return !existsSync("/proc/self");
  }
}

const pause = (milliseconds: number) => new Promise<void>((resolve) => setTimeout(resolve, milliseconds));

async function until(condition: () => boolean, what: string): Promise<void> {
  const deadline = Date.now() + READY_TIMEOUT_MS;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error(`waited in vain for ${what}`);
    await pause(POLL_MS);
  }
}

function run(
  command: string,
  args: readonly string[],
  { input = "", timeoutMs = READY_TIMEOUT_MS }: { readonly input?: string; readonly timeoutMs?: number } = {},
): Promise<Ended> {
  return new Promise((resolve) => {
    const options = { timeout: timeoutMs, killSignal: "SIGKILL" as const, maxBuffer: 64 * 1024 * 1024 };
    const child = execFile(command, [...args], options, (error, stdout, stderr) => {
      const code = error === null ? 0 : typeof error.code === "number" ? error.code : -1;
      resolve({ code, stdout, stderr: code === -1 ? `${stderr}${error?.message}` : stderr });
    });
    child.stdin?.on("error", () => {});
    child.stdin?.end(input);
  });
}
