/** What the inputs mean for each host: defaults filled in, host over top level. In memory only. */
import type {
  ConnectionInputs,
  HostInputs,
  HostKeyChecking,
  Placement,
  ProxyConnectionInputs,
  SshKeepaliveInputs,
} from "../args";
import { canonical, optionsOf, parseTime, type Side, type Values } from "../settings";
import { isPrefix, isRecord, type Path, pathText, prune } from "./paths";
import { connectionFields } from "./shape";

/** How one host is reached, top-level connection and host merged. In memory only: at this path a secret would leak. */
export interface HostConnection extends Omit<ConnectionInputs, "sshOptions" | "hostKeyChecking"> {
  readonly proxy?: ProxyConnectionInputs;
  readonly sshOptions: Readonly<Record<string, string>>;
  /** Default `strict`. */
  readonly hostKeyChecking: HostKeyChecking;
}

/** Wanted server settings of one host. */
export interface ServerTarget {
  /** By OpenSSH's spelling, canonical; at least one. */
  readonly values: Values;
  readonly configPath?: string;
  readonly sshdPath?: string;
  readonly reload?: readonly string[];
  /** Default `auto`. */
  readonly placement: Placement;
}

/** Wanted client settings of one host. */
export interface ClientTarget {
  /** By OpenSSH's spelling, canonical; at least one. */
  readonly values: Values;
  readonly configPath?: string;
  readonly user?: string;
  /** Host patterns; default `*`. */
  readonly hosts: readonly string[];
}

/** Everything the inputs say about one host, host over top level, defaults filled in. */
export interface HostSettings {
  /** Its name in `hosts`. */
  readonly name: string;
  /** This machine itself; `connection` then has no host. */
  readonly local: boolean;
  readonly connection: HostConnection;
  /** Absent: work as the login user. */
  readonly become?: { readonly user: string; readonly password?: string };
  /** Absent: nothing is managed on this side. */
  readonly server?: ServerTarget;
  readonly client?: ClientTarget;
  /** Seconds. */
  readonly idleTimeout?: number;
  /** Seconds; default 60. */
  readonly confirmTimeout: number;
  /** Default: none. */
  readonly verifyAs: readonly string[];
  /** Default: false. */
  readonly allowNoBootGuard: boolean;
  /** Paths of the inputs of this host that are not known yet. Not empty: do not look at the host. */
  readonly unknown: readonly string[];
}

/** How a change goes through the fleet. */
export interface RolloutSettings {
  /** Default 16. */
  readonly parallel: number;
  /** Hosts done first; 0: no canary. */
  readonly canary: number;
  /** Default 0. */
  readonly maxFailures: number;
}

/** Fields that the top level and each host share under one name, and that are merged field by field. */
const MERGED = ["become", "server", "client"] as const;
const REPLACED = ["idleTimeout", "verifyAs", "allowNoBootGuard"] as const;

/**
 * One entry per host of inputs that {@link checkInputs} found nothing wrong with. When `hosts` as a whole is not known
 * yet there is none: see {@link unknownInputs}.
 */
export function hostSettings(inputs: SshKeepaliveInputs): readonly HostSettings[] {
  const { known, gaps } = prune(inputs);
  const resolved = (known ?? {}) as Partial<SshKeepaliveInputs>;
  const names = isRecord(inputs.hosts) ? Object.keys(inputs.hosts) : [];
  return names.map((name) => oneHost(name, resolved, gaps));
}

/** Paths of all inputs that are not known yet. */
export function unknownInputs(inputs: unknown): readonly string[] {
  return prune(inputs).gaps.map(pathText);
}

/** The rollout for a fleet of `hostCount`; a percentage of canaries is rounded up. An unknown value means its default. */
export function rolloutSettings(inputs: SshKeepaliveInputs, hostCount: number): RolloutSettings {
  const { known } = prune(inputs.rollout ?? {});
  const { parallel = 16, canary = 0, maxFailures = 0 } = (known ?? {}) as NonNullable<SshKeepaliveInputs["rollout"]>;
  const count = typeof canary === "number" ? canary : Math.ceil((hostCount * Number(canary.slice(0, -1))) / 100);
  return { parallel, canary: Math.min(count, hostCount), maxFailures };
}

