/** The hosts of the benchmark: light hosts set up alike, put back to their first bytes between runs, and counted. */
import { readdirSync, readFileSync } from "node:fs";
import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import pLimit from "p-limit";
import { type HostFiles, type HostSetting, type LightHost, startFleet } from "../../tests/support/lightHost";
import type { TempFolder } from "../../tests/support/tempFolder";

/** The work that everyone does: sshd_config(5), seconds and a count. */
export const WANTED = { ClientAliveInterval: 60, ClientAliveCountMax: 3 } as const;

/** What the hosts have seen so far, all together. */
export interface Seen {
  /** Logins that sshd accepted. */
  readonly logins: number;
  /** Commands, shells and subsystems started in them. */
  readonly commands: number;
  /** Times that a daemon has read its files. */
  readonly loads: number;
}

/** A running fleet. */
export interface BenchFleet {
  readonly hosts: readonly LightHost[];
  /** Puts every host back to its first bytes, with nothing remembered, and reloads it. */
  reset(): Promise<void>;
  /** Undoes the settings on the first host, as someone would by hand, and reloads it. */
  drift(): Promise<void>;
  /** Names of hosts whose effective settings (sshd -T) are not the wanted ones. */
  notAsWanted(): Promise<readonly string[]>;
  seen(): Promise<Seen>;
  stop(): Promise<void>;
}

/** What Debian ships, shortened: the settings are there as comments; a drop-in folder is read first. */
const REST = `
#Port 22
#LoginGraceTime 2m
#MaxAuthTries 6
#PubkeyAuthentication yes
KbdInteractiveAuthentication no
X11Forwarding yes
PrintMotd no
#TCPKeepAlive yes
#ClientAliveInterval 0
#ClientAliveCountMax 3
#UseDNS no
AcceptEnv LANG LC_*
Subsystem sftp internal-sftp
`;

/** `kex` undefined leaves the key exchange to OpenSSH's defaults on both ends. */
function filesOf({ dir, head }: HostSetting, kex: string | undefined): HostFiles {
  // The everyday tests pin a cheap key exchange; what a login costs is what is measured here.
  const own = head
    .replace(/^KexAlgorithms .*\n/m, kex === undefined ? "" : `KexAlgorithms ${kex}\n`)
    // A home of the host's own: the login files of whoever runs this are no part of anyone's work, at every session.
    .replace(/^SetEnv .*$/m, (line) => `${line} HOME=${dir}/home`);
  return {
    sshd_config: `Include ${dir}/sshd_config.d/*.conf\n${own}${REST}`,
    "sshd_config.d/50-cloud-init.conf": "PasswordAuthentication no\n",
    "home/.hushlogin": "",
  };
}

/** Starts `count` hosts. Rejects when one does not come up. */
export async function startBenchFleet(folder: TempFolder, count: number, kex: string | undefined): Promise<BenchFleet> {
  const first = new Map<string, HostFiles>();
  const { hosts, stop } = await startFleet(count, {
    folder,
    name: (index) => `h${index + 1}`,
    // Names each command in the log.
    extraLines: ["LogLevel VERBOSE"],
    files: (setting) => {
      const files = filesOf(setting, kex);
      first.set(setting.dir, files);
      return files;
    },
  });
  const limit = pLimit(8);
  const each = <T>(work: (host: LightHost) => Promise<T>) => Promise.all(hosts.map((host) => limit(work, host)));

  const putBack = async (host: LightHost) => {
    const files = first.get(host.dir) ?? {};
    const dropIns = await readdir(join(host.dir, "sshd_config.d"));
    const added = dropIns.filter((name) => !(`sshd_config.d/${name}` in files));
    await Promise.all(added.map((name) => rm(join(host.dir, "sshd_config.d", name))));
    for (const [path, contents] of Object.entries(files)) await host.write(path, contents);
  };
  return {
    hosts,
    stop,
    reset: async () => {
      await supervisorsEnded(folder);
      await each(async (host) => {
        await putBack(host);
        const left = await readdir(host.stateDir);
        await Promise.all(left.map((name) => rm(join(host.stateDir, name), { recursive: true })));
        await host.reload();
      });
    },
    drift: async () => {
      const [host] = hosts;
      if (host === undefined) return;
      await supervisorsEnded(folder);
      await putBack(host);
      await host.reload();
    },
    notAsWanted: async () => {
      const names = await each(async (host) => {
        const dump = await host.sshdT();
        const right = Object.entries(WANTED).every(([name, value]) => dump.get(name.toLowerCase()) === String(value));
        return right ? [] : [host.name];
      });
      return names.flat();
    },
    seen: async () => {
      const logs = (await each((host) => host.log())).join("\n");
      const count = (line: RegExp) => logs.match(line)?.length ?? 0;
      return {
        logins: count(/^Accepted \S+ for /gm),
        commands: count(/^Starting session: /gm),
        loads: count(/^Server listening on 127\./gm),
      };
    },
  };
}

/** A confirmed transaction's supervisor goes a moment after the run that it served. */
async function supervisorsEnded(folder: TempFolder): Promise<void> {
  const deadline = performance.now() + 10_000;
  const running = () =>
    readdirSync("/proc").some((pid) => {
      try {
        return /^\d+$/.test(pid) && ofSupervisor(readFileSync(`/proc/${pid}/cmdline`, "latin1"), folder.path);
      } catch {
        return false;
      }
    });
  while (running()) {
    if (performance.now() > deadline) throw new Error("a supervisor is still at work on a host");
    await pause(50);
  }
}

const ofSupervisor = (command: string, folder: string) => command.includes(folder) && command.includes("/state/");
