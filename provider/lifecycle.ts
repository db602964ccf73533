/**
 * The life-cycle behind both faces: check, diff, create, read, update, delete. Knows Pulumi's verbs and nothing of its
 * wire; looks at hosts and changes them through fleet.ts.
 */
import { randomBytes } from "node:crypto";
import { isDeepStrictEqual } from "node:util";
import type { ObservedHost, ObservedSide, SshKeepaliveInputs } from "./args";
import { describeFailure, type Failure, KeepaliveError, printable } from "./errors";
import { doFleet, type FleetControl, forgetLooks, type HostPlan, type HostResult, planFleet, type Task } from "./fleet";
import { closeAgents } from "./host";
import {
  type CheckFailure,
  checkInputs,
  describeCheckFailure,
  type HostSettings,
  hostSettings,
  inputWarnings,
  type RolloutSettings,
  readable,
  rolloutSettings,
  unknownInputs,
} from "./inputs";
import { shown } from "./observe";
import type { TargetState } from "./plan";
import { OPTIONS, type Side, type ValueKind } from "./settings";
import { groupFailures, groupLines, planSummary, resultSummary } from "./summary";

/** Property bags as the engine hands them over: secrets in clear, unknowns as the sentinel. */
export type Bag = Readonly<Record<string, unknown>>;

/** Where lines for people go. */
export interface Reporter {
  /** One or more whole lines, safe to print. */
  readonly info: (text: string) => void;
  readonly warn: (text: string) => void;
}

/** The properties of the resource that a program sets; everything else in a bag belongs to a face or is an output. */
const INPUT_NAMES = [
  "hosts",
  "connection",
  "become",
  "server",
  "client",
  "idleTimeout",
  "rollout",
  "confirmTimeout",
  "verifyAs",
  "allowNoBootGuard",
] as const;

/** The program's own inputs out of a bag, absent ones left out. */
export function inputsOf(bag: Bag): SshKeepaliveInputs {
  const picked = INPUT_NAMES.filter((name) => bag[name] !== undefined).map((name) => [name, bag[name]]);
  return Object.fromEntries(picked) as SshKeepaliveInputs;
}

/** What check found. */
export interface Checked {
  readonly failures: readonly CheckFailure[];
  /** Host → lines; present in a preview when anything is to be changed or could not be looked at. */
  readonly pendingChanges?: Readonly<Record<string, readonly string[]>>;
}

/**
 * Checks inputs; in a preview also looks at the hosts and says what an up would change. Failures name their property.
 */
export async function check(news: Bag, preview: boolean, report: Reporter, olds: Bag = {}): Promise<Checked> {
  const known = new Set<string>([...INPUT_NAMES, "observed", "pendingChanges"]);
  const unexpected = Object.fromEntries(Object.entries(news).filter(([key]) => !known.has(key)));
  const inputs = inputsOf(news);
  const { failures } = checkInputs({ ...inputs, ...unexpected });
  const failed: CheckFailure[] = [...failures];
  if (news.pendingChanges !== undefined) {
    failed.push({ property: "pendingChanges", reason: "Is computed by the resource. Leave it out." });
  }
  if (failed.length > 0) return { failures: failed };
  const settings = hostSettings(inputs);
  for (const warning of inputWarnings(settings)) report.warn(`${listed(warning.hosts)}: ${warning.reason}`);
  return preview ? lookAhead(news, report, olds) : { failures: [] };
}

/**
 * What an up would do to inputs that {@link check} found nothing wrong with, `olds` being those of now; writes nothing.
 */
