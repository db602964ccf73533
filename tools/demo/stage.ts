/** The demo's stage: servers, this machine's own file, a Pulumi project; what can be seen of them, and its end. */
import { execFile } from "node:child_process";
import { existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join, relative } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { controlShared } from "../../provider/host/mux";
import { makeProject, type Project, type StackState } from "../../tests/support/engine";
import { type LightHost, startLightHost } from "../../tests/support/lightHost";
import { projectRoot, type TempFolder } from "../../tests/support/tempFolder";
import { CLIENT_FILE, MACHINES } from "./machines";

/** Files by path: kind, mode and bytes (latin1) of each. */
export type Snapshot = ReadonlyMap<string, string>;

/** All that takes part. */
export interface Stage {
  readonly servers: readonly LightHost[];
  readonly project: Project;
  /** This machine's client file, a temporary one. */
  readonly clientFile: string;
  /** The text of the key that logs in; must never be seen in what Pulumi prints or stores. */
  readonly privateKey: string;
}

/** Starts the servers, writes this machine's file and makes the project with a stack of its own. */
export async function buildStage(folder: TempFolder): Promise<Stage> {
  const started = MACHINES.map(({ name, files }) => startLightHost({ folder, name, files }));
  // All of them have come up or given up before anything is thrown: none starts behind the clean-up's back.
  await Promise.allSettled(started);
  const servers = await Promise.all(started);
  const [first] = servers;
  if (first === undefined) throw new Error("there is no server");
  const { user, privateKey } = first.connection;

  const laptop = join(folder.path, "laptop");
  const clientFile = join(laptop, "ssh_config");
  mkdirSync(laptop, { mode: 0o700 });
  writeFileSync(clientFile, CLIENT_FILE, { mode: 0o600 });

  const project = await makeProject({
    folder,
    name: "demo",
    program: { folder: join(projectRoot(), "tools", "demo", "program") },
    // Control sockets would go to the user's own runtime folder, and records of this machine's file to /var/lib.
    env: { XDG_RUNTIME_DIR: undefined, PULUMI_SSH_KEEPALIVE_STATE_DIR: join(folder.path, "laptop-state") },
  });
  const where = servers.map((server) => {
    const { host, port, hostKey } = server.connection;
    return [server.name, { host, port, hostKey }] as const;
  });
  const hosts = { user, clientConfigPath: clientFile, servers: Object.fromEntries(where) };
  await project.write({ "hosts.json": JSON.stringify(hosts, undefined, 2) });
  for (const made of [
    await project.init(),
    await project.setConfig("interval", "60"),
    await project.setConfig("deployKey", privateKey, { secret: true }),
  ]) {
    if (made.code !== 0) throw new Error(`the stack could not be made: ${made.stdout}${made.stderr}`);
  }
  return { servers, project, clientFile, privateKey };
}

/** A server by name. */
export function serverOf(stage: Stage, name: string): LightHost {
  const found = stage.servers.find((server) => server.name === name);
  if (found === undefined) throw new Error(`there is no server ${name}`);
  return found;
}

/** Names of all hosts in the program. */
export const hostNames = (stage: Stage): readonly string[] => [...stage.servers.map(({ name }) => name), "laptop"];

/**
 * Every configuration file of every host, logs, pids and the state folders aside: with bytes, which is what `destroy`
 * has to bring back, or as {@link stamps}, which tell whether anything was written.
 */
export function configurationOf(stage: Stage, look: (folder: string) => Snapshot = snapshot): Snapshot {
  const files = new Map<string, string>();
  for (const { dir } of stage.servers) {
    for (const [path, found] of look(dir)) {
      const name = relative(dir, path);
      if (!/^(state(\/|$)|sshd\.(log|pid)$)/.test(name)) files.set(path, found);
    }
  }
  for (const [path, found] of look(dirname(stage.clientFile))) files.set(path, found);
  return files;
}