function oneHost(name: string, inputs: Partial<SshKeepaliveInputs>, gaps: readonly Path[]): HostSettings {
  const host: HostInputs = inputs.hosts?.[name] ?? {};
  const local = host.local === true;
  const shared = local ? {} : (inputs.connection ?? {});
  const become = { ...inputs.become, ...host.become };
  // This machine is rarely meant with what is said of a fleet: its sshd and ssh are managed only where it says so.
  const server = local && host.server === undefined ? {} : { ...inputs.server, ...host.server };
  const client = local && host.client === undefined ? {} : { ...inputs.client, ...host.client };
  const idle = host.idleTimeout ?? inputs.idleTimeout;
  const serverValues = wantedValues("server", server);
  const clientValues = wantedValues("client", client);
  const manages = (values: Values): boolean => Object.keys(values).length > 0;
  return {
    name,
    local,
    connection: {
      ...shared,
      ...Object.fromEntries(Object.entries(host).filter(([key]) => connectionFields().includes(key))),
      sshOptions: mergeKeywords(shared.sshOptions ?? {}, host.sshOptions ?? {}),
      hostKeyChecking: host.hostKeyChecking ?? shared.hostKeyChecking ?? "strict",
    },
    ...(inputs.become === undefined && host.become === undefined ? {} : { become: { user: "root", ...become } }),
    ...(manages(serverValues)
      ? { server: { placement: "auto" as const, ...omit(server, "server"), values: serverValues } }
      : {}),
    ...(manages(clientValues) ? { client: { hosts: ["*"], ...omit(client, "client"), values: clientValues } } : {}),
    ...(idle === undefined ? {} : { idleTimeout: seconds(idle) }),
    confirmTimeout: seconds(inputs.confirmTimeout ?? DEFAULT_CONFIRM_SECONDS),
    verifyAs: [...new Set(host.verifyAs ?? inputs.verifyAs ?? [])],
    allowNoBootGuard: host.allowNoBootGuard ?? inputs.allowNoBootGuard ?? false,
    unknown: gaps.filter((gap) => concerns(gap, name, host, gaps)).map(pathText),
  };
}

const DEFAULT_CONFIRM_SECONDS = 60;

export const seconds = (value: number | string): number => parseTime(String(value)) ?? 0;

/** The settings of one side without its managed options: paths, patterns and the like. */
function omit<T extends object>(settings: T, side: Side): Partial<T> {
  const managed = optionsOf(side).map((o) => o.input);
  return Object.fromEntries(Object.entries(settings).filter(([key]) => !managed.includes(key))) as Partial<T>;
}

/** Managed options among `settings`, by OpenSSH's spelling, canonical. */
function wantedValues(side: Side, settings: object): Values {
  const given = settings as Readonly<Record<string, number | string | boolean | undefined>>;
  const values: Record<string, string> = {};
  for (const option of optionsOf(side)) {
    const value = given[option.input];
    if (value === undefined) continue;
    const text = canonical(option, typeof value === "boolean" ? (value ? "yes" : "no") : String(value));
    if (text !== undefined) values[option.name] = text;
  }
  return values;
}

/** ssh_config keywords ignore case, so `proxyjump` at a host replaces `ProxyJump` of the top level. */
function mergeKeywords(
  shared: Readonly<Record<string, string>>,
  own: Readonly<Record<string, string>>,
): Record<string, string> {
  const taken = Object.keys(own).map((key) => key.toLowerCase());
  const kept = Object.entries(shared).filter(([key]) => !taken.includes(key.toLowerCase()));
  return Object.fromEntries([...kept, ...Object.entries(own)]);
}

/** Whether an unknown input at `gap` is one of the host's: its own, or a top-level one that it does not replace. */
function concerns(gap: Path, name: string, host: HostInputs, gaps: readonly Path[]): boolean {
  const [first, second] = gap;
  if (first === "hosts") return second === undefined || second === name;
  const replaced = (...own: readonly string[]): boolean => {
    const at = ["hosts", name, ...own];
    const value = own.reduce<unknown>((v, key) => (isRecord(v) ? v[key] : undefined), host);
    return value !== undefined || gaps.some((g) => isPrefix(g, at));
  };
  if (first === "connection") {
    if (host.local === true) return false;
    return typeof second !== "string" || second === "sshOptions" || !replaced(second);
  }
  if (MERGED.some((group) => group === first)) return typeof second !== "string" || !replaced(String(first), second);
  if (REPLACED.some((field) => field === first)) return !replaced(String(first));
  return first === "confirmTimeout";
}

/** The wanted interval with the wanted count (OpenSSH's default where none is); undefined when no interval is managed. */
export function probeValues(side: Side, values: Values): { interval: number; countMax: number } | undefined {
  const prefix = side === "server" ? "ClientAlive" : "ServerAlive";
  const interval = values[`${prefix}Interval`];
  if (interval === undefined) return undefined;
  return { interval: Number(interval), countMax: Number(values[`${prefix}CountMax`] ?? 3) };
}
