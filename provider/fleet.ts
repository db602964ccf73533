/**
 * Fleet: many hosts, one host's way each, a few at a time; canaries first; no new host after too many failures.
 */
import { setTimeout as pause } from "node:timers/promises";
import pLimit from "p-limit";
import { probeHosts } from "./config";
import { type Failure, isKeepaliveError, KeepaliveError, printable, type Step } from "./errors";
import {
  type Answer,
  type Connector,
  handedOver,
  handOver,
  KEPT_MS,
  localConnector,
  type SshTarget,
  sshConnector,
  takeOver,
} from "./host";
import type { HostSettings, RolloutSettings } from "./inputs";
import { type HostFacts, type Look, observe, readFacts, type Seen } from "./observe";
import {
  type Own,
  planRemoval,
  planTarget,
  type TargetPlan,
  type TargetState,
  type TransactionPlan,
  type Wish,
} from "./plan";
import { wishDigest } from "./remembered";
import { parseVersion } from "./semantics";
import type { Side } from "./settings";
import { NOTHING_CHANGED, settleLeftover, type Transacted, takeOwnership, transact } from "./transaction";

/** What one look at a host led to. */
export type HostPlan =
  | { readonly kind: "looked"; readonly targets: readonly TargetPlan[]; readonly openssh: string }
  /** The host says itself that nothing has changed since it was as is wanted now. */
  | { readonly kind: "unchanged" }
  | { readonly kind: "failed"; readonly failure: Failure }
  | { readonly kind: "unknown"; readonly properties: readonly string[] };

/** What became of one host in an up or a delete. */
export interface HostResult {
  readonly name: string;
  readonly outcome: "unchanged" | "changed" | "failed" | "stopped";
  /** Nothing has changed since the last look: `states` and `openssh` are as they were then, and not here. */
  readonly asBefore?: true;
  readonly failure?: Failure;
  readonly states: readonly TargetState[];
  readonly openssh: string;
  readonly backup?: string;
  /** State folders that were settled or given up, each with its machine: equal ones may be one under two addresses. */
  readonly places: readonly string[];
  /** For people: what was left alone and why. */
  readonly notes: readonly string[];
}

/** The client's file first: it needs no login of its own, and a server's transaction closes the connection. */
const SIDES: readonly Side[] = ["client", "server"];

/** The connector of one host, and the facts already fetched in this process. */
export interface Way {
  readonly settings: HostSettings;
  readonly connector: Connector;
  /** What the connector leads to; absent where it does not leave this machine. */
  readonly target?: SshTarget;
  /** Told at which step a change has arrived. */
  readonly step?: (step: Step) => void;
}

/** How to get to a host. Throws KeepaliveError (bad-input) for what ssh may not be given. */
export function wayTo(settings: HostSettings): Way {
  const { name, connection: c, become } = settings;
  const withBecome = become === undefined ? {} : { become };
  if (settings.local) return { settings, connector: localConnector(name, withBecome) };
  const { host, ...rest } = c;
  const target: SshTarget = { ...rest, name, host: host ?? "", ...withBecome };
  return { settings, connector: sshConnector(target), target };
}

/** What to look at on a host. */
export function lookFor(settings: HostSettings): Look {
  const { server, client } = settings;
  const wish = (side: Side): { wish?: string } => {
    const wanted = wishOf(settings, side);
    return wanted === undefined ? {} : { wish: wishDigest(wanted) };
  };
  return {
    ...(server === undefined
      ? {}
      : {
          server: {
            ...wish("server"),
            ...(server.configPath === undefined ? {} : { configPath: server.configPath }),
            ...(server.sshdPath === undefined ? {} : { sshdPath: server.sshdPath }),
          },
        }),
    ...(client === undefined
      ? {}
      : {
          client: {
            ...(client.configPath === undefined ? {} : { configPath: client.configPath }),
            ...(client.user === undefined ? {} : { user: client.user }),
            probes: probeHosts(client.hosts),
            ...wish("client"),
          },
        }),
  };
}

/** What is wanted of one side; undefined when nothing of it is managed. */
export function wishOf(settings: HostSettings, side: Side): Wish | undefined {
  const target = settings[side];
  if (target === undefined) return undefined;
  const { server, client } = settings;
  return {
    side,
    wanted: target.values,
    placement: side === "server" ? (server?.placement ?? "auto") : "auto",
    patterns: side === "client" ? (client?.hosts ?? ["*"]) : [],
    ...(side === "client" && client?.user !== undefined ? { user: client.user } : {}),
    ...(side === "server" && server?.reload !== undefined ? { reload: server.reload } : {}),
    ...(settings.idleTimeout === undefined ? {} : { idleTimeout: settings.idleTimeout }),
    allowNoBootGuard: settings.allowNoBootGuard,
  };
}