export async function lookAhead(news: Bag, report: Reporter, olds: Bag = {}): Promise<Checked> {
  const inputs = inputsOf(news);
  const settings = hostSettings(inputs);
  const plans = await usingAgents(() =>
    planFleet(settings, rolloutSettings(inputs, settings.length).parallel, undefined, "preview"),
  );
  const refusedInputs = settings.flatMap((host) => inputFailures(host, plans.get(host.name), inputs));
  if (refusedInputs.length > 0) return { failures: readable(refusedInputs) };

  const pendingChanges: Record<string, readonly string[]> = {};
  for (const [name, plan] of plans) {
    const lines = pendingLines(plan);
    if (lines.length > 0) pendingChanges[name] = lines;
  }
  for (const line of planSummary(plans)) report.info(line);
  const hidden = unknownInputs(inputs);
  if (settings.length === 0 && hidden.length > 0) {
    pendingChanges["*"] = ["not looked at: hosts are not known before the update"];
    report.info("not looked at: hosts are not known before the update");
  }
  // One that is not known yet may be the same machine as before.
  const leaving = hidden.length > 0 ? [] : noLongerManaged(inputsOf(olds), settings);
  for (const { settings: host } of leaving) {
    const line = `no longer managed: ${sidesOf(host).join(" and ")}. What was set there will be put back`;
    pendingChanges[host.name] = [...(pendingChanges[host.name] ?? []), line];
  }
  if (leaving.length > 0) {
    report.info(
      `${listed(leaving.map((task) => task.settings.name))}: no longer managed, what was set will be put back`,
    );
  }
  return { failures: [], ...(Object.keys(pendingChanges).length === 0 ? {} : { pendingChanges }) };
}

/**
 * What the look showed to be wrong in the inputs themselves: a limit that cannot be kept on this host's OpenSSH, a path
 * or user that the program names and the host does not have. The state of a host is no input failure.
 */
function inputFailures(host: HostSettings, plan: HostPlan | undefined, inputs: SshKeepaliveInputs): CheckFailure[] {
  if (plan?.kind !== "looked") return [];
  return plan.targets.flatMap((target) => {
    if (target.kind !== "refused") return [];
    const [side = "", key = ""] = target.failure.property?.split(".") ?? [];
    // What is to blame is an input only where the program gave it; a default that does not fit is the host's state.
    const at = [
      ["hosts", host.name, side, key],
      [side, key],
    ].find((path) => given(inputs, path));
    if (at === undefined) return [];
    const property = at.length === 4 ? `hosts[${JSON.stringify(host.name)}].${side}.${key}` : `${side}.${key}`;
    return [{ property, reason: describeFailure(target.failure) }];
  });
}

/** Whether the inputs have a value at `path`. */
function given(inputs: object, path: readonly string[]): boolean {
  let at: unknown = inputs;
  for (const key of path) at = typeof at === "object" && at !== null ? (at as Bag)[key] : undefined;
  return at !== undefined;
}

/** What an up would do on a host, or why nothing is known of it; empty: nothing to do. */
export function pendingLines(plan: HostPlan): readonly string[] {
  switch (plan.kind) {
    case "unknown":
      return [
        `not looked at: not known before the update: ${plan.properties.map((p) => printable(p, 100)).join(", ")}`,
      ];
    case "failed":
      return [withoutHost(plan.failure)];
    case "unchanged":
      return [];
    case "looked":
      return plan.targets.flatMap((target) => {
        if (target.kind === "inSync") return [];
        if (target.kind === "refused") return [...target.drift, withoutHost(target.failure)];
        return [...target.drift, ...target.notes.map((note) => `will ${shown(note)}`)];
      });
  }
}

/** A failure where the host is named already. */
function withoutHost(failure: Failure): string {
  const { host: _, ...rest } = failure;
  return describeFailure(rest);
}

/** The engine's question whether there is anything to update. */
export interface DiffAnswer {
  /** `unsure`: let the engine compare inputs by itself, which names what differs. */
  readonly changes: boolean | "unsure";
}

/**
 * Whether anything is to be changed: inputs first, then the hosts themselves. In a preview check has looked already and
 * said so in `pendingChanges`; in an update this looks, where no preview has just seen something to change, and what it
 * sees serves the update that follows.
 */
