/** Summaries for people: counts first, then only what differs, hosts with the same cause on one line. */
import { describeFailure, type Failure, printable } from "./errors";
import type { FleetProgress, HostPlan, HostResult } from "./fleet";

/** Most lines of detail in one summary. */
const MOST_LINES = 20;

/** Names that are written out on one line. */
const MOST_NAMES = 6;

/** `a, b, c` or `a, b, c and 12 more`. */
export function namesOf(names: readonly string[]): string {
  const written = names.slice(0, names.length > MOST_NAMES ? MOST_NAMES - 1 : MOST_NAMES).map((n) => printable(n, 80));
  const rest = names.length - written.length;
  return rest === 0 ? written.join(", ") : `${written.join(", ")} and ${rest} more`;
}

/** What struck which hosts: hosts by whole line, and lines by what is much the same in them. */
type Causes = Map<string, Map<string, string[]>>;

/** Notes a line for a host. Lines with the same `kind` may become one where there are too many. */
function add(causes: Causes, name: string, line: string, kind = kindOf(line)): void {
  const lines = causes.get(kind) ?? new Map<string, string[]>();
  const names = lines.get(line) ?? [];
  names.push(name);
  causes.set(kind, lines.set(line, names));
}

/** A line without what is each host's own: the file and line of a difference. */
const kindOf = (line: string): string => PLACE.exec(line)?.[1] ?? line;

/** How a difference names its place (plan.ts). */
const PLACE = /^(.*) \(set by (.*)\)$/;

const addFailure = (causes: Causes, name: string, { host: _, ...rest }: Failure): void =>
  add(causes, name, describeFailure(rest), `[${rest.code}] ${rest.step}`);

/** What a preview saw: nothing when every host is as wanted. */
export function planSummary(plans: ReadonlyMap<string, HostPlan>): readonly string[] {
  const causes: Causes = new Map();
  let inSync = 0;
  let differ = 0;
  let unseen = 0;
  for (const [name, plan] of plans) {
    if (plan.kind === "unchanged") inSync += 1;
    else if (plan.kind === "unknown") {
      unseen += 1;
      add(causes, name, "not looked at: some of the inputs are not known before the update");
    } else if (plan.kind === "failed") {
      unseen += 1;
      addFailure(causes, name, plan.failure);
    } else {
      if (plan.targets.every((t) => t.kind === "inSync")) inSync += 1;
      else differ += 1;
      for (const target of plan.targets) {
        if (target.kind === "inSync") continue;
        for (const line of target.drift) add(causes, name, line);
        if (target.kind === "refused") addFailure(causes, name, target.failure);
        else if (target.drift.length === 0) for (const note of target.notes) add(causes, name, printable(note, 300));
      }
      for (const warning of plan.targets.flatMap((t) => t.state.warnings)) add(causes, name, `note: ${warning}`);
    }
  }
  if (causes.size === 0) return [];
  const count = [
    `${plans.size} ${plans.size === 1 ? "host" : "hosts"}`,
    `${inSync} as wanted`,
    ...(differ > 0 ? [`${differ} to change`] : []),
    ...(unseen > 0 ? [`${unseen} not seen`] : []),
  ].join(", ");
  return [count, ...detail(causes)];
}

/** What an up did: nothing when there was nothing to do. */
export function resultSummary(results: readonly HostResult[]): readonly string[] {
  const of = (outcome: HostResult["outcome"]): number => results.filter((r) => r.outcome === outcome).length;
  if (of("changed") === 0 && of("failed") === 0 && of("stopped") === 0) return [];
  const parts = (["changed", "unchanged", "failed", "stopped"] as const)
    .filter((outcome) => of(outcome) > 0)
    .map((outcome) => `${of(outcome)} ${outcome === "stopped" ? "not tried" : outcome}`);
  return [`${results.length} ${results.length === 1 ? "host" : "hosts"}: ${parts.join(", ")}`];
}

/** How far a fleet has come, short enough for one cell: `12/50 hosts, 3 changed, 1 failed; web-7: verify`. */
function progressText({ total, done, changed, failed, slowest }: FleetProgress): string {
  const counts = [
    `${done}/${total} ${total === 1 ? "host" : "hosts"}`,
    ...(changed > 0 ? [`${changed} changed`] : []),
    ...(failed > 0 ? [`${failed} failed`] : []),
  ].join(", ");
  return slowest === undefined ? counts : `${counts}; ${printable(slowest.name, 40)}: ${slowest.step}`;
}

/** How often a passing line is written at most, in milliseconds. */
const SHOW_EVERY_MS = 500;

/** Shows a fleet's progress: not more often than people read, its last state in time, and always its end. */
export function showProgress(show: (text: string) => void): (progress: FleetProgress) => void {
  let last = Number.NEGATIVE_INFINITY;
  let shown = "";
  let latest: FleetProgress | undefined;
  let waiting: NodeJS.Timeout | undefined;
  const emit = (): void => {
    clearTimeout(waiting);
    waiting = undefined;
    last = performance.now();
    const text = latest === undefined ? "" : progressText(latest);
    if (text !== shown) show(text);
    shown = text;
  };
  return (progress) => {
    latest = progress;
    const wait = last + SHOW_EVERY_MS - performance.now();
    if (progress.ended || wait <= 0) emit();
    else waiting ??= setTimeout(emit, wait).unref();
  };
}

/** One line for each text, with the hosts that it is about. */
export function groupLines(lines: readonly (readonly [name: string, line: string])[]): readonly string[] {
  const causes: Causes = new Map();
  for (const [name, line] of lines) add(causes, name, line);
  return detail(causes);
}

/** One line for each cause, with the hosts it struck. */
export function groupFailures(failures: readonly Failure[]): readonly string[] {
  const causes: Causes = new Map();
  for (const failure of failures) addFailure(causes, failure.host ?? "?", failure);
  return detail(causes);
}

/** Places that are written out on one line. */
const MOST_PLACES = 3;

/** Each cause with its hosts, the most frequent first; where that is more than a page, like causes together. */
function detail(causes: Causes): string[] {
  const exact = [...causes.values()].flatMap((lines) => [...lines].map(([line, names]) => ({ line, names })));
  const all = exact.length <= MOST_LINES ? exact : [...causes.values()].map(together);
  const lines = all
    .sort((a, b) => b.names.length - a.names.length)
    .map(
      ({ line, names }) =>
        `${names.length > 1 ? `${names.length} hosts (${namesOf(names)})` : namesOf(names)}: ${line}`,
    );
  if (lines.length <= MOST_LINES) return lines;
  return [...lines.slice(0, MOST_LINES - 1), `… and ${lines.length - MOST_LINES + 1} more causes`];
}

/** One line for like ones: a difference with its most frequent places, or the most frequent of several reasons. */
function together(lines: ReadonlyMap<string, readonly string[]>): { line: string; names: readonly string[] } {
  const sorted = [...lines].sort(([, a], [, b]) => b.length - a.length);
  const names = sorted.flatMap(([, struck]) => struck);
  const [first = ""] = sorted.map(([line]) => line);
  if (sorted.length === 1) return { line: first, names };
  const difference = PLACE.exec(first);
  if (difference === null) return { line: `${first} (${sorted.length} reasons, this most often)`, names };
  const places = sorted.slice(0, MOST_PLACES).map(([line, { length }]) => `${PLACE.exec(line)?.[2]} on ${length}`);
  const rest = sorted.length - places.length;
  return {
    line: `${difference[1]} (set by ${places.join(", ")}${rest > 0 ? ` and ${rest} other ${rest === 1 ? "line" : "lines"}` : ""})`,
    names,
  };
}