/** Everything below a folder, with its bytes; empty when the folder is not there. */
export function snapshot(folder: string): Snapshot {
  const files = new Map<string, string>();
  const visit = (path: string): void => {
    const stat = lstatSync(path);
    const head = `${(stat.mode & 0o7777).toString(8)} ${stat.uid}:${stat.gid}`;
    if (stat.isDirectory()) {
      files.set(path, `folder ${head}`);
      for (const entry of readdirSync(path)) visit(join(path, entry));
    } else if (stat.isSymbolicLink()) files.set(path, `link ${readlinkSync(path)}`);
    else if (stat.isFile()) files.set(path, `file ${head}\n${readFileSync(path, "latin1")}`);
    else files.set(path, "other");
  };
  if (existsSync(folder)) visit(folder);
  return files;
}

/** Everything below some folders by size, inode and times: tells that something was written without reading it. */
export function stamps(...folders: readonly string[]): Snapshot {
  const files = new Map<string, string>();
  const visit = (path: string): void => {
    const stat = lstatSync(path, { throwIfNoEntry: false });
    if (stat === undefined) return;
    files.set(path, `${stat.mode} ${stat.size} ${stat.ino} ${stat.mtimeMs}`);
    if (!stat.isDirectory()) return;
    try {
      for (const entry of readdirSync(path)) visit(join(path, entry));
    } catch {
      // Not ours to read: the folder's own time tells whether something was added.
    }
  };
  for (const folder of folders) visit(folder);
  return files;
}

/** What belongs to this machine and not to the demo: OpenSSH's files, the user's own, the provider's state folders. */
export function thisMachine(): Snapshot {
  const home = homedir();
  return stamps(
    "/etc/ssh",
    "/var/lib/pulumi-ssh-keepalive",
    join(home, ".ssh"),
    join(home, ".local", "state", "pulumi-ssh-keepalive"),
  );
}

/** Paths that differ between two snapshots, sorted. */
export function differing(before: Snapshot, after: Snapshot): readonly string[] {
  const paths = new Set([...before.keys(), ...after.keys()]);
  return [...paths].filter((path) => before.get(path) !== after.get(path)).sort();
}

/** The lines that went and came, for people: `- old` and `+ new`. */
export function changedLines(before: Snapshot, after: Snapshot, path: string): readonly string[] {
  const linesOf = (text: string | undefined): readonly string[] => (text ?? "").split(/\r?\n/).slice(1);
  const [old, now] = [linesOf(before.get(path)), linesOf(after.get(path))];
  const without = (lines: readonly string[], others: readonly string[]): readonly string[] => {
    const left = [...others];
    return lines.filter((line) => {
      const at = left.indexOf(line);
      if (at >= 0) left.splice(at, 1);
      return at < 0 && line !== "";
    });
  };
  return [...without(old, now).map((line) => `- ${line}`), ...without(now, old).map((line) => `+ ${line}`)];
}

/** What OpenSSH says it does about keepalives on each host, by name: `INTERVAL x COUNT`. */
export async function keepalivesOf(stage: Stage): Promise<ReadonlyMap<string, string>> {
  const found = new Map<string, string>();
  for (const server of stage.servers) {
    const dump = await server.sshdT();
    found.set(server.name, `${dump.get("clientaliveinterval")} x ${dump.get("clientalivecountmax")}`);
  }
  const dump = await outputOf("ssh", ["-G", "-F", stage.clientFile, "somewhere.example.org"], process.env);
  const option = (name: string): string => new RegExp(`^${name} (.*)$`, "m").exec(dump)?.[1] ?? "?";
  return found.set("laptop", `${option("serveraliveinterval")} x ${option("serveralivecountmax")}`);
}

