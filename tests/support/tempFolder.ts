/** Temporary folders that take everything started inside them along when they go, also when the test run dies. */
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, realpathSync } from "node:fs";
import { dirname, join } from "node:path";

/** A private folder (0700) with a short path: control sockets of ssh may have 104 bytes in all. */
export interface TempFolder {
  /** Absolute real path, about 15 characters. */
  readonly path: string;
  /**
   * Ends every process that has the folder in its command line or environment and deletes the folder. Resolves when
   * both are done; a second call waits for the first. Happens by itself when this process ends or is killed.
   */
  remove(): Promise<void>;
}

/**
 * The guard: learns the folder, waits until this process closes the pipe or dies, then cleans up. The folder's name is
 * never in its own arguments or environment (nor in grep's), so it does not find itself. TERM first, and KILL for what
 * is still there after a second.
 */
const GUARD = `
trap '' HUP INT TERM
read -r folder || exit 0
while read -r _; do :; done
owned() {
  if [ -d /proc/self ]; then
    grep -lsF -f - /proc/[0-9]*/cmdline /proc/[0-9]*/environ <<END | cut -d / -f 3 | sort -u
$folder
END
  else
    ps -axEww -o pid=,command= | grep -F -f /dev/fd/3 3<<END | awk '{ print $1 }'
$folder
END
  fi
}
kill -TERM $(owned) 2>/dev/null
tries=0
while pids=$(owned) && [ -n "$pids" ]; do
  tries=$((tries + 1))
  [ $tries -lt 20 ] || kill -KILL $pids 2>/dev/null
  [ $tries -lt 60 ] || break
  sleep 0.05
done
rm -rf -- "$folder"
`;

/** Makes a temporary folder under /tmp. Throws when that cannot be written. */
export function makeTempFolder(): TempFolder {
  const path = mkdtempSync(join(realpathSync("/tmp"), "ska-"));
  // A session of its own: an interrupt from the terminal ends the tests, and the guard cleans up after them.
  const guard = spawn("/bin/sh", ["-c", GUARD], {
    cwd: "/",
    // Nothing of ours but PATH: another folder's name in its environment would let that folder's guard find it.
    env: { PATH: process.env.PATH },
    detached: true,
    stdio: ["pipe", "ignore", "ignore"],
  });
  const ended = new Promise<void>((resolve, reject) => guard.once("close", () => resolve()).once("error", reject));
  guard.stdin.write(`${path}\n`);
  // Neither the guard nor its pipe keeps this process from ending.
  guard.unref();
  if ("unref" in guard.stdin && typeof guard.stdin.unref === "function") guard.stdin.unref();
  return {
    path,
    remove: () => {
      guard.ref();
      guard.stdin.end();
      return ended;
    },
  };
}

/** The project's folder, from the sources as well as from the compiled copy in build/. */
export function projectRoot(): string {
  for (let folder = __dirname; folder !== dirname(folder); folder = dirname(folder)) {
    try {
      const { name } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8")) as { name?: unknown };
      if (name === "pulumi-ssh-keepalive") return folder;
    } catch {
      // No package.json here: look further up.
    }
  }
  throw new Error(`${__dirname} is not inside the project`);
}

/** What tools/setup.js, plain JavaScript, offers to the tests. */
export interface SetupModule {
  /** The engine on this machine, or why there is none. */
  findEngine(): { readonly pulumi: string; readonly binDir: string } | { readonly reason: string };
  /** OpenSSH's programs by absolute path. */
  findOpenSsh(): { readonly ssh?: string; readonly sshd?: string; readonly missing: readonly string[] };
  /** Creates /run/sshd where root's sshd needs it. */
  ensurePrivsepFolder(): void;
  /** Where an engine or language host of that version is cached. */
  versionBin(env: NodeJS.ProcessEnv, version: string): string;
  /** The version that is built from Go modules. */
  readonly BUILD_VERSION: string;
}

/** Loads tools/setup.js. */
export function setupModule(): SetupModule {
  return require(join(projectRoot(), "tools", "setup.js")) as SetupModule;
}
