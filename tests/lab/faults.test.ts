/**
 * Bad days on real hosts. Each ends with a host that lets one in, with old or new settings whole, nothing left behind,
 * and an error that names host, step, reason and remedy.
 */
import { describeLab } from "./support/available";
import { LAB_TIMEOUT, type Lab, type LabHost, startLab } from "./support/host";
import { ACCOUNTS } from "./support/images";
import { type Resource, resource } from "./support/resource";
import { run, until } from "./support/run";

const MINUTES = 60_000;
const START = "ClientAliveInterval 7\n";
const DROPIN = "/etc/ssh/sshd_config.d/50-before.conf";
/** Conditions on the host: the supervisor waits to install; the new bytes are there; the daemon has read them. */
const ARMED = "grep -qs ^ready /var/lib/pulumi-ssh-keepalive/*/lock/status";
const INSTALLED = "grep -q 'ClientAliveInterval 60' /etc/ssh/sshd_config.d/*";
const ACTIVATED = "grep -qs ^activated /var/lib/pulumi-ssh-keepalive/*/lock/status";

describeLab("faults", () => {
  let lab: Lab;
  const hosts: Record<string, LabHost> = {};
  const hostOf = (name: string): LabHost => {
    const host = hosts[name];
    if (host === undefined) throw new Error(`no host ${name}`);
    return host;
  };
  beforeAll(async () => {
    lab = await startLab();
    const files = { [DROPIN]: START };
    const prepare = "systemctl disable ssh.service; systemctl enable ssh.socket";
    for (const host of await Promise.all([
      lab.host({ image: "bullseye", name: "bullseye", files }),
      lab.host({ image: "bookworm", name: "bookworm", files }),
      lab.host({ image: "trixie", name: "trixie", files }),
      lab.host({ image: "bookworm", name: "socket", files, prepare }),
      lab.host({ image: "shells", name: "shells", files }),
    ])) {
      hosts[host.name] = host;
    }
  }, LAB_TIMEOUT);
  afterAll(() => lab?.end(), MINUTES);
  // What a failed test left must not fail the others.
  afterEach(async () => {
    for (const host of Object.values(hosts)) {
      await host.sh(`
        ip link set eth0 up
        for at in /etc/ssh/sshd_config.d /etc/ssh /var/lib/pulumi-ssh-keepalive; do
          if mountpoint -q $at; then umount $at; fi
        done
        cd /etc/ssh/sshd_config.d && ls | grep -v '^50-before' | xargs -r rm -f
        rm -rf /etc/systemd/system/ssh.service.d /etc/sudoers.d/zz /etc/systemd/logind.conf.d
        systemctl daemon-reload
        if systemctl is-active -q ssh.socket; then systemctl try-restart ssh; else systemctl reload-or-restart ssh; fi`);
    }
  }, MINUTES);

  const program = (host: LabHost, more: Readonly<Record<string, unknown>> = {}) => ({
    hosts: { h: { ...host.connection(), perDialTimeout: 4 } },
    server: { clientAliveInterval: 60 },
    confirmTimeout: 12,
    ...more,
  });
  const ours = (host: LabHost, more: Readonly<Record<string, unknown>> = {}): Resource => resource(program(host, more));

  /** As it was before, daemon included, and free of leftovers; one gets in, and the next up and destroy work. */
  const unharmed = async (host: LabHost, before: ReturnType<LabHost["snapshot"]>) => {
    expect((await host.ssh("true")).code).toBe(0);
    expect(host.snapshot()).toEqual(before);
    expect(await host.leftovers()).toEqual([]);
    const next = ours(host);
    await next.upOrThrow();
    expect((await host.sshdT()).get("clientaliveinterval")).toBe("60");
    await next.destroy();
    expect(host.snapshot()).toEqual(before);
    expect(await host.leftovers()).toEqual([]);
  };

  test.each([
    { moment: "before the installation", condition: ARMED, host: "bullseye" },
    { moment: "after the installation", condition: INSTALLED, host: "bookworm" },
    { moment: "after the activation", condition: ACTIVATED, host: "trixie" },
  ])(
    "a connection cut $moment ends with the old settings",
    async ({ condition, host: name }) => {
      const host = hostOf(name);
      const before = host.snapshot();
      const cut = host.when(condition, "ip link set eth0 down");
      const up = ours(host).up();
      await cut;
      const start = performance.now();
      await until(
        async () => (await host.sh(`[ ! -d /var/lib/pulumi-ssh-keepalive/*/lock ] && ! ${INSTALLED}`)).code === 0,
        "the old settings",
        40_000,
      );
      // Timely: within confirmTimeout and a little.
      expect((performance.now() - start) / 1000).toBeLessThan(15);
      await host.must("ip link set eth0 up");
      expect(await up).toEqual([
        expect.stringMatching(/^h: \[\w+\] \w+: .* \(.*(old settings|nothing was changed).*\)\. [A-Z]/),
      ]);
      await unharmed(host, before);
    },
    3 * MINUTES,
  );

  test(
    "a reload that fails leaves the old settings and a daemon that was never told",
    async () => {
      const host = hostOf("bookworm");
      await host.write(
        "/etc/systemd/system/ssh.service.d/fails.conf",
        "[Service]\nExecReload=\nExecReload=/bin/false\n",
      );
      await host.must("systemctl daemon-reload");
      const before = host.snapshot();
      const start = performance.now();
      expect(await ours(host).up()).toEqual([
        expect.stringMatching(/^h: \[activate\] activate: .*reload failed.*old settings are back/),
      ]);
      expect((performance.now() - start) / 1000).toBeLessThan(15);
      expect((await host.ssh("true")).code).toBe(0);
      expect(host.snapshot()).toEqual(before);
      expect(await host.leftovers()).toEqual([]);
      await host.must("rm -r /etc/systemd/system/ssh.service.d && systemctl daemon-reload");
    },
    2 * MINUTES,
  );

  test(
    "an sshd that dies after the reload is brought back with the old settings",
    async () => {
      const host = hostOf("trixie");
      await host.write("/etc/systemd/system/ssh.service.d/dies.conf", "[Service]\nRestart=no\n");
      await host.must("systemctl daemon-reload");
      const before = host.snapshot();
      const killed = host.when(ACTIVATED, 'kill -KILL "$(cat /run/sshd.pid)"');
      const up = ours(host).up();
      await killed;
      expect(await up).toEqual([expect.stringMatching(/^h: \[\w+\] verify: .*old settings are back in force/)]);
      expect((await host.must("systemctl is-active ssh")).trim()).toBe("active");
      await host.must("rm -r /etc/systemd/system/ssh.service.d && systemctl daemon-reload");
      delete (before as Record<string, string>)["/etc/systemd/system/ssh.service.d"];
      delete (before as Record<string, string>)["/etc/systemd/system/ssh.service.d/dies.conf"];
      await unharmed(host, before);
    },
    3 * MINUTES,
  );

  test.each(["bullseye", "bookworm", "trixie"])(
    "someone's drop-in that breaks the files just before the reload does not end sshd of %s",
    async (name) => {
      const host = hostOf(name);
      const before = host.snapshot();
      const pid = await host.must("cat /run/sshd.pid");
      const broken = "/etc/ssh/sshd_config.d/00-broken.conf";
      const written = host.when(ARMED, `echo Nonsense >${broken}`);
      const up = ours(host).up();
      await written;
      expect(await up).toEqual([expect.stringMatching(new RegExp(`^h: \\[[\\w-]+\\] \\w+: .*${broken}`))]);
      expect(await host.must("cat /run/sshd.pid")).toBe(pid);
      expect((await host.ssh("true")).code).toBe(0);
      // Theirs stays, and is named by the next look.
      expect((await ours(host).preview()).h).toContainEqual(
        expect.stringMatching(/^\[config-broken\] .*00-broken\.conf.*Nonsense/),
      );
      await host.must(`rm ${broken}`);
      // A reload closes the listener for a moment.
      await host.must("systemctl reload ssh; sleep 1.1");
      await unharmed(host, before);
    },
    2 * MINUTES,
  );

  test(
    "someone's edit that waits for a reload is not put in force",
    async () => {
      const host = hostOf("bookworm");
      const waiting = "/etc/ssh/sshd_config.d/10-waiting.conf";
      await host.must("sleep 1.1");
      await host.write(waiting, "AllowUsers alice\n");
      const before = host.snapshot();
      const fleet = ours(host);
      expect((await fleet.preview()).h).toContainEqual(
        expect.stringMatching(/^\[foreign-edit\] plan: .*10-waiting\.conf/),
      );
      expect(await fleet.up()).toEqual([
        expect.stringMatching(/^h: \[foreign-edit\] plan: .*10-waiting\.conf.*reload/),
      ]);
      expect(host.snapshot()).toEqual(before);
      expect((await host.ssh("true")).code).toBe(0);
      await host.must(`rm ${waiting} && systemctl reload ssh`);
    },
    MINUTES,
  );

  test(
    "a full disk leaves the old bytes, whether the state or the configuration is on it",
    async () => {
      const host = hostOf("trixie");
      const before = host.snapshot();
      await host.must(`
        mkdir -p /var/lib/pulumi-ssh-keepalive
        mount -t tmpfs -o size=32k tmpfs /var/lib/pulumi-ssh-keepalive
        head -c 100000 /dev/zero >/var/lib/pulumi-ssh-keepalive/fill 2>/dev/null || :`);
      expect(await ours(host).up()).toEqual([expect.stringMatching(/^h: \[not-writable\] arm: .*nothing was changed/)]);
      await host.must("umount /var/lib/pulumi-ssh-keepalive");
      expect(host.snapshot()).toEqual(before);

      await host.must(`
        cp -a /etc/ssh/sshd_config.d /root/before
        mount -t tmpfs -o mode=755,size=32k tmpfs /etc/ssh/sshd_config.d
        cp -a /root/before/. /etc/ssh/sshd_config.d
        head -c 100000 /dev/zero >/etc/ssh/sshd_config.d/fill 2>/dev/null || :
        systemctl reload ssh; sleep 1.1`);
      const full = host.snapshot();
      expect(await ours(host).up()).toEqual([
        expect.stringMatching(
          /^h: \[[\w-]+\] \w+: .*(disk full|cannot write|room).*(nothing was changed|old settings)/,
        ),
      ]);
      expect(host.snapshot()).toEqual(full);
      expect(await host.leftovers()).toEqual([]);
      await host.must("umount /etc/ssh/sshd_config.d; rm -r /root/before; systemctl reload ssh; sleep 1.1");
      await unharmed(host, before);
    },
    2 * MINUTES,
  );

  test(
    "a read-only file system is refused before anything is done",
    async () => {
      const host = hostOf("bullseye");
      const before = host.snapshot();
      await host.must("mount --bind /etc/ssh /etc/ssh && mount -o remount,bind,ro /etc/ssh");
      const fleet = ours(host);
      expect((await fleet.preview()).h).toContainEqual(
        expect.stringMatching(/^\[not-writable\] plan: .*sshd_config\.d/),
      );
      expect(await fleet.up()).toEqual([expect.stringMatching(/^h: \[not-writable\] plan: /)]);
      await host.must("umount /etc/ssh");
      await unharmed(host, before);
    },
    2 * MINUTES,
  );

  test(
    "a socket unit that systemd has given up on is brought back by the revert",
    async () => {
      const host = hostOf("socket");
      await host.ssh("true");
      const before = host.snapshot();
      // Someone breaks the files and stops the daemon; connections then end the socket; then they repair the files.
      const broken = "/etc/ssh/sshd_config.d/00-broken.conf";
      const spoilt = host.when(
        ACTIVATED,
        `
        echo Nonsense >${broken}
        systemctl stop ssh.service
        tries=0
        while systemctl is-active --quiet ssh.socket && [ $tries -lt 50 ]; do
          timeout 2 bash -c 'exec 3<>/dev/tcp/127.0.0.1/22' 2>/dev/null || :
          tries=$((tries + 1))
          sleep 0.05
        done
        systemctl is-active ssh.socket || :
        rm ${broken}`,
      );
      const up = ours(host).up();
      await spoilt;
      expect(await up).toEqual([expect.stringMatching(/^h: \[\w+\] verify: .*old settings are back in force/)]);
      expect((await host.must("systemctl is-active ssh.socket")).trim()).toBe("active");
      await unharmed(host, before);
    },
    3 * MINUTES,
  );

  test(
    "sudo that asks, refuses, lectures or wants a terminal",
    async () => {
      const host = hostOf("bookworm");
      const before = host.snapshot();
      const as = (user: string, become: object) =>
        resource({ ...program(host), hosts: { h: host.connection(user) }, become });
      const refusal = (pattern: RegExp) => [expect.stringMatching(pattern)];
      expect(await as("anna", {}).up()).toEqual(refusal(/^h: \[sudo\] connect: .*password.*\. [A-Z]/));
      expect(await as("anna", { password: "wrong" }).up()).toEqual(
        refusal(/^h: \[sudo\] connect: .*password.*\. [A-Z]/),
      );
      expect(await as("bob", { password: "wrong" }).up()).toEqual(refusal(/^h: \[sudo\] connect: .*\. [A-Z]/));
      await host.must("echo 'Defaults requiretty' >/etc/sudoers.d/zz");
      expect(await as("deploy", {}).up()).toEqual(refusal(/^h: \[sudo\] connect: .*(requiretty|tty).*\. [A-Z]/));
      expect(host.snapshot()).toEqual(before);
      await host.must("echo 'Defaults lecture=always' >/etc/sudoers.d/zz");
      const lectured = as("anna", { password: ACCOUNTS.anna.password });
      await lectured.upOrThrow();
      await lectured.destroy();
      await host.must("rm /etc/sudoers.d/zz");
      expect(host.snapshot()).toEqual(before);
      expect(await host.leftovers()).toEqual([]);
    },
    3 * MINUTES,
  );

  test(
    "login shells that are not POSIX and login files that talk",
    async () => {
      const host = hostOf("shells");
      const before = host.snapshot();
      await host.must(`
        mkdir -p ~deploy/.config/fish && echo 'echo welcome; printf "\\033[31mred\\n"' >~deploy/.config/fish/config.fish
        echo 'echo welcome' >~anna/.cshrc; chown -R deploy: ~deploy; chown -R anna: ~anna`);
      for (const [user, become] of [
        ["deploy", {}],
        ["anna", { password: ACCOUNTS.anna.password }],
      ] as const) {
        const fleet = resource({ ...program(host), hosts: { h: host.connection(user) }, become });
        await fleet.upOrThrow();
        expect((await host.sshdT()).get("clientaliveinterval")).toBe("60");
        expect(await fleet.preview()).toEqual({});
        await fleet.destroy();
        expect(host.snapshot()).toEqual(before);
      }
      expect(await host.leftovers()).toEqual([]);
    },
    2 * MINUTES,
  );

  test(
    "a host that allows one session on a connection and ends a user's processes at logout",
    async () => {
      const host = hostOf("trixie");
      const before = host.snapshot();
      await host.write("/etc/ssh/sshd_config.d/90-one.conf", "MaxSessions 1\n");
      await host.write("/etc/systemd/logind.conf.d/kill.conf", "[Login]\nKillUserProcesses=yes\nKillExcludeUsers=\n");
      await host.must("systemctl restart systemd-logind; systemctl reload ssh; sleep 1.1");
      const fleet = resource({ ...program(host), hosts: { h: host.connection("deploy") }, become: {} });
      await fleet.upOrThrow();
      expect((await host.sshdT()).get("clientaliveinterval")).toBe("60");
      await fleet.destroy();
      await host.must("rm -r /etc/systemd/logind.conf.d /etc/ssh/sshd_config.d/90-one.conf; systemctl reload ssh");
      expect(host.snapshot()).toEqual(before);
      expect(await host.leftovers()).toEqual([]);
    },
    2 * MINUTES,
  );

  test(
    "a host that punishes failed logins is reported, not hammered",
    async () => {
      const host = hostOf("trixie");
      const before = host.snapshot();
      const penalties = "/etc/ssh/sshd_config.d/20-penalties.conf";
      await host.write(penalties, "PerSourcePenalties authfail:8s noauth:8s min:2s\n");
      await host.must("systemctl reload ssh; sleep 1.1");
      for (let n = 0; n < 3; n++) {
        const args = ["-F", "/dev/null", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no"];
        const options = ["-o", "UserKnownHostsFile=/dev/null", "-o", "IdentitiesOnly=yes", "-i", "/dev/null"];
        await run("ssh", [...args, ...options, `root@${host.address}`, "true"]);
      }
      const attempts = async () =>
        Number(
          (
            await host.must("journalctl --no-pager -u ssh | grep -c 'Not allowed at this time\\|drop connection' || :")
          ).trim(),
        );
      const pending = (await ours(host).preview()).h;
      expect(pending).toEqual([
        expect.stringMatching(/^\[unreachable\] connect: .*(Not allowed at this time|penal|reset|closed)/i),
      ]);
      expect(await attempts()).toBeLessThan(12);
      await until(async () => (await host.ssh("true")).code === 0, "the end of the penalty", 60_000);
      await host.must(`rm ${penalties} && systemctl reload ssh; sleep 1.1`);
      await unharmed(host, before);
    },
    3 * MINUTES,
  );

  test(
    "two ups at once: one after the other, and the last word is whole",
    async () => {
      const host = hostOf("bookworm");
      const before = host.snapshot();
      const one = ours(host, { server: { clientAliveInterval: 61 } });
      const two = ours(host, { server: { clientAliveInterval: 62 }, hosts: { other: host.connection() } });
      const failures = (await Promise.all([one.up(), two.up()])).flat();
      // Whoever came second waited for the lock, or found other files than it had seen and says so.
      for (const failure of failures) expect(failure).toMatch(/\[(locked|changed-meanwhile)\] .*nothing was changed/);
      expect(failures.length).toBeLessThan(2);
      expect((await host.sshdT()).get("clientaliveinterval")).toMatch(/^6[12]$/);
      expect((await host.ssh("true")).code).toBe(0);
      expect(await host.leftovers()).toEqual([]);
      await one.upOrThrow();
      await two.upOrThrow();
      await two.destroy();
      await one.destroy();
      expect(host.snapshot()).toEqual(before);
    },
    3 * MINUTES,
  );
});
