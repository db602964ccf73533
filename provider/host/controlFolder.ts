/**
 * The private folder of this user on the controller: control sockets that later processes reuse, and one sub-folder
 * per process for what must vanish with it. Nothing secret is ever written here, except the random key that names
 * sockets. What a preview hands over (handover.ts) holds sshd's files, which on their host may be for root alone.
 */
import { createHmac, randomBytes } from "node:crypto";
import { linkSync, lstatSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { KeepaliveError } from "../errors";
import { spawnCompanion } from "./spawn";
import type { SshTarget } from "./target";

/** sun_path is 104 bytes on macOS and the BSDs, its end included; Linux has 108. */
const SOCKET_PATH_MAX = 103;
/** Hexadecimal digits of a socket's name, and what ssh appends while it makes one (mux.c: a dot and 16 characters). */
const NAME_LENGTH = 20;
const SSH_SUFFIX = 17;

function folderError(reason: string, remedy: string): KeepaliveError {
  return new KeepaliveError({ code: "bad-input", step: "connect", reason, remedy });
}

const uid = (): number => process.getuid?.() ?? -1;

/** Why `folder` is not a private folder of ours, or undefined when it is. */
function notPrivate(folder: string): string | undefined {
  let stat: ReturnType<typeof lstatSync>;
  try {
    stat = lstatSync(folder);
  } catch {
    return "it does not exist";
  }
  if (!stat.isDirectory()) return "it is not a folder";
  if (stat.uid !== uid()) return `it belongs to uid ${stat.uid}`;
  if ((stat.mode & 0o077) !== 0) return `its mode is ${(stat.mode & 0o777).toString(8)}, not 700`;
  return undefined;
}

/** Short enough for a socket, and free of what ssh would expand or split in a path (%, $, quotes, blanks). */
const fits = (folder: string): boolean =>
  /^[A-Za-z0-9_./+@,-]+$/.test(folder) && Buffer.byteLength(folder) + 1 + NAME_LENGTH + SSH_SUFFIX <= SOCKET_PATH_MAX;

/**
 * The private folder, made 0700 if missing: `$XDG_RUNTIME_DIR/psk` where that is ours and private, else `psk-UID` in
 * the system's folder for temporary files (`/tmp` where that path is too long for a socket). Throws a KeepaliveError
 * when someone else made it.
 */
export function privateFolder(env: NodeJS.ProcessEnv = process.env): string {
  const runtime = env.XDG_RUNTIME_DIR;
  const candidates = [path.join(env.TMPDIR || tmpdir(), `psk-${uid()}`), path.join("/tmp", `psk-${uid()}`)];
  if (runtime !== undefined && path.isAbsolute(runtime) && notPrivate(runtime) === undefined) {
    candidates.unshift(path.join(runtime, "psk"));
  }
  const folder = candidates.find(fits) ?? path.join("/tmp", `psk-${uid()}`);
  // There for every host but the first; to be told so by mkdir costs an exception each time.
  if (notPrivate(folder) === undefined) return folder;
  try {
    mkdirSync(folder, { mode: 0o700 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") {
      throw folderError(
        `the folder ${folder} for control sockets cannot be made (${(error as NodeJS.ErrnoException).code})`,
        "point TMPDIR to a folder you can write to",
      );
    }
  }
  const why = notPrivate(folder);
  if (why !== undefined) {
    throw folderError(
      `the folder ${folder} for control sockets is not safe: ${why}`,
      "remove it, or point TMPDIR to a folder of your own",
    );
  }
  return folder;
}

/** The random key that socket names are made with; one per private folder, so that names tell nothing of secrets. */
function namingKey(folder: string): Buffer {
  const file = path.join(folder, "key");
  const read = (): Buffer | undefined => {
    try {
      const key = readFileSync(file);
      return key.length === 32 ? key : undefined;
    } catch {
      return undefined;
    }
  };
  const known = read();
  if (known !== undefined) return known;
  // Complete before it has its name: another process may read it at any time.
  const temporary = `${file}.${process.pid}.${randomBytes(4).toString("hex")}`;
  writeFileSync(temporary, randomBytes(32), { mode: 0o600, flag: "wx" });
  try {
    linkSync(temporary, file);
  } catch {
    // Another process was first.
  } finally {
    rmSync(temporary, { force: true });
  }
  const key = read();
  if (key === undefined) throw folderError(`${file} is not readable`, `remove ${folder}`);
  return key;
}

/**
 * The path of the control socket for `target`: a keyed hash over everything that decides where a connection leads and
 * how it was checked and authenticated, so that a connection made under other conditions is never reused.
 */
export function controlPath(target: SshTarget, env: NodeJS.ProcessEnv = process.env): string {
  const folder = privateFolder(env);
  const { name: _name, become: _become, dialErrorLimit: _limit, perDialTimeout: _timeout, ...connection } = target;
  return path.join(folder, keyedName(folder, [connection, ...surroundings(env)]));
}

/** What decides about a connection beside its inputs: the agent, and whose ssh configuration it is. */
export const surroundings = (env: NodeJS.ProcessEnv): readonly (string | null)[] => [
  env.SSH_AUTH_SOCK ?? null,
  env.HOME ?? null,
];

/** A name in the private folder that stands for `inputs` and tells nothing of them, also not of secrets in them. */
export const keyedName = (folder: string, inputs: unknown): string =>
  createHmac("sha256", namingKey(folder)).update(stableJson(inputs)).digest("hex").slice(0, NAME_LENGTH);

function stableJson(value: unknown): string {
  return JSON.stringify(value, (_key, part: unknown) =>
    typeof part === "object" && part !== null && !Array.isArray(part)
      ? Object.fromEntries(Object.entries(part).sort(([a], [b]) => (a < b ? -1 : 1)))
      : part,
  );
}

let ownFolder: string | undefined;

/**
 * This process's own folder inside the private one, for sockets and for files without secrets. It is removed when
 * this process ends, also by SIGKILL: a companion waits for the end of a pipe.
 */
export function processFolder(): string {
  if (ownFolder !== undefined && notPrivate(ownFolder) === undefined) return ownFolder;
  const parent = privateFolder();
  for (const entry of readdirSync(parent)) {
    const owner = /^p(\d+)-/.exec(entry)?.[1];
    const left = path.join(parent, entry);
    if (owner !== undefined && !alive(Number(owner)) && ageMs(left) > LEFTOVER_MS) {
      rmSync(left, { recursive: true, force: true });
    }
  }
  const folder = path.join(parent, `p${process.pid}-${randomBytes(3).toString("hex")}`);
  mkdirSync(folder, { mode: 0o700 });
  if (ownFolder === undefined) {
    process.on("exit", () => {
      if (ownFolder !== undefined) rmSync(ownFolder, { recursive: true, force: true });
    });
  }
  ownFolder = folder;
  const script = 'echo ready; cat >/dev/null; rm -rf -- "$1"';
  void spawnCompanion("sh", ["-c", script, "sh", folder], { PATH: process.env.PATH ?? "/usr/bin:/bin" }, 10_000);
  return folder;
}

/** A sub-folder whose process is gone is kept this long: it may be another container's, whose processes we cannot see. */
const LEFTOVER_MS = 86_400_000;

/** Milliseconds since `file` was last written; 0 where there is none. */
export function ageMs(file: string): number {
  try {
    return Date.now() - lstatSync(file).mtimeMs;
  } catch {
    return 0;
  }
}

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

/** Writes a file without secrets into {@link processFolder}, 0600, and returns its path. Equal contents share one file. */
export function processFile(kind: string, content: string): string {
  const hash = createHmac("sha256", kind).update(content).digest("hex").slice(0, 16);
  const file = path.join(processFolder(), `${kind}-${hash}`);
  try {
    writeFileSync(file, content, { mode: 0o600, flag: "wx" });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  }
  return file;
}
