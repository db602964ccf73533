/** The provider's own configuration: defaults that every resource of the stack may leave out. */
import { type CheckFailure, checkInputs } from "../inputs";
import { isRecord, UNKNOWN } from "../inputs/paths";
import type { Bag } from "../lifecycle";
import type { Properties } from "./values";

/** What may be configured; each is an input of the resource too, where a field wins over the same field here. */
const CONFIG_NAMES = ["connection", "become", "rollout"] as const;

/**
 * Configuration as it comes: objects, or objects as JSON text, which is how the engine passes on what `pulumi config`
 * holds and what generated SDKs send. What is not JSON stays text, for the check to complain of.
 */
export function parsedConfig({ values, secrets }: Properties): Properties {
  const parsed = Object.fromEntries(
    CONFIG_NAMES.filter((name) => values[name] !== undefined && values[name] !== null && values[name] !== "").map(
      (name) => [name, parsedValue(values[name])],
    ),
  );
  return { values: parsed, secrets };
}

function parsedValue(value: unknown): unknown {
  if (typeof value !== "string" || value === UNKNOWN) return value;
  try {
    return JSON.parse(value) as unknown;
  } catch {
    return value;
  }
}

/** What is wrong with a configuration, and with keys that there are none of. */
export function checkConfig(given: Bag): readonly CheckFailure[] {
  const known: readonly string[] = [...CONFIG_NAMES, "version", "pluginDownloadURL"];
  const strange = Object.keys(given).filter((key) => !known.includes(key) && !key.startsWith("__"));
  const { values } = parsedConfig({ values: given, secrets: [] });
  // Hosts that are not known yet, so that only what stands here is judged.
  const { failures } = checkInputs({ ...values, hosts: UNKNOWN, server: { clientAliveInterval: 60 } });
  return [
    ...strange.map((key) => ({
      property: key,
      reason: `Is no configuration of this provider. Known are ${CONFIG_NAMES.join(", ")}.`,
    })),
    ...failures.filter((f) => CONFIG_NAMES.some((name) => new RegExp(`^${name}\\b`).test(f.property))),
  ];
}

/**
 * Inputs with the configured defaults below them, field by field. In memory only: at these paths a secret of the
 * configuration would stand in the resource's state.
 */
export function withDefaults(config: Properties, inputs: Bag): Bag {
  const merged = CONFIG_NAMES.map((name) => {
    const shared = config.values[name];
    const own = inputs[name] ?? undefined;
    if (!isRecord(shared)) return [name, own] as const;
    return [name, own === undefined ? shared : isRecord(own) ? { ...shared, ...own } : own] as const;
  });
  const all: Bag = { ...inputs, ...Object.fromEntries(merged.filter(([, value]) => value !== undefined)) };
  const { rollout, hosts } = all;
  // A number of canaries that fits most resources must not be an error for the smallest.
  if (!isRecord(rollout) || !isRecord(hosts) || typeof rollout.canary !== "number") return all;
  const own = isRecord(inputs.rollout) && inputs.rollout.canary !== undefined;
  return own ? all : { ...all, rollout: { ...rollout, canary: Math.min(rollout.canary, Object.keys(hosts).length) } };
}
