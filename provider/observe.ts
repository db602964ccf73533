/**
 * Observe: one read-only look at a host, in one round trip, as plain facts. Decides nothing; plan.ts does.
 */
import { readChain } from "./config";
import type { ByteString, Chain, Tree } from "./config/types";
import { KeepaliveError, printable } from "./errors";
import { type Answer, type Connector, cksum, observeScript, type Script } from "./host";
import type { Side } from "./settings";

/** What to look at: either side, and where it is not the usual place. `wish`: digest of what is wanted (remembered.ts). */
export interface Look {
  readonly server?: {
    readonly configPath?: string;
    readonly sshdPath?: string;
    readonly wish?: string;
  };
  readonly client?: {
    readonly configPath?: string;
    readonly user?: string;
    /** Host names to ask `ssh -G` about, one for each wanted Host pattern. */
    readonly probes: readonly string[];
    readonly wish?: string;
  };
}

/** A file of the Include chain as it stands on the host. */
export interface FileFacts {
  readonly path: string;
  /** The file behind links; absent when there is none. */
  readonly real?: string;
  /** Number of names (hard links) the file has. */
  readonly links?: number;
  readonly problem?: "missing" | "dangling" | "directory" | "unreadable" | "toobig";
  readonly readonly?: "permission" | "immutable";
  readonly folder: "writable" | "readonly" | "missing";
  /** POSIX cksum "CRC SIZE" of the bytes. */
  readonly sum?: string;
}

/**
 * What starts sshd at boot: `none`, nothing will; `other`, something for which no boot guard is known
 * (scripts/service.sh).
 */
export type ServiceManager = "none" | "systemd" | "openrc" | "sysvinit" | "other";

/** The listening sshd that serves us. */
export interface DaemonFacts {
  readonly pid: string;
  /** Start time in clock ticks since boot; empty where there is no /proc. */
  readonly start: string;
  /** Changes whenever it reads its files again. */
  readonly identity: string;
  /** The main file it was started with. */
  readonly config: string;
  /** The same behind links. */
  readonly realConfig: string;
  readonly argv: readonly string[];
  /** Those of its arguments that also matter to `sshd -T`: -o, -h, -p, -c. */
  readonly args: readonly string[];
  readonly pidfile: string;
  readonly manager: ServiceManager;
  readonly unit: string;
  /** Its listening systemd socket unit with Accept=no; empty when there is none. */
  readonly socket: string;
  /** How its manager makes it read its files: a socket-activated daemon does not survive a reload. */
  readonly activation: "reload" | "restart";
  /** Files and Include folders changed after it last read its files; undefined when that cannot be told. */
  readonly changedSince?: readonly string[];
}

/** A transaction under way on the host (`live`), or what is left of one that nobody looks after any more (`stale`). */
export interface LockFacts {
  readonly state: "live" | "stale";
  /** Who took it, for people. */
  readonly who: string;
  /** Seconds that a live one may last. */
  readonly leftSeconds: number;
}

/** What was seen of one side's configuration. */
export interface TargetFacts {
  readonly side: Side;
  /** Path of the main file. */
  readonly config: string;
  /** The same behind links. */
  readonly realConfig: string;
  readonly chain: Chain;
  readonly files: ReadonlyMap<string, FileFacts>;
  /** The chain has more files than a look reads (256); those beyond are in no other field. */
  readonly tooManyFiles: boolean;
  /** Include pattern → whether its folder can be written, where the pattern names one folder. */
  readonly folders: ReadonlyMap<string, "writable" | "readonly">;
  /** OpenSSH's version text; empty when it could not be had. */
  readonly version: string;
  /** Path of sshd; empty for a client. */
  readonly exe: string;
  /** What the host says of that file, or of ssh: names, bytes, times, path; changes with every upgrade. */
  readonly program?: string;
  /** What `sshd -T` or `ssh -G` said: one entry for a server, one a probe for a client. */
  readonly said: readonly Saying[];
  /** The `-C` specification `sshd -T` needed to answer at all. */
  readonly spec?: string;
  /** A `Match exec` kept us from asking `ssh -G`, which would run it: this file has it. */
  readonly matchExec?: string;
  /** The program is not there: this name was looked for. */
  readonly missingProgram?: string;
  readonly daemon?: DaemonFacts;
  /** Each connection starts its own sshd (inetd, ssh.socket with Accept=yes): what starts that. */
  readonly perConnection?: ServiceManager;
  /** The daemon that accepted this connection has ended since. */
  readonly daemonGone: boolean;
  /** Several daemons use this file; which is meant cannot be told. */
  readonly severalDaemons?: string;
  /** `uid:gid` of the user whose file it is; absent for system-wide files. */
  readonly owner?: string;
  /** The client's user is not known on the host. */
  readonly noUser?: string;
  /** Folder that keeps this target's state on the host. */
  readonly stateFolder: string;
  /** The record an earlier transaction left, as it was written. */
  readonly record?: ByteString;
  /** The daemon's identity when our last transaction was confirmed. */
  readonly loadedIdentity?: string;
  readonly lock?: LockFacts;
  /** The log of the last transaction. */
  readonly last?: ByteString;
}

