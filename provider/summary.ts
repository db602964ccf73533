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

/** What a preview saw: nothing when every host is as wanted. */
export function planSummary(plans: ReadonlyMap<string, HostPlan>): readonly string[] {
  const groups = new Map<string, string[]>();
  let inSync = 0;
  let differ = 0;
  let unseen = 0;
  const add = (line: string, name: string): void => {
    const names = groups.get(line);
    if (names === undefined) groups.set(line, [name]);
    else names.push(name);
  };
  for (const [name, plan] of plans) {
    if (plan.kind === "unknown") {
      unseen += 1;
      add("not looked at: some of the inputs are not known before the update", name);
    } else if (plan.kind === "failed") {
      unseen += 1;
      const { host: _, ...rest } = plan.failure;
      add(describeFailure(rest), name);
    } else {
      const lines = plan.targets.flatMap((t) => {
        if (t.kind === "inSync") return [];
        if (t.kind === "edit") return t.drift.length === 0 ? t.notes.map((n) => printable(n, 300)) : t.drift;
        const { host: _, ...rest } = t.failure;
        return [...t.drift, describeFailure(rest)];
      });
      if (lines.length === 0) inSync += 1;
      else differ += 1;
      for (const line of lines) add(line, name);
      for (const warning of plan.targets.flatMap((t) => t.state.warnings)) add(`note: ${warning}`, name);
    }
  }
  if (groups.size === 0) return [];
  const count = [
    `${plans.size} ${plans.size === 1 ? "host" : "hosts"}`,
    `${inSync} as wanted`,
    ...(differ > 0 ? [`${differ} to change`] : []),
    ...(unseen > 0 ? [`${unseen} not seen`] : []),
  ].join(", ");
  return [count, ...detail(groups)];
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
const SHOW_EVERY_MS = 250;

/** Shows a fleet's progress: not more often than people read, and always its end. */
export function showProgress(show: (text: string) => void): (progress: FleetProgress) => void {
  let last = Number.NEGATIVE_INFINITY;
  return (progress) => {
    const now = performance.now();
    if (now - last < SHOW_EVERY_MS && progress.done < progress.total) return;
    last = now;
    show(progressText(progress));
  };
}

/** One line for each cause, with the hosts it struck. */
export function groupFailures(failures: readonly Failure[]): readonly string[] {
  const groups = new Map<string, string[]>();
  for (const failure of failures) {
    const { host = "?", ...rest } = failure;
    const line = describeFailure(rest);
    const names = groups.get(line);
    if (names === undefined) groups.set(line, [host]);
    else names.push(host);
  }
  return detail(groups);
}

function detail(groups: ReadonlyMap<string, readonly string[]>): string[] {
  const lines = [...groups]
    .sort(([, a], [, b]) => b.length - a.length)
    .map(
      ([line, names]) => `${names.length > 1 ? `${names.length} hosts (${namesOf(names)})` : namesOf(names)}: ${line}`,
    );
  if (lines.length <= MOST_LINES) return lines;
  return [...lines.slice(0, MOST_LINES - 1), `… and ${lines.length - MOST_LINES + 1} more causes`];
}
