/**
 * Bad days: the controller or the supervisor killed at any moment, two controllers at once, locks that others left. The
 * host lets one in all the time, and is whole old or whole new in the end.
 */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { stagedScript } from "../../provider/host";
import type { Bag } from "../../provider/lifecycle";
import { sumOf } from "../../provider/observe";
import { below, bytesOf } from "../support/below";
import { type LightHost, startLightHost } from "../support/lightHost";
import { random, seedOfRun } from "../support/random";
import {
  type Controller,
  configuration,
  created,
  expectSound,
  preview,
  processesOn,
  removed,
  serverOn,
  startController,
  stateFolder,
  testFolder,
  until,
} from "./hostCase";

const folder = testFolder();
/** Seconds; the shortest that inputs take. */
const CONFIRM = 10;
/** How long after it a busy machine may take to be done with the revert; less than another CONFIRM would be. */
const SLACK = 9;

/** While `hold` is there, a login waits as long as a transaction is armed: nobody can confirm it. */
const newHost = (): Promise<LightHost> =>
  startLightHost({
    folder,
    extraLines: ["MaxStartups 100"],
    files: ({ dir, head }) => ({
      sshd_config: `${head}ForceCommand sh ${dir}/gate\nInclude ${dir}/sshd_config.d/*.conf\nTCPKeepAlive no\n`,
      "sshd_config.d/50-cloud-init.conf": "ClientAliveInterval 0\n",
      gate: `while [ -e ${dir}/hold ] && for armed in ${dir}/state/*/lock/armed.*; do [ -e "$armed" ] && break; done
        do sleep 0.05; done
        exec sh -c "$SSH_ORIGINAL_COMMAND"\n`,
    }),
  });

/** Two files at once: a drop-in that is created, and a line of the main file that is changed. */
const wish = (host: LightHost) =>
  serverOn(host, { server: { clientAliveInterval: 60, tcpKeepAlive: true, placement: "auto" } });

/** The same, given up soon: not for what must succeed, where half of the time is a busy machine's for a login. */
const brief = (host: LightHost) => ({ ...wish(host), confirmTimeout: CONFIRM });

interface Watch {
  /** What was wrong at any moment. */
  end(): Promise<readonly string[]>;
}

