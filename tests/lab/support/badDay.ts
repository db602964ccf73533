/** What the tests of bad days share: the moments of a transaction, its program, and what must hold when it is over. */
import { setTimeout as pause } from "node:timers/promises";
import type { Bag } from "../../../provider/lifecycle";
import type { HostOptions, Lab, LabHost } from "./host";
import { type Resource, resource } from "./resource";
import { until } from "./run";
import type { Story } from "./stories";

/** Seconds until an unconfirmed change goes away by itself. */
export const CONFIRM = 12;
/** Seconds that a busy host may take longer; less than another CONFIRM would be. */
export const SLACK = 11;

/** Where the old setting stands, and ours when it is in force. */
export const DROPIN = "/etc/ssh/sshd_config.d/50-before.conf";
const OURS = "/etc/ssh/sshd_config.d/00-pulumi-ssh-keepalive.conf";
const STATE = "/var/lib/pulumi-ssh-keepalive";

/** Moments of a transaction, in order, as conditions on its host (POSIX sh). */
export const MOMENTS = {
  judging: `[ -e ${STATE}/*/lock/0.new ]`,
  ready: `grep -qs ^ready ${STATE}/*/lock/status`,
  installed: `[ -e ${OURS} ]`,
  activated: `grep -qs ^activated ${STATE}/*/lock/status`,
} as const;

/** On the host: no transaction is under way. */
export const AT_REST = `[ ! -d ${STATE}/*/lock ]`;

const HOLD = "/run/lab-hold";

/** Waits as long as a test holds the host at a moment: {@link at}. */
const WAIT = `while [ -e ${HOLD} ] && sh ${HOLD}; do sleep 0.1; done`;

/** Gates that a transaction passes through: each login by its last step, what is written by `sync`. */
const GATES = `
echo '${WAIT}' >/etc/ssh/sshrc
rm -f /usr/local/bin/sync
printf '%s\\n' '#!/bin/sh' '${WAIT}' 'exec /bin/sync "$@"' >/usr/local/bin/sync
chmod 755 /usr/local/bin/sync
`;

/** Options of a host on which {@link at} works and a ClientAliveInterval of 7 is in force. */
export const badDayHost = (options: HostOptions): HostOptions => ({
  ...options,
  files: { [DROPIN]: "ClientAliveInterval 7\n", ...options.files },
  prepare: `${GATES}${options.prepare ?? ""}`,
});

/** The program of these tests. */
export const program = (host: LabHost, more: Bag = {}): Bag => ({
  hosts: { h: host.connection() },
  server: { clientAliveInterval: 60 },
  ...more,
});

/** The same, given up within {@link CONFIRM} seconds: not for what must succeed, which a busy host may not do in them. */
export const brief = (host: LabHost): Bag =>
  program(host, { hosts: { h: { ...host.connection(), perDialTimeout: 4 } }, confirmTimeout: CONFIRM });

/** The program as a resource. */
export const ours = (host: LabHost, more: Bag = {}): Resource => resource(program(host, more));

/** The only error line of an up: with host, code, step, reason, what state the host is in, and remedy. */
export function expectFailure(failures: readonly string[], code: string, step: string, reason: RegExp): void {
  expect(failures).toEqual([expect.stringMatching(new RegExp(`^h: \\[(${code})\\] (${step}): .+\\. [A-Z].+\\.$`))]);
  expect(failures[0]).toMatch(reason);
}

/** What an error says of a host on which everything is as it was. */
export const OLD = /\((the old settings are back in force|nothing was changed)\)/;

/**
 * Begins work on a host, holds it when its transaction has come to a moment, runs `action` (POSIX sh on the host, or
 * something here; some seconds at most), and lets it go on. Resolves when the action is done; `ended` is how the work
 * ends. Rejects when the work is over without the moment.
 */
export async function at<T>(
  host: LabHost,
  moment: keyof typeof MOMENTS,
  action: string | (() => Promise<unknown>),
  begin: () => Promise<T>,
): Promise<{ readonly ended: Promise<T> }> {
  await host.must(`echo '${MOMENTS[moment]}' >${HOLD}`);
  const work = begin();
  let reached = false;
  const acted = (async () => {
    try {
      await host.when(MOMENTS[moment], typeof action === "string" ? action : ":");
      reached = true;
      if (typeof action !== "string") await action();
    } finally {
      await host.must(`rm -f ${HOLD}`);
    }
  })();
  const missed = work.then(async (result) => {
    // Not to keep this process alive once all is over.
    await pause(5000, undefined, { ref: false });
    if (!reached) throw new Error(`over, and never ${moment}: ${JSON.stringify(result)}`);
    await acted;
  });
  for (const one of [acted, missed]) one.catch(() => {});
  await Promise.race([acted, missed]);
  return { ended: work };
}