/** One answer of `sshd -T` or `ssh -G`. */
export interface Saying {
  /** The probe name, empty for a server. */
  readonly probe: string;
  readonly exit: number;
  readonly text: string;
}

/** Everything one look brought. */
export interface HostFacts {
  /** Changes with every boot; tells machines apart, containers on one kernel aside. */
  readonly boot: string;
  /** Whether candidates can be put in place in a mount namespace. */
  readonly namespace: boolean;
  readonly server?: TargetFacts;
  readonly client?: TargetFacts;
}

/** What a short look told: nothing has changed since the host was as it is wanted now. */
export interface Unchanged {
  readonly boot: string;
  /** Of each side: id of the resource that made it so, and the folder of its state. */
  readonly sides: readonly { readonly owner: string; readonly stateFolder: string }[];
}

/** What a look brought: all facts, or that there is nothing new. */
export type Seen = { readonly facts: HostFacts } | { readonly unchanged: Unchanged };

/**
 * Looks at a host. A `short` look is over where the host remembers how it was as is wanted now, and still is so. `keep` is
 * given a whole look's answer, from which {@link readFacts} makes the same facts again. Rejects with a KeepaliveError when
 * the host cannot be reached or answers something else.
 */
export async function observe(
  connector: Connector,
  look: Look,
  short: boolean,
  keep: (answer: Answer) => void = () => undefined,
): Promise<Seen> {
  const data: [string, string][] = connector.kind === "local" ? [["local", "yes"]] : [];
  if (look.server !== undefined) {
    data.push(["server", "yes"]);
    if (look.server.configPath !== undefined) data.push(["server_config", bytesOf(look.server.configPath)]);
    if (look.server.sshdPath !== undefined) data.push(["sshd_path", bytesOf(look.server.sshdPath)]);
  }
  if (look.client !== undefined) {
    data.push(["client", "yes"]);
    if (look.client.configPath !== undefined) data.push(["client_config", bytesOf(look.client.configPath)]);
    if (look.client.user !== undefined) data.push(["client_user", look.client.user]);
    for (const probe of look.client.probes) data.push(["probe", probe]);
  }
  const whole = { name: "observe", text: observeScript(), data, step: "observe" } as const;
  const wishes = (["server", "client"] as const).flatMap((side): [string, string][] => {
    const wish = look[side]?.wish;
    return wish === undefined ? [] : [[`${side}.wish`, wish]];
  });
  const script = short ? { ...whole, data: [...data, ...wishes] } : whole;
  let answer: Answer = [];
  const ask = async (run: Script): Promise<Seen | "unsure"> => {
    answer = await connector.run(run);
    return readSeen(connector.name, answer);
  };
  let seen = await ask(script);
  if (seen !== "unsure" && "facts" in seen && seen.facts.server?.daemonGone === true && connector.kind === "ssh") {
    // An old shared connection outlives its daemon: only a new one tells whether anybody can log in.
    await connector.close();
    seen = await ask(script);
  }
  if (seen === "unsure") seen = await ask(whole);
  if (seen === "unsure") throw oddAnswer(connector.name);
  if ("facts" in seen) keep(answer);
  return seen;
}

const oddAnswer = (host: string): KeepaliveError =>
  new KeepaliveError({
    code: "protocol",
    host,
    step: "observe",
    reason: "the host's answer lacks what every look brings",
    remedy: "See whether `ssh HOST id` works",
  });

