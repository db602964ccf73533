/**
 * What a preview hands over to the update that follows it: an answer of a host, for some minutes, in the private folder,
 * so that the update need not ask for it again. What is made of it must be proven on the host before anything is done.
 */
import { readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import type { Answer } from "./connector";
import { ageMs, keyedName, privateFolder, surroundings } from "./controlFolder";
import type { SshTarget } from "./target";

/** How long what was seen serves a change, in milliseconds: for who reads a preview and says yes. */
export const KEPT_MS = 300_000;
/** No answer longer than this is kept, in characters; a usual one has some ten thousand. */
const KEPT_MAX = 262_144;
/** Those of a process that was killed while it wrote too. */
const NAME = /^look-[0-9a-f]{20}(\.\d+)?$/;

/** Named like sockets, by where the answer came from, what was asked and as whom: nothing else gets it. */
function fileOf(target: SshTarget, about: string): string {
  const folder = privateFolder();
  return path.join(folder, `look-${keyedName(folder, [target, about, ...surroundings(process.env)])}`);
}

/** A time that is yet to come is as wrong as one long past. */
const isRecent = (file: string): boolean => Math.abs(ageMs(file)) < KEPT_MS;

let swept = false;

/** Removes what nobody came for, once a process. */
function sweep(): void {
  if (swept) return;
  swept = true;
  const folder = privateFolder();
  for (const name of readdirSync(folder)) {
    const file = path.join(folder, name);
    if (NAME.test(name) && !isRecent(file)) rmSync(file, { force: true });
  }
}

/**
 * Keeps what `target` answered about `about`, readable for this user alone, in place of what was kept of it before;
 * undefined: nothing is kept any more. That it cannot be kept does no harm.
 */
export function handOver(target: SshTarget, about: string, answer: Answer | undefined): void {
  try {
    sweep();
    const file = fileOf(target, about);
    const text = answer === undefined ? undefined : JSON.stringify(answer);
    if (text === undefined || text.length > KEPT_MAX) {
      rmSync(file, { force: true });
      return;
    }
    const temporary = `${file}.${process.pid}`;
    writeFileSync(temporary, text, { mode: 0o600 });
    renameSync(temporary, file);
  } catch {
    // A full disk, a folder that is not safe: the update asks the host again.
  }
}

/** What was handed over about `about`; undefined when there is nothing, or nothing recent. */
export function handedOver(target: SshTarget, about: string): Answer | undefined {
  try {
    sweep();
    const file = fileOf(target, about);
    return isRecent(file) ? (JSON.parse(readFileSync(file, "utf8")) as Answer) : undefined;
  } catch {
    return undefined;
  }
}

/** The same, and nobody gets it from now on. */
export function takeOver(target: SshTarget, about: string): Answer | undefined {
  const answer = handedOver(target, about);
  handOver(target, about, undefined);
  return answer;
}
