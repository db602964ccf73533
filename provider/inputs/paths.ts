/** Paths into the inputs, and the parts that are not known yet. */
import { printable } from "../errors";

/** What stands in place of a value that is not known yet (@pulumi/pulumi, runtime/rpc.ts `unknownValue`). */
export const UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9";

/** Keys of nested objects and lists, from the inputs downward. */
export type Path = readonly (string | number)[];

export interface Finding {
  readonly path: Path;
  readonly reason: string;
}

export const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

export const isPrefix = (prefix: Path, of: Path): boolean =>
  prefix.length <= of.length && prefix.every((key, i) => String(key) === String(of[i]));

/** `hosts["web-2"].server.reload[0]` */
export function pathText(at: Path): string {
  return at
    .map((key, i) => {
      if (typeof key === "number") return `[${key}]`;
      const before = at[i - 1];
      const isMapKey = before === "sshOptions" || (i === 1 && (before === "hosts" || before === "pendingChanges"));
      if (isMapKey || !/^[A-Za-z_$][\w$]*$/.test(key)) return `[${quoted(key, 80)}]`;
      return i === 0 ? key : `.${key}`;
    })
    .join("");
}

export const quoted = (text: string, max = 60): string => `"${printable(text, max).replaceAll('"', '\\"')}"`;

/**
 * The value without what is not known yet and without absent properties, and where the unknown parts were. `aside` names
 * further paths to leave out. A list with such an element is left out as a whole: its indexes would shift.
 */
export function prune(value: unknown, aside: readonly Path[] = []): { known: unknown; gaps: Path[] } {
  const gaps: Path[] = [];
  const asideTexts = new Set(aside.map(pathText));
  const visit = (part: unknown, at: Path): unknown => {
    if (part === UNKNOWN || (asideTexts.size > 0 && asideTexts.has(pathText(at)))) {
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
