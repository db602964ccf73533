/**
 * Bad days on real hosts. Each ends with a host that lets one in, with old or new settings whole, nothing left behind,
 * and an error that names host, step, reason and remedy. Those in which something is killed: interrupted.test.ts.
 */
import { setTimeout as pause } from "node:timers/promises";
import { describeLab } from "./support/available";
import {
  at,
  atRest,
  type BadDay,
  brief,
  CONFIRM,
  daysOf,
  expectFailure,
  expectUnharmed,
  expectWhole,
  expectWorks,
  MOMENTS,
  OLD,
  ours,
  program,
  SLACK,
} from "./support/badDay";
import { type HostOptions, LAB_TIMEOUT, type Lab, type LabHost, startLab } from "./support/host";
import { ACCOUNTS } from "./support/images";
import { resource } from "./support/resource";
import { run, until } from "./support/run";
import { defineStories } from "./support/stories";

const BROKEN = "/etc/ssh/sshd_config.d/00-broken.conf";
const DROPINS = "/etc/ssh/sshd_config.d";

const HOSTS: readonly HostOptions[] = [
  { image: "bullseye", name: "bullseye" },
  { image: "bookworm", name: "bookworm" },
  { image: "trixie", name: "trixie" },
  {
    image: "bookworm",
    name: "socket",
    prepare: "systemctl disable ssh.service; systemctl enable ssh.socket",
  },
  { image: "shells", name: "shells" },
];

/** Writes a file that sshd reads and has the daemon read it, as an administrator would. */
async function loaded(host: LabHost, path: string, contents: string): Promise<void> {
  await host.write(path, contents);
  await reloaded(host);
}

/** A reload, and its end: sshd writes its PidFile when it listens again. */
async function reloaded(host: LabHost): Promise<void> {
  // In a second of its own: times of files are compared.
  await host.must("sleep 1.1; rm -f /run/sshd.pid; systemctl reload ssh");
  await until(async () => (await host.sh("[ -s /run/sshd.pid ]")).code === 0, "the reload");
}

/** The network is gone at a moment; the change that hung then goes away in time. */
const cutAt = (moment: keyof typeof MOMENTS) => async (host: LabHost, before: ReturnType<LabHost["snapshot"]>) => {
  const { ended } = await at(host, moment, "ip link set eth0 down", () => resource(brief(host)).up());
  const start = performance.now();
  await atRest(host);
  // Timely: within confirmTimeout, and what a busy machine adds.
  expect((performance.now() - start) / 1000).toBeLessThan(CONFIRM + SLACK);
  await host.must("ip link set eth0 up");
  expectFailure(await ended, "\\w+", "arm|verify|install|confirm", OLD);
  await expectUnharmed(host, before);
};

/** Someone's file, valid by itself or not, that a reload would die of. */
const brokenByOthers = async (host: LabHost, before: ReturnType<LabHost["snapshot"]>) => {
  const pid = await host.must("cat /run/sshd.pid");
  const { ended } = await at(host, "ready", `echo Nonsense >${BROKEN}`, () => ours(host).up());
  expectFailure(await ended, "[\\w-]+", "install|activate", new RegExp(BROKEN));
  expect(await host.must("cat /run/sshd.pid")).toBe(pid);
  expect((await host.ssh("true")).code).toBe(0);
  // Theirs stays, and is named by the next look.
  expect((await ours(host).preview()).h).toContainEqual(
    expect.stringMatching(/^\[config-broken\] .*00-broken\.conf.*Nonsense/),
  );
  await host.must(`rm ${BROKEN}`);
  await reloaded(host);
  await expectUnharmed(host, before);
};