/**
 * Looks remembered within this process: check and diff of one phase follow each other at once and must not cost two
 * round trips. What an up does is guarded by fingerprints on the host, so an old look can only fail, not harm.
 */
const looks = new Map<string, { at: number; readonly seen: Promise<Seen>; failed?: true }>();

/** How long a look is good for, in milliseconds. */
const LOOK_TTL_MS = 60_000;

/** Makes every host be looked at anew. */
export function forgetLooks(): void {
  looks.clear();
}

/** What a look at a host was about: way, place and wish. */
export const lookKey = (settings: HostSettings): string =>
  JSON.stringify([settings.local, settings.connection, settings.become, lookFor(settings)]);

/**
 * What a look must bring: `short`, that nothing has changed will do; `preview`, the same, and what is seen is handed over
 * to the update; `update`, the same, and where a preview has handed something to change over that will do; `whole`, all
 * facts; `fresh`, all of them, anew.
 */
export type Depth = "short" | "preview" | "update" | "whole" | "fresh";

/**
 * What is seen of a host: now, or remembered from a moment ago. A look that failed is remembered only for those that
 * do nothing but look (`failures`), who would otherwise wait for the same host again; before a change the host may answer.
 */
async function seenOf(way: Way, depth: Depth, failures: "again" | "remembered" = "again"): Promise<Seen> {
  const key = lookKey(way.settings);
  const short = depth !== "whole" && depth !== "fresh";
  const known = looks.get(key);
  const usable = known !== undefined && (known.failed === undefined || failures === "remembered");
  if (depth !== "fresh" && usable && performance.now() - known.at < LOOK_TTL_MS) {
    const seen = await known.seen;
    if (short || "facts" in seen) return seen;
  }
  // What an earlier preview saw is out of date, whatever this look brings.
  keepFor(way, key, undefined);
  const keep = depth !== "preview" ? undefined : (answer: Answer) => keepFor(way, key, answer);
  const seen = observe(way.connector, lookFor(way.settings), short, keep);
  const remembered: { at: number; seen: Promise<Seen>; failed?: true } = { at: performance.now(), seen };
  looks.set(key, remembered);
  seen.then(
    // The time that it took does not count: a slow host would be looked at twice.
    () => {
      remembered.at = performance.now();
    },
    () => {
      remembered.at = performance.now();
      remembered.failed = true;
    },
  );
  return seen;
}

/** A user's file is his own: only what was seen of sshd's is kept beyond this process. */
function keepFor({ settings, target }: Way, key: string, answer: Answer | undefined): void {
  if (target !== undefined && settings.client === undefined) handOver(target, key, answer);
}

/** What this process saw of the host some minutes ago. */
async function factsFromBefore({ settings }: Way): Promise<HostFacts | undefined> {
  const known = looks.get(lookKey(settings));
  if (known === undefined || known.failed || performance.now() - known.at > KEPT_MS) return undefined;
  const seen = await known.seen.catch(() => undefined);
  return seen !== undefined && "facts" in seen ? seen.facts : undefined;
}

/** What a preview saw of the host some minutes ago, in another process; `take`: for this update alone. */
function factsOfPreview({ settings, target }: Way, take: boolean): HostFacts | undefined {
  if (target === undefined || settings.client !== undefined) return undefined;
  const answer = (take ? takeOver : handedOver)(target, lookKey(settings));
  try {
    return answer === undefined ? undefined : readFacts(settings.name, answer);
  } catch {
    // Not what was kept: the host is asked.
    return undefined;
  }
}

/** All facts of a host: fetched now, or remembered from a moment ago. */
export async function factsOf(way: Way, fresh = false): Promise<HostFacts> {
  const seen = await seenOf(way, fresh ? "fresh" : "whole");
  if (!("facts" in seen)) throw new Error("a whole look was not answered by one");
  return seen.facts;
}

/** Does something to a host; whatever comes of it, what was seen before no longer counts. */
async function doing<T>(way: Way, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } finally {
    looks.delete(lookKey(way.settings));
  }
}

/** Carries a plan out. */
function change(way: Way, transaction: TransactionPlan): Promise<Transacted> {
  const { confirmTimeout, verifyAs } = way.settings;
  const step = way.step === undefined ? {} : { step: way.step };
  return doing(way, transact(way.connector, transaction, { confirmSeconds: confirmTimeout, verifyAs, ...step }));
}

