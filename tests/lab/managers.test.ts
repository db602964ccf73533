/** Service managers as they are: how each reloads, what a revert brings back, and the boot guard before sshd. */
import { describeLab } from "./support/available";
import { at, badDayHost, DROPIN } from "./support/badDay";
import { type HostOptions, LAB_TIMEOUT, type Lab, type LabHost, startLab } from "./support/host";
import { resource } from "./support/resource";
import { until } from "./support/run";
import { defineStories, type Story } from "./support/stories";

/** Makes sshd socket-activated, as an administrator would. */
const SOCKET = "systemctl disable ssh.service; systemctl enable ssh.socket";

/** No service manager: a first process that starts sshd and waits for what it inherits. */
const NONE = `
rm -f /sbin/init /lib/systemd/systemd
cat >/sbin/init <<'END'
#!/bin/sh
mkdir -p /run/sshd
/usr/sbin/sshd
while :; do sleep 1000 & wait; done
END
chmod 755 /sbin/init
`;

interface Manager {
  readonly manager: string;
  readonly host: HostOptions;
  /** What an activation does to the daemon: keeps its process, replaces it, or there is none. */
  readonly activation: "reload" | "restart" | "nothing";
  /** Glob of the boot guard while a change is unconfirmed; none where nothing starts sshd at boot. */
  readonly guard?: string;
  /** Makes the daemon read its files, as an administrator would. */
  readonly reload: string;
}

const UNIT = "/etc/systemd/system/pulumi-ssh-keepalive-*.service";
const SCRIPT = "/etc/init.d/pulumi-ssh-keepalive-*";

const MANAGERS: readonly Manager[] = [
  {
    manager: "ssh.socket with Accept=yes (Debian 11)",
    host: { image: "bullseye", name: "accept-yes", prepare: SOCKET },
    activation: "nothing",
    guard: UNIT,
    reload: ":",
  },
  {
    manager: "ssh.socket with Accept=no (Debian 12)",
    host: { image: "bookworm", name: "socket12", prepare: SOCKET },
    activation: "restart",
    guard: UNIT,
    reload: "systemctl reset-failed ssh; systemctl restart ssh",
  },
  {
    manager: "ssh.socket with Accept=no (Debian 13)",
    host: { image: "trixie", name: "socket13", prepare: SOCKET },
    activation: "restart",
    guard: UNIT,
    reload: "systemctl reset-failed ssh; systemctl restart ssh",
  },
  {
    manager: "systemd, ssh.service",
    host: { image: "bookworm", name: "service" },
    activation: "reload",
    guard: UNIT,
    reload: "systemctl reload ssh",
  },
  {
    manager: "OpenRC",
    host: { image: "openrc", name: "openrc" },
    activation: "reload",
    guard: SCRIPT,
    reload: "rc-service ssh reload",
  },
  {
    manager: "sysvinit",
    host: { image: "sysvinit", name: "sysvinit" },
    activation: "reload",
    guard: SCRIPT,
    reload: "service ssh reload",
  },
  {
    manager: "sysvinit with busybox",
    host: { image: "busybox", name: "busybox" },
    activation: "reload",
    guard: SCRIPT,
    reload: "service ssh reload",
  },
  {
    manager: "no service manager",
    host: { image: "bookworm", name: "none", prepare: NONE },
    activation: "reload",
    reload: 'kill -HUP "$(cat /run/sshd.pid)"',
  },
];

/** On the host: the change is installed. */
const CHANGED = "grep -q 'ClientAliveInterval 60' /etc/ssh/sshd_config.d/*";

interface Scene {
  readonly host: LabHost;
  readonly before: ReturnType<LabHost["snapshot"]>;
}

const program = (host: LabHost, more: Readonly<Record<string, unknown>> = {}) => ({
  hosts: { h: host.connection() },
  server: { clientAliveInterval: 60 },
  ...more,
});

/** Process id of the listening sshd and what changes when it reads its files. */
const daemonOf = async (host: LabHost) =>
  (await host.sh('read -r pid </run/sshd.pid && echo "$pid" && cksum <"/proc/$pid/auxv"')).stdout.split("\n");

async function changesAndPutsBack({ activation }: Manager, { host, before }: Scene): Promise<void> {
  const idle = host.idleSession();
  await idle.ready;
  const [oldPid, oldAuxv] = await daemonOf(host);
  const fleet = resource(program(host));
  expect((await fleet.preview()).h?.[0]).toContain(`ClientAliveInterval 7, wanted 60 (set by ${DROPIN}:1)`);
  await fleet.upOrThrow();
  const [newPid, newAuxv] = await daemonOf(host);
  if (activation === "reload") {
    expect(newPid).toBe(oldPid);
    expect(newAuxv).not.toBe(oldAuxv);
  }
  if (activation === "restart") expect(newPid).not.toBe(oldPid);
  expect((await host.sshdT()).get("clientaliveinterval")).toBe("60");
  expect(await fleet.preview()).toEqual({});
  expect(await idle.answers()).toBe(true);
  expect(await host.leftovers()).toEqual([]);

  await fleet.destroy();
  expect(await idle.answers()).toBe(true);
  idle.end();
  expect(host.snapshot()).toEqual(before);
  expect(await host.leftovers()).toEqual([]);
}

