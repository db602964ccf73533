/**
 * Input checks, and what the inputs mean for each host. Shape, types and unknown properties are checked by ajv against
 * schema.json; what a schema cannot say is checked by the rules below.
 *
 * Rules of this file: a failure names the property, says what is wrong and what to write instead. No message repeats
 * the value of a property that is or may hold a secret: only settings (numbers, times, enum words, paths on the host) are
 * quoted. A value that is not known yet, in a preview, is never an error, and neither is what depends on it.
 */
import { readFileSync } from "node:fs";
import path from "node:path";
import Ajv, { type ErrorObject, type ValidateFunction } from "ajv";
import type {
  ConnectionInputs,
  HostInputs,
  HostKeyChecking,
  Placement,
  ProxyConnectionInputs,
  SshKeepaliveInputs,
} from "./args";
import { printable } from "./errors";
import { checkIdle, lateProbeWarning, ON_TIME } from "./semantics";
import {
  canonical,
  MAX_VALUE,
  meantOnThisSide,
  OPTIONS,
  type Option,
  optionsOf,
  parseTime,
  type Side,
  type Values,
} from "./settings";

/** What stands in place of a value that is not known yet (@pulumi/pulumi, runtime/rpc.ts `unknownValue`). */
export const UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9";

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

// ---------------------------------------------------------------------------------------------------------------------
// What the inputs mean, per host

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
  const server = { ...inputs.server, ...host.server };
  const client = { ...inputs.client, ...host.client };
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

const seconds = (value: number | string): number => parseTime(String(value)) ?? 0;

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