/** Notes on the host who manages it. */
const own = (way: Way, ownership: Own): Promise<void> => doing(way, takeOwnership(way.connector, ownership));

/** Looks at a host and plans, changing nothing. Never rejects for what a host does. */
export async function planHost(settings: HostSettings, owner: string | undefined, depth: Depth): Promise<HostPlan> {
  if (settings.unknown.length > 0) return { kind: "unknown", properties: settings.unknown };
  try {
    const way = wayTo(settings);
    const updating = depth === "update" && owner !== undefined && !looks.has(lookKey(settings));
    const ahead = updating ? planFrom(factsOfPreview(way, false), way, owner) : undefined;
    if (ahead !== undefined) return { kind: "looked", targets: ahead.plans, openssh: opensshOf(ahead.facts) };
    const seen = await seenOf(way, depth, "remembered");
    if (!("facts" in seen)) return { kind: "unchanged" };
    return { kind: "looked", targets: plansOf(settings, seen.facts, owner), openssh: opensshOf(seen.facts) };
  } catch (error) {
    return { kind: "failed", failure: failureOf(error, settings.name) };
  }
}

function plansOf(settings: HostSettings, facts: HostFacts, owner: string | undefined): TargetPlan[] {
  return SIDES.flatMap((side) => {
    const wish = wishOf(settings, side);
    const target = facts[side];
    return wish === undefined || target === undefined
      ? []
      : [planTarget(settings.name, target, facts.namespace, wish, owner)];
  });
}

const placeOf = (boot: string, stateFolder: string | undefined): string => `${boot} ${stateFolder}`;

const opensshOf = (facts: HostFacts): string => parseVersion((facts.server ?? facts.client)?.version ?? "")?.text ?? "";

/**
 * How many connections of a fleet stay open for what comes next. Each is an ssh of 1.5 MB until its time is over, which a
 * controller has for hundreds of hosts and not for thousands; the first of them in order are the same in preview and up.
 */
const KEPT_CONNECTIONS = 512;

/** Has the connection to a host end; another resource may be at work over it. */
async function letGo(settings: HostSettings): Promise<void> {
  try {
    await wayTo(settings).connector.release();
  } catch {
    // No connection was made with such settings.
  }
}

/** Plans many hosts at once, in the order of `all`. */
export async function planFleet(
  all: readonly HostSettings[],
  parallel: number,
  owner: string | undefined,
  depth: Depth,
): Promise<ReadonlyMap<string, HostPlan>> {
  const limit = pLimit(parallel);
  const began = performance.now();
  const plans = await Promise.all(
    all.map((settings, index) =>
      limit(async () => {
        const plan = await planHost(settings, owner, depth);
        if (index >= KEPT_CONNECTIONS) await letGo(settings);
        return [settings.name, plan] as const;
      }),
    ),
  );
  // Of many hosts the first were seen minutes before the last; who asked gets all of them now.
  for (const settings of all) {
    const known = looks.get(lookKey(settings));
    if (known !== undefined && known.at >= began) known.at = performance.now();
  }
  return new Map(plans);
}

/** What is to be done on one host: bring it to what is wanted, or undo what `owner` did. */
export interface Task {
  readonly settings: HostSettings;
  readonly verb: "apply" | "remove";
  /** What is there is known from before: on a host that says that nothing has changed nothing needs to be looked at. */
  readonly known?: boolean;
}

/** Does one task; never rejects for what a host does. */
async function doHost(task: Task, owner: string, step?: (step: Step) => void): Promise<HostResult> {
  const { settings, verb } = task;
  const base = { name: settings.name, states: [], openssh: "", places: [], notes: [] };
  try {
    const way = { ...wayTo(settings), ...(step === undefined ? {} : { step }) };
    step?.("observe");
    return await (verb === "apply" ? apply(way, owner, task.known === true) : remove(way, owner));
  } catch (error) {
    return { ...base, outcome: "failed", failure: failureOf(error, settings.name) };
  }
}

/** A state that moved under us, a lock that will soon be free: worth beginning again from a new look. */
const AGAIN: readonly string[] = ["changed-meanwhile", "locked"];