/** The answer of a look; `unsure`: the same files, but not known to be what the daemon, started since, has read. */
function readSeen(host: string, answer: Answer): Seen | "unsure" {
  const value = (name: string): string | undefined => answer.find((record) => record.name === name)?.value;
  if (value("unchanged") === undefined) return { facts: readFacts(host, answer) };
  const restarted = value("times") !== undefined;
  const changed = restarted ? readFacts(host, answer).server?.daemon?.changedSince : [];
  if (changed?.length !== 0) return "unsure";
  const sides = answer.flatMap(({ name, value: said }) => {
    if (name !== "unchanged") return [];
    const [owner = "", ...folder] = said.split(" ");
    return [{ owner, stateFolder: folder.join(" ") }];
  });
  return { unchanged: { boot: value("boot") ?? "", sides } };
}

/** UTF-8 bytes of a text as a byte string, which is how values travel to hosts. */
export function bytesOf(text: string): ByteString {
  return Buffer.from(text, "utf8").toString("latin1");
}

/** A path or other text of a host for people: read as UTF-8, unprintable characters escaped. */
export function shown(bytes: ByteString, max = 300): string {
  return printable(Buffer.from(bytes, "latin1").toString("utf8"), max);
}

/** Facts out of the observe script's records. Throws a KeepaliveError where they are not what every look brings. */
export function readFacts(host: string, answer: Answer): HostFacts {
  const sections: Section[] = [{ side: undefined, records: [] }];
  for (const record of answer) {
    if (record.name === "target") sections.push({ side: record.value as Side, records: [] });
    else sections.at(-1)?.records.push(record);
  }
  const [general, ...targets] = sections;
  const one = (name: string): string => general?.records.find((r) => r.name === name)?.value ?? "";
  if (one("system") === "") throw oddAnswer(host);
  const facts = targets.map((section) => readTarget(host, section));
  const server = facts.find((t) => t.side === "server");
  const client = facts.find((t) => t.side === "client");
  return {
    boot: one("boot"),
    namespace: answer.some((record) => record.name === "namespace"),
    ...(server === undefined ? {} : { server }),
    ...(client === undefined ? {} : { client }),
  };
}

type Writable<T> = { -readonly [K in keyof T]: T[K] };

interface Section {
  readonly side: Side | undefined;
  readonly records: { readonly name: string; readonly value: ByteString }[];
}

