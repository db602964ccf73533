/**
 * Controllers and supervisors that are killed, and hosts that lose power, at each step of a transaction and in between.
 * Each ends with a host that lets one in, with old or new settings whole, and with nothing left behind.
 */

import { setTimeout as pause } from "node:timers/promises";
import { type Controller, startController } from "../engine/hostCase";
import { random, seedOfRun } from "../support/random";
import { describeLab } from "./support/available";
import {
  at,
  atRest,
  type BadDay,
  brief,
  daysOf,
  expectFailure,
  expectWhole,
  expectWorks,
  type MOMENTS,
  OLD,
  ours,
} from "./support/badDay";
import { type HostOptions, LAB_TIMEOUT, type Lab, type LabHost, startLab } from "./support/host";
import { resource } from "./support/resource";
import { defineStories } from "./support/stories";

type Moment = keyof typeof MOMENTS;
type Snapshot = ReturnType<LabHost["snapshot"]>;

const HOSTS: readonly HostOptions[] = [
  { image: "trixie", name: "trixie" },
  { image: "bookworm", name: "socket", prepare: "systemctl disable ssh.service; systemctl enable ssh.socket" },
  { image: "sysvinit", name: "sysvinit" },
  { image: "openrc", name: "openrc" },
];

const WORDS: Readonly<Record<Moment, string>> = {
  judging: "while the host judges",
  ready: "before the installation",
  installed: "after the installation",
  activated: "after the activation",
};

let lab: Lab;

/** Begins an up in a process of its own, and kills that once `action` is done on its host. */
async function controllerKilledAt(host: LabHost, moment: Moment, action: string): Promise<void> {
  let controller: Controller | undefined;
  const { ended } = await at(host, moment, action, () => {
    controller = startController(lab.folder, brief(host));
    return controller.ended;
  });
  controller?.kill();
  await ended;
}

/** SIGKILL to the supervisor that runs now, by its id. */
const KILL_SUPERVISOR = `
  set -- /var/lib/pulumi-ssh-keepalive/*/lock/supervisor
  read -r pid start_ <"$1"
  kill -KILL "$pid"`;

const controllerKilled = (moment: Moment) => async (host: LabHost, before: Snapshot) => {
  await controllerKilledAt(host, moment, ":");
  await atRest(host);
  await expectWhole(host, before);
  await expectWorks(host, before);
};

const supervisorKilled = (moment: Moment) => async (host: LabHost, before: Snapshot) => {
  const { ended } = await at(host, moment, KILL_SUPERVISOR, () => ours(host).up());
  const failures = await ended;
  // It is started once more: what is in force already is waited for, what was half done is undone.
  if (moment === "activated") expect(failures).toEqual([]);
  else expectFailure(failures, "supervisor", "confirm", OLD);
  await atRest(host);
  expect(await expectWhole(host, before)).toBe(moment === "activated" ? "new" : "old");
  await expectWorks(host, before);
};

const bothKilled = async (host: LabHost, before: Snapshot) => {
  await controllerKilledAt(host, "activated", `${KILL_SUPERVISOR}; ip link set eth0 down`);
  await host.must("ip link set eth0 up");
  await atRest(host);
  expect(await expectWhole(host, before)).toBe("old");
  await expectWorks(host, before);
};

/** Without anybody left to undo it, the next run does. */
const allKilled = async (host: LabHost, before: Snapshot) => {
  const all = `
    ip link set eth0 down
    for proc in /proc/[0-9]*; do
      case $(tr '\\0' ' ' <"$proc/cmdline" 2>/dev/null) in
        *'/lock/run.s'[h]*) kill -STOP "\${proc#/proc/}" && pids="\${pids:-} \${proc#/proc/}" || : ;;
      esac
    done
    kill -KILL $pids`;
  await controllerKilledAt(host, "activated", all);
  await host.must("ip link set eth0 up");
  expect((await host.ssh("true")).code).toBe(0);
  await expectWorks(host, before);
};

const powerCut = (moment: Moment) => async (host: LabHost, before: Snapshot) => {
  // The controller is cut off first: what happens next happens without it.
  const { ended } = await at(host, moment, "ip link set eth0 down", () => resource(brief(host)).up());
  await host.powerOff();
  await host.boot();
  await host.must("ip link set eth0 up");
  // What had not begun is begun anew once the host is back.
  const failures = await ended;
  if (moment !== "judging") expectFailure(failures, "[\\w-]+", "\\w+", /./);
  await atRest(host);
  expect([failures, await expectWhole(host, before)]).toEqual([failures, failures.length > 0 ? "old" : "new"]);
  await expectWorks(host, before);
};

/** Now the controller, now the power goes, whatever is happening. KEEPALIVE_SEED repeats a run. */
const atRandom = async (host: LabHost, before: Snapshot) => {
  const seed = seedOfRun();
  const r = random(seed);
  try {
    for (let round = 0; round < 4; round++) {
      const controller = startController(lab.folder, brief(host));
      // Half of the time goes to the process's own start.
      await pause(1000 + r() * 3500);
      if (round % 2 === 0) {
        // What had not been armed by then is no more than a stale lock, which the next one takes over.
        await host.powerOff();
        await host.boot();
        controller.kill();
        await controller.ended;
      } else {
        controller.kill();
        await controller.ended;
        await atRest(host);
      }
      expect((await host.ssh("true")).code).toBe(0);
    }
    await expectWorks(host, before);
  } catch (error) {
    throw new Error(`seed ${seed}: ${error instanceof Error ? error.message : error}`, { cause: error });
  }
};

const DAYS: readonly BadDay[] = [
  ...(
    [
      ["sysvinit", "judging"],
      ["trixie", "ready"],
      ["openrc", "installed"],
      ["socket", "activated"],
    ] as const
  ).map(([on, moment]) => ({
    on,
    name: `a controller killed ${WORDS[moment]}`,
    run: controllerKilled(moment),
  })),
  ...(
    [
      ["trixie", "ready"],
      ["socket", "installed"],
      ["trixie", "activated"],
      ["sysvinit", "ready"],
      ["openrc", "activated"],
    ] as const
  ).map(([on, moment]) => ({
    on,
    name: `a supervisor killed ${WORDS[moment]}`,
    run: supervisorKilled(moment),
  })),
  { on: "trixie", name: "controller and supervisor killed after the activation", run: bothKilled },
  { on: "openrc", name: "controller and every process of ours killed after the activation", run: allKilled },
  ...(
    [
      ["trixie", "judging"],
      ["sysvinit", "ready"],
      ["socket", "installed"],
      ["openrc", "activated"],
      ["trixie", "activated"],
    ] as const
  ).map(([on, moment]) => ({
    on,
    name: `a power cut ${WORDS[moment]}`,
    run: powerCut(moment),
  })),
  ...["socket", "sysvinit"].map((on) => ({
    on,
    name: "power cuts and killed controllers at random moments",
    run: atRandom,
  })),
];

describeLab("interrupted", () => {
  beforeAll(async () => {
    lab = await startLab();
  }, LAB_TIMEOUT);
  afterAll(() => lab?.end());

  defineStories(
    daysOf(HOSTS, DAYS, () => lab),
    3,
  );
});