async function revertsByItself({ activation }: Manager, { host, before }: Scene): Promise<void> {
  // From the moment on that the change is there nobody gets in: the confirming login cannot.
  const { ended } = await at(host, "installed", "mv /root/.ssh /root/.ssh.away", () =>
    resource(program(host, { confirmTimeout: 12 })).up(),
  );
  await until(async () => (await host.sh(CHANGED)).code !== 0, "the revert");
  await host.must("mv /root/.ssh.away /root/.ssh");
  expect(await ended).toEqual([expect.stringMatching(/^h: \[auth\] verify: .*old settings/)]);
  expect(host.snapshot()).toEqual(before);
  expect(await host.leftovers()).toEqual([]);
  expect((await host.ssh("true")).code).toBe(0);
  if (activation !== "nothing") expect((await daemonOf(host))[0]).toMatch(/^\d+$/);
}

async function revertsAtBoot({ activation, guard }: Manager, { host, before }: Scene): Promise<void> {
  // The controller is cut off as soon as the change is there.
  const cutOff = { hosts: { h: { ...host.connection(), perDialTimeout: 5 } }, confirmTimeout: 30 };
  const fleet = resource(program(host, cutOff));
  const { ended } = await at(host, "activated", "ip link set eth0 down", () => fleet.up());
  await host.must(`ls ${guard} && ${CHANGED}`);
  await host.powerOff();
  await host.boot();
  await host.must("ip link set eth0 up");
  expect(host.snapshot()).toEqual(before);
  // sshd writes its PidFile once it has read its files.
  if (activation === "reload") expect(await host.must("find /etc/ssh/sshd_config.d -newer /run/sshd.pid")).toBe("");
  expect(await ended).toEqual([expect.stringMatching(/^h: \[\w+\] \w+: /)]);
  expect((await host.ssh("true")).code).toBe(0);
  expect(await host.leftovers()).toEqual([]);

  fleet.set(program(host));
  await fleet.upOrThrow();
  expect((await host.sshdT()).get("clientaliveinterval")).toBe("60");
  await fleet.destroy();
  expect(host.snapshot()).toEqual(before);
}

async function needsABootGuard({ guard, reload }: Manager, { host, before }: Scene): Promise<void> {
  const folder = guard?.slice(0, guard.lastIndexOf("/"));
  await host.must(`mount --bind ${folder} ${folder} && mount -o remount,bind,ro ${folder}`);
  try {
    const fleet = resource(program(host));
    expect(await fleet.up()).toEqual([
      expect.stringMatching(/^h: \[boot-guard\] arm: .*nothing was changed.*allowNoBootGuard/),
    ]);
    expect(host.snapshot()).toEqual(before);
    expect(await host.leftovers()).toEqual([]);
    fleet.set(program(host, { allowNoBootGuard: true }));
    await fleet.upOrThrow();
    await fleet.destroy();
  } finally {
    await host.must(`umount ${folder}`);
  }
  expect(host.snapshot()).toEqual(before);
  await host.must(reload);
}

describeLab("each service manager", () => {
  let lab: Lab;
  beforeAll(async () => {
    lab = await startLab();
  }, LAB_TIMEOUT);
  afterAll(() => lab?.end());

  defineStories(
    MANAGERS.map((manager): Story<Scene> => {
      const { activation, guard } = manager;
      const change = activation === "nothing" ? "has nothing to activate" : `${activation}s the daemon`;
      const guarded = [
        { name: "reverts an unconfirmed change at boot, before sshd starts", step: revertsAtBoot },
        { name: "is refused where no boot guard can be placed, unless told otherwise", step: needsABootGuard },
      ];
      const steps = [
        { name: `${change}, keeps sessions, and is put back`, step: changesAndPutsBack },
        { name: "reverts by itself, daemon included, when no new login confirms", step: revertsByItself },
        ...(guard === undefined ? [] : guarded),
      ];
      return {
        name: manager.manager,
        start: async () => {
          const host = await lab.host(badDayHost(manager.host));
          return { host, before: host.snapshot() };
        },
        steps: steps.map(({ name, step }) => ({ name, run: (scene) => step(manager, scene) })),
        end: ({ host }) => host.powerOff(),
      };
    }),
    4,
  );
});
