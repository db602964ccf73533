/**
 * The POSIX scripts that run on hosts, composed from their parts. Constants of the package: no value is ever spliced
 * into one.
 */
import { readFileSync } from "node:fs";
import path from "node:path";

/** One part without its comments, which a host would only have to read; what stands in here-documents is no comment. */
function part(name: string): string {
  let inside = false;
  return readFileSync(path.join(__dirname, "scripts", `${name}.sh`), "latin1")
    .split("\n")
    .filter((line) => {
      const comment = !inside && /^\s*#/.test(line);
      inside = inside ? line !== "END" : /<<END$/.test(line);
      return !comment;
    })
    .join("\n");
}

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

/** What every script is sent with: the host's side of the frame. */
export const libScript = (): string => compose("lib");

/** Looks at a host, read only. */
export const observeScript = (): string => compose("host", "service", "remembered", "observe");

/** What ends the staged script where it stands inside another. */
const STAGED_END = "pulumi-ssh-keepalive-staged-end";

/**
 * Takes the lock, stages, validates, arms. The script to be staged stands in it as a here-document: as a datum the host's
 * shell would have to split and decode its 37 KB.
 */
export const transactionScript = (): string =>
  `${compose("host", "service", "supervisor", "judge", "transaction")}\nstaged() {\ncat <<'${STAGED_END}'\n${stagedScript()}${STAGED_END}\n}`;

/** Verifies in a new login and confirms; or asks how a transaction ended. */
export const confirmScript = (): string => compose("host", "service", "supervisor", "confirm");

/** Takes ownership where nothing is to be edited. */
export const ownScript = (): string => compose("host", "service", "supervisor", "own");

/** What is staged on the host and run there as `sh run.sh VERB FOLDER`: supervise, inside, recover, guard. */
export const stagedScript = (): string =>
  `LC_ALL=C\nexport LC_ALL\nPATH="\${PATH:-/usr/bin:/bin}:/usr/sbin:/sbin"\numask 077\nset -u\n${compose("host", "service", "supervisor", "judge")}\n"$@"\n`;
