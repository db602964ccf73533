/**
 * Real hosts: each a Debian system booted by systemd-nspawn on an overlay that is gone with it, in namespaces of its
 * own, all on one bridge with this process. Nothing outlives the run: see tests/support/tempFolder.ts.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { lstatSync, mkdirSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { mkdir, open, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { makeTempFolder, type TempFolder } from "../../support/tempFolder";
import { type ImageName, image, imagesFolder } from "./images";
import { type Ended, must, type RunOptions, run, until } from "./run";

/** How to log in; the shape of `connection` in a program. */
export interface LabConnection {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly privateKey: string;
  readonly hostKey: string;
}

/** How a host differs from a freshly installed one. */
export interface HostOptions {
  readonly image: ImageName;
  /** A word; its host name. */
  readonly name: string;
  /** Files to write before it boots: absolute path → contents (0644, parents made). */
  readonly files?: Readonly<Record<string, string>>;
  /** POSIX sh, run as root inside the system before it boots. */
  readonly prepare?: string;
}

/** A booted host. Paths are those on the host. */
export interface LabHost {
  readonly name: string;
  readonly image: ImageName;
  /** IPv4 address on the lab's bridge. */
  readonly address: string;
  /** IPv6 address on the lab's bridge. */
  readonly address6: string;
  /** Default user: root. */
  connection(user?: string): LabConnection;
  /** Runs POSIX sh on the host as root, not through sshd. */
  sh(script: string, options?: RunOptions): Promise<Ended>;
  /** The same; rejects unless it exits with 0, resolves to its output. */
  must(script: string, options?: RunOptions): Promise<string>;
  /** How to run a program on the host as root from here, as arguments of a process. */
  command(words: readonly string[]): { readonly file: string; readonly args: readonly string[] };
  /** A strict login of its own from this process, and a command. */
  ssh(
    command: string,
    options?: RunOptions & { readonly user?: string; readonly args?: readonly string[] },
  ): Promise<Ended>;
  /** A login of its own that does nothing until it is asked whether it still lives. */
  idleSession(user?: string): IdleSession;
  /**
   * Runs `action` on the host the moment that `condition` succeeds there (both POSIX sh, polled every few
   * milliseconds); resolves when it has. Rejects after two minutes.
   */
  when(condition: string, action: string): Promise<void>;
  /** Takes the host off the bridge (packets are lost, nobody is told), or puts it back. */
  network(state: "down" | "up"): Promise<void>;
  read(path: string): Promise<string>;
  /** Writes a file, parents made, mode 0644 for a new one. */
  write(path: string, contents: string): Promise<void>;
  /** `sshd -T` there: lower-case keyword → value (repeated keywords: the last). */
  sshdT(): Promise<ReadonlyMap<string, string>>;
  /** Everything that a transaction could touch: path → type, mode, owner and sum or target. Two of them can be compared. */
  snapshot(): Readonly<Record<string, string>>;
  /** What no transaction may leave behind: locks, temporary files, units, supervisors. Empty when there is nothing. */
  leftovers(): Promise<readonly string[]>;
  /** Ends it without warning and boots it again with the files as they are. */
  powerCycle(): Promise<void>;
  /** Ends it without warning. */
  powerOff(): Promise<void>;
  /** Boots it; resolves when sshd listens (unless told not to wait) and logins are allowed. */
  boot(options?: { readonly wait?: boolean }): Promise<void>;
  /** Process id of the host's pid 1, here. */
  leader(): number;
  /** Process that holds its namespaces, here. */
  readonly holder: number;
  /** The end of what it printed on its console. */
  console(): Promise<string>;
  /** The end of what sshd and others logged. */
  log(): Promise<string>;
}

/** A session over which nothing goes until it is asked. */
export interface IdleSession {
  /** Resolves when the login is complete; rejects when it does not work. */
  readonly ready: Promise<void>;
  /** Sends a word and waits for its echo, `timeoutMs` at most (default 6 s). */
  answers(timeoutMs?: number): Promise<boolean>;
  /** Resolves to the seconds since `ready` when the session has ended by itself. */
  readonly ended: Promise<number>;
  readonly alive: () => boolean;
  end(): void;
}

