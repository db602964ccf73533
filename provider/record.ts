/**
 * The record each host keeps of who manages a configuration and what was edited, so that it can be undone exactly.
 */
import { createHash } from "node:crypto";
import { significant } from "./config";
import type { ByteString, Chain, Edit } from "./config/types";

/** What a host remembers of one managed configuration file. */
export interface OwnershipRecord {
  readonly version: 1;
  /** The id of the resource that manages it. */
  readonly owner: string;
  /** Grows with every transaction. */
  readonly generation: number;
  /** The main file, to notice two paths that share a folder name. */
  readonly config: string;
  readonly edits: readonly Edit[];
  /** {@link fingerprint} of what the daemon loaded when this was written. */
  readonly loaded: string;
}

/** A hash over every statement that is not a managed option: equal hashes, equal behaviour apart from keepalives. */
export function fingerprint(chain: Chain): string {
  return createHash("sha256").update(significant(chain), "latin1").digest("hex");
}

/** The record as it is written on the host. */
export function writeRecord(record: OwnershipRecord): ByteString {
  return `${JSON.stringify(record)}\n`;
}

/** Reads a record; undefined when it is not one of ours for `config` (a host may hold anything). */
export function readRecord(bytes: ByteString | undefined, config: string): OwnershipRecord | undefined {
  if (bytes === undefined) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(bytes);
  } catch {
    return undefined;
  }
  const r = value as Partial<OwnershipRecord> | null;
  if (typeof r !== "object" || r === null || r.version !== 1 || r.config !== config) return undefined;
  if (typeof r.owner !== "string" || typeof r.generation !== "number" || typeof r.loaded !== "string") return undefined;
  if (!Array.isArray(r.edits) || !r.edits.every(isEdit)) return undefined;
  return r as OwnershipRecord;
}

const isLines = (v: unknown): boolean => Array.isArray(v) && v.every((line) => typeof line === "string");

function isEdit(v: unknown): v is Edit {
  const e = v as Partial<Record<string, unknown>> | null;
  if (typeof e !== "object" || e === null || typeof e.file !== "string") return false;
  if (e.kind === "created") return isLines(e.lines);
  return (
    e.kind === "spliced" &&
    typeof e.option === "string" &&
    Number.isInteger(e.at) &&
    isLines(e.removed) &&
    isLines(e.inserted)
  );
}
