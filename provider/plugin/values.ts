/**
 * Property bags on the wire and as the life-cycle sees them: secrets in clear with their places kept apart, unknowns as
 * one sentinel. What goes back has each secret at its own leaf again, never more and never less.
 */
import { type JavaScriptValue, Struct } from "google-protobuf/google/protobuf/struct_pb";
import { isRecord, type Path, UNKNOWN } from "../inputs/paths";
import type { Bag } from "../lifecycle";

/** Values in clear, and the paths of those that are secrets. */
export interface Properties {
  readonly values: Bag;
  readonly secrets: readonly Path[];
}

/** Nothing at all. */
export const NOTHING: Properties = { values: {}, secrets: [] };

// The marks of @pulumi/pulumi's runtime/rpc.ts and sdk/go/common/resource/plugin/rpc.go: a promise of the wire format.
const SIGNATURE = "4dabf18193072939515e22adb298388d";
const SECRET = "1b47061264138c4ac30d75fd1eb44270";
const OUTPUT = "d0e6a833031e9bbcd3f4e8bde6ca49a4";
/** Unknown text (the one that is written), flag, number, list, asset, archive, object. */
const UNKNOWNS: readonly unknown[] = [
  UNKNOWN,
  "1c4a061d-8072-4f0a-a4cb-0ff528b18fe7",
  "3eeb2bf0-c639-47a8-9e75-3b44932eb421",
  "6a19a0b0-7e62-4c92-b797-7f8e31da9cc2",
  "030794c1-ac77-496b-92df-f27374a8bd58",
  "e48ece36-62e2-4504-bad9-02848725956a",
  "dd056dcd-154b-4c76-9bd3-c8f88648b5ff",
];

/** Opens the envelopes of a message. An absent one is {@link NOTHING}. */
export function opened(message: Struct | undefined): Properties {
  if (message === undefined) return NOTHING;
  const secrets: Path[] = [];
  const visit = (value: unknown, at: Path): unknown => {
    if (UNKNOWNS.includes(value)) return UNKNOWN;
    if (Array.isArray(value)) return value.map((item, i) => visit(item, [...at, i]));
    if (!isRecord(value)) return value;
    if (value[SIGNATURE] === SECRET) {
      secrets.push(at);
      return visit(value.value, at);
    }
    if (value[SIGNATURE] === OUTPUT) {
      if (value.secret === true) secrets.push(at);
      return value.value === undefined ? UNKNOWN : visit(value.value, at);
    }
    // A null is an absent property everywhere but as a host (inputs/paths.ts, prune), so it stays.
    return Object.fromEntries(Object.entries(value).map(([key, v]) => [key, visit(v, [...at, key])]));
  };
  const values = visit(message.toJavaScript(), []) as Bag;
  return { values, secrets };
}

const SECRET_NAMES: readonly string[] = ["password", "privateKey", "privateKeyPassword"];

/** Paths of texts that are secrets by schema.json, whatever the program said of them. */
export function secretsByName(values: unknown, at: Path = []): Path[] {
  if (!isRecord(values)) return [];
  return Object.entries(values).flatMap(([key, value]) => {
    const here = [...at, key];
    if (typeof value === "string") return SECRET_NAMES.includes(key) && at.at(-1) !== "sshOptions" ? [here] : [];
    return secretsByName(value, here);
  });
}

/** A message with every secret in an envelope; absent (undefined) properties are left out. */
export function sealed({ values, secrets }: Properties): Struct {
  const places = new Set([...secrets, ...secretsByName(values)].map((path) => JSON.stringify(path)));
  const visit = (value: unknown, at: Path, inside: boolean): JavaScriptValue => {
    const isSecret = !inside && places.has(JSON.stringify(at));
    const plain = visitInside(value, at, inside || isSecret);
    return isSecret ? { [SIGNATURE]: SECRET, value: plain } : plain;
  };
  const visitInside = (value: unknown, at: Path, inside: boolean): JavaScriptValue => {
    if (Array.isArray(value)) return value.map((item, i) => visit(item ?? null, [...at, i], inside));
    if (isRecord(value)) {
      const entries = Object.entries(value).filter(([, v]) => v !== undefined);
      return Object.fromEntries(entries.map(([key, v]) => [key, visit(v, [...at, key], inside)]));
    }
    return typeof value === "string" || typeof value === "number" || typeof value === "boolean" ? value : null;
  };
  return Struct.fromJavaScript(visit(values, [], false) as Record<string, JavaScriptValue>);
}

/** Whether the value at `path` is a secret, by itself or as part of one. */
export function isSecretAt(secrets: readonly Path[], path: Path): boolean {
  return secrets.some((s) => s.length <= path.length && s.every((key, i) => key === path[i]));
}

/** The value at `path`; undefined where there is none. */
export function valueAt(values: unknown, path: Path): unknown {
  return path.reduce<unknown>((v, key) => (isRecord(v) || Array.isArray(v) ? (v as Bag)[key] : undefined), values);
}

/** The bag with `value` at `path`, objects on the way made as needed; undefined takes it away, and objects left empty. */
export function withValueAt(values: Bag, path: Path, value: unknown): Bag {
  const [key, ...rest] = path;
  if (key === undefined) return values;
  const inner = values[key];
  const next = rest.length === 0 ? value : withValueAt(isRecord(inner) ? inner : {}, rest, value);
  const empty = isRecord(next) && Object.keys(next).length === 0 && value === undefined;
  const { [key]: _, ...others } = values;
  return next === undefined || empty ? others : { ...values, [key]: next };
}