/** Warnings about settings that are allowed, one entry per reason with all hosts that it is about. */
export function inputWarnings(settings: readonly HostSettings[]): readonly InputWarning[] {
  const hostsBy = new Map<string, string[]>();
  const warn = (reason: string, host: string): void => {
    hostsBy.set(reason, [...(hostsBy.get(reason) ?? []), host]);
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

/** The wanted interval with the wanted count (OpenSSH's default where none is); undefined when no interval is managed. */
function probeValues(side: Side, values: Values): { interval: number; countMax: number } | undefined {
  const prefix = side === "server" ? "ClientAlive" : "ServerAlive";
  const interval = values[`${prefix}Interval`];
  if (interval === undefined) return undefined;
  return { interval: Number(interval), countMax: Number(values[`${prefix}CountMax`] ?? 3) };
}

// ---------------------------------------------------------------------------------------------------------------------
// Checks

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
  return { failures: unique([...shape, ...rules].map((f) => ({ property: pathText(f.path), reason: f.reason }))) };
}

/** Keys of nested objects and lists, from the inputs downward. */
type Path = readonly (string | number)[];

interface Finding {
  readonly path: Path;
  readonly reason: string;
}

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const isPrefix = (prefix: Path, of: Path): boolean =>
  prefix.length <= of.length && prefix.every((key, i) => String(key) === String(of[i]));

/** `hosts["web-2"].server.reload[0]` */
function pathText(at: Path): string {
  return at
    .map((key, i) => {
      if (typeof key === "number") return `[${key}]`;
      const isMapKey = at[i - 1] === "hosts" ? i === 1 : at[i - 1] === "sshOptions";
      if (isMapKey || !/^[A-Za-z_$][\w$]*$/.test(key)) return `[${quoted(key, 80)}]`;
      return i === 0 ? key : `.${key}`;
    })
    .join("");
}

const quoted = (text: string, max = 60): string => `"${printable(text, max).replaceAll('"', '\\"')}"`;

function unique(failures: readonly CheckFailure[]): CheckFailure[] {
  return [...new Map(failures.map((f) => [`${f.property}\0${f.reason}`, f])).values()];
}

/**
 * The value without what is not known yet and without absent properties, and where the unknown parts were. `aside` names
 * further paths to leave out. A list with such an element is left out as a whole: its indexes would shift.
 */
function prune(value: unknown, aside: readonly Path[] = []): { known: unknown; gaps: Path[] } {
  const gaps: Path[] = [];
  const asideTexts = new Set(aside.map(pathText));
  const visit = (part: unknown, at: Path): unknown => {
    if (part === UNKNOWN || asideTexts.has(pathText(at))) {
      gaps.push(at);
      return undefined;
    }
    if (Array.isArray(part)) {
      const before = gaps.length;
      const items = part.map((item, i) => visit(item, [...at, i]));
      if (gaps.length === before) return items;
      gaps.splice(before, gaps.length, at);
      return undefined;
    }
    if (!isRecord(part)) return part;
    const entries = Object.entries(part)
      // A null is an absent property, except as a host: `web-1:` with nothing after it in YAML is a mistake to report.
      .filter(([, v]) => v !== undefined && (v !== null || pathText(at) === "hosts"))
      .map(([key, v]) => [key, visit(v, [...at, key])] as const)
      .filter(([, v]) => v !== undefined);
    return Object.fromEntries(entries);
  };
  const known = visit(value, []);
  return { known, gaps };
}

// --- Shape, by ajv ---------------------------------------------------------------------------------------------------

/** A type in schema.json, as far as this package uses the form (Pulumi package schema). */
interface TypeSpec {
  readonly type?: string;
  readonly $ref?: string;
  readonly items?: TypeSpec;
  readonly additionalProperties?: TypeSpec;
  readonly oneOf?: readonly TypeSpec[];
  readonly enum?: readonly { readonly value: string }[];
  readonly properties?: Readonly<Record<string, TypeSpec>>;
  readonly required?: readonly string[];
  readonly secret?: boolean;
}

interface PackageSpec {
  readonly types: Readonly<Record<string, TypeSpec>>;
  readonly resources: Readonly<
    Record<
      string,
      {
        readonly inputProperties: Readonly<Record<string, TypeSpec>>;
        readonly properties: Readonly<Record<string, TypeSpec>>;
        readonly requiredInputs: readonly string[];
      }
    >
  >;
}

/** JSON schema of a property, with the two facts that messages need. */
interface JsonSchema {
  readonly type: string | readonly string[];
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly secret?: boolean;
  readonly [keyword: string]: unknown;
}

let compiled: { readonly validate: ValidateFunction; readonly spec: PackageSpec } | undefined;

/** schema.json and its validator, read and compiled at the first use: a program that only declares needs neither. */
function schema(): { readonly validate: ValidateFunction; readonly spec: PackageSpec } {
  if (compiled === undefined) {
    // The same relative place from provider/ and from dist/.
    const spec = JSON.parse(readFileSync(path.join(__dirname, "..", "schema.json"), "utf8")) as PackageSpec;
    const ajv = new Ajv({ allErrors: true, verbose: true, strict: false, strictNumbers: true });
    compiled = { validate: ajv.compile(inputsSchema(spec)), spec };
  }
  return compiled;
}

const resourceOf = (spec: PackageSpec): PackageSpec["resources"][string] => {
  const [resource] = Object.values(spec.resources);
  if (resource === undefined) throw new Error("schema.json describes no resource");
  return resource;
};

const connectionFields = (): readonly string[] =>
  Object.keys(schema().spec.types["sshkeepalive:index:Connection"]?.properties ?? {});

function inputsSchema(spec: PackageSpec): JsonSchema {
  const resource = resourceOf(spec);
  return jsonSchema(spec, { type: "object", properties: resource.inputProperties, required: resource.requiredInputs });
}

function jsonSchema(spec: PackageSpec, type: TypeSpec): JsonSchema {
  if (type.$ref !== undefined) {
    const target = spec.types[type.$ref.replace("#/types/", "")];
    if (target === undefined) throw new Error(`schema.json has no ${type.$ref}`);
    return jsonSchema(spec, target);
  }
  const secret = type.secret === true ? { secret: true } : {};
  if (type.oneOf !== undefined) return { type: type.oneOf.map((t) => t.type ?? ""), ...secret };
  if (type.enum !== undefined) return { type: "string", enum: type.enum.map((e) => e.value) };
  if (type.items !== undefined) return { type: "array", items: jsonSchema(spec, type.items) };
  if (type.properties !== undefined) {
    const properties = Object.entries(type.properties).map(([key, t]) => [key, jsonSchema(spec, t)] as const);
    return {
      type: "object",
      properties: Object.fromEntries(properties),
      required: type.required ?? [],
      additionalProperties: false,
    };
  }
  if (type.additionalProperties !== undefined) {
    return { type: "object", additionalProperties: jsonSchema(spec, type.additionalProperties) };
  }
  return { type: type.type ?? "", ...secret };
}

function shapeFailures(known: unknown, gaps: readonly Path[]): Finding[] {
  const { validate } = schema();
  if (validate(known)) return [];
  return (validate.errors ?? []).flatMap((error) => {
    const finding = explain(error, known);
    return gaps.some((gap) => isPrefix(gap, finding.path)) ? [] : [finding];
  });
}

/** JSON pointer to path; list indexes become numbers, map keys stay text. */
function pointerPath(pointer: string, root: unknown): Path {
  let part = root;
  return pointer
    .split("/")
    .slice(1)
    .map((segment) => {
      const key = segment.replaceAll("~1", "/").replaceAll("~0", "~");
      const inList = Array.isArray(part);
      part = (part as Readonly<Record<string, unknown>> | undefined)?.[key];
      return inList ? Number(key) : key;
    });
}

function explain(error: ErrorObject, root: unknown): Finding {
  const at = pointerPath(error.instancePath, root);
  const parent = error.parentSchema as JsonSchema;
  switch (error.keyword) {
    case "additionalProperties": {
      const name = String(error.params.additionalProperty);
      return { path: [...at, name], reason: unknownProperty(at, name, Object.keys(parent.properties ?? {})) };
    }
    case "required": {
      const name = String(error.params.missingProperty);
      const remedy =
        name === "hosts"
          ? 'Give a map of your names to hosts: { "web-1": { host: "192.0.2.11" } }.'
          : "Name the jump host, or leave out the whole object.";
      return { path: [...at, name], reason: `Is missing. ${remedy}` };
    }
    case "enum": {
      const words = (error.params.allowedValues as readonly string[]).map((w) => quoted(w)).join(", ");
      return { path: at, reason: `Must be one of ${words}, not ${quoted(String(error.data))}.` };
    }
    default:
      return { path: at, reason: wrongType(at, parent, error.data) };
  }
}

function wrongType(at: Path, wanted: JsonSchema, data: unknown): string {
  const key = at.at(-1);
  const types = typeof wanted.type === "string" ? [wanted.type] : wanted.type;
  const got = kindOf(data);
  if (at.length === 1 && key === "hosts") {
    return `Must be a map of your names to hosts, not ${got}: { "web-1": { host: "192.0.2.11" } }. Hosts are told apart by their names.`;
  }
  if (at.length === 2 && at[0] === "hosts") {
    return `Must be an object, not ${got}: { host: "192.0.2.11" }, or { local: true } for this machine.`;
  }
  if (types.includes("integer")) {
    const count = "a whole number";
    const expected = !types.includes("string")
      ? count
      : key === "canary"
        ? `${count} of hosts or a percentage such as "10%"`
        : `${count} of seconds or an OpenSSH time such as "5m"`;
    if (typeof data === "number" && !Number.isFinite(data)) {
      return `Must be ${expected}, not ${got}: this is what a failed conversion gives; check where the number comes from.`;
    }
    const digits = typeof data === "string" && /^\d+$/.test(data);
    const remedy = digits ? " Write the number without quotes; config.requireNumber reads one." : "";
    return `Must be ${expected}, not ${got}.${remedy}`;
  }
  if (types.includes("boolean")) {
    const word = typeof data === "string" && /^(yes|no|true|false|on|off)$/i.test(data);
    return `Must be true or false, not ${got}.${word ? " Write true or false without quotes; config.requireBoolean reads one." : ""}`;
  }
  if (types.includes("array")) return `Must be a list of texts, not ${got}. Write ["…"], also for a single one.`;
  if (types.includes("string")) return `Must be text, not ${got}.`;
  return `Must be an object, not ${got}.`;
}

/** What a value is, without the value: it may be a secret put at the wrong place. */
function kindOf(value: unknown): string {
  if (value === null) return "nothing";
  if (Array.isArray(value)) return "a list";
  if (typeof value === "number") {
    if (Number.isNaN(value)) return "NaN";
    if (!Number.isFinite(value)) return "infinity";
    return Number.isInteger(value) ? "a number" : "a fraction";
  }
  if (typeof value === "boolean") return "a boolean";
  return typeof value === "string" ? "a text" : "an object";
}

/** An option in any spelling: camelCase, OpenSSH's, snake_case. */
const keywordOf = (name: string): string => name.replaceAll(/[_-]/g, "").toLowerCase();

const optionNamed = (name: string): Option | undefined => {
  const keyword = keywordOf(name);
  return OPTIONS.find((o) => o.name.toLowerCase() === keyword || o.aliases.includes(keyword));
};

/** The best-known wrong advice on the web: ServerAlive* in an sshd_config. */
function wrongSide(side: Side, name: string): string | undefined {
  const meant = meantOnThisSide(side, keywordOf(name));
  const written = optionNamed(name);
  if (meant === undefined || written === undefined) return undefined;
  return side === "server"
    ? `${written.name} is an option of the ssh client. In an sshd_config it is a bad configuration option: the next sshd would not start, and everyone would be locked out. Here ${meant.input} is meant; ${written.input} belongs under client.`
    : `${written.name} is an option of sshd. In an ssh_config it is a bad configuration option: every ssh command on the host would fail. Here ${meant.input} is meant; ${written.input} belongs under server.`;
}

function unknownProperty(at: Path, name: string, siblings: readonly string[]): string {
  const inside = at.at(-1);
  const side = inside === "server" || inside === "client" ? inside : undefined;
  if (side !== undefined) {
    const mixedUp = wrongSide(side, name);
    if (mixedUp !== undefined) return mixedUp;
  }
  const option = optionNamed(name);
  const atHost = at.length === 2 && at[0] === "hosts";
  if (side === undefined && option !== undefined) {
    const where = option.name === "TCPKeepAlive" ? "server or client" : option.side;
    return `Is no property here: ${option.input} belongs under ${where}, ${where === "client" ? "client" : "server"}: { ${option.input}: … }.`;
  }
  if (side !== undefined && option?.side !== undefined) {
    const here = OPTIONS.find((o) => o.side === side && o.name === option.name);
    if (here !== undefined) return `Is no property here. Did you mean ${here.input}?`;
  }
  if (at.length === 0 && name in resourceOf(schema().spec).properties) {
    return "Is computed by the resource. Take it out of the inputs.";
  }
  if (at.length === 0 && connectionFields().includes(name)) {
    return `Is no property here. Write it under connection, for all hosts, or at a host: connection: { ${name}: … }.`;
  }
  if (atHost && name === "connection") {
    return "Is no property of a host: its fields stand at the host itself, { host: …, user: … }. In TypeScript: { ...connection }.";
  }
  if (atHost && name in resourceOf(schema().spec).inputProperties) {
    return "Is no property of a host. It is for all hosts: write it at the top level.";
  }
  const near = nearest(name, siblings);
  return near === undefined
    ? `Is no property here. Known are ${siblings.join(", ")}.`
    : `Is no property here. Did you mean ${near}?`;
}

/** The known name that `name` was probably meant to be: few edits away, case and separators aside. */
function nearest(name: string, known: readonly string[]): string | undefined {
  const ranked = known
    .map((candidate) => ({ candidate, edits: editDistance(keywordOf(name), candidate.toLowerCase()) }))
    .sort((a, b) => a.edits - b.edits);
  const [best] = ranked;
  return best !== undefined && best.edits <= Math.max(1, Math.floor(name.length / 3)) ? best.candidate : undefined;
}

/** Levenshtein's distance. */
function editDistance(a: string, b: string): number {
  if (Math.abs(a.length - b.length) > 8) return 9;
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const change = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(change, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}

// --- Rules -----------------------------------------------------------------------------------------------------------

/** Judges inputs of sound shape; `gaps` are the paths that were left out, unknown or already reported. */
function ruleFailures(inputs: Partial<SshKeepaliveInputs>, gaps: readonly Path[]): Finding[] {
  const findings: Finding[] = [];
  const add = (at: Path, reason: string | undefined): void => {
    if (reason !== undefined) findings.push({ path: at, reason });
  };
  /** True when the value at `at`, or one it is part of, was left out: its absence says nothing. */
  const isGap = (...at: Path): boolean => gaps.some((gap) => isPrefix(gap, at));
  /** True when any part below `at` was left out. */
  const hasGap = (...at: Path): boolean => isGap(...at) || gaps.some((gap) => isPrefix(at, gap));

  const { hosts = {}, connection, rollout = {} } = inputs;
  const names = Object.keys(hosts);

  if (connection !== undefined) connectionRules(["connection"], connection, add);
  commonRules([], inputs, add);
  for (const name of names) {
    const host = hosts[name] ?? {};
    const at = ["hosts", name];
    add(at, hostNameProblem(name));
    connectionRules(at, host, add);
    commonRules(at, host, add);
    if (host.local === true) {
      const given = connectionFields().filter((field) => field in host || isGap(...at, field));
      if (given.length > 0) {
        add(
          at,
          `Has local: true, which is this machine without ssh, beside ${given.join(", ")}. Take out the one or the other.`,
        );
      }
    } else if (host.host === undefined && connection?.host === undefined) {
      const open = isGap(...at, "host") || isGap(...at, "local") || isGap("connection", "host");
      if (!open)
        add(
          [...at, "host"],
          "Is missing, and connection.host is not given either. Give the name or address to connect to, or local: true for this machine.",
        );
    }
  }

  const all = hostSettings(inputs as SshKeepaliveInputs);
  for (const host of all) mergedRules(host, inputs, hasGap, add);
  sameTargetRules(all, hasGap, add);

  if (inputs.hosts !== undefined && names.length === 0 && !hasGap("hosts")) {
    add(
      ["hosts"],
      'Is empty: there is nothing to keep. Give at least one host, { "web-1": { host: "192.0.2.11" } }, or take the resource out.',
    );
  }

  const total = hasGap("hosts") ? undefined : names.length;
  add(["rollout", "parallel"], rangeProblem(rollout.parallel, 1, 1000, "hosts at the same time"));
  add(["rollout", "maxFailures"], rangeProblem(rollout.maxFailures, 0, MAX_VALUE, "failed hosts"));
  add(["rollout", "canary"], canaryProblem(rollout.canary, total));
  add(["confirmTimeout"], confirmTimeoutProblem(inputs.confirmTimeout));
  return findings;
}

type Add = (at: Path, reason: string | undefined) => void;

/** What the top level and a host have in common, connection apart. */
function commonRules(at: Path, level: Partial<SshKeepaliveInputs> | HostInputs, add: Add): void {
  if (level.idleTimeout !== undefined) {
    const problem = timeProblem(level.idleTimeout);
    const zero =
      seconds(level.idleTimeout) === 0
        ? "Is 0: nothing would survive. Give the seconds after which the firewall in between forgets, or leave it out."
        : undefined;
    add([...at, "idleTimeout"], problem ?? zero);
  }
  if (level.become?.user !== undefined && !/^([A-Za-z_][A-Za-z0-9_.-]{0,255}\$?|#\d{1,10})$/.test(level.become.user)) {
    add(
      [...at, "become", "user"],
      "Must be a plain user name (letters, digits, _ . -) or #UID: it becomes a word of sudo's command line.",
    );
  }
  level.verifyAs?.forEach((user, i) => {
    add([...at, "verifyAs", i], userProblem(user));
  });
  for (const side of ["server", "client"] as const) {
    const settings = level[side];
    if (settings !== undefined) sideRules([...at, side], side, settings, add);
  }
}

function sideRules(at: Path, side: Side, settings: object, add: Add): void {
  const given = settings as Readonly<Record<string, unknown>>;
  const [interval, count] = optionsOf(side);
  for (const option of optionsOf(side)) {
    const value = given[option.input];
    if (option.kind === "time" && (typeof value === "number" || typeof value === "string")) {
      add([...at, option.input], timeProblem(value));
    }
    if (option.kind === "count" && typeof value === "number") add([...at, option.input], countProblem(option, value));
  }
  if (interval !== undefined && count !== undefined) {
    const off = given[interval.input];
    const counted = given[count.input];
    if (
      off !== undefined &&
      seconds(off as number | string) === 0 &&
      timeProblem(off as number | string) === undefined &&
      counted !== undefined
    ) {
      add(
        [...at, count.input],
        `Has no meaning beside ${interval.input} 0, which sends no probes. Leave it out, or give an interval of 1 or more.`,
      );
    }
  }

  for (const field of ["configPath", "sshdPath"]) {
    const value = given[field];
    if (typeof value === "string") add([...at, field], absolutePathProblem(value, field));
  }
  const { reload, user, hosts } = given;
  if (side === "server" && Array.isArray(reload)) commandRules([...at, "reload"], reload.map(String), add);
  if (side === "client" && typeof user === "string" && !/^[A-Za-z_][A-Za-z0-9_.-]{0,255}\$?$/.test(user)) {
    add(
      [...at, "user"],
      "Must be a plain user name of the host (letters, digits, _ . -, not beginning with a digit or -).",
    );
  }
  if (side === "client" && Array.isArray(hosts)) patternRules([...at, "hosts"], hosts.map(String), add);
}

/** A value of a time option, whatever the option: why OpenSSH would not take it. */
function timeProblem(value: number | string): string | undefined {
  const tooLong = `Is more than ${MAX_VALUE} seconds (68 years), the most that OpenSSH takes.`;
  if (typeof value === "number") {
    if (value < 0) return `Is ${value}: a length of time cannot be negative.`;
    return value > MAX_VALUE ? tooLong : undefined;
  }
  if (parseTime(value) !== undefined) return undefined;
  if (/^(\d+[smhdw]?)+$/i.test(value)) return tooLong;
  const none = value === "none" ? " To switch it off write 0; to leave it alone leave it out." : "";
  return `Is ${quoted(value)}, which is no OpenSSH time: write seconds, or whole numbers with the units s, m, h, d, w and no blanks, as in "90", "5m" or "1h30m".${none}`;
}

function countProblem(option: Option, value: number): string | undefined {
  if (value < 0) return `Is ${value}: a count cannot be negative. Write 1 or more.`;
  if (value > MAX_VALUE) return `Is more than ${MAX_VALUE}, the most that OpenSSH takes.`;
  if (value !== 0) return undefined;
  return option.side === "server"
    ? "Is 0: sshd from 8.2 on then never ends a dead session, and before 8.2 it ends a healthy one at the first interval. Write 1 or more."
    : "Is 0: ssh then ends a healthy session at the first interval, instead of probing. Write 1 or more.";
}

function rangeProblem(value: number | undefined, min: number, max: number, unit: string): string | undefined {
  if (value === undefined || (value >= min && value <= max)) return undefined;
  return `Is ${value}: must be from ${min} to ${max} ${unit}.`;
}

function canaryProblem(value: number | string | undefined, hosts: number | undefined): string | undefined {
  if (value === undefined) return undefined;
  if (typeof value === "string") {
    const percent = /^(\d{1,3})%$/.exec(value);
    if (percent !== null && Number(percent[1]) >= 1 && Number(percent[1]) <= 100) return undefined;
    return `Is ${quoted(value)}: must be a count of hosts (a number), or a whole percentage from "1%" to "100%".`;
  }
  if (value < 1) return `Is ${value}: must be 1 or more. Leave it out for no canary.`;
  if (hosts === undefined || hosts === 0 || value <= hosts) return undefined;
  return `Is ${value}, more than there are hosts (${hosts}): none would be left to protect. Write a smaller count, or a percentage such as "10%", which fits a fleet of any size.`;
}

function confirmTimeoutProblem(value: number | string | undefined): string | undefined {
  if (value === undefined) return undefined;
  const problem = timeProblem(value);
  if (problem !== undefined) return problem;
  const s = seconds(value);
  if (s >= 10 && s <= 3600) return undefined;
  return `Is ${s} s: must be from 10 s, in which a reload and a new login fit, to 3600 s, for which a host may stay with unproven settings.`;
}

function absolutePathProblem(value: string, field: string): string | undefined {
  if (/[\u0000-\u001f\u007f]/.test(value)) return "Holds a control character.";
  if (!value.startsWith("/")) {
    const home = value.startsWith("~") && field === "configPath" ? " For a user's ~/.ssh/config give client.user." : "";
    return `Is ${quoted(value)}: must be an absolute path on the host, beginning with /.${home}`;
  }
  if (value.endsWith("/")) return `Is ${quoted(value)}, a folder: give the path of the file.`;
  if (value.split("/").includes("..")) return `Is ${quoted(value)}: must not hold \`..\`.`;
  return undefined;
}

function commandRules(at: Path, words: readonly string[], add: Add): void {
  const [program] = words;
  if (program === undefined) {
    add(at, 'Is empty: give the command as a list of words, ["/usr/sbin/service", "sshd", "reload"], or leave it out.');
    return;
  }
  words.forEach((word, i) => {
    if (/[\u0000-\u001f\u007f]/.test(word)) add([...at, i], "Holds a control character.");
  });
  if (program === "" || program.startsWith("-") || /\s/.test(program)) {
    add(
      [...at, 0],
      'Must be a program: the command runs without a shell, one entry per word, ["systemctl", "reload", "ssh"].',
    );
  }
}

function patternRules(at: Path, patterns: readonly string[], add: Add): void {
  if (patterns.length === 0) {
    add(at, 'Is empty: no host would match. Leave it out for every host, or give patterns, ["*.example.com"].');
    return;
  }
  patterns.forEach((pattern, i) => {
    if (pattern === "" || pattern === "!") add([...at, i], "Is empty: give a host name or pattern.");
    else if (/[\s\u0000-\u001f\u007f"'\\#=,]/.test(pattern)) {
      add(
        [...at, i],
        "Must be one Host pattern: no blanks, control characters, quotes, backslashes, #, = or commas. Give several as several entries.",
      );
    }
  });
  if (patterns.every((p) => p.startsWith("!") && p.length > 1)) {
    add(
      at,
      'Has exceptions only, and those match nothing by themselves (ssh_config(5), PATTERNS). Add what they are exceptions from: ["*", "!…"].',
    );
  }
}

const hasBlankOrControl = (text: string): boolean => /[\s\u0000-\u001f\u007f-\u009f]/.test(text);

/** Problems with a name in `hosts`. */
function hostNameProblem(name: string): string | undefined {
  if (name.trim() === "") return "Has an empty name: give the host a name of your choice.";
  if (/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/.test(name)) return "Has a control character in its name.";
  return undefined;
}

function userProblem(user: string): string | undefined {
  if (user === "") return "Is empty: give a user name, or leave it out.";
  if (user.startsWith("-")) return "Begins with -, which ssh would take for an option.";
  return hasBlankOrControl(user) ? "Holds a blank or a control character." : undefined;
}

function addressProblem(host: string): string | undefined {
  if (host === "") return "Is empty: give the name or address to connect to.";
  if (host.startsWith("-")) return "Begins with -, which ssh would take for an option.";
  if (hasBlankOrControl(host)) return "Holds a blank or a control character.";
  if (host.includes("://"))
    return "Is a URL: give the name or address alone, with port and user as properties of their own.";
  if (host.includes("@")) return "Holds an @: give the login name as user.";
  if (/^[^:]+:\d+$/.test(host)) return "Ends in a port: give it as port.";
  return undefined;
}

function connectionRules(at: Path, fields: ConnectionInputs | ProxyConnectionInputs, add: Add): void {
  if (fields.host !== undefined) add([...at, "host"], addressProblem(fields.host));
  if (fields.user !== undefined) add([...at, "user"], userProblem(fields.user));
  add([...at, "port"], rangeProblem(fields.port, 1, 65535, "(a TCP port)"));
  add([...at, "dialErrorLimit"], rangeProblem(fields.dialErrorLimit, -1, MAX_VALUE, "attempts (-1: no limit)"));
  add([...at, "perDialTimeout"], rangeProblem(fields.perDialTimeout, 0, MAX_VALUE, "seconds (0: no limit)"));
  if (fields.privateKey !== undefined) add([...at, "privateKey"], privateKeyProblem(fields.privateKey));
  if (fields.hostKey !== undefined) add([...at, "hostKey"], hostKeyProblem(fields.hostKey));
  if (fields.agentSocketPath !== undefined) {
    const bad = fields.agentSocketPath === "" || /[\u0000-\u001f\u007f]/.test(fields.agentSocketPath);
    if (bad)
      add(
        [...at, "agentSocketPath"],
        "Must be the path of an agent's socket: it is empty or holds a control character.",
      );
  }
  if ("proxy" in fields && fields.proxy !== undefined) connectionRules([...at, "proxy"], fields.proxy, add);
  if ("sshOptions" in fields) {
    for (const [keyword, value] of Object.entries(fields.sshOptions ?? {})) {
      add([...at, "sshOptions", keyword], sshOptionProblem(keyword, value));
    }
  }
}

/** Options that the transport sets itself. */
const OWN_SSH_OPTIONS = ["controlmaster", "controlpath", "controlpersist", "remotecommand", "batchmode"];

function sshOptionProblem(keyword: string, value: string): string | undefined {
  if (!/^[A-Za-z][A-Za-z0-9]*$/.test(keyword)) return "Is no ssh_config keyword: letters and digits only.";
  const lower = keyword.toLowerCase();
  if (lower === "stricthostkeychecking") return "Is set by the provider. Use hostKeyChecking.";
  if (OWN_SSH_OPTIONS.includes(lower))
    return "Is set by the provider, which shares one connection per host. Take it out.";
  const mixedUp = wrongSide("client", keyword);
  if (mixedUp !== undefined)
    return `${optionNamed(keyword)?.name ?? keyword} is an option of sshd: ssh refuses it. sshOptions are for the way to the host; wanted settings belong under server or client.`;
  if (value === "" || /[\u0000-\u001f\u007f]/.test(value)) return "Must have a value without control characters.";
  return undefined;
}

/** Why a text is no private key, without repeating any of it. */
function privateKeyProblem(text: string): string | undefined {
  const key = text.trim();
  const readIt =
    'Pass the key\'s text, for example readFileSync(path, "utf8") made secret, or a secret configuration value.';
  if (key === "") return `Is empty. ${readIt}`;
  if (!key.includes("\n") && /^([~.]{0,2}\/|[A-Za-z]:[\\/]|\S*\bid_[a-z0-9_]+$)/.test(key))
    return `Looks like a path. ${readIt}`;
  if (/^(ssh-|ecdsa-|sk-)\S+ /.test(key) || key.startsWith("-----BEGIN PUBLIC KEY")) {
    return "Is a public key. The private one is in the file of the same name without .pub.";
  }
  if (key.startsWith("PuTTY-User-Key-File")) {
    return "Is a key in PuTTY's form. Convert it: puttygen KEY.ppk -O private-openssh -o KEY.";
  }
  if (!/^-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----/.test(key)) {
    return `Is no private key: it does not begin with "-----BEGIN … PRIVATE KEY-----". ${readIt}`;
  }
  if (!key.includes("\n") && key.includes("\\n")) {
    return "Has the two characters \\n in place of line ends. Store the key with real ones: pulumi config set --secret KEY < FILE.";
  }
  if (!key.includes("\n")) return `Has lost its line ends. In YAML write the block with |, not with >. ${readIt}`;
  if (!/-----END [A-Z0-9 ]*PRIVATE KEY-----$/.test(key))
    return `Is cut off: its "-----END … PRIVATE KEY-----" line is missing. ${readIt}`;
  return undefined;
}

/** Public key types that a host can have (sshd(8), AUTHORIZED_KEYS FILE FORMAT; certificates are for known_hosts). */
const KEY_TYPE =
  /^(ssh-ed25519|ssh-rsa|ssh-dss|ecdsa-sha2-nistp(256|384|521)|sk-(ssh-ed25519|ecdsa-sha2-nistp256)@openssh\.com)$/;

/** Why a text is no host key: each line must be `TYPE BASE64 [comment]`, and the blob must say the same type. */
function hostKeyProblem(text: string): string | undefined {
  const lines = text
    .split(/\r?\n/)
    .map((l) => l.trim())
    .filter((l) => l !== "" && !l.startsWith("#"));
  const form =
    "Give the line of the host's /etc/ssh/ssh_host_ed25519_key.pub, or of ssh-keyscan without the host name: ssh-ed25519 AAAA….";
  if (lines.length === 0) return `Is empty. ${form}`;
  for (const line of lines) {
    if (/^(SHA256|MD5):/.test(line)) return `Is a fingerprint, and the key itself is needed. ${form}`;
    if (line.startsWith("-----BEGIN")) return `Is not a public key line. ${form}`;
    const [type = "", blob = ""] = line.split(/\s+/);
    if (!KEY_TYPE.test(type)) {
      return KEY_TYPE.test(blob)
        ? "Begins with a host name, as in known_hosts. Leave that out: ssh-ed25519 AAAA…."
        : `Is not a public key line. ${form}`;
    }
    const bytes = Buffer.from(blob, "base64");
    const named = bytes.length > 4 ? bytes.subarray(4, 4 + Math.min(bytes.readUInt32BE(0), 64)).toString("latin1") : "";
    if (!/^[A-Za-z0-9+/]+={0,2}$/.test(blob) || named !== type)
      return `Is not a whole public key: the part after the type is damaged or cut off. ${form}`;
  }
  return undefined;
}

/** Rules about what a host's own and the top-level settings make together. */
function mergedRules(
  host: HostSettings,
  inputs: Partial<SshKeepaliveInputs>,
  hasGap: (...at: Path) => boolean,
  add: Add,
): void {
  const at = ["hosts", host.name];
  const own = inputs.hosts?.[host.name] ?? {};
  const managed = (["server", "client"] as const).some((side) => {
    const given = { ...inputs[side], ...own[side] };
    return hasGap(side) || hasGap(...at, side) || optionsOf(side).some((o) => o.input in given);
  });
  if (!managed) {
    add(
      at,
      "Has nothing to keep: no option is given under server or client, neither here nor at the top level. Give one, server: { clientAliveInterval: 60 }, or take the host out.",
    );
  }
  for (const side of ["server", "client"] as const) {
    const [interval, count] = optionsOf(side);
    const values = host[side]?.values ?? {};
    const probe = probeValues(side, values);
    if (interval === undefined || count === undefined || probe === undefined) continue;
    const ownSide = (own[side] ?? {}) as Readonly<Record<string, unknown>>;
    // Where a failure is shown: at the host when it has a part in it, else once at the top level.
    const place = (...options: readonly Option[]): Path =>
      options.some((o) => o.input in ownSide) ? [...at, side] : [side];

    // A count of the top level may stand beside an interval 0 of one host: there is no way to take it out there.
    if (probe.interval === 0 && count.input in ownSide && !(interval.input in ownSide)) {
      add(
        [...at, side, count.input],
        `Has no meaning beside ${interval.input} 0 of the top level, which sends no probes. Leave it out, or give an interval here too.`,
      );
    }
    if (count.name in values && probe.interval * (probe.countMax + 1) > MAX_VALUE) {
      add(
        [...place(interval, count), interval.input],
        `Gives, with ${count.input} ${probe.countMax}, ${probe.interval} s × (${probe.countMax} + 1), more than ${MAX_VALUE} seconds, before a dead session ends. Write a smaller interval or count.`,
      );
    }
    if (host.idleTimeout !== undefined && host.idleTimeout > 0) {
      // Whatever the version found on the host, it probes no earlier than this.
      const problem = probe.countMax === 0 ? undefined : checkIdle(host.idleTimeout, side, ON_TIME, probe);
      const where =
        interval.input in ownSide || own.idleTimeout === undefined
          ? [...place(interval), interval.input]
          : [...at, "idleTimeout"];
      if (problem !== undefined) add(where, `The settings do not survive the idle limit: ${problem.reason}.`);
    }
  }
}

/** Two hosts that are the same machine must not manage the same file: they would undo each other's edits. */
function sameTargetRules(all: readonly HostSettings[], hasGap: (...at: Path) => boolean, add: Add): void {
  const seen = new Map<string, string>();
  for (const host of all) {
    const at = ["hosts", host.name];
    const { connection: c } = host;
    if (hasGap(...at) || (!host.local && (c.host === undefined || hasGap("connection")))) continue;
    const route = Object.entries(c.sshOptions)
      .filter(([key]) => /^(proxyjump|proxycommand|hostname|port|bindinterface)$/i.test(key))
      .map(([key, value]) => [key.toLowerCase(), value] as const)
      .sort(([a], [b]) => (a < b ? -1 : 1));
    // The same private address behind another jump host is another machine.
    const machine = host.local
      ? ["local"]
      : [c.host?.toLowerCase().replace(/^\[(.*)\]$/, "$1"), c.port ?? 22, c.proxy?.host, c.proxy?.port, route];
    const targets = [
      host.server === undefined ? undefined : { file: "sshd_config", key: ["server", host.server.configPath] },
      host.client === undefined
        ? undefined
        : { file: "ssh_config", key: ["client", host.client.configPath, host.client.user] },
    ];
    for (const target of targets) {
      if (target === undefined) continue;
      const key = JSON.stringify([machine, target.key]);
      const other = seen.get(key);
      if (other === undefined) seen.set(key, host.name);
      else {
        add(
          at,
          `Is the same machine as ${pathText(["hosts", other])} and keeps the same ${target.file}: the two would undo each other. Make them one host, or give one another configPath.`,
        );
      }
    }
  }
}