function readTarget(host: string, section: Section): TargetFacts {
  const side: Side = section.side === "client" ? "client" : "server";
  const get = (name: string): string | undefined => section.records.find((r) => r.name === name)?.value;
  const all = (name: string): string[] => section.records.filter((r) => r.name === name).map((r) => r.value);

  const { bytes, sums } = readBytes(host, section);
  const times = readTimes(all("times"));
  const immutable = readImmutable(all("attributes"));
  const files = new Map<string, Writable<FileFacts>>();
  const globs = new Map<string, string[]>();
  const folders = new Map<string, "writable" | "readonly">();
  const said: Saying[] = [];
  let file: Writable<FileFacts> | undefined;
  let pattern: string | undefined;
  let probe = "";
  let exit = 0;
  for (const { name, value } of section.records) {
    switch (name) {
      case "file":
        file = { path: value, folder: "missing" };
        files.set(value, file);
        break;
      case "file.folder":
        if (file !== undefined) file.folder = value as FileFacts["folder"];
        break;
      case "file.problem":
        if (file !== undefined) file.problem = value as NonNullable<FileFacts["problem"]>;
        break;
      case "file.readonly":
        if (file !== undefined) file.readonly = value as NonNullable<FileFacts["readonly"]>;
        break;
      case "file.real":
        if (file !== undefined) file.real = value;
        break;
      case "glob":
        pattern = value;
        globs.set(value, []);
        break;
      case "glob.match":
        if (pattern !== undefined) globs.get(pattern)?.push(value);
        break;
      case "glob.folder":
        if (pattern !== undefined) folders.set(pattern, value as "writable" | "readonly");
        break;
      case "ssh.probe":
        probe = value;
        break;
      case "sshd.exit":
      case "ssh.exit":
        exit = Number(value);
        break;
      case "sshd.dump":
      case "ssh.dump":
        said.push({ probe, exit, text: value });
        break;
    }
  }

  const tooBig = all("bytes.toobig");
  for (const each of files.values()) {
    const place = each.real ?? each.path;
    const sum = sums.get(each.path);
    const links = times.get(place)?.links;
    if (immutable(each.path.replace(/[^/]*$/, "")) && each.folder === "writable") each.folder = "readonly";
    if (each.real !== undefined && (immutable(place) || immutable(place.replace(/[^/]*$/, "")))) {
      each.readonly = "immutable";
    }
    if (tooBig.includes(each.path)) each.problem = "toobig";
    if (sum !== undefined) each.sum = sum;
    if (links !== undefined) each.links = links;
  }
  for (const at of folders.keys()) if (immutable(at.replace(/[^/]*$/, ""))) folders.set(at, "readonly");

  const config = get("config") ?? "";
  const configHome = get("config.home") ?? "";
  const tree: Tree = {
    side,
    main: config,
    files: bytes,
    globs,
    includeBase: get("config.base") ?? "/etc/ssh",
    ...(side === "client" && configHome !== "" ? { home: configHome } : {}),
  };
  const optional = <K extends string>(key: K, value: string | undefined): { [P in K]?: string } =>
    value === undefined ? {} : ({ [key]: value } as { [P in K]: string });
  const lock = get("target.lock");
  const daemon = readDaemon(get, all, changedSince(get, files.values(), globs.keys(), times));
  return {
    side,
    config,
    realConfig: get("config.real") ?? config,
    chain: readChain(tree),
    files,
    tooManyFiles: get("chain.toomany") !== undefined,
    folders,
    version: versionLine(get("sshd.version") ?? get("ssh.version") ?? ""),
    exe: get("sshd.path") ?? "",
    ...optional("program", get("sshd.program") ?? (get("ssh.program") || undefined)),
    said,
    ...optional("spec", get("sshd.spec")),
    ...optional("matchExec", get("ssh.matchexec")),
    ...optional("missingProgram", get("sshd.missing") ?? get("ssh.missing")),
    ...(daemon === undefined ? {} : { daemon }),
    ...(get("daemon.perconnection") === undefined ? {} : { perConnection: managerOf(get("daemon.manager")) }),
    daemonGone: get("daemon.gone") !== undefined,
    ...optional("severalDaemons", get("daemon.several")),
    ...optional("owner", get("client.owner")),
    ...optional("noUser", get("client.nouser")),
    stateFolder: get("target.folder") ?? "",
    ...optional("record", bytes.get(`${get("target.folder")}/record`)),
    ...optional("loadedIdentity", get("target.loaded")?.trim()),
    ...(lock === undefined
      ? {}
      : {
          lock: {
            // One without a name (`new`) is being made this moment, or left so: whoever tidies up waits and sees.
            state: lock === "live" ? ("live" as const) : ("stale" as const),
            who: get("target.lock.who") ?? "someone",
            leftSeconds: Number(get("target.lock.left") ?? "1"),
          },
        }),
    ...optional("last", bytes.get(`${get("target.folder")}/last`)),
  };
}

const managerOf = (said: string | undefined): ServiceManager =>
  said === "systemd" || said === "openrc" || said === "sysvinit" || said === "other" ? said : "none";

function readDaemon(
  get: (name: string) => string | undefined,
  all: (name: string) => string[],
  changed: readonly string[] | undefined,
): DaemonFacts | undefined {
  const pid = get("daemon.pid");
  if (pid === undefined) return undefined;
  return {
    pid,
    start: get("daemon.start") ?? "",
    identity: get("daemon.identity") ?? "",
    config: get("daemon.config") ?? "",
    realConfig: get("daemon.realconfig") ?? "",
    argv: (get("daemon.argv") ?? "").split("\n").filter((word) => word !== ""),
    args: all("daemon.arg"),
    pidfile: get("daemon.pidfile") ?? "",
    manager: managerOf(get("daemon.manager")),
    unit: get("daemon.unit") ?? "",
    socket: get("daemon.socket") ?? "",
    activation: get("daemon.activation") === "restart" ? "restart" : "reload",
    ...(changed === undefined ? {} : { changedSince: changed }),
  };
}

/** OpenSSH's own line of what `-V` printed: releases before 9.3 do not know the option and say it before their usage. */
const versionLine = (said: string): string => said.split("\n").find((line) => line.includes("OpenSSH_")) ?? "";

/**
 * The bytes of all files that were read, and their sums. Throws KeepaliveError (protocol) when the bytes are not what
 * their checksums say.
 */