/** Sessions that this process has open. */
const sessions = new Set<ChildProcess>();

/** Wraps a program that echoes lines, such as a login that runs `cat`. */
export function echoSession(file: string, args: readonly string[]): IdleSession {
  const child = spawn(file, [...args], { stdio: ["pipe", "pipe", "pipe"] });
  sessions.add(child);
  let said = "";
  let errors = "";
  let since = performance.now();
  let words = 0;
  let over = false;
  child.stdin.on("error", () => {});
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    said += text;
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    errors += text;
  });
  const ended = new Promise<number>((resolve) => {
    const finish = () => {
      over = true;
      sessions.delete(child);
      resolve((performance.now() - since) / 1000);
    };
    child.once("error", finish).once("exit", finish);
  });
  const echoed = async (timeoutMs: number): Promise<boolean> => {
    words += 1;
    const word = `word-${words}`;
    child.stdin.write(`${word}\n`);
    const deadline = performance.now() + timeoutMs;
    while (!said.includes(`${word}\n`) && !over && performance.now() < deadline) await pause(20);
    return said.includes(`${word}\n`);
  };
  return {
    ready: echoed(20_000).then((works) => {
      if (!works)
        throw new Error(`no session by ${args.slice(-3).join(" ")} (${over ? "ended" : "silent"}): ${errors}`);
      since = performance.now();
    }),
    answers: (timeoutMs = 6000) => echoed(timeoutMs),
    ended,
    alive: () => !over,
    end: () => {
      child.kill("SIGKILL");
    },
  };
}

/** Hosts on one bridge. */
export interface Lab {
  readonly folder: TempFolder;
  /** Unique among the labs that run now; the second last number of IPv4 addresses. */
  readonly number: number;
  /** Process that holds the bridge's namespace. */
  readonly holder: number;
  host(options: HostOptions): Promise<LabHost>;
  /** A network namespace of its own that ends with the lab; resolves to the process that holds it. */
  namespace(setUp: string): Promise<number>;
  /** Ends every host and takes everything away. */
  end(): Promise<void>;
}

/** Milliseconds that the start of a lab and of its hosts may take: images may have to be built, or another lab to end. */
export const LAB_TIMEOUT = 40 * 60_000;

/** Documentation says 198.18.0.0/15 is for test networks (RFC 2544); nothing real is there. */
const bridgeNet = (lab: number): string => `198.18.${lab}`;
const bridgeNet6 = (lab: number): string => `fd5a:1ab:${lab.toString(16)}:`;

/** Holds namespaces until its input ends, which it does with this process; $1 tells the guard whose it is. */
const HOLD = 'echo ready; while read -r _; do :; done; : "$1"';

/**
 * Starts a shell script in new namespaces, and resolves when it said `ready`; `under`: a program and its arguments that
 * becomes it in turn.
 */
async function hold(
  flags: readonly string[],
  script: string,
  args: readonly string[],
  under: readonly string[] = [],
): Promise<ChildProcess> {
  const [file = "unshare", ...words] = [...under, "unshare", ...flags, "sh", "-eu", "-c", script, "sh", ...args];
  const child = spawn(file, words, {
    cwd: "/",
    stdio: ["pipe", "pipe", "pipe"],
    detached: true,
  });
  let said = "";
  let ended = false;
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => {
      said += text;
    });
  }
  child.once("error", () => {
    ended = true;
  });
  child.once("close", () => {
    ended = true;
  });
  await until(() => said.includes("ready\n") || ended, "namespaces", under.length === 0 ? undefined : LAB_TIMEOUT);
  if (ended) throw new Error(`namespaces could not be made: ${said}`);
  child.unref();
  for (const stream of [child.stdin, child.stdout, child.stderr]) (stream as unknown as { unref?(): void }).unref?.();
  return child;
}

