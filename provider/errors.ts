/**
 * Errors are part of the interface: each names the host, the step, the reason and the remedy, and carries a stable
 * code that README's troubleshooting section lists.
 */

/** Stable error codes. Never renamed once released; README explains each. */
export const ERROR_CODES = [
  "bad-input", // an input property is wrong
  "unreachable", // no TCP/SSH connection (refused, timed out, no route, name unknown)
  "host-key", // the host key is unknown or has changed
  "auth", // the host refused the login
  "sudo", // become did not work: password wrong or missing, not allowed, requiretty
  "timeout", // connected, but no complete answer in time
  "protocol", // the host answered something that is not our protocol, or more than the bound allows
  "host-tools", // the host lacks a tool that the scripts need
  "config-missing", // the configuration file is not there (or a directory, or a dangling link)
  "config-broken", // OpenSSH refuses the configuration as it stands: reported, never edited
  "config-unreadable", // a file of the Include chain cannot be read or is over the bounds
  "config-wrong-side", // ServerAlive* in an sshd_config or ClientAlive* in an ssh_config
  "config-not-understood", // our reading and OpenSSH's disagree: not edited
  "not-writable", // read-only file system, immutable file, no right, no space
  "plan", // no edit can make the wanted values effective
  "daemon", // no listening sshd found, or several that fit, or its options override the files
  "foreign-edit", // files changed by someone else since the daemon loaded them
  "changed-meanwhile", // a file changed between observe and install
  "locked", // another transaction is under way on this host
  "boot-guard", // no boot guard can be placed
  "supervisor", // the supervisor did not start or did not outlive the connection
  "validate", // OpenSSH on the host refuses the candidate, or it changes more than the managed options
  "install", // writing the files failed; the old bytes are back
  "activate", // the daemon did not re-read its files; the old state is back
  "verify", // the new login did not work, or showed other values; the old state is back
  "idle-timeout", // the settings would not survive idleTimeout on this OpenSSH
  "stopped", // not tried: the rollout stopped after earlier failures
] as const;

/** One of {@link ERROR_CODES}. */
export type ErrorCode = (typeof ERROR_CODES)[number];

/** The steps of a host's way, in order; an error names the one it happened in. */
export type Step =
  | "inputs"
  | "connect"
  | "observe"
  | "plan"
  | "validate"
  | "arm"
  | "install"
  | "activate"
  | "verify"
  | "confirm"
  | "revert"
  | "delete";

/** What went wrong on one host (or in the inputs, when `host` is absent). */
export interface Failure {
  readonly code: ErrorCode;
  /** The host's name in the `hosts` map. */
  readonly host?: string;
  readonly step: Step;
  /** The input that is to blame where it is given, within the host's settings: `server.configPath`. */
  readonly property?: string;
  /** What happened, one sentence; anything that came from a host in it is already escaped. */
  readonly reason: string;
  /** What to do about it, one sentence. */
  readonly remedy: string;
  /** The host's state after the failure, when a transaction had begun, for example "the old settings are in force". */
  readonly aftermath?: string;
  /** `locked`: seconds after which it is worth trying again. */
  readonly retryAfterSeconds?: number;
  /** Trying again soon may work: the connection was refused, reset or timed out, and nothing had begun on the host. */
  readonly transient?: boolean;
}

/** The one error this package throws on purpose. Use {@link isKeepaliveError}, not instanceof, across module copies. */
export class KeepaliveError extends Error {
  readonly failure: Failure;
  constructor(failure: Failure) {
    super(describeFailure(failure));
    this.name = "KeepaliveError";
    this.failure = failure;
  }
}

/** True for a {@link KeepaliveError}, whichever copy of the package made it. */
export function isKeepaliveError(e: unknown): e is KeepaliveError {
  return e instanceof Error && e.name === "KeepaliveError" && "failure" in e;
}

/** One line for people: `web-1: [auth] connect: reason. Remedy.` */
export function describeFailure(f: Failure): string {
  const where = f.host === undefined ? "" : `${printable(f.host)}: `;
  const after = f.aftermath === undefined ? "" : ` (${f.aftermath})`;
  return `${where}[${f.code}] ${f.step}: ${ended(f.reason + after)} ${ended(f.remedy.charAt(0).toUpperCase() + f.remedy.slice(1))}`;
}

const ended = (sentence: string): string => (sentence.endsWith(".") ? sentence : `${sentence}.`);

/**
 * Makes text that came from a host or a user safe to print: control characters, escape sequences, bidirectional
 * controls and bytes outside UTF-8 become `\xNN` / `\u{…}`; the result is cut to `max` characters.
 */
export function printable(text: string, max = 2000): string {
  const cut = text.length > max ? `${text.slice(0, max)}…` : text;
  return cut.replace(/[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufffd]/g, (c) => {
    const code = c.charCodeAt(0);
    return code < 0x100 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u{${code.toString(16)}}`;
  });
}