/** Waits until no transaction is under way: what nobody confirms goes away in time. */
export async function atRest(host: LabHost): Promise<void> {
  await until(async () => (await host.sh(AT_REST)).code === 0, `the end of what goes on on ${host.name}`);
}

type Snapshot = ReturnType<LabHost["snapshot"]>;

/** A login works, nothing is left behind, and the files are whole: the old ones, or those with ours. */
export async function expectWhole(host: LabHost, before: Snapshot): Promise<"old" | "new"> {
  expect((await host.ssh("true")).code).toBe(0);
  expect(await host.leftovers()).toEqual([]);
  const { [OURS]: added, ...rest } = host.snapshot();
  expect(rest).toEqual(before);
  if (added !== undefined) expect(await host.read(OURS)).toMatch(/^ClientAliveInterval 60$/m);
  expect((await host.sshdT()).get("clientaliveinterval")).toBe(added === undefined ? "7" : "60");
  return added === undefined ? "old" : "new";
}

/** As it was before, and the next up and destroy work; daemon included, since they look at what it has read. */
export async function expectUnharmed(host: LabHost, before: Snapshot): Promise<void> {
  expect(await expectWhole(host, before)).toBe("old");
  await expectWorks(host, before);
}

/** The next up finds its way, whatever was left, and its destroy leads back to the old files. */
export async function expectWorks(host: LabHost, before: Snapshot): Promise<void> {
  const next = ours(host);
  await next.upOrThrow();
  expect(await expectWhole(host, before)).toBe("new");
  await next.destroy();
  const said = next.said();
  expect([await expectWhole(host, before), said]).toEqual(["old", said]);
}

/** One bad day of a host. */
export interface BadDay {
  /** The host it happens to, by name. */
  readonly on: string;
  readonly name: string;
  run(host: LabHost, before: Snapshot): Promise<void>;
}

/** What a day that went wrong left must not spoil the next. */
const TIDY = `
rm -f ${HOLD}
ip link set eth0 up
for at in /etc/ssh/sshd_config.d /etc/ssh ${STATE} /tmp; do
  if mountpoint -q $at; then umount $at || :; fi
done
rm -f /run/fill
cd /etc/ssh/sshd_config.d && for file in *; do case $file in 50-before.conf) ;; *) rm -f "$file" ;; esac; done
rm -rf /etc/systemd/system/ssh.service.d /etc/sudoers.d/zz /etc/systemd/logind.conf.d
rm -f /root/.ssh/rc
rm -f /etc/systemd/system/pulumi-ssh-keepalive* /etc/systemd/system/sysinit.target.wants/pulumi-ssh-keepalive*
mount -o remount,size=64m /run
if [ -d /run/systemd/system ]; then
  systemctl unmask -q ssh.service || :
  systemctl daemon-reload
  if systemctl is-active -q ssh.socket; then
    systemctl try-restart ssh
  else
    rm -f /run/sshd.pid
    systemctl reload-or-restart ssh
    tries=0
    until [ -s /run/sshd.pid ] || [ $tries -ge 200 ]; do tries=$((tries + 1)); sleep 0.05; done
  fi
fi`;

/** A story for each host: its bad days one after another, each a test. */
export function daysOf(
  hosts: readonly HostOptions[],
  days: readonly BadDay[],
  lab: () => Lab,
): readonly Story<{ readonly host: LabHost; readonly before: Snapshot }>[] {
  return hosts.map((options) => ({
    name: options.name,
    start: async () => {
      const host = await lab().host(badDayHost(options));
      return { host, before: host.snapshot() };
    },
    steps: days
      .filter(({ on }) => on === options.name)
      .map(({ name, run }) => ({
        name,
        run: async ({ host, before }) => {
          try {
            await run(host, before);
          } catch (error) {
            const said = `${await host.sh(`ls -l ${STATE}/*/lock; cat ${STATE}/*/lock/log ${STATE}/*/last 2>/dev/null`).then((r) => r.stdout)}`;
            throw new Error(`${error instanceof Error ? error.message : error}\n${said}\n${await host.log()}`, {
              cause: error,
            });
          } finally {
            await atRest(host).catch(() => {});
            await host.sh(TIDY, { timeoutMs: 60_000 });
          }
        },
      })),
    end: ({ host }) => host.powerOff(),
  }));
}