const pidOf = (child: ChildProcess): number => {
  if (child.pid === undefined) throw new Error("the process did not start");
  return child.pid;
};

/** Starts a lab without hosts. */
export async function startLab(): Promise<Lab> {
  const folder = makeTempFolder();
  try {
    return await makeLab(folder);
  } catch (error) {
    await folder.remove();
    throw error;
  }
}

async function makeLab(folder: TempFolder): Promise<Lab> {
  const key = join(folder.path, "key");
  await must("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", key]);
  const { number, holder } = await makeBridge(folder);
  let hosts = 0;
  const holders = [holder];
  return {
    folder,
    number,
    holder: pidOf(holder),
    host: async (options) => {
      hosts += 1;
      return startHost({ folder, number, bridge: pidOf(holder), index: hosts + 10, key, options });
    },
    namespace: async (setUp) => {
      const child = await hold(["-n"], `ip link set lo up\n${setUp}\n${HOLD}`, [folder.path]);
      holders.push(child);
      return pidOf(child);
    },
    end: async () => {
      for (const session of sessions) session.kill("SIGKILL");
      await folder.remove();
    },
  };
}

/** A bridge in a namespace of its own, and one leg of it here; the leg goes when the namespace does. */
async function makeBridge(folder: TempFolder): Promise<{ number: number; holder: ChildProcess }> {
  const taken = await must("ip", ["-o", "addr"]);
  for (let attempt = 0; ; attempt++) {
    const number = 1 + Math.floor(Math.random() * 250);
    if (taken.includes(` ${bridgeNet(number)}.`)) continue;
    const leg = `ska-lab${number}`;
    const script = `
      ip link set lo up
      ip link add br0 type bridge forward_delay 0 mcast_snooping 0
      ip link set br0 up
      ip link add ctl type veth peer name ${leg} netns ${process.pid}
      ip link set ctl master br0 up
      ${HOLD}`;
    try {
      // One lab at a time on a machine: hosts share its limits (inotify instances above all), and times are measured.
      mkdirSync(imagesFolder(), { recursive: true, mode: 0o700 });
      const turn = 'exec 9>"$0"; flock 9 && exec "$@"';
      const holder = await hold(["-n"], script, [folder.path], ["sh", "-c", turn, join(imagesFolder(), "running")]);
      await must("ip", ["addr", "add", `${bridgeNet(number)}.1/24`, "dev", leg]);
      await must("ip", ["addr", "add", `${bridgeNet6(number)}:1/64`, "dev", leg, "nodad"]);
      await must("ip", ["link", "set", leg, "up"]);
      return { number, holder };
    } catch (error) {
      // Another run took the number a moment ago.
      if (attempt === 5) throw error;
    }
  }
}

interface Place {
  readonly folder: TempFolder;
  readonly number: number;
  readonly bridge: number;
  readonly index: number;
  /** Path of the private key. */
  readonly key: string;
  readonly options: HostOptions;
}