const DAYS: readonly BadDay[] = [
  // Connections.
  { on: "trixie", name: "a connection cut in the middle of a script", run: cutAt("judging") },
  { on: "bullseye", name: "a connection cut before the installation", run: cutAt("ready") },
  { on: "socket", name: "a connection cut after the installation", run: cutAt("installed") },
  { on: "bookworm", name: "a connection cut after the activation, before the confirmation", run: cutAt("activated") },

  // The daemon.
  {
    on: "bookworm",
    name: "a reload that fails leaves a daemon that was never told",
    run: async (host, before) => {
      const drop = "/etc/systemd/system/ssh.service.d/fails.conf";
      await host.write(drop, "[Service]\nExecReload=\nExecReload=/bin/false\n");
      await host.must("systemctl daemon-reload");
      expectFailure(await ours(host).up(), "activate", "activate", /reload failed.*old settings are back/);
      expect((await host.ssh("true")).code).toBe(0);
      await host.must("rm -r /etc/systemd/system/ssh.service.d && systemctl daemon-reload");
      await expectUnharmed(host, before);
    },
  },
  {
    on: "trixie",
    name: "an sshd that dies after the reload is brought back with the old settings",
    run: async (host, before) => {
      await host.write("/etc/systemd/system/ssh.service.d/dies.conf", "[Service]\nRestart=no\n");
      await host.must("systemctl daemon-reload");
      const { ended } = await at(
        host,
        "activated",
        'read -r pid </run/sshd.pid; kill -KILL "$pid"; while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done',
        () => resource(brief(host)).up(),
      );
      expectFailure(await ended, "\\w+", "verify", /old settings are back in force/);
      expect((await host.must("systemctl is-active ssh")).trim()).toBe("active");
      await host.must("rm -r /etc/systemd/system/ssh.service.d && systemctl daemon-reload");
      await expectUnharmed(host, before);
    },
  },
  {
    on: "bookworm",
    name: "an ssh.service that someone has masked is left as it is",
    run: async (host, before) => {
      await host.must("systemctl mask --runtime ssh.service");
      expectFailure(await ours(host).up(), "[\\w-]+", "\\w+", /mask/);
      expect((await host.ssh("true")).code).toBe(0);
      await host.must("systemctl unmask --runtime ssh.service");
      await expectUnharmed(host, before);
    },
  },
  {
    on: "bullseye",
    name: "a daemon whose command line sets the option is refused by name",
    run: async (host, before) => {
      await host.must("echo 'SSHD_OPTS=\"-o ClientAliveInterval=7\"' >/etc/default/ssh; systemctl restart ssh");
      try {
        expectFailure(await ours(host).up(), "daemon", "plan", /-o ClientAliveInterval=7|command line/);
        expect(host.snapshot()).toEqual(before);
      } finally {
        await host.must("echo SSHD_OPTS= >/etc/default/ssh; systemctl restart ssh");
      }
      await expectUnharmed(host, before);
    },
  },
  {
    on: "bullseye",
    name: "of two daemons the one that is logged in to is changed",
    run: async (host, before) => {
      const other = "/etc/ssh/other_config";
      await host.must(`
        printf '%s\\n' 'Port 2222' 'PidFile /run/other.pid' 'ClientAliveInterval 9' >${other}
        sleep 1.1; /usr/sbin/sshd -f ${other}`);
      try {
        const second = { ...host.connection(), port: 2222 };
        const fleet = resource(program(host, { hosts: { h: second } }));
        expect((await fleet.preview()).h?.[0]).toContain(`ClientAliveInterval 9, wanted 60 (set by ${other}:3)`);
        await fleet.upOrThrow();
        expect(await host.read(other)).toContain("ClientAliveInterval 60\n");
        expect(await fleet.preview()).toEqual({});
        await fleet.destroy();
      } finally {
        await host.must(`kill "$(cat /run/other.pid)"; rm ${other}`);
      }
      await expectUnharmed(host, before);
    },
  },
  {
    on: "socket",
    name: "a socket unit that systemd has given up on is brought back by the revert",
    run: async (host, before) => {
      await host.ssh("true");
      // Someone breaks the files and stops the daemon; connections then end the socket; then they repair the files.
      const { ended } = await at(
        host,
        "activated",
        `
        echo Nonsense >${BROKEN}
        systemctl stop ssh.service
        tries=0
        while systemctl is-active --quiet ssh.socket && [ $tries -lt 50 ]; do
          timeout 2 bash -c 'exec 3<>/dev/tcp/127.0.0.1/22' 2>/dev/null || :
          tries=$((tries + 1))
          sleep 0.05
        done
        systemctl is-active ssh.socket || :
        rm ${BROKEN}`,
        () => resource(brief(host)).up(),
      );
      expectFailure(await ended, "\\w+", "verify", /old settings are back in force/);
      expect((await host.must("systemctl is-active ssh.socket")).trim()).toBe("active");
      await expectUnharmed(host, before);
    },
  },

  {
    on: "socket",
    name: "a connection that outlived its daemon does not pass for one with a daemon of its own",
    run: async (host, before) => {
      const fleet = ours(host);
      await fleet.preview();
      await host.must("systemctl reset-failed ssh.service; systemctl restart ssh.service");
      const daemon = () => host.must("systemctl show -p InvocationID ssh.service");
      const old = await daemon();
      await fleet.upOrThrow();
      expect(await daemon()).not.toBe(old);
      expect(await expectWhole(host, before)).toBe("new");
      await fleet.destroy();
      expect(await expectWhole(host, before)).toBe("old");
    },
  },

  // Other people.
  ...["bullseye", "bookworm", "trixie"].map((on) => ({
    on,
    name: "someone's drop-in that breaks the files just before the reload does not end sshd",
    run: brokenByOthers,
  })),
  {
    on: "bookworm",
    name: "someone's edit that waits for a reload is not put in force",
    run: async (host, before) => {
      const waiting = `${DROPINS}/10-waiting.conf`;
      await host.must("sleep 1.1");
      await host.write(waiting, "AllowUsers alice\n");
      const fleet = ours(host);
      expect((await fleet.preview()).h).toContainEqual(
        expect.stringMatching(/^\[foreign-edit\] plan: .*10-waiting\.conf/),
      );
      expectFailure(await fleet.up(), "foreign-edit", "plan", /10-waiting\.conf.*reload/);
      expect((await host.ssh("true")).code).toBe(0);
      await host.must(`rm ${waiting}`);
      await reloaded(host);
      await expectUnharmed(host, before);
    },
  },
  {
    on: "bookworm",
    name: "AllowUsers that someone puts in force in the window refuse the confirmation",
    run: async (host, before) => {
      const others = `${DROPINS}/10-others.conf`;
      // The daemon that refuses them has read the file; whoever stood at the door by then was let in before.
      const { ended } = await at(host, "activated", `echo 'AllowUsers alice' >${others}; systemctl reload ssh`, () =>
        ours(host, { confirmTimeout: 20 }).up(),
      );
      const failures = await ended;
      if (failures.length > 0) expectFailure(failures, "auth", "verify", /refused.*the host/);
      await host.must(`rm ${others}`);
      await reloaded(host);
      const [end, next] = [await expectWhole(host, before), ours(host)];
      expect(end).toBe(failures.length > 0 ? "old" : "new");
      await next.upOrThrow();
      await next.destroy();
      expect(await expectWhole(host, before)).toBe("old");
    },
  },
  {
    on: "bookworm",
    name: "a firewall that refuses new logins while the old connection lives",
    run: async (host, before) => {
      // nft works in the host's network, from here.
      const nft = (rules: string) =>
        run("nsenter", ["-t", String(host.holder), "-n", "nft", "-f", "-"], { input: rules });
      const idle = host.idleSession();
      await idle.ready;
      const rules = `
        table inet lab {
          chain closed {
            type filter hook input priority 0;
            tcp dport 22 tcp flags & (syn|ack) == syn drop
          }
        }
      `;
      const shut = async () => expect(await nft(rules)).toMatchObject({ code: 0 });
      const { ended } = await at(host, "installed", shut, () => resource(brief(host)).up());
      await atRest(host);
      expect(await idle.answers()).toBe(true);
      idle.end();
      expect((await nft("delete table inet lab")).code).toBe(0);
      expectFailure(await ended, "unreachable", "verify", /timed out.*(old settings|by itself)/);
      await expectUnharmed(host, before);
    },
  },
  {
    on: "trixie",
    name: "a restart of sshd and a daemon-reload by someone else in the window do no harm",
    run: async (host, before) => {
      const fleet = ours(host);
      const { ended } = await at(host, "activated", "systemctl daemon-reload; systemctl restart ssh", () => fleet.up());
      expect(await ended).toEqual([]);
      expect(await expectWhole(host, before)).toBe("new");
      expect(await fleet.preview()).toEqual({});
      await fleet.destroy();
      await expectUnharmed(host, before);
    },
  },
  {
    on: "trixie",
    name: "a file that someone changes while its change is unconfirmed stays theirs",
    run: async (host, before) => {
      const theirs = "/etc/ssh/sshd_config.d/00-pulumi-ssh-keepalive.conf";
      const { ended } = await at(host, "activated", `echo 'ClientAliveInterval 33' >${theirs}`, () => ours(host).up());
      expectFailure(await ended, "verify", "verify", /left alone: \S*00-pulumi-ssh-keepalive\.conf/);
      expect(await host.read(theirs)).toBe("ClientAliveInterval 33\n");
      expect((await host.ssh("true")).code).toBe(0);
      expect(await host.leftovers()).toEqual([]);
      await host.must(`rm ${theirs}`);
      await reloaded(host);
      await expectUnharmed(host, before);
    },
  },
  {
    on: "bullseye",
    name: "state that someone removes in the middle is said, and the next run settles it",
    run: async (host, before) => {
      const { ended } = await at(host, "activated", "rm -rf /var/lib/pulumi-ssh-keepalive", () => ours(host).up());
      expectFailure(await ended, "verify", "verify", /state .* gone/);
      // The files are ours and whole; nobody knows whose they were before, so the next run leaves them when it goes.
      expect(await expectWhole(host, before)).toBe("new");
      const next = ours(host);
      await next.upOrThrow();
      await next.destroy();
      expect(await expectWhole(host, before)).toBe("new");
    },
  },
  {
    on: "bookworm",
    name: "two ups at once: one after the other, and the last word is whole",
    run: async (host, before) => {
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
      expect(await expectWhole(host, before)).toBe("old");
    },
  },

  // Disks and files.
  {
    on: "trixie",
    name: "a full disk leaves the old bytes, whether state, configuration or runtime files are on it",
    run: async (host, before) => {
      const state = "/var/lib/pulumi-ssh-keepalive";
      await host.must(`
        mkdir -p ${state}
        mount -t tmpfs -o size=32k tmpfs ${state}
        head -c 100000 /dev/zero >${state}/fill 2>/dev/null || :`);
      expectFailure(await ours(host).up(), "not-writable", "arm", /nothing was changed/);
      await host.must(`umount ${state}`);
      expect(host.snapshot()).toEqual(before);

      await host.must(`
        cp -a ${DROPINS} /root/before
        mount -t tmpfs -o mode=755,size=32k tmpfs ${DROPINS}
        cp -a /root/before/. ${DROPINS}
        head -c 100000 /dev/zero >${DROPINS}/fill 2>/dev/null || :`);
      await reloaded(host);
      const full = host.snapshot();
      expectFailure(
        await ours(host).up(),
        "[\\w-]+",
        "\\w+",
        /(disk full|cannot write|room).*(nothing was changed|old settings)/,
      );
      expect(host.snapshot()).toEqual(full);
      expect(await host.leftovers()).toEqual([]);
      await host.must(`umount ${DROPINS}; rm -r /root/before`);
      await reloaded(host);

      // /run and /tmp: systemd, sshd and PAM write there.
      await host.must(`
        mount -t tmpfs -o size=4k tmpfs /tmp
        used=$(df -k --output=used /run | tail -n 1)
        mount -o remount,size=$((used + 64))k /run
        head -c 1000000 /dev/zero >/run/fill 2>/dev/null || :`);
      const failures = await resource(brief(host)).up();
      if (failures.length > 0) expectFailure(failures, "[\\w-]+", "\\w+", OLD);
      await host.must("rm /run/fill; mount -o remount,size=64m /run; umount /tmp");
      expect(await expectWhole(host, before)).toBe(failures.length > 0 ? "old" : "new");
      await expectWorks(host, before);
    },
  },
  {
    on: "bullseye",
    name: "a read-only file system is refused before anything is done",
    run: async (host, before) => {
      await host.must("mount --bind /etc/ssh /etc/ssh && mount -o remount,bind,ro /etc/ssh");
      const fleet = ours(host);
      expect((await fleet.preview()).h).toContainEqual(
        expect.stringMatching(/^\[not-writable\] plan: .*sshd_config\.d/),
      );
      expectFailure(await fleet.up(), "not-writable", "plan", /sshd_config\.d/);
      await host.must("umount /etc/ssh");
      await expectUnharmed(host, before);
    },
  },
  {
    on: "bullseye",
    name: "immutable files and folders (chattr +i) are refused before anything is done",
    run: async (host, before) => {
      const flagged = await host.sh(`chattr +i ${DROPINS} && lsattr -d ${DROPINS}`);
      // Not every file system under the lab knows the flag.
      if (flagged.code !== 0) return;
      try {
        expectFailure(await ours(host).up(), "not-writable", "plan", /immutable|sshd_config\.d/);
      } finally {
        await host.must(`chattr -i ${DROPINS}`);
      }
      await expectUnharmed(host, before);
    },
  },
  {
    on: "bullseye",
    name: "a main file that is a link stays one",
    run: async (host, before) => {
      await host.must("mv /etc/ssh/sshd_config /srv/sshd_config && ln -s /srv/sshd_config /etc/ssh/sshd_config");
      await reloaded(host);
      try {
        const old = await host.read("/srv/sshd_config");
        const fleet = ours(host, { server: { clientAliveInterval: 60, placement: "main" } });
        await fleet.upOrThrow();
        expect(await host.must("readlink /etc/ssh/sshd_config")).toBe("/srv/sshd_config\n");
        expect(await host.read("/srv/sshd_config")).not.toBe(old);
        await fleet.destroy();
        expect(await host.read("/srv/sshd_config")).toBe(old);
      } finally {
        await host.must("rm /etc/ssh/sshd_config && mv /srv/sshd_config /etc/ssh/sshd_config");
        await reloaded(host);
      }
      await expectUnharmed(host, before);
    },
  },
  {
    on: "socket",
    name: "an install so slow that its own time runs out is undone, and never put in force",
    run: async (host, before) => {
      // Each flush takes six seconds.
      await host.must("echo 'sleep 6; false' >/run/lab-hold");
      const daemon = await host.must("systemctl show -p InvocationID ssh.service");
      expectFailure(await ours(host, { confirmTimeout: 10 }).up(), "\\w+", "install|confirm|verify", OLD);
      await host.must("rm /run/lab-hold");
      expect(await host.must("systemctl show -p InvocationID ssh.service")).toBe(daemon);
      await expectUnharmed(host, before);
    },
  },

  // Ways in that are hard.
  {
    on: "bookworm",
    name: "sudo that asks, refuses, lectures or wants a terminal",
    run: async (host, before) => {
      const as = (user: string, become: object) =>
        resource(program(host, { hosts: { h: host.connection(user) }, become }));
      expectFailure(await as("anna", {}).up(), "sudo", "connect", /password/);
      expectFailure(await as("anna", { password: "wrong" }).up(), "sudo", "connect", /password/);
      expectFailure(await as("bob", { password: "wrong" }).up(), "sudo", "connect", /./);
      await host.must("echo 'Defaults requiretty' >/etc/sudoers.d/zz");
      expectFailure(await as("deploy", {}).up(), "sudo", "connect", /requiretty|tty/);
      expect(host.snapshot()).toEqual(before);
      await host.must("echo 'Defaults lecture=always' >/etc/sudoers.d/zz");
      const lectured = as("anna", { password: ACCOUNTS.anna.password });
      await lectured.upOrThrow();
      await lectured.destroy();
      await host.must("rm /etc/sudoers.d/zz");
      expect(await expectWhole(host, before)).toBe("old");
    },
  },
  {
    on: "shells",
    name: "login shells that are not POSIX and login files that talk",
    run: async (host, before) => {
      await host.must(`
        mkdir -p ~deploy/.config/fish && echo 'echo welcome; printf "\\033[31mred\\n"' >~deploy/.config/fish/config.fish
        echo 'echo welcome' >~anna/.cshrc; chown -R deploy: ~deploy; chown -R anna: ~anna`);
      for (const [user, become] of [
        ["deploy", {}],
        ["anna", { password: ACCOUNTS.anna.password }],
      ] as const) {
        const fleet = resource(program(host, { hosts: { h: host.connection(user) }, become }));
        await fleet.upOrThrow();
        expect((await host.sshdT()).get("clientaliveinterval")).toBe("60");
        expect(await fleet.preview()).toEqual({});
        await fleet.destroy();
        expect(host.snapshot()).toEqual(before);
      }
      expect(await host.leftovers()).toEqual([]);
    },
  },
  {
    on: "shells",
    name: "a login shell that hangs ends within the time limits",
    run: async (host, before) => {
      await host.must("printf '#!/bin/sh\\nexec sleep 300\\n' >/usr/local/bin/hangs; chmod 755 /usr/local/bin/hangs");
      await host.must("usermod -s /usr/local/bin/hangs bob");
      const start = performance.now();
      const fleet = resource(program(host, { hosts: { h: { ...host.connection("bob"), perDialTimeout: 10 } } }));
      expectFailure(await fleet.up(), "timeout", "connect", /did not come to a shell in time/);
      expect((performance.now() - start) / 1000).toBeLessThan(10 + 25 + SLACK);
      expect(host.snapshot()).toEqual(before);
    },
  },
  {
    on: "shells",
    name: "new logins that hang after the change lead back to the old settings",
    run: async (host, before) => {
      // Logins alone: what is written goes on.
      await host.must(`echo '[ -n "$SSH_CONNECTION" ] && ${MOMENTS.activated}' >/run/lab-hold`);
      const failures = await resource(brief(host)).up();
      await host.must("rm -f /run/lab-hold");
      expectFailure(failures, "\\w+", "verify|confirm", OLD);
      await expectUnharmed(host, before);
    },
  },
  {
    on: "shells",
    name: "logins that take seconds are waited for",
    run: async (host, before) => {
      await host.write("/root/.ssh/rc", "sleep 3\n");
      try {
        const slow = ours(host);
        await slow.upOrThrow();
        await slow.destroy();
      } finally {
        await host.must("rm /root/.ssh/rc");
      }
      await expectUnharmed(host, before);
    },
  },
  {
    on: "trixie",
    name: "a host that allows one session on a connection and ends a user's processes at logout",
    run: async (host, before) => {
      await loaded(host, `${DROPINS}/90-one.conf`, "MaxSessions 1\n");
      await host.write("/etc/systemd/logind.conf.d/kill.conf", "[Login]\nKillUserProcesses=yes\nKillExcludeUsers=\n");
      await host.must("systemctl restart systemd-logind");
      const fleet = resource(program(host, { hosts: { h: host.connection("deploy") }, become: {} }));
      await fleet.upOrThrow();
      expect((await host.sshdT()).get("clientaliveinterval")).toBe("60");
      await fleet.destroy();
      await host.must(`rm -r /etc/systemd/logind.conf.d ${DROPINS}/90-one.conf; systemctl restart systemd-logind`);
      await reloaded(host);
      expect(await expectWhole(host, before)).toBe("old");
    },
  },
  {
    on: "trixie",
    name: "a host that punishes failed logins is reported, not hammered",
    run: async (host, before) => {
      const penalties = `${DROPINS}/20-penalties.conf`;
      await loaded(host, penalties, "PerSourcePenalties authfail:60s noauth:60s min:2s max:60s\n");
      const failing = ["-F", "/dev/null", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no"];
      failing.push("-o", "UserKnownHostsFile=/dev/null", "-o", "IdentitiesOnly=yes", "-i", "/dev/null");
      await until(async () => {
        const { stderr } = await run("ssh", [...failing, `root@${host.address}`, "true"]);
        return !stderr.includes("Permission denied");
      }, "a penalty");
      const refused = async () =>
        Number((await host.must("journalctl --no-pager -u ssh | grep -c 'drop connection.*penalty' || :")).trim());
      const before_ = await refused();
      // By another connection than the one that is kept open for a while.
      const anew = ours(host, { hosts: { h: { ...host.connection(), perDialTimeout: 5 } } });
      expect((await anew.preview()).h).toEqual([
        expect.stringMatching(/^\[\w+\] connect: .*(PerSourcePenalties|closed before the login).*\. [A-Z]/),
      ]);
      await pause(1000);
      expect((await refused()) - before_).toBeLessThan(4);
      // A restart forgets them.
      await host.must(`rm ${penalties}; sleep 1.1; systemctl restart ssh`);
      await until(async () => (await host.ssh("true")).code === 0, "the end of the penalty");
      await expectUnharmed(host, before);
    },
  },
  {
    on: "socket",
    name: "a host key that changed is refused, and nothing is sent",
    run: async (host, before) => {
      const other = (await host.must("ssh-keygen -q -t ed25519 -N '' -f /root/other; cat /root/other.pub")).split(" ");
      const fleet = resource(
        program(host, { hosts: { h: { ...host.connection(), hostKey: other.slice(0, 2).join(" ") } } }),
      );
      expectFailure(await fleet.up(), "host-key", "connect", /nothing was sent/);
      expect(host.snapshot()).toEqual(before);
      await expectUnharmed(host, before);
    },
  },
];

describeLab("faults", () => {
  let lab: Lab;
  beforeAll(async () => {
    lab = await startLab();
  }, LAB_TIMEOUT);
  afterAll(() => lab?.end());

  defineStories(
    daysOf(HOSTS, DAYS, () => lab),
    3,
  );
});