/** Logs in again and again, and looks at every file again and again: old bytes or new bytes, nothing else. */
function watch(host: LightHost, whole: readonly Readonly<Record<string, string>>[]): Watch {
  const wrong = new Set<string>();
  let over = false;
  const known = (name: string, text: string | undefined) => whole.some((state) => state[name] === text);
  const files = (async () => {
    while (!over) {
      for (const [name, text] of Object.entries(configuration(host))) {
        if (!name.includes("/.") && !known(name, text)) wrong.add(`${name} holds ${JSON.stringify(text.slice(-80))}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 3));
    }
  })();
  const logins = (async () => {
    while (!over) {
      // A reload closes the listener for milliseconds, on a busy machine for longer, but not until the revert.
      const begun = performance.now();
      let login = await host.ssh("true");
      for (let tries = 1; login.code !== 0 && (tries < 3 || performance.now() - begun < CONFIRM * 500); tries++) {
        await new Promise((resolve) => setTimeout(resolve, 200));
        login = await host.ssh("true");
      }
      if (login.code !== 0) wrong.add(`no login: ${login.stderr}`);
      await new Promise((resolve) => setTimeout(resolve, 150));
    }
  })();
  return {
    end: async () => {
      over = true;
      await Promise.all([files, logins]);
      return [...wrong];
    },
  };
}

/** What the new state looks like, learnt on a host like it. */
async function newState(host: LightHost): Promise<Readonly<Record<string, string>>> {
  const applied = await created(wish(host));
  const files = configuration(host);
  await removed(applied);
  return files;
}

const at = (host: LightHost, pattern: RegExp) => () => below(host.stateDir).some((name) => pattern.test(name));
/** The supervisor has come as far as that word. */
const status = (host: LightHost, word: string) => () => {
  const file = below(host.stateDir).find((name) => /^[^/]+\/lock\/status$/.test(name));
  const said = file === undefined ? undefined : bytesOf(path.join(host.stateDir, file));
  return said?.split("\n").some((line) => line.startsWith(word)) === true;
};
const locked = (host: LightHost) => at(host, /^[^/]+\/lock$/)();

/** Waits for something that may come and go between two looks, or until the controller ends. */
async function catchMoment(condition: () => boolean, ended: () => boolean): Promise<void> {
  while (!ended()) {
    for (let i = 0; i < 20; i++) if (condition()) return;
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** Starts a controller that nobody lets confirm, and waits until the supervisor has come as far as that word. */
async function heldAt(host: LightHost, word: string, news: Bag): Promise<Controller> {
  writeFileSync(path.join(host.dir, "hold"), "");
  const controller = startController(folder, news);
  const output: string[] = [];
  void controller.ended.then((end) => output.push(end.output));
  await until(() => {
    if (output.length > 0) throw new Error(`over, and never ${word}: ${output[0]}`);
    return status(host, word)();
  }, word);
  return controller;
}

const letGo = (host: LightHost) => rmSync(path.join(host.dir, "hold"), { force: true });

/** Process id of the supervisor of an armed transaction. */
const supervisorOf = (host: LightHost) =>
  Number(readFileSync(path.join(stateFolder(host.stateDir), "lock/supervisor"), "utf8").split(" ")[0]);

/** Seconds since boot, as hosts count. */
const uptime = () => Number(readFileSync("/proc/uptime", "utf8").split(" ")[0]);
/** When an armed transaction was armed. */
const armedAt = (host: LightHost) =>
  Number(/^armedat (\d+)/m.exec(readFileSync(path.join(stateFolder(host.stateDir), "lock/conf"), "utf8"))?.[1]) / 100;

describe("a controller killed", () => {
  const MOMENTS: readonly (readonly [string, (host: LightHost) => () => boolean])[] = [
    [
      "during the look",
      (host) => {
        const accepted = () => bytesOf(path.join(host.dir, "sshd.log"))?.match(/^Accepted publickey/gm)?.length ?? 0;
        // The watcher logs in as well.
        const before = accepted() + 1;
        return () => accepted() > before;
      },
    ],
    ["while it judges", (host) => at(host, /\/lock\/0\.new$/)],
    ["right after it armed", (host) => at(host, /\/lock\/armed\./)],
    ["when the supervisor is ready", (host) => status(host, "ready")],
    ["when the files are installed", (host) => status(host, "installed")],
    ["when the daemon has read them", (host) => status(host, "activated")],
    ["while it confirms", (host) => at(host, /\/lock\/confirmed\./)],
  ];

  test.each(MOMENTS)("%s leaves a host that lets one in and is whole old or whole new", async (_name, moment) => {
    const host = await newHost();
    const old = configuration(host);
    const wanted = await newState(host);
    expect(configuration(host)).toEqual(old);
    const watching = watch(host, [old, wanted]);
    const reached = moment(host);
    const controller = startController(folder, brief(host));
    let over = false;
    void controller.ended.then(() => {
      over = true;
    });
    await catchMoment(reached, () => over);
    controller.kill();
    const killed = performance.now();
    await controller.ended;
    await until(() => processesOn(host.stateDir).length === 0, "the end of the supervisor");
    expect((performance.now() - killed) / 1000).toBeLessThan(CONFIRM + SLACK);
    expect(await watching.end()).toEqual([]);
    const final = configuration(host);
    expect([old, wanted]).toContainEqual(final);

    // The next one finds its way, whatever was left.
    const applied = await created(wish(host));
    expect(configuration(host)).toEqual(wanted);
    await expectSound(host);
    await removed(applied);
    expect(configuration(host)).toEqual(old);
  });

  test("at random moments, again and again, with the next one at its heels", async () => {
    const host = await newHost();
    const old = configuration(host);
    const wanted = await newState(host);
    const seed = seedOfRun();
    const r = random(seed);
    const watching = watch(host, [old, wanted]);
    for (let round = 0; round < 6; round++) {
      const controller = startController(folder, brief(host));
      await new Promise((resolve) => setTimeout(resolve, 300 + r() * 2500));
      controller.kill();
      await controller.ended;
      if (r() < 0.5) continue;
      const applied = await created(wish(host));
      expect([seed, round, configuration(host)]).toEqual([seed, round, wanted]);
      await removed(applied);
      expect([seed, round, configuration(host)]).toEqual([seed, round, old]);
    }
    const applied = await created(wish(host));
    await removed(applied);
    expect([seed, await watching.end()]).toEqual([seed, []]);
    expect(configuration(host)).toEqual(old);
    await expectSound(host);
  });
});

function kill(pid: string): void {
  try {
    process.kill(Number(pid), "SIGKILL");
  } catch {
    // It has just ended by itself.
  }
}

describe("a supervisor killed", () => {
  test.each([
    ["before it installs", "ready"],
    ["before anyone confirms", "activated"],
  ])("%s is made up for by the next run, after the time it had", async (_name, word) => {
    const host = await newHost();
    const old = configuration(host);
    const wanted = await newState(host);
    const controller = await heldAt(host, word, brief(host));
    controller.kill();
    const begun = armedAt(host);
    await until(() => {
      const left = processesOn(host.stateDir);
      left.forEach(kill);
      return left.length === 0;
    }, "the end of all processes");
    await controller.ended;
    letGo(host);
    for (const [name, text] of Object.entries(configuration(host))) {
      if (!name.includes("/.")) expect([name, old[name], wanted[name]]).toContain(text);
    }
    expect(locked(host)).toBe(true);
    // An armed lock is never broken before its time is over.
    const lines = await preview(wish(host));
    expect(lines.join("\n")).toMatch(
      /\[locked\] observe: another transaction, by .*process \d+\), is under way for \d+ s at most/,
    );
    const applied = await created(wish(host));
    expect(uptime() - begun).toBeGreaterThan(CONFIRM);
    expect(configuration(host)).toEqual(wanted);
    await expectSound(host);
    await removed(applied);
    expect(configuration(host)).toEqual(old);
  });

  test("while someone confirms does not matter", async () => {
    const host = await newHost();
    const wanted = await newState(host);
    const controller = await heldAt(host, "activated", wish(host));
    process.kill(supervisorOf(host), "SIGKILL");
    letGo(host);
    const { applied } = await controller.ended;
    expect(applied?.failures).toEqual([]);
    expect(configuration(host)).toEqual(wanted);
    await expectSound(host);
  });
});

describe("several controllers", () => {
  test("on one host do their work one after another", async () => {
    const host = await newHost();
    const intervals = [61, 62, 63];
    const ends = await Promise.all(
      intervals.map(
        (interval) =>
          startController(folder, serverOn(host, { server: { clientAliveInterval: interval }, confirmTimeout: 60 }))
            .ended,
      ),
    );
    expect(ends.map(({ applied, output }) => applied?.failures ?? output)).toEqual([[], [], []]);
    const backups = readdirSync(path.join(stateFolder(host.stateDir), "backups"));
    expect(backups).toHaveLength(3);
    const dump = await host.sshdT();
    expect(intervals.map(String)).toContain(dump.get("clientaliveinterval"));
    await expectSound(host);
  });
});

describe("a lock", () => {
  const bootId = () => readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();

  /** A lock as a transaction leaves it that was cut off; returns its folder. */
  function leave(host: LightHost, boot: string, until: number, files: Readonly<Record<string, string>>): string {
    const lock = path.join(stateFolder(host.stateDir), "lock");
    mkdirSync(lock, { mode: 0o700 });
    writeFileSync(path.join(lock, `held.${boot}.${until}.1.0.feedfeedfeedfeed`), "", { mode: 0o600 });
    for (const [name, text] of Object.entries({ who: "ana@laptop\n", ...files })) {
      writeFileSync(path.join(lock, name), text, { mode: 0o600 });
    }
    return lock;
  }
  /** An armed transaction over the drop-in, with the new bytes in place. */
  const armed = (host: LightHost) => {
    const dropIn = path.join(host.dir, "sshd_config.d/00-pulumi-ssh-keepalive.conf");
    writeFileSync(dropIn, "ClientAliveInterval 44\n");
    return {
      "armed.feedfeedfeedfeed": "",
      conf: `txid feedfeedfeedfeed\nseconds 60\nside server\nconfig ${host.configPath}\narmedat 1\nexe /usr/sbin/sshd\npid ${host.pid()}\npidstart ${startOf(host.pid())}\npidfile ${host.dir}/sshd.pid\npath ${dropIn}\nreal ${dropIn}\nsum absent\nnewsum ${sumOf("ClientAliveInterval 44\n")}\n`,
      seen: "",
      "run.sh": stagedScript(),
      "0.new": "ClientAliveInterval 44\n",
      log: "",
    };
  };
  /** Start of a process in ticks since boot (proc(5), /proc/PID/stat, field 22). */
  const startOf = (pid: number | undefined) =>
    readFileSync(`/proc/${pid}/stat`, "utf8")
      .replace(/^.*\) /s, "")
      .split(" ")[19];

  test.each([
    ["of another boot, nothing armed", (h: LightHost) => leave(h, "another-boot", 9e9, {})],
    ["of another boot, armed", (h: LightHost) => leave(h, "another-boot", 9e9, armed(h))],
    ["whose time is over, nothing armed", (h: LightHost) => leave(h, bootId(), 1, {})],
    ["whose time is over, armed", (h: LightHost) => leave(h, bootId(), 1, armed(h))],
    [
      "that nobody put a name to",
      (h: LightHost) => {
        const lock = leave(h, "x", 1, {});
        rmSync(lock, { recursive: true });
        mkdirSync(lock, { mode: 0o700 });
      },
    ],
  ])("%s is taken over", async (_name, make) => {
    const host = await newHost();
    const applied = await created(wish(host));
    await removed(applied);
    const old = configuration(host);
    make(host);
    expect((await preview(wish(host))).join("\n")).toMatch(/\[locked\] observe: /);
    const again = await created(wish(host));
    expect((await host.sshdT()).get("clientaliveinterval")).toBe("60");
    await removed(again);
    expect(configuration(host)).toEqual(old);
    await expectSound(host);
  });

  test("that is armed is not broken before its time, and waited for", async () => {
    const host = await newHost();
    const applied = await created(wish(host));
    await removed(applied);
    const end = uptime() + 6;
    leave(host, bootId(), Math.floor(end * 100), armed(host));
    await created(wish(host));
    expect(uptime()).toBeGreaterThan(end);
    expect((await host.sshdT()).get("clientaliveinterval")).toBe("60");
    await expectSound(host);
  });
});

describe("the decision", () => {
  test("has exactly one winner, however many try at once", () => {
    const T = path.join(mkdtempSync(path.join(folder.path, "decide-")), "lock");
    mkdirSync(T);
    const script = path.join(T, "..", "run.sh");
    writeFileSync(script, stagedScript());
    const race = `
      for who in 1 2 3 4 5 6 7 8; do
        for outcome in confirmed reverting; do
          sh ${script} eval "T=${T} TXID=x; while [ ! -e ${T}/go ]; do :; done; decide $outcome && echo won >>${T}/won" &
        done
      done
      sleep 0.3; : >${T}/go; wait`;
    for (let round = 0; round < 5; round++) {
      for (const name of readdirSync(T)) rmSync(path.join(T, name));
      writeFileSync(path.join(T, "armed.x"), "");
      execFileSync("sh", ["-c", race]);
      expect(readFileSync(path.join(T, "won"), "utf8")).toBe("won\n");
      expect(readdirSync(T).filter((name) => /\.x$/.test(name))).toHaveLength(1);
    }
  });

  test("between the timer and a login that confirms is the host's, and both sides learn it", async () => {
    // The controller is held up until the time is as good as over, a little earlier or later each time.
    for (const early of [0.6, 0.25, 0.05, -0.1]) {
      const host = await newHost();
      const old = configuration(host);
      const controller = await heldAt(host, "activated", brief(host));
      controller.child.kill("SIGSTOP");
      const end = armedAt(host) + CONFIRM;
      letGo(host);
      await new Promise((resolve) => setTimeout(resolve, Math.max(0, (end - early - uptime()) * 1000)));
      controller.child.kill("SIGCONT");
      const { applied, output } = await controller.ended;
      await expectSound(host);
      const confirmed = applied?.failures.length === 0;
      const dropIn = existsSync(path.join(host.dir, "sshd_config.d/00-pulumi-ssh-keepalive.conf"));
      expect([early, output, dropIn]).toEqual([early, output, confirmed]);
      if (!confirmed) expect(configuration(host)).toEqual(old);
    }
  });
});

test("a transaction that is left without a controller is undone within its time, to the second", async () => {
  const host = await newHost();
  const old = configuration(host);
  const controller = await heldAt(host, "activated", brief(host));
  const lag = monitorEventLoopDelay({ resolution: 5 });
  lag.enable();
  controller.kill();
  await controller.ended;
  const armed = armedAt(host);
  await until(() => JSON.stringify(configuration(host)) === JSON.stringify(old), "the old files");
  await expectSound(host);
  lag.disable();
  // By the host's own clock: when it gave up, not how long a busy machine then took.
  const log = readFileSync(path.join(stateFolder(host.stateDir), "last"), "utf8");
  const took = Number(/^(\d+) failed confirm: nobody confirmed/m.exec(log)?.[1]) / 100 - armed;
  expect(took).toBeGreaterThanOrEqual(CONFIRM);
  // Of what comes late to this process a supervisor has its share.
  expect(took).toBeLessThan(CONFIRM + 1 + (3 * lag.max) / 1e9);
});

test("a supervisor told to end puts the old state back first", async () => {
  const host = await newHost();
  const old = configuration(host);
  const controller = await heldAt(host, "activated", wish(host));
  controller.kill();
  process.kill(supervisorOf(host), "SIGTERM");
  await controller.ended;
  await expectSound(host);
  letGo(host);
  expect(configuration(host)).toEqual(old);
});