async function startHost(place: Place): Promise<LabHost> {
  const { folder, number, index, key, options } = place;
  const { name } = options;
  const address = `${bridgeNet(number)}.${index}`;
  const address6 = `${bridgeNet6(number)}:${index.toString(16)}`;
  const base = await image(options.image);
  const dir = join(folder.path, name);
  await mkdir(dir, { mode: 0o700 });

  const holder = await hold(
    ["-m", "-n", "--propagation", "private"],
    `
    mount -t tmpfs -o mode=755,size=1g tmpfs "$2"
    mkdir "$2/upper" "$2/work" "$2/root"
    mount -t overlay -o "lowerdir=$3,upperdir=$2/upper,workdir=$2/work" overlay "$2/root"
    ip link set lo up
    ip link add eth0 type veth peer name "h$4" netns "$5"
    nsenter -t "$5" -n ip link set "h$4" master br0 up
    ip addr add "$6/24" dev eth0
    ip addr add "$7/64" dev eth0 nodad
    ip link set eth0 up
    ${HOLD}`,
    [folder.path, dir, base, String(index), String(place.bridge), address, address6],
  );
  const holderPid = pidOf(holder);
  let leaderPid = 0;
  /** The host's files: as its processes see them while it runs, else as they are on its disk. */
  const root = () =>
    leaderPid === 0 ? join("/proc", String(holderPid), "root", dir, "root") : join("/proc", String(leaderPid), "root");

  const publicKey = await readFile(`${key}.pub`, "utf8");
  const put = async (path: string, contents: string) => {
    await mkdir(dirname(join(root(), path)), { recursive: true });
    await writeFile(join(root(), path), contents);
  };
  await put("/etc/hostname", `${name}\n`);
  await put("/etc/hosts", `127.0.0.1 localhost\n::1 localhost\n127.0.1.1 ${name}\n`);
  // A user's own systemd, stopped ten seconds after the last logout, does not come to its end in these namespaces, and
  // later logins of that user wait for it: here it stays.
  await put("/usr/lib/systemd/logind.conf.d/lab.conf", "[Login]\nUserStopDelaySec=infinity\n");
  await put("/tmp/lab.pub", publicKey);
  for (const [path, contents] of Object.entries(options.files ?? {})) await put(path, contents);
  const authorize = `
    for user in root deploy anna bob; do
      eval "home=~$user"
      mkdir -p "$home/.ssh"
      chmod 700 "$home/.ssh"
      cp /tmp/lab.pub "$home/.ssh/authorized_keys"
      chown -R "$user:" "$home/.ssh"
    done
    rm /tmp/lab.pub`;
  const enter = ["-t", String(holderPid), "-m", "chroot", join(dir, "root"), "/bin/sh", "-eu"];
  await must("nsenter", enter, { input: `${authorize}\n${options.prepare ?? ""}\n` });

  const hostKey = (await readFile(join(root(), "etc/ssh/ssh_host_ed25519_key.pub"), "utf8")).split(" ", 2).join(" ");
  const knownHosts = join(folder.path, `${name}.known_hosts`);
  await writeFile(knownHosts, `${address} ${hostKey}\n${address6} ${hostKey}\n`);
  const consoleFile = join(folder.path, `${name}.console`);

  let machine: ChildProcess | undefined;

  const consoleEnd = async () => (await readFile(consoleFile, "utf8").catch(() => "")).slice(-3000);

  const command = (words: readonly string[]) => {
    const environment = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C"];
    const enter = ["-t", String(leaderPid), "-m", "-u", "-i", "-n", "-p", "-C"];
    return { file: "nsenter", args: [...enter, "env", "-i", ...environment, ...words] };
  };
  const sh = (script: string, runOptions?: RunOptions) => {
    const { file, args } = command(["/bin/sh", "-c", script]);
    return run(file, args, runOptions);
  };
  const mustSh = async (script: string, runOptions?: RunOptions) => {
    const { code, stdout, stderr } = await sh(`set -e\n${script}`, runOptions);
    if (code !== 0) throw new Error(`on ${name}: ${script} exited with ${code}:\n${stdout}${stderr}`);
    return stdout;
  };

  const boot = async ({ wait = true } = {}) => {
    const output = await open(consoleFile, "a");
    // Not registered anywhere, in this process's control group; $LAB is how the guard finds its pid 1.
    const args = ["-q", "--register=no", "--keep-unit", "-D", join(dir, "root"), "--boot", `--machine=${name}`];
    args.push(`--network-namespace-path=/proc/${holderPid}/ns/net`, "--console=read-only", "--resolv-conf=off");
    args.push("--timezone=off", "--link-journal=no", `--setenv=LAB=${folder.path}`);
    const child = spawn("nsenter", ["-t", String(holderPid), "-m", "systemd-nspawn", ...args], {
      cwd: "/",
      env: { ...process.env, SYSTEMD_NSPAWN_UNIFIED_HIERARCHY: "1", LAB: folder.path },
      stdio: ["ignore", output.fd, output.fd],
      detached: true,
    });
    child.on("error", () => {});
    child.unref();
    await output.close();
    machine = child;
    const nspawn = pidOf(child);
    const gone = () => child.exitCode !== null || child.signalCode !== null;
    const problem = async () => new Error(`${name} did not boot:\n${await consoleEnd()}`);
    await until(() => gone() || leaderOf(nspawn) !== undefined, `${name} to start`);
    leaderPid = leaderOf(nspawn) ?? 0;
    if (gone() || leaderPid === 0) throw await problem();
    if (!wait) return;
    try {
      await until(() => gone() || listens(leaderPid, 22), `sshd of ${name}`);
    } catch {
      throw await problem();
    }
    if (gone()) throw await problem();
    // Not only listening: users other than root are turned away until the start is over.
    await sh("if [ -d /run/systemd/system ]; then systemctl is-system-running --wait; fi");
    await until(async () => (await sh("[ ! -e /run/nologin ]")).code === 0, `logins on ${name}`);
  };

  const powerOff = async () => {
    const child = machine;
    if (child === undefined) return;
    machine = undefined;
    try {
      process.kill(leaderPid, "SIGKILL");
    } catch {
      // It has ended by itself.
    }
    await until(() => child.exitCode !== null || child.signalCode !== null, `the end of ${name}`);
    leaderPid = 0;
  };

  await boot();

  const loginArgs = (user: string, extra: readonly string[]) => {
    const settings = ["BatchMode=yes", "IdentitiesOnly=yes", "StrictHostKeyChecking=yes", "LogLevel=ERROR"];
    settings.push(`UserKnownHostsFile=${knownHosts}`, "GlobalKnownHostsFile=/dev/null", "IdentityAgent=none");
    settings.push("ConnectTimeout=10");
    return ["-F", "/dev/null", "-i", key, ...settings.flatMap((o) => ["-o", o]), ...extra, `${user}@${address}`];
  };
  const privateKey = await readFile(key, "utf8");

  return {
    name,
    image: options.image,
    address,
    address6,
    holder: holderPid,
    leader: () => leaderPid,
    connection: (user = "root") => ({ host: address, port: 22, user, privateKey, hostKey }),
    command,
    sh,
    must: mustSh,
    idleSession: (user = "root") => echoSession("ssh", [...loginArgs(user, []), "cat"]),
    when: (condition, action) => {
      // It counts for itself: killing what entered the host would not end what runs inside.
      const patience = "tries=0; wait_() { tries=$((tries + 1)); [ $tries -lt 5000 ] && sleep 0.02; }";
      const script = `${patience}\nuntil ${condition}; do wait_ || exit 75; done\n${action}`;
      const done = mustSh(script, { timeoutMs: 600_000 }).then(() => undefined);
      // Often awaited only after something else has failed.
      done.catch(() => {});
      return done;
    },
    network: async (state) => {
      await must("nsenter", ["-t", String(place.bridge), "-n", "ip", "link", "set", `h${index}`, state]);
    },
    ssh: (command, { user = "root", args = [], ...rest } = {}) => run("ssh", [...loginArgs(user, args), command], rest),
    read: (path) => readFile(join(root(), path), "utf8"),
    write: put,
    sshdT: async () => {
      const spec = "user=root,host=localhost,addr=127.0.0.1,laddr=127.0.0.1,lport=22";
      const dump = await mustSh(`mkdir -p /run/sshd; /usr/sbin/sshd -T -C ${spec}`);
      return new Map(
        dump
          .split("\n")
          .map((text) => [(text.split(" ", 1)[0] ?? "").toLowerCase(), text.slice(text.indexOf(" ") + 1)]),
      );
    },
    snapshot: () => {
      const found: Record<string, string> = {};
      for (const path of TOUCHED) look(root(), path, found);
      return found;
    },
    leftovers: async () => {
      const now = async () => (await mustSh(LEFTOVERS)).split("\n").filter((text) => text !== "");
      // A supervisor notices within a moment that someone else has brought its transaction to an end.
      let found = await now();
      for (
        const deadline = performance.now() + 60_000;
        found.length > 0 && performance.now() < deadline;
        found = await now()
      ) {
        await pause(200);
      }
      return found;
    },
    boot,
    powerOff,
    powerCycle: async () => {
      await powerOff();
      await boot();
    },
    console: consoleEnd,
    log: async () =>
      (await sh("journalctl --no-pager -n 60 2>/dev/null || tail -n 60 /var/log/auth.log")).stdout.slice(-8000),
  };
}

