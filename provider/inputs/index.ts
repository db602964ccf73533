/**
 * Input checks, and what the inputs mean for each host. Shape, types and unknown properties are checked against
 * schema.json; what a schema cannot say is checked by the rules below.
 *
 * Rules of this file: a failure names the property, says what is wrong and what to write instead. No message repeats
 * the value of a property that is or may hold a secret: only settings (numbers, times, enum words, paths on the host) are
 * quoted. A value that is not known yet, in a preview, is never an error, and neither is what depends on it.
 */
import type { SshKeepaliveInputs } from "../args";
import { lateProbeWarning, ON_TIME } from "../semantics";
import { isRecord, pathText, prune, UNKNOWN } from "./paths";
import { type HostSettings, probeValues } from "./resolve";
import { ruleFailures } from "./rules";
import { shapeFailures } from "./shape";

export { UNKNOWN } from "./paths";
export {
  type ClientTarget,
  type HostConnection,
  type HostSettings,
  hostSettings,
  type RolloutSettings,
  rolloutSettings,
  type ServerTarget,
  unknownInputs,
} from "./resolve";

/** One thing wrong with the inputs. */
export interface CheckFailure {
  /** Path of the property, `hosts["web-2"].server.clientAliveInterval`; empty for the inputs as a whole. Safe to print. */
  readonly property: string;
  /** Sentences: what is wrong, and what to write instead. Safe to print, free of secrets. */
  readonly reason: string;
}

/** One thing that is allowed and likely unwise. */
export interface InputWarning {
  /** Names of the hosts it is about. */
  readonly hosts: readonly string[];
  /** A sentence that reads after the hosts' names. */
  readonly reason: string;
}

/**
 * One line for people: `hosts["a"].port: Must be …`. Give the engine this with an empty property: it prints a property's
 * value beside its name (pkg/resource/deploy/step_generator.go, issueCheckFailures).
 */
export function describeCheckFailure(failure: CheckFailure): string {
  return failure.property === "" ? failure.reason : `${failure.property}: ${failure.reason}`;
}

/** Warnings about settings that are allowed, one entry per reason with all hosts that it is about. */
export function inputWarnings(settings: readonly HostSettings[]): readonly InputWarning[] {
  const hostsBy = new Map<string, string[]>();
  const warn = (reason: string, host: string): void => {
    const hosts = hostsBy.get(reason) ?? [];
    hosts.push(host);
    hostsBy.set(reason, hosts);
  };
  for (const host of settings) {
    const { connection } = host;
    if (connection.hostKeyChecking === "off") {
      warn(
        "hostKeyChecking is off: whoever is in between can take the host's place and read what is sent to it. Give hostKey, or use acceptNew.",
        host.name,
      );
    }
    if (connection.privateKeyPassword !== undefined && connection.privateKey === undefined) {
      warn(
        "privateKeyPassword is given without privateKey and opens nothing. Give the key's text as privateKey.",
        host.name,
      );
    }
    if (host.idleTimeout === undefined) {
      for (const side of ["server", "client"] as const) {
        const probe = probeValues(side, host[side]?.values ?? {});
        const late = probe === undefined ? undefined : lateProbeWarning(side, ON_TIME, probe);
        if (late !== undefined) warn(`${late}.`, host.name);
      }
    }
  }
  return [...hostsBy].map(([reason, hosts]) => ({ hosts, reason }));
}

/**
 * Everything that is wrong with the inputs as the engine hands them over (secrets in clear, {@link UNKNOWN} for what is
 * not known yet). Never throws, and never repeats a secret.
 */
export function checkInputs(raw: unknown): { readonly failures: readonly CheckFailure[] } {
  if (raw === UNKNOWN) return { failures: [] };
  if (!isRecord(raw)) return { failures: [{ property: "", reason: "The inputs must be an object with `hosts`." }] };
  const { known, gaps } = prune(raw);
  const shape = shapeFailures(known, gaps);
  // What has the wrong shape is set aside like an unknown value, so that the rules can judge the rest in the same run.
  const aside = [...gaps, ...shape.map((failure) => failure.path)];
  const sound = prune(known, aside);
  const rules = ruleFailures((sound.known ?? {}) as Partial<SshKeepaliveInputs>, [...aside, ...sound.gaps]);
  const failures = [...shape, ...rules].map((f) => ({ property: pathText(f.path), reason: f.reason }));
  return { failures: readable(unique(failures)) };
}

/** Most failures that are told at once: one mistake in what a fleet shares can be wrong at every host. */
const MOST_FAILURES = 20;

/** As many failures as people read, and how many more there are. */
export function readable(failures: readonly CheckFailure[]): readonly CheckFailure[] {
  if (failures.length <= MOST_FAILURES) return failures;
  const told = failures.slice(0, MOST_FAILURES - 1);
  const rest = failures.length - told.length;
  return [...told, { property: "", reason: `… and ${rest} more inputs are refused. Mend these first.` }];
}

function unique(failures: readonly CheckFailure[]): CheckFailure[] {
  return [...new Map(failures.map((f) => [`${f.property}\0${f.reason}`, f])).values()];
}
