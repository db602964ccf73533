/** Shape, types and unknown properties, checked against schema.json by what ajv made of it; the errors as sentences. */
import { readFileSync } from "node:fs";
import path from "node:path";
import type { ErrorObject } from "ajv";
import { meantOnThisSide, OPTIONS, type Option, type Side } from "../settings";
import { type Finding, isPrefix, type Path, quoted } from "./paths";
import { validate } from "./validate";

/** schema.json, as far as messages need it (Pulumi package schema). */
interface PackageSpec {
  readonly types: Readonly<Record<string, { readonly properties?: object }>>;
  readonly resources: Readonly<Record<string, { readonly inputProperties: object; readonly properties: object }>>;
}

/** What of the JSON schema of a value messages need. */
interface JsonSchema {
  readonly type: string | readonly string[];
  readonly properties?: object;
}

const accepts: { (inputs: unknown): boolean; readonly errors?: readonly ErrorObject[] | null } = validate;

let spec: PackageSpec | undefined;

/** schema.json, read at the first use: a program that only declares does not need it. */
function schema(): PackageSpec {
  // The same relative place from provider/inputs/ and from dist/inputs/.
  spec ??= JSON.parse(readFileSync(path.join(__dirname, "..", "..", "schema.json"), "utf8")) as PackageSpec;
  return spec;
}

function resource(): PackageSpec["resources"][string] {
  const [first] = Object.values(schema().resources);
  if (first === undefined) throw new Error("schema.json describes no resource");
  return first;
}

export const connectionFields = (): readonly string[] =>
  Object.keys(schema().types["sshkeepalive:index:Connection"]?.properties ?? {});

export function shapeFailures(known: unknown, gaps: readonly Path[]): Finding[] {
  if (accepts(known)) return [];
  return (accepts.errors ?? []).flatMap((error) => {
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

export const optionNamed = (name: string): Option | undefined => {
  const keyword = keywordOf(name);
  return OPTIONS.find((o) => o.name.toLowerCase() === keyword || o.aliases.includes(keyword));
};

/** The best-known wrong advice on the web: ServerAlive* in an sshd_config. */
export function wrongSide(side: Side, name: string): string | undefined {
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
  if (at.length === 0 && name in resource().properties) {
    return "Is computed by the resource. Take it out of the inputs.";
  }
  if (at.length === 0 && connectionFields().includes(name)) {
    return `Is no property here. Write it under connection, for all hosts, or at a host: connection: { ${name}: … }.`;
  }
  if (atHost && name === "connection") {
    return "Is no property of a host: its fields stand at the host itself, { host: …, user: … }. In TypeScript: { ...connection }.";
  }
  if (atHost && name in resource().inputProperties) {
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