export async function diff(id: string, olds: Bag, news: Bag): Promise<DiffAnswer> {
  const inputs = inputsOf(news);
  if (news.pendingChanges !== undefined || !isDeepStrictEqual(inputsOf(olds), inputs)) return { changes: "unsure" };
  const { options, others } = await drift(id, news, "update");
  return { changes: options.length > 0 || others.length > 0 };
}

/** One option whose value on a host is not the wanted one. */
export interface DriftedOption {
  /** The host's name in `hosts`. */
  readonly host: string;
  readonly side: Side;
  /** The option's name as an input. */
  readonly input: string;
  /** Its value on the host, in the input's form: seconds, a count or a flag; text where it is none of these. */
  readonly live: number | boolean | string;
}

/** All that an up would have to do. */
export interface Drift {
  readonly options: readonly DriftedOption[];
  /** Hosts on which something else is to be done, or could not be seen: refused, unreachable or not known yet. */
  readonly others: readonly string[];
  /** What was seen, for people; empty when every host is as wanted and there is nothing to note. */
  readonly summary: readonly string[];
}

/** What is not as wanted on the hosts. A look of this process a moment ago serves; before an `update` a preview's, too. */
export async function drift(id: string | undefined, news: Bag, depth: "short" | "update" = "short"): Promise<Drift> {
  const inputs = inputsOf(news);
  const settings = hostSettings(inputs);
  const { parallel } = rolloutSettings(inputs, settings.length);
  return driftOf(await usingAgents(() => planFleet(settings, parallel, id, depth)));
}

function driftOf(plans: ReadonlyMap<string, HostPlan>): Drift {
  const options = [...plans].flatMap(([host, plan]) =>
    plan.kind !== "looked"
      ? []
      : plan.targets.flatMap(({ state }) =>
          state.options.flatMap(({ option, value, wanted }): DriftedOption[] => {
            const known = OPTIONS.find((o) => o.side === state.side && o.name === option);
            if (known === undefined || wanted === undefined || value === wanted) return [];
            return [{ host, side: state.side, input: known.input, live: inputValue(known.kind, value) }];
          }),
        ),
  );
  const others = [...plans]
    .filter(
      ([, plan]) =>
        pendingLines(plan).length > 0 &&
        (plan.kind !== "looked" ||
          plan.targets.some((t) => t.kind === "refused" || (t.kind === "edit" && t.drift.length === 0))),
    )
    .map(([name]) => name);
  return { options, others, summary: planSummary(plans) };
}

/** A canonical value of OpenSSH as a program would write it. */
export function inputValue(kind: ValueKind, value: string): number | boolean | string {
  if (kind === "flag") return value === "yes" ? true : value === "no" ? false : printable(value, 40);
  return /^\d{1,10}$/.test(value) ? Number(value) : printable(value, 40);
}

/** The state after a create, update or read. */
export interface Applied {
  readonly id: string;
  /** Inputs at their own paths, and `observed`. */
  readonly outputs: Bag;
  /** What went wrong, one line a cause; empty when all is as wanted. */
  readonly failures: readonly string[];
}

/** Creates: a new id, and every host brought to what is wanted. */
export async function create(news: Bag, report: Reporter, control: FleetControl = {}): Promise<Applied> {
  return applyAll(newId(), undefined, news, report, control);
}

/** A resource's id: random, so that a host can tell by whom it is managed. */
export function newId(): string {
  return `ssh-keepalive-${randomBytes(8).toString("hex")}`;
}

/** Updates: hosts as the new inputs want them, and what is no longer managed put back. */
export async function update(
  id: string,
  olds: Bag,
  news: Bag,
  report: Reporter,
  control: FleetControl = {},
): Promise<Applied> {
  return applyAll(id, olds, news, report, control);
}

let agentsInUse = 0;

/** While this works nobody ends the agents: the engine looks at one resource while it changes another. */
async function usingAgents<T>(work: () => Promise<T>): Promise<T> {
  agentsInUse += 1;
  try {
    return await work();
  } finally {
    agentsInUse -= 1;
  }
}

