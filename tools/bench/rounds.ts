/** One round: every contender goes through the same scenarios on the same hosts, checked each time by OpenSSH. */
import { setTimeout as pause } from "node:timers/promises";
import type { Contender } from "./contenders";
import type { Sample, Scenario, Subject } from "./figures";
import type { BenchFleet } from "./fleet";
import type { Command, Measured, Meter } from "./meter";

/** What all measurements share. */
export interface Bench {
  readonly fleet: BenchFleet;
  readonly meter: Meter;
  /** Seconds for one command. */
  readonly commandTimeout: number;
  /** Takes a sample; throws to end the benchmark, when its time is over. */
  record(subject: Subject, sample: Sample): void;
}

/** Runs a command, sees what the hosts saw of it, and records it. Rejects when it does not exit with `exit`. */
export async function measure(
  { fleet, meter, commandTimeout, record }: Bench,
  subject: Subject,
  command: Command,
  exit: "success" | "failure" = "success",
): Promise<Measured> {
  const before = await fleet.seen();
  const measured = await meter.run(command, commandTimeout);
  if ((measured.code === 0) !== (exit === "success")) {
    const end = measured.output.trim().slice(-3000);
    throw new Error(`${subject}: ${command.argv.join(" ")} exited with ${measured.code}:\n${end}`);
  }
  const after = await fleet.seen();
  const { seconds, cpu, peak, largest } = measured;
  const each = (field: "logins" | "commands"): number => (after[field] - before[field]) / fleet.hosts.length;
  record(subject, { seconds, cpu, peak, largest, logins: each("logins"), commands: each("commands") });
  return measured;
}

/** What a contender is asked for in each scenario. */
interface Task {
  readonly scenario: Scenario;
  readonly how: "preview" | "apply";
  /** What is done to the hosts before. */
  readonly prepare?: "reset" | "drift";
  /** Whether connections of earlier runs may be used; one that keeps none need not be measured again. */
  readonly warm?: true;
  /** How many daemons are to be reloaded. */
  readonly reloads: "all" | "one" | "none";
}

const TASKS: readonly Task[] = [
  { scenario: "firstPreview", how: "preview", prepare: "reset", reloads: "none" },
  { scenario: "applyAfterPreview", how: "apply", warm: true, reloads: "all" },
  { scenario: "previewCold", how: "preview", reloads: "none" },
  { scenario: "previewWarm", how: "preview", warm: true, reloads: "none" },
  { scenario: "applyDrift", how: "apply", prepare: "drift", reloads: "one" },
  { scenario: "applyCold", how: "apply", prepare: "reset", reloads: "all" },
];

/** All scenarios for one contender. Rejects when the work was not what was asked for. */
export async function runContender(bench: Bench, contender: Contender): Promise<void> {
  const { fleet, meter } = bench;
  for (const task of TASKS) {
    if (task.warm !== true) await meter.clear();
    if (task.prepare === "reset") {
      await fleet.reset();
      await contender.forget();
    } else if (task.prepare === "drift") await fleet.drift();
    const subject: Subject = `${contender.name} ${task.scenario}`;
    const before = await fleet.seen();
    const measured = await measure(bench, subject, contender[task.how]);
    const expected = { all: fleet.hosts.length, one: 1, none: 0 }[task.reloads];
    const reloads = await reloadsSince(fleet, before.loads, expected);
    const problems = [
      ...(reloads === expected ? [] : [`${reloads} reloads instead of ${expected}`]),
      ...(task.how === "apply" ? (await fleet.notAsWanted()).map((name) => `${name} is not as wanted`) : []),
    ];
    if (problems.length > 0) {
      throw new Error(`${subject}: ${problems.join(", ")}\n${measured.output.trim().slice(-3000)}`);
    }
  }
  await meter.clear();
}

/** Not everyone waits for the daemon to have read its files. */
async function reloadsSince(fleet: BenchFleet, before: number, expected: number): Promise<number> {
  const deadline = performance.now() + 5000;
  for (;;) {
    const reloads = (await fleet.seen()).loads - before;
    if (reloads >= expected || performance.now() > deadline) return reloads;
    await pause(50);
  }
}
