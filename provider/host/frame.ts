/**
 * The frame around a script: what is sent to the host's `sh` and how its answer is read. Pure; the host's side is
 * scripts/lib.sh, the talking is session.ts.
 *
 * The remote command is a constant that says {@link READY}, skips lines up to {@link BEGIN} and becomes a `sh` that
 * reads the script from stdin. The script is definitions only; the last line calls it with the data as a
 * here-document. So a stream that is cut off anywhere runs nothing, and no value is ever part of shell source.
 */
import { randomBytes } from "node:crypto";
import type { Answer, AnswerRecord, Script } from "./connector";

/** The line the remote command prints on stdout when it waits for the script. */
export const READY = "pulumi-ssh-keepalive-ready";

/** The line up to which the remote command drops its stdin: a password that sudo did not want is never a command. */
export const BEGIN = "pulumi-ssh-keepalive-begin";

/** The prompt that sudo is told to use (sudo(8) -p), so that only sudo's own question gets the password. */
export const SUDO_PROMPT = "[pulumi-ssh-keepalive:sudo]";

/** Most bytes of stdout that are taken from a host, noise included: 9 MiB (8 MiB of files and the frame). */
export const MAX_ANSWER = 9 * 1024 * 1024;

/** Encoded text in pieces short enough for a printf that is not built in (ARG_MAX is 4096 bytes at least). */
const PIECES = /.{1,3500}(?<!\\[0-7]{0,3})/g;

/** A name for one frame: 32 hexadecimal digits, random, so that neither noise nor file contents can imitate it. */
export function newNonce(): string {
  return randomBytes(16).toString("hex");
}

// Login shells may be fish or csh: single quotes around it, so no quote, backslash, `!` or newline inside.
const BOOTSTRAP =
  `LC_ALL=C; export LC_ALL; unset ENV; echo; echo ${READY}; ` +
  `while IFS= read -r line; do case $line in ${BEGIN}) exec sh ;; esac; done; exit 97`;

// sudo only if the login is not that user already: hosts where root logs in often have no sudo.
const becoming = (sudo: string): string =>
  `case $2 in "$(id -un)"|"#$(id -u)") exec sh -c "$1" ;; esac; exec ${sudo} -H -u "$2" -- sh -c "$1"`;

/** How to become another user: {@link bootstrapArgv}. */
export interface BecomeMode {
  /** A user name or `#uid`, already checked (target.ts). */
  readonly user: string;
  /** Whether a password will be given at {@link SUDO_PROMPT}; without one sudo may not ask. */
  readonly withPassword: boolean;
}

/** The command that waits for the script, as an argument list: `sh -c …`, through sudo if wanted. */
export function bootstrapArgv(become?: BecomeMode): readonly string[] {
  if (become === undefined) return ["sh", "-c", BOOTSTRAP];
  const sudo = become.withPassword ? `sudo -S -p "${SUDO_PROMPT}"` : "sudo -n";
  return ["sh", "-c", becoming(sudo), "sh", BOOTSTRAP, become.user];
}