/** Agents hold keys for all resources of this process: they end with the last that works with them. */
async function withAgents<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await usingAgents(work);
  } finally {
    if (agentsInUse === 0) closeAgents();
  }
}

async function applyAll(
  id: string,
  olds: Bag | undefined,
  news: Bag,
  report: Reporter,
  control: FleetControl,
): Promise<Applied> {
  const inputs = inputsOf(news);
  const settings = hostSettings(inputs);
  const rollout = rolloutSettings(inputs, settings.length);
  const before = (olds?.observed ?? {}) as Readonly<Record<string, ObservedHost>>;
  const tasks = settings.map((host): Task => {
    const known = before[host.name];
    const told = sidesOf(host).every((side) => known?.[side] !== undefined);
    return { settings: host, verb: "apply", known: known?.status === "inSync" && told };
  });
  const removals = olds === undefined ? [] : noLongerManaged(inputsOf(olds), settings);
  return withAgents(async () => {
    const applied = await doFleet(tasks, rollout, id, control);
    // After the others: a host that goes must not hold up one that stays, and may share its connection.
    const removed = await doFleet(removals, { ...rollout, canary: 0, maxFailures: removals.length }, id, control);
    const results = await again(tasks, applied, removed, rollout, id, control);
    const observed: Record<string, ObservedHost> = {};
    for (const result of results) observed[result.name] = observedAfter(result, before[result.name]);

    // A removal that failed on a host that answers stays in state, so that the next up tries it again.
    const oldHosts = (olds?.hosts ?? {}) as SshKeepaliveInputs["hosts"];
    const kept: Record<string, unknown> = {};
    const left: [name: string, line: string][] = [];
    for (const result of removed) {
      if (result.failure === undefined) continue;
      if (result.failure.code === "unreachable") {
        left.push([result.name, `${withoutHost(result.failure)} It is no longer managed and was left as it is.`]);
      } else if (inputs.hosts[result.name] === undefined) kept[result.name] = oldHosts[result.name];
    }
    for (const line of groupNotes(removed)) report.info(line);
    for (const line of groupLines(left)) report.warn(line);
    for (const line of resultSummary(results)) report.info(line);
    const failed = [...results, ...removed.filter((r) => r.failure?.code !== "unreachable")];
    const failures = groupFailures(failed.flatMap((r) => (r.failure === undefined ? [] : [r.failure])));
    const outputs = { ...inputs, hosts: { ...inputs.hosts, ...kept }, observed: bounded(observed) };
    return { id, outputs, failures };
  });
}

/**
 * An address written otherwise (an alias, a port left out) looks like one host gone and another come. Only the hosts
 * can tell that it is the same: what was undone under the old address is done again under the new one.
 */
async function again(
  tasks: readonly Task[],
  applied: readonly HostResult[],
  removed: readonly HostResult[],
  rollout: RolloutSettings,
  id: string,
  control: FleetControl,
): Promise<readonly HostResult[]> {
  const undone = new Set(removed.flatMap((r) => r.places));
  const struck = applied.filter((r) => r.failure === undefined && r.places.some((place) => undone.has(place)));
  if (struck.length === 0) return applied;
  const names = new Set(struck.map((r) => r.name));
  forgetLooks();
  const redone = await doFleet(
    tasks.filter((task) => names.has(task.settings.name)),
    { ...rollout, canary: 0 },
    id,
    control,
  );
  return applied.map((r) => redone.find((other) => other.name === r.name) ?? r);
}