function readBytes(
  host: string,
  section: Section,
): { readonly bytes: Map<string, ByteString>; readonly sums: Map<string, string> } {
  const files = { bytes: new Map<string, ByteString>(), sums: new Map<string, string>() };
  let list = "";
  for (const { name, value } of section.records) {
    if (name === "bytes.sums") list = value;
    if (name !== "bytes") continue;
    let at = 0;
    for (const line of list.split("\n").filter((l) => l !== "")) {
      const [, crc = "", size = "", path = ""] = /^(\d+) (\d+) (.*)$/s.exec(line) ?? [];
      const bytes = value.slice(at, at + Number(size));
      const sum = `${crc} ${size}`;
      at += Number(size);
      if (sumOf(bytes) !== sum) {
        throw new KeepaliveError({
          code: "protocol",
          host,
          step: "observe",
          reason: `${shown(path)} changed while it was read`,
          remedy: "Run again",
        });
      }
      files.bytes.set(path, bytes);
      files.sums.set(path, sum);
    }
  }
  return files;
}

/** What the host knows of one path: number of names, and times in units of its own that can be compared. */
interface Times {
  readonly links: number;
  readonly changed: bigint;
  readonly modified: bigint;
}

/** Lines of "names bytes changed modified path", times in seconds with any number of decimals. */
function readTimes(texts: readonly string[]): ReadonlyMap<string, Times> {
  const times = new Map<string, Times>();
  for (const line of texts.flatMap((text) => text.split("\n"))) {
    const [, links, changed = "", modified = "", path = ""] =
      /^(\d+) \d+ (\d+(?:\.\d+)?) (\d+(?:\.\d+)?) (.*)$/.exec(line) ?? [];
    if (path !== "") times.set(path, { links: Number(links), changed: nanos(changed), modified: nanos(modified) });
  }
  return times;
}

function nanos(seconds: string): bigint {
  const [whole = "0", fraction = ""] = seconds.split(".");
  return BigInt(whole + fraction.padEnd(9, "0").slice(0, 9));
}

/** Lines of lsattr: whether a path has `chattr +i` or `+a`. */
function readImmutable(texts: readonly string[]): (path: string) => boolean {
  const flagged = new Set<string>();
  for (const line of texts.flatMap((text) => text.split("\n"))) {
    const [, flags = "", path = ""] = /^(\S+) +(.*)$/.exec(line) ?? [];
    if (/[ia]/.test(flags)) flagged.add(path);
  }
  return (path) => flagged.has(path);
}

/**
 * Files and Include folders that came to their place or changed after the daemon read its files, by status change, since
 * a file that is moved into place keeps its time of modification; undefined when that cannot be told.
 */
function changedSince(
  get: (name: string) => string | undefined,
  files: Iterable<FileFacts>,
  globs: Iterable<string>,
  times: ReadonlyMap<string, Times>,
): readonly string[] | undefined {
  const loaded = get("daemon.loaded");
  const identity = get("daemon.identity");
  // What was noted of a daemon holds as long as it is the same: it has read no files since.
  const noted = identity !== undefined && identity !== "" && get("daemon.asof") === identity;
  const reference = noted ? `${get("target.folder")}/asof` : loaded?.startsWith("/") === true ? loaded : undefined;
  const since = reference === undefined ? undefined : times.get(reference)?.modified;
  let late: (time: bigint) => boolean;
  // Clocks of file systems tick slowly: beside the PidFile, what cannot be told apart counts as changed.
  if (since !== undefined) late = (time) => (noted ? time > since : time >= since);
  else if (loaded !== undefined && /^\d+$/.test(loaded)) late = (time) => time >= nanos(loaded) + nanos("1");
  else return undefined;
  const changed: string[] = [];
  for (const { path, real } of files) {
    const seen = [path, real].flatMap((p) => (p === undefined ? [] : (times.get(p)?.changed ?? [])));
    if (seen.some(late)) changed.push(path);
  }
  if (since !== undefined) {
    for (const pattern of globs) {
      const folder = pattern.slice(0, pattern.lastIndexOf("/"));
      // Its time of modification: names that came and went.
      const modified = times.get(`${folder}/`)?.modified;
      if (modified !== undefined && late(modified)) changed.push(folder);
    }
  }
  return changed;
}

/** Include patterns and what each matched, as a host compares them later: lines `glob PATTERN`, each with its `match PATH`. */
export const globLines = (matches: ReadonlyMap<string, readonly string[]>): string[] =>
  [...matches].flatMap(([pattern, found]) => [`glob ${pattern}`, ...found.map((path) => `match ${path}`)]);

/** POSIX `cksum` of a byte string as the host prints it: "CRC SIZE". */
export function sumOf(bytes: ByteString): string {
  return `${cksum(Buffer.from(bytes, "latin1"))} ${bytes.length}`;
}