async function withRetries<T>(name: string, attempt: (fresh: boolean) => Promise<T>): Promise<T> {
  let lockedUntil: number | undefined;
  for (let tries = 0; ; ) {
    try {
      return await attempt(tries > 0 || lockedUntil !== undefined);
    } catch (error) {
      const failure = failureOf(error, name);
      if (!AGAIN.includes(failure.code) && !wasCutOff(failure)) throw error;
      if (failure.code === "locked") {
        // Its holder says how long it may last at most; mostly it is over much sooner.
        lockedUntil ??= performance.now() + Math.min((failure.retryAfterSeconds ?? 0) + 10, 900) * 1000;
        if (performance.now() > lockedUntil) throw error;
      } else if (++tries > 2) throw error;
      await pause(failure.code === "locked" ? 1000 : 200);
    }
  }
}

/**
 * Another process that shares the connection closed it for a transaction of its own; what was under way came to nothing.
 */
const wasCutOff = (failure: Failure): boolean =>
  failure.code === "protocol" && (failure.step === "observe" || failure.aftermath === NOTHING_CHANGED);

/** Facts of a host on which no transaction is under way; what a crash left of one is first brought to its end. */
async function settledFacts(way: Way, fresh: boolean): Promise<HostFacts> {
  const facts = await factsOf(way, fresh);
  const left = SIDES.filter((side) => wishOf(way.settings, side) !== undefined && facts[side]?.lock?.state === "stale");
  if (left.length === 0) return facts;
  for (const side of left) await settleLeftover(way.connector, side, facts[side]?.config ?? "");
  return factsOf(way, true);
}

interface Planned {
  readonly facts: HostFacts;
  readonly plans: readonly TargetPlan[];
}

/**
 * A plan from what was seen minutes ago, where all of it is a change of sshd's files and the host can tell that it still
 * holds: of a daemon that is not known by process and identity, or reads the file under another name, it could not.
 */
function planFrom(facts: HostFacts | undefined, way: Way, owner: string): Planned | undefined {
  if (facts === undefined || facts.client !== undefined) return undefined;
  const { config, daemon, lock } = facts.server ?? {};
  if (lock !== undefined || daemon === undefined || daemon.config !== config) return undefined;
  if (daemon.start === "" || daemon.identity === "") return undefined;
  const plans = plansOf(way.settings, facts, owner);
  return plans.length > 0 && plans.every(({ kind }) => kind === "edit") ? { facts, plans } : undefined;
}

async function apply(way: Way, owner: string, known: boolean): Promise<HostResult> {
  const { settings } = way;
  const { name } = settings;
  const ahead = planFrom(factsOfPreview(way, true) ?? (await factsFromBefore(way)), way, owner);
  if (ahead !== undefined) {
    try {
      return await carryOut(way, ahead);
    } catch (error) {
      // Nothing has begun: whatever the host has against this plan, one from a new look may be without it.
      if (failureOf(error, name).aftermath !== NOTHING_CHANGED) throw error;
    }
  }
  return withRetries(name, async (fresh) => {
    if (known && !fresh) {
      const seen = await seenOf(way, "short");
      if (!("facts" in seen) && seen.unchanged.sides.every((side) => side.owner === owner)) {
        const { boot, sides } = seen.unchanged;
        const places = sides.map(({ stateFolder }) => placeOf(boot, stateFolder));
        return { name, outcome: "unchanged", asBefore: true, states: [], openssh: "", places, notes: [] };
      }
    }
    const facts = await settledFacts(way, fresh);
    return carryOut(way, { facts, plans: plansOf(settings, facts, owner) });
  });
}

async function carryOut(way: Way, { facts, plans }: Planned): Promise<HostResult> {
  // Nothing is begun on a host where something is refused.
  for (const plan of plans) if (plan.kind === "refused") throw new KeepaliveError(plan.failure);
  let backup: string | undefined;
  for (const plan of plans) {
    if (plan.kind === "edit") ({ backup } = await change(way, plan.transaction));
    else if (plan.kind === "inSync" && plan.own !== undefined) await own(way, plan.own);
  }
  return {
    name: way.settings.name,
    outcome: plans.some((plan) => plan.kind === "edit") ? "changed" : "unchanged",
    states: plans.map((plan) => (plan.kind === "edit" ? plan.after : plan.state)),
    openssh: opensshOf(facts),
    places: plans.map((plan) => placeOf(facts.boot, facts[plan.state.side]?.stateFolder)),
    notes: plans.flatMap((plan) => (plan.kind === "edit" ? [...plan.notes, ...plan.left] : [])),
    ...(backup === undefined || backup === "" ? {} : { backup }),
  };
}