/** Old hosts, or sides of them, that no new entry manages: their edits are undone. */
function noLongerManaged(olds: SshKeepaliveInputs, news: readonly HostSettings[]): Task[] {
  const managed = new Set(news.flatMap((host) => sidesOf(host).map((side) => targetKey(host, side))));
  return hostSettings(olds).flatMap((host): Task[] => {
    const gone = sidesOf(host).filter((side) => !managed.has(targetKey(host, side)));
    if (gone.length === 0) return [];
    const { server, client, ...rest } = host;
    return [
      {
        verb: "remove",
        settings: {
          ...rest,
          ...(gone.includes("server") && server !== undefined ? { server } : {}),
          ...(gone.includes("client") && client !== undefined ? { client } : {}),
        },
      },
    ];
  });
}

/** What was left alone and why, for people. */
const groupNotes = (results: readonly HostResult[]): readonly string[] =>
  groupLines(results.flatMap(({ name, notes }) => notes.map((note) => [name, shown(note)] as const)));

const sidesOf = (host: HostSettings): Side[] =>
  (["server", "client"] as const).filter((side) => host[side] !== undefined);

/** One file on one machine, whatever name the host goes by. */
function targetKey(host: HostSettings, side: Side): string {
  const { connection: c } = host;
  const machine = host.local ? "local" : [c.host, c.port ?? 22, c.proxy?.host, c.proxy?.port];
  return JSON.stringify([machine, side, host[side]?.configPath, side === "client" ? host.client?.user : undefined]);
}

/**
 * Deletes: on every host undoes what `id` still owns. Throws a KeepaliveError when a host could not be done; what was
 * done stays done and is found so the next time.
 */
export async function remove(id: string, olds: Bag, report: Reporter, control: FleetControl = {}): Promise<void> {
  const inputs = inputsOf(olds);
  const settings = hostSettings(inputs);
  const rollout = rolloutSettings(inputs, settings.length);
  return withAgents(async () => {
    const results = await doFleet(
      settings.map((host) => ({ settings: host, verb: "remove" })),
      { ...rollout, canary: 0, maxFailures: settings.length },
      id,
      control,
    );
    for (const line of groupNotes(results)) report.info(line);
    const before = (olds.observed ?? {}) as Readonly<Record<string, ObservedHost>>;
    const failures: Failure[] = [];
    const left: [name: string, line: string][] = [];
    for (const { name, failure } of results) {
      if (failure === undefined) continue;
      // One that was never got into: its first up failed, and there is nothing to put back.
      const { status, backup } = before[name] ?? {};
      if (failure.step === "connect" && status === "unreachable" && backup === undefined) {
        left.push([name, `${withoutHost(failure)} Nothing was ever changed there.`]);
      } else failures.push(failure);
    }
    for (const line of groupLines(left)) report.warn(line);
    const [first] = failures;
    if (first === undefined) return;
    throw new KeepaliveError({
      code: first.code,
      step: "delete",
      reason: `${failures.length} of ${results.length} hosts could not be put back: ${groupFailures(failures).join("; ")}`,
      remedy: "Mend those and run again; the others are done. `pulumi state delete` gives up on them",
    });
  });
}

/** The state after a read. */
export interface ReadBack extends Applied {
  readonly drift: Drift;
}

/**
 * Reads: looks at every host and records what is there; the inputs stay as they are. With `fresh` false a look of this
 * process a moment ago serves.
 */
export async function read(id: string, olds: Bag, fresh = true): Promise<ReadBack> {
  const inputs = inputsOf(olds);
  const settings = hostSettings(inputs);
  const plans = await usingAgents(() =>
    planFleet(settings, rolloutSettings(inputs, settings.length).parallel, id, fresh ? "fresh" : "whole"),
  );
  const before = (olds.observed ?? {}) as Readonly<Record<string, ObservedHost>>;
  const observed: Record<string, ObservedHost> = {};
  for (const [name, plan] of plans) observed[name] = observedPlan(plan, before[name]);
  return { id, outputs: { ...inputs, observed: bounded(observed) }, failures: [], drift: driftOf(plans) };
}

// ---------------------------------------------------------------------------------------------------------------------
// observed