/** All of sshd's settings on every server but the ones that are managed: nothing else may change. */
export async function otherSettingsOf(stage: Stage): Promise<Snapshot> {
  const settings = new Map<string, string>();
  for (const server of stage.servers) {
    for (const [keyword, value] of await server.sshdT()) {
      if (!/^(clientalive(interval|countmax)|tcpkeepalive)$/.test(keyword)) {
        settings.set(`${server.name} ${keyword}`, value);
      }
    }
  }
  return settings;
}

/** How often the daemons have read their files so far. */
export async function loadsOf(stage: Stage): Promise<number> {
  const logs = await Promise.all(stage.servers.map((server) => server.log()));
  return logs.join("").match(/Server listening on 127\./g)?.length ?? 0;
}

/** Each host's status in the state that Pulumi stored. */
export function statusesIn(state: StackState): ReadonlyMap<string, unknown> {
  const fleet = state.deployment.resources?.find(({ type }) => type.endsWith(":SshKeepalive"));
  const observed = (fleet?.outputs?.observed ?? {}) as Readonly<Record<string, { readonly status?: unknown }>>;
  return new Map(Object.entries(observed).map(([name, { status }]) => [name, status]));
}

/** A session like a person's, open until `end` is called, which resolves to its last words. */
export async function openSession(server: LightHost): Promise<{ end(): Promise<string> }> {
  // Paths of our own temporary folder: nothing in them that a shell would take for more than a name.
  const mark = join(dirname(server.dir), "session");
  const session = server.ssh(`: >${mark}-open; while [ ! -e ${mark}-end ]; do sleep 0.1; done; echo still here`, {
    timeoutMs: 120_000,
  });
  let ended = false;
  void session.then(() => {
    ended = true;
  });
  while (!existsSync(`${mark}-open`) && !ended) await pause(20);
  return {
    end: async () => {
      writeFileSync(`${mark}-end`, "");
      const { stdout, stderr } = await session;
      return `${stdout}${stderr}`.trim();
    },
  };
}

/** Ends the connections that a call leaves open for the next one. */
export async function endSharedConnections(stage: Stage): Promise<void> {
  for (const socket of controlSockets(stage.project)) await controlShared(socket, "exit");
}

function controlSockets(project: Project): readonly string[] {
  // provider/host/controlFolder.ts names them.
  return [...snapshot(project.env.TMPDIR ?? "")]
    .filter(([path, kind]) => kind === "other" && /\/psk-\d+\/[0-9a-f]+$/.test(path))
    .map(([path]) => path);
}

/**
 * Processes that have the folder in their command line or environment, one line each. Waits for there to be none, for
 * a little longer than the ten seconds after which an ssh-agent looks whether it is still wanted (ssh-agent.c).
 */
export async function processesOf(folder: TempFolder): Promise<readonly string[]> {
  const deadline = performance.now() + 15_000;
  for (;;) {
    const found = await processesNow(folder.path);
    if (found.length === 0 || performance.now() > deadline) return found;
    await pause(50);
  }
}

async function processesNow(folder: string): Promise<readonly string[]> {
  if (!existsSync("/proc/self/environ")) {
    const table = await outputOf("ps", ["-axEww", "-o", "pid=,command="], process.env);
    return table.split("\n").filter((line) => line.includes(folder));
  }
  return readdirSync("/proc").flatMap((pid) => {
    if (!/^\d+$/.test(pid)) return [];
    try {
      const command = readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ");
      const mine = command.includes(folder) || readFileSync(`/proc/${pid}/environ`, "utf8").includes(folder);
      return mine ? [`${pid} ${command}`] : [];
    } catch {
      return []; // gone meanwhile, or another user's
    }
  });
}

/** What a program prints; also when it fails, which then shows in what is missing. */
function outputOf(file: string, args: readonly string[], env: Readonly<NodeJS.ProcessEnv>): Promise<string> {
  return new Promise((resolve) => {
    execFile(file, [...args], { env, timeout: 20_000, maxBuffer: 64 * 1024 * 1024 }, (_error, stdout) =>
      resolve(stdout),
    );
  });
}