/** The folders a transaction works in, its own state aside. */
const TOUCHED = ["/etc/ssh", "/etc/systemd", "/etc/init.d", "/etc/runlevels", "/etc/rcS.d", "/etc/rc2.d", "/root/.ssh"];

function look(root: string, path: string, found: Record<string, string>): void {
  let stat: ReturnType<typeof lstatSync>;
  try {
    stat = lstatSync(join(root, path));
  } catch {
    return;
  }
  const about = `${(stat.mode & 0o7777).toString(8)} ${stat.uid}:${stat.gid}`;
  if (stat.isSymbolicLink()) found[path] = `link ${readlinkSync(join(root, path))}`;
  else if (stat.isDirectory()) {
    found[path] = `folder ${about}`;
    // insserv's caches: it writes them in another order each time.
    const entries = readdirSync(join(root, path)).filter((entry) => !entry.startsWith(".depend."));
    for (const entry of entries) look(root, `${path}/${entry}`, found);
  } else if (stat.isFile()) {
    const sum = createHash("sha256")
      .update(readFileSync(join(root, path)))
      .digest("hex");
    found[path] = `file ${about} ${sum.slice(0, 16)}`;
  }
}

/** Prints a line for each thing that a finished transaction may not leave. */
const LEFTOVERS = `
find /etc /root /home /run/systemd /var/lib/pulumi-ssh-keepalive \\( -name '.pulumi-ssh-keepalive*' -o -name lock \\
  -o -name gone -o -name 'stale.*' -o -name '*.tmp' -o -name 'pulumi-ssh-keepalive*.service' \\
  -o -name 'pulumi-ssh-keepalive*.timer' \\) -path '*ssh-keepalive*' 2>/dev/null || :
if [ -d /run/systemd/system ]; then
  systemctl list-units --plain --no-legend 'pulumi-ssh-keepalive*'
fi
for proc in /proc/[0-9]*; do
  case $(tr '\\0' ' ' <"$proc/cmdline" 2>/dev/null) in
    *'run.s'[h]' supervise'*) echo "supervisor \${proc#/proc/}" ;;
  esac
done
:`;

/** The host's pid 1 below an nspawn process, once it runs: the child that is the first of its own pid namespace. */
function leaderOf(nspawn: number): number | undefined {
  try {
    const children = readFileSync(`/proc/${nspawn}/task/${nspawn}/children`, "utf8").trim().split(" ");
    return children
      .filter((pid) => pid !== "")
      .map(Number)
      .find((pid) => {
        const [, inner = ""] = /^NSpid:(.*)$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8")) ?? [];
        return inner.trim().split(/\s+/).length > 1;
      });
  } catch {
    return undefined;
  }
}

/** Whether anything listens on a TCP port in the network of a process. Not by a connection: sshd counts those. */
export function listens(pid: number, port: number): boolean {
  const wanted = `:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  return ["tcp", "tcp6"].some((table) => {
    try {
      return readFileSync(`/proc/${pid}/net/${table}`, "utf8")
        .split("\n")
        .some((text) => {
          const [, local, , state] = text.trim().split(/\s+/);
          return state === "0A" && local?.endsWith(wanted) === true;
        });
    } catch {
      return false;
    }
  });
}