/** What one look at a host told; `before` is what was known of it. */
export function observedPlan(plan: HostPlan, before: ObservedHost | undefined): ObservedHost {
  const backup = before?.backup === undefined ? {} : { backup: before.backup };
  switch (plan.kind) {
    case "unknown":
      return { status: "unknown", ...backup };
    case "unchanged":
      return before ?? { status: "inSync" };
    case "failed":
      return { ...observedFailure(plan.failure), ...backup };
    case "looked": {
      const refused = plan.targets.find((t) => t.kind === "refused");
      const drifted = plan.targets.some((t) => t.kind === "edit");
      return {
        status: refused !== undefined ? "failed" : drifted ? "drifted" : "inSync",
        ...(refused?.kind === "refused" ? { reason: withoutHost(refused.failure) } : {}),
        ...(plan.openssh === "" ? {} : { openssh: plan.openssh }),
        ...observedSides(plan.targets.map((t) => t.state)),
        ...backup,
      };
    }
  }
}

function observedAfter(result: HostResult, before: ObservedHost | undefined): ObservedHost {
  if (result.asBefore === true && before !== undefined) return before;
  const backup = result.backup ?? before?.backup;
  const kept = backup === undefined ? {} : { backup: shown(backup) };
  if (result.failure !== undefined) return { ...observedFailure(result.failure), ...kept };
  return {
    status: "inSync",
    ...(result.openssh === "" ? {} : { openssh: result.openssh }),
    ...observedSides(result.states),
    ...kept,
  };
}

function observedFailure(failure: Failure): ObservedHost {
  const unreachable = ["unreachable", "timeout", "auth", "host-key"].includes(failure.code);
  return {
    status: failure.code === "stopped" ? "unknown" : unreachable ? "unreachable" : "failed",
    reason: withoutHost(failure),
  };
}

function observedSides(states: readonly TargetState[]): { server?: ObservedSide; client?: ObservedSide } {
  const sides: { server?: ObservedSide; client?: ObservedSide } = {};
  for (const state of states) sides[state.side] = observedSide(state);
  return sides;
}

function observedSide(state: TargetState): ObservedSide {
  return {
    configPath: shown(state.config),
    options: Object.fromEntries(
      state.options.map((o) => [
        o.option,
        {
          value: printable(o.value, 40),
          ...(o.wanted === undefined ? {} : { wanted: o.wanted }),
          ...(o.file === undefined || o.line === undefined ? {} : { file: shown(o.file), line: o.line }),
        },
      ]),
    ),
    differs: state.differs.map((d) => ({
      option: d.option,
      value: printable(d.value, 40),
      header: d.header,
      file: shown(d.file),
      line: d.line,
    })),
    ...(state.firstProbeSeconds === null ? {} : { firstProbeSeconds: state.firstProbeSeconds }),
    ...(state.disconnectSeconds === null ? {} : { disconnectSeconds: state.disconnectSeconds }),
  };
}

/** Bytes of `observed` that go into one call: the state after a partial failure travels in an HTTP/2 trailer. */
const MAX_OBSERVED = 700_000;

function bounded(observed: Readonly<Record<string, ObservedHost>>): Readonly<Record<string, ObservedHost>> {
  if (JSON.stringify(observed).length <= MAX_OBSERVED) return observed;
  const short = Object.entries(observed).map(([name, host]) => [
    name,
    {
      status: host.status,
      ...(host.reason === undefined ? {} : { reason: host.reason.slice(0, 120) }),
      // It also says that something of the host was changed.
      ...(host.backup === undefined ? {} : { backup: host.backup }),
    },
  ]);
  return Object.fromEntries(short) as Readonly<Record<string, ObservedHost>>;
}

const listed = (names: readonly string[]): string =>
  names.length <= 5
    ? names.map((n) => printable(n)).join(", ")
    : `${names
        .slice(0, 4)
        .map((n) => printable(n))
        .join(", ")} and ${names.length - 4} more`;

/** One line for each input failure, for faces that print the property's value beside its name. */
export { describeCheckFailure };
