/**
 * The POSIX scripts that run on hosts, composed from their parts. Constants of the package: no value is ever spliced
 * into one.
 */
import { readFileSync } from "node:fs";
import path from "node:path";

const part = (name: string): string => readFileSync(path.join(__dirname, "scripts", `${name}.sh`), "latin1");

const composed = new Map<string, string>();

function compose(...parts: readonly string[]): string {
  const key = parts.join(" ");
  let text = composed.get(key);
  if (text === undefined) {
    text = parts.map(part).join("\n");
    composed.set(key, text);
  }
  return text;
}

/** Looks at a host, read only. */
export const observeScript = (): string => compose("host", "service", "observe");

/** Takes the lock, stages, validates, arms. */
export const transactionScript = (): string => compose("host", "service", "supervisor", "judge", "transaction");

/** Verifies in a new login and confirms; or asks how a transaction ended. */
export const confirmScript = (): string => compose("host", "service", "supervisor", "confirm");

/** Takes ownership where nothing is to be edited. */
export const ownScript = (): string => compose("host", "service", "supervisor", "own");

/** What is staged on the host and run there as `sh run.sh VERB FOLDER`: supervise, inside, recover, guard. */
export const stagedScript = (): string =>
  `LC_ALL=C\nexport LC_ALL\nPATH="\${PATH:-/usr/bin:/bin}:/usr/sbin:/sbin"\numask 077\nset -u\n${compose("host", "service", "supervisor", "judge")}\n"$@"\n`;
