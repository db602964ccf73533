/** Looks at hosts that are not (yet) managed: what they do, and the inputs that would say the same. */
import type { ObservedHost } from "./args";
import { KeepaliveError } from "./errors";
import { type HostPlan, planFleet } from "./fleet";
import { type CheckFailure, checkInputs, type HostSettings, hostSettings, rolloutSettings } from "./inputs";
import { isRecord } from "./inputs/paths";
import { type Bag, inputsOf, inputValue, observedPlan } from "./lifecycle";
import { OPTIONS, optionsOf, type Side } from "./settings";

/** What a look told, or what is wrong with its inputs. */
export interface Looked {
  readonly failures: readonly CheckFailure[];
  readonly plans: ReadonlyMap<string, HostPlan>;
}

/**
 * Looks at every host of `given` (inputs of the resource, of which settings may be absent): at the sides that the host
 * or the top level names, at sshd where neither is named. Writes nothing; never rejects for what a host does.
 */
export async function look(given: Bag): Promise<Looked> {
  const { hosts } = given;
  // The checks want a setting for each host; where the program has none, this stands in for it and is wished for nowhere.
  const bare = new Set<string>();
  const completed = isRecord(hosts)
    ? Object.fromEntries(Object.entries(hosts).map(([name, host]) => [name, withSetting(given, name, host, bare)]))
    : hosts;
  const inputs = { ...given, ...(hosts === undefined ? {} : { hosts: completed }) };
  const { failures } = checkInputs(inputs);
  if (failures.length > 0) return { failures, plans: new Map() };
  const settings = hostSettings(inputsOf(inputs)).map((host) => (bare.has(host.name) ? wishless(host) : host));
  return {
    failures,
    plans: await planFleet(settings, rolloutSettings(inputsOf(inputs), settings.length).parallel, undefined, "whole"),
  };
}

function withSetting(given: Bag, name: string, host: unknown, bare: Set<string>): unknown {
  if (!isRecord(host)) return host;
  const named = (side: Side): boolean => isRecord(host[side]) || isRecord(given[side]);
  const manages = OPTIONS.some(({ side, input }) =>
    [host[side], given[side]].some((settings) => isRecord(settings) && settings[input] !== undefined),
  );
  if (manages) return host;
  bare.add(name);
  const sides: readonly Side[] = named("client") ? (named("server") ? ["server", "client"] : ["client"]) : ["server"];
  const { idleTimeout: _, ...rest } = host;
  return {
    ...rest,
    ...Object.fromEntries(
      sides.map((side) => {
        const own = host[side];
        return [side, { ...(isRecord(own) ? own : {}), [optionsOf(side)[0]?.input ?? ""]: 60 }];
      }),
    ),
  };
}

const wishless = ({ idleTimeout: _, ...host }: HostSettings): HostSettings => ({
  ...host,
  ...(host.server === undefined ? {} : { server: { ...host.server, values: {} } }),
  ...(host.client === undefined ? {} : { client: { ...host.client, values: {} } }),
});

/** `observed` of each host; where nothing is wanted there is nothing to differ from. */
export function observedBy({ plans }: Looked): Readonly<Record<string, ObservedHost>> {
  const observed = [...plans].map(([name, plan]) => {
    const host = observedPlan(plan, undefined);
    const wanted =
      plan.kind === "looked" && plan.targets.some((t) => t.state.options.some((o) => o.wanted !== undefined));
    return [name, host.status === "drifted" && !wanted ? { ...host, status: "inSync" as const } : host] as const;
  });
  return Object.fromEntries(observed);
}

/**
 * Inputs that say of every host what it does now. What all hosts have in common stands at the top level. Throws a
 * KeepaliveError for the first host that could not be looked at: nobody could say what it does.
 */
export function adopted(given: Bag, { plans }: Looked): Bag {
  const hosts = isRecord(given.hosts) ? given.hosts : {};
  const found = [...plans].map(([name, plan]) => [name, settingsOf(name, plan)] as const);
  const adoptedHosts = Object.fromEntries(
    found.map(([name, sides]) => {
      const host = isRecord(hosts[name]) ? hosts[name] : {};
      const own = Object.fromEntries(
        Object.entries(sides).map(([side, values]) => [
          side,
          { ...(isRecord(host[side]) ? host[side] : {}), ...values },
        ]),
      );
      return [name, { ...host, ...own }] as const;
    }),
  );
  return hoisted({ ...given, hosts: adoptedHosts });
}

function settingsOf(name: string, plan: HostPlan): Partial<Record<Side, Bag>> {
  if (plan.kind === "failed") throw new KeepaliveError(plan.failure);
  if (plan.kind !== "looked") throw new Error(`${name}: not looked at`);
  const sides: Partial<Record<Side, Bag>> = {};
  for (const target of plan.targets) {
    if (target.kind === "refused") throw new KeepaliveError(target.failure);
    const { state } = target;
    const values = state.options.flatMap(({ option, value }) => {
      const known = OPTIONS.find((o) => o.side === state.side && o.name === option);
      const live = known === undefined ? undefined : inputValue(known.kind, value);
      // What a program may not ask for (a count of 0, a word that is no time) is left unmanaged.
      const allowed = known?.kind === "flag" ? typeof live === "boolean" : typeof live === "number";
      if (known === undefined || !allowed || (known.kind === "count" && live === 0)) return [];
      return [[known.input, live] as const];
    });
    sides[state.side] = withoutVoidCount(state.side, Object.fromEntries(values));
  }
  return sides;
}

/** Where no probes are sent their number says nothing, and a program that gives it is refused. */
function withoutVoidCount(side: Side, values: Bag): Bag {
  const [interval, count] = optionsOf(side);
  if (interval === undefined || count === undefined || values[interval.input] !== 0) return values;
  const { [count.input]: _, ...rest } = values;
  return rest;
}

/** Settings that every host has, word for word, are said once for all of them. */
function hoisted(inputs: Bag): Bag {
  const hosts = Object.entries(isRecord(inputs.hosts) ? inputs.hosts : {});
  let result = inputs;
  for (const side of ["server", "client"] as const) {
    const [first] = hosts;
    const shared = isRecord(first?.[1]) ? first[1][side] : undefined;
    const same = hosts.every(([, host]) => isRecord(host) && JSON.stringify(host[side]) === JSON.stringify(shared));
    if (!isRecord(shared) || !same) continue;
    const stripped = Object.entries(isRecord(result.hosts) ? result.hosts : {}).map(([name, host]) => {
      const { [side]: _, ...rest } = host as Bag;
      return [name, rest] as const;
    });
    result = {
      ...result,
      [side]: { ...(isRecord(inputs[side]) ? inputs[side] : {}), ...shared },
      hosts: Object.fromEntries(stripped),
    };
  }
  return result;
}