/** The same command as one line for the host's login shell, whichever it is: every word in single quotes. */
export function bootstrapCommand(become?: BecomeMode): string {
  const words = bootstrapArgv(become).map((word) => {
    // All words are constants of this file, except a checked user name.
    if (/['\\!\n]/.test(word)) throw new Error("a word of the remote command cannot be quoted for every shell");
    return `'${word}'`;
  });
  return `exec ${words.join(" ")}`;
}

/**
 * A byte string as one line of printable ASCII for the host's `printf %b` (POSIX printf: `\0ooo`), in pieces with
 * tabs between them (see decode in lib.sh).
 */
export function encodeDatum(value: string): string {
  if (/[^\x00-\xff]/.test(value)) throw new RangeError("data for the host must be a byte string");
  const text = value.replace(/[^\x20-\x7e]|\\/g, (c) => `\\0${c.charCodeAt(0).toString(8).padStart(3, "0")}`);
  // A piece ends before a byte's escape, which is up to five characters long, never inside.
  return text.match(PIECES)?.join("\t") ?? "";
}

/** What follows the nonce in a record's first line. One for all answers: an expression with the nonce is compiled anew. */
const HEADER = / ([A-Za-z0-9_.-]+) (\d{1,10}) (-|\d{1,10})\n/y;

/** The whole stdin for one script: `lib` is the text of scripts/lib.sh. Throws RangeError for data no host could take. */
export function frameInput(script: Script, lib: string, nonce: string): Buffer {
  const data = script.data.map(([name, value]) => {
    if (!/^[a-z][a-z0-9_.]*$/.test(name)) throw new RangeError(`"${name}" cannot name a datum`);
    return `${name} ${encodeDatum(value)}\n`;
  });
  const text = `${data.join("")}end.\n`;
  return Buffer.from(
    `${BEGIN}\n${lib}\n${script.text}\nframe_nonce=${nonce}\nframe_size=${text.length}\n` +
      `frame_main <<'${nonce}'\n${text}${nonce}\n`,
    // Byte strings, and several times faster than UTF-8.
    "latin1",
  );
}

/** A complete answer, or why there is none. `cutOff`: what is there is right, but the end is missing. */
export type ParsedAnswer =
  | { readonly answer: Answer }
  | { readonly problem: string; readonly began: boolean; readonly cutOff: boolean };

/**
 * Reads an answer out of stdout. Anything may stand before the first frame line (login files print); from there on
 * each byte must fit. What follows the end record is ignored.
 */
export function parseAnswer(stdout: Buffer, nonce: string): ParsedAnswer {
  const text = stdout.toString("latin1");
  const headerAt = (at: number): RegExpExecArray | null => {
    HEADER.lastIndex = at + nonce.length;
    return text.startsWith(nonce, at) ? HEADER.exec(text) : null;
  };
  let at = text.indexOf(nonce);
  while (at !== -1 && ((at > 0 && text[at - 1] !== "\n") || headerAt(at) === null)) at = text.indexOf(nonce, at + 1);
  if (at === -1) return { problem: "no record of ours in the answer", began: false, cutOff: true };
  const records: AnswerRecord[] = [];
  const cut = (problem: string): ParsedAnswer => ({ problem, began: true, cutOff: true });
  const off = (problem: string): ParsedAnswer => ({ problem, began: true, cutOff: false });
  for (;;) {
    const match = headerAt(at);
    if (match === null) {
      return text.indexOf("\n", at) === -1
        ? cut(`the answer ends after ${records.length} records`)
        : off(`something else than a record stands after record ${records.length}`);
    }
    const [line, name = "", size = "", sum = ""] = match;
    at += nonce.length + line.length;
    if (name === "end") {
      if (Number(size) === records.length) return { answer: records };
      return off(`the answer has ${records.length} records and should have ${size}`);
    }
    const end = at + Number(size);
    if (end + 1 > text.length) return cut(`the answer ends inside record ${records.length + 1}`);
    if (text[end] !== "\n") return off(`record "${name}" is longer than it says: a file changed while it was read`);
    const value = text.slice(at, end);
    if (sum !== "-" && String(cksum(stdout.subarray(at, end))) !== sum) {
      return off(`the checksum of record "${name}" is wrong`);
    }
    records.push({ name, value });
    at = end + 1;
  }
}

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte << 24;
  for (let bit = 0; bit < 8; bit++) crc = crc & 0x80000000 ? (crc << 1) ^ 0x04c11db7 : crc << 1;
  return crc >>> 0;
});

/** The checksum that POSIX `cksum` prints (POSIX.1-2017, cksum: CRC-32 with the length appended, complemented). */
export function cksum(bytes: Uint8Array): number {
  let crc = 0;
  const add = (byte: number): void => {
    crc = ((crc << 8) ^ (CRC_TABLE[((crc >>> 24) ^ byte) & 0xff] ?? 0)) >>> 0;
  };
  // Not for…of, which is several times slower over bytes.
  for (let i = 0; i < bytes.length; i++) add(bytes[i] ?? 0);
  for (let length = bytes.length; length > 0; length = Math.floor(length / 256)) add(length & 0xff);
  return ~crc >>> 0;
}