async function remove(way: Way, owner: string): Promise<HostResult> {
  const { settings } = way;
  return withRetries(settings.name, async () => {
    // Never by an earlier look: who manages the host may have changed since, in this very process.
    const facts = await settledFacts(way, true);
    const notes: string[] = [];
    const places: string[] = [];
    let changed = false;
    for (const side of SIDES) {
      const wish = wishOf(settings, side);
      const target = facts[side];
      if (wish === undefined || target === undefined) continue;
      const plan = planRemoval(settings.name, target, facts.namespace, wish, owner);
      if (plan.kind === "refused") throw new KeepaliveError(plan.failure);
      if (plan.kind === "notOurs") notes.push(`${side}: nothing was touched, ${plan.reason}`);
      else places.push(placeOf(facts.boot, facts[side]?.stateFolder));
      if (plan.kind === "forget") {
        await own(way, plan.own);
        notes.push(...plan.left);
      } else if (plan.kind === "edit") {
        await change(way, plan.transaction);
        changed = true;
        notes.push(...plan.notes, ...plan.left);
      }
    }
    return { name: settings.name, outcome: changed ? "changed" : "unchanged", states: [], openssh: "", places, notes };
  });
}

/** How far the work on a fleet has come. */
export interface FleetProgress {
  readonly total: number;
  /** Hosts that are done with, the changed and failed ones included. */
  readonly done: number;
  readonly changed: number;
  readonly failed: number;
  /** Of the hosts under way the one that was begun first, and the step it is at. */
  readonly slowest?: { readonly name: string; readonly step: Step };
  /** Nothing more will come: all hosts are done with, or no further one is started. */
  readonly ended: boolean;
}

/** What a caller may want of a fleet while it is worked on. */
export interface FleetControl {
  /** Told whenever something has moved on. */
  readonly progress?: (progress: FleetProgress) => void;
  /** Once aborted, no further host is started; what has begun on a host is finished or taken back. */
  readonly signal?: AbortSignal;
}

/** Does all tasks: canaries first and alone, then the rest, `parallel` at a time; stops starting after `maxFailures`. */
export async function doFleet(
  tasks: readonly Task[],
  rollout: RolloutSettings,
  owner: string,
  { progress, signal }: FleetControl = {},
): Promise<readonly HostResult[]> {
  const limit = pLimit(rollout.parallel);
  let failures = 0;
  const counts = { total: tasks.length, done: 0, changed: 0, failed: 0 };
  const underWay = new Map<string, Step>();
  const tell = (ended = false): void => {
    const [first] = underWay;
    progress?.({ ...counts, ...(first === undefined ? {} : { slowest: { name: first[0], step: first[1] } }), ended });
  };
  const run = (task: Task, index: number): Promise<HostResult> =>
    limit(async () => {
      const { name } = task.settings;
      if (signal?.aborted === true) return stoppedResult(name, "not tried, the run was cancelled");
      if (failures > rollout.maxFailures) return stoppedResult(name);
      const result = await doHost(task, owner, (step) => {
        underWay.set(name, step);
        tell();
      });
      if (index >= KEPT_CONNECTIONS) await letGo(task.settings);
      underWay.delete(name);
      counts.done += 1;
      if (result.outcome === "changed") counts.changed += 1;
      if (result.outcome === "failed") {
        counts.failed += 1;
        failures += 1;
      }
      tell();
      return result;
    });
  const canaries = await Promise.all(tasks.slice(0, rollout.canary).map(run));
  // A canary is there to fail alone: one failure among them ends the rollout, whatever maxFailures allows later.
  if (canaries.some((r) => r.outcome === "failed")) failures = Math.max(failures, rollout.maxFailures + 1);
  const rest = await Promise.all(tasks.slice(rollout.canary).map((task, index) => run(task, index + rollout.canary)));
  if (tasks.length > 0) tell(true);
  return [...canaries, ...rest];
}

function stoppedResult(name: string, reason = "not tried, the rollout had stopped after earlier failures"): HostResult {
  return {
    name,
    outcome: "stopped",
    states: [],
    openssh: "",
    places: [],
    notes: [],
    failure: {
      code: "stopped",
      host: name,
      step: "connect",
      reason,
      remedy: reason.endsWith("cancelled")
        ? "Run again: it goes on with these"
        : "Mend those and run again; rollout.maxFailures says how many are borne",
    },
  };
}

/** The failure in an error; a fault of our own keeps its text, never its stack. */
export function failureOf(error: unknown, host: string): Failure {
  if (isKeepaliveError(error)) return { host, ...error.failure };
  return {
    code: "protocol",
    host,
    step: "observe",
    reason: `unexpected: ${printable(error instanceof Error ? error.message : String(error), 300)}`,
    remedy: "Please report this, it is a fault of the provider",
  };
}
