/**
 * What a host remembers of the state in which it was as wanted, so that a later look can be short: as long as all of it
 * holds, nothing that such a look could find has changed. Written by a transaction, read by scripts/observe.sh
 * (`unchanged`); previews write nothing.
 */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import path from "node:path";
import type { ByteString } from "./config/types";
import { globLines, sumOf, type TargetFacts } from "./observe";
import type { Wish } from "./plan";

/** Another release may judge the same bytes otherwise. */
const { version } = JSON.parse(readFileSync(path.join(__dirname, "..", "package.json"), "utf8")) as {
  readonly version: string;
};

/** Stands for all that a plan depends on and the host does not have: equal digests, equal judgement of equal facts. */
export function wishDigest(wish: Wish): string {
  const { side, wanted, placement, patterns, user, reload, idleTimeout } = wish;
  const values = Object.entries(wanted).sort(([a], [b]) => (a < b ? -1 : 1));
  const text = JSON.stringify([version, side, values, placement, patterns, user, reload, idleTimeout]);
  return createHash("sha256").update(text).digest("hex").slice(0, 16);
}

/** The state that is to be remembered: after an edit, or as it was found. */
export interface Settled {
  /** Who manages the host from now on. */
  readonly owner: string;
  /** The record on the host. */
  readonly record: ByteString;
  /** Files of the Include chain: path → "CRC SIZE", or "absent -". */
  readonly sums: ReadonlyMap<string, string>;
  /** Include patterns and what they match. */
  readonly matches: ReadonlyMap<string, readonly string[]>;
  /** What people are told at each look, which needs a whole one. */
  readonly warnings: readonly string[];
}

/**
 * The text that a host is to remember; undefined where a short look could not tell whether it still holds: a user's own
 * file, a daemon that is not known by process and file, files that could not be read, something to warn of.
 */
export function remembered(facts: TargetFacts, wish: Wish, settled: Settled): ByteString | undefined {
  const { daemon, program, exe } = facts;
  const odd = [...facts.files.values()].some(({ problem }) => problem !== undefined && problem !== "missing");
  if (program === undefined || odd || facts.tooManyFiles || settled.warnings.length > 0) return undefined;
  if (facts.side === "server" && (daemon === undefined || facts.severalDaemons !== undefined)) return undefined;
  if (facts.side === "client" && (wish.user !== undefined || facts.matchExec !== undefined)) return undefined;
  const lines = [
    `config ${facts.config}`,
    `wish ${wishDigest(wish)}`,
    `owner ${settled.owner}`,
    `program ${program}`,
    ...(daemon === undefined
      ? []
      : [`exe ${exe}`, `pidfile ${daemon.pidfile}`, ...daemon.argv.map((word) => `arg ${word}`)]),
    `record ${sumOf(settled.record)} ${facts.stateFolder}/record`,
    ...[...settled.sums].map(([file, sum]) => (sum === "absent -" ? `absent ${file}` : `seen ${sum} ${file}`)),
    ...globLines(settled.matches),
    "end",
  ];
  return lines.some((line) => line.includes("\n")) ? undefined : `${lines.join("\n")}\n`;
}
