/**
 * What keepalive settings mean on an OpenSSH version: when the first probe goes out, when a session whose other end is
 * gone is ended, and whether that is early enough for the firewall in between. All times are seconds.
 */
import { printable } from "./errors";
import type { Side } from "./settings";

/** An OpenSSH release. `patch` is the N of the portable `pN` (0 where there is none: OpenBSD, FreeBSD's banner). */
export interface OpenSshVersion {
  readonly major: number;
  readonly minor: number;
  readonly patch: number;
  /** As the host names it, without the crypto library: `OpenSSH_9.2p1 Debian-2+deb12u6`. Safe to print. */
  readonly text: string;
}

/**
 * The version in a banner (`SSH-2.0-OpenSSH_9.2p1 Debian-2`), the output of `ssh -V` or `sshd -V`, or the usage text of
 * an sshd that does not know -V (before 9.2: its second line names the version). Undefined when it is not OpenSSH.
 */
export function parseVersion(output: string): OpenSshVersion | undefined {
  const found = /OpenSSH(?:_for_Windows)?_(\d{1,4})\.(\d{1,4})(?:\.\d{1,4})?(?:p(\d{1,4}))?[^,\r\n]*/.exec(output);
  if (found === null) return undefined;
  const [text, major = "", minor = "", patch = "0"] = found;
  return {
    major: Number(major),
    minor: Number(minor),
    patch: Number(patch),
    text: printable(text.trim(), 100),
  };
}

/** An OpenSSH whose probes are on time. None does better, so what fails here fails on every host. */
export const ON_TIME: OpenSshVersion = { major: 10, minor: 0, patch: 0, text: "any OpenSSH" };

const atLeast = (v: OpenSshVersion, major: number, minor: number): boolean =>
  v.major > major || (v.major === major && v.minor >= minor);

/**
 * How many intervals a silent session waits for a probe. serverloop.c of 9.2 to 9.4 compares whole seconds with
 * `now > last_client_time + interval`, which the first timeout of ppoll misses; OpenSSH commit 9d7193a83 (9.5) made it `>=`.
 * After a word of the server that came a second or more after the client's last, 9.2 probes in time; the worst case counts.
 * Where the version of an sshd could not be read, the slow one is assumed. clientloop.c was never affected.
 */
function intervalsToProbe(side: Side, version: OpenSshVersion | undefined): 1 | 2 {
  if (side === "client") return 1;
  if (version === undefined) return 2;
  return atLeast(version, 9, 2) && !atLeast(version, 9, 5) ? 2 : 1;
}

/** The two numbers of one side: ClientAlive* for a server, ServerAlive* for a client. */
export interface ProbeValues {
  /** Seconds; 0: no probes. */
  readonly interval: number;
  readonly countMax: number;
}

/** When a session is probed and ended; `null` means never. */
export interface Timing {
  /** Seconds of silence after which the first probe goes out, at the latest (OpenSSH counts in whole seconds). */
  readonly firstProbeSeconds: number | null;
  /** Seconds after which a session whose other end is gone is ended, at the latest. */
  readonly disconnectSeconds: number | null;
  /** The reason, with the arithmetic, one sentence without a full stop. */
  readonly why: string;
}

const named = (side: Side): { interval: string; count: string; program: string } =>
  side === "server"
    ? { interval: "ClientAliveInterval", count: "ClientAliveCountMax", program: "sshd" }
    : { interval: "ServerAliveInterval", count: "ServerAliveCountMax", program: "ssh" };

const versionName = (side: Side, version: OpenSshVersion | undefined): string =>
  version === undefined ? `an ${named(side).program} of unknown version` : version.text;

/**
 * When OpenSSH of `version` probes and ends a session. An undefined version means it could not be read; then the
 * latest time that any release takes is given.
 *
 * Sources: client_alive_check and wait_until_can_do_something in serverloop.c, server_alive_check in clientloop.c, 7.4
 * to 10.5. Both count a probe *before* they send it and end the session when the count passes the maximum: the session
 * ends at the (count + 1)th interval, not at the count-th as the manual pages say. A count of 0 therefore ends even a
 * healthy session instead of the first probe; sshd alone, from 8.2, reads 0 as "never end".
 */
export function timing(side: Side, version: OpenSshVersion | undefined, values: ProbeValues): Timing {
  const { interval, countMax } = values;
  const name = named(side);
  if (interval === 0) {
    return { firstProbeSeconds: null, disconnectSeconds: null, why: `${name.interval} 0 sends no probes` };
  }
  const factor = intervalsToProbe(side, version);
  const wait = factor * interval;
  if (countMax === 0) {
    if (side === "server" && (version === undefined || atLeast(version, 8, 2))) {
      return {
        firstProbeSeconds: wait,
        disconnectSeconds: null,
        why: `${name.count} 0 makes sshd from 8.2 on probe and never end a session`,
      };
    }
    return {
      firstProbeSeconds: null,
      disconnectSeconds: wait,
      why: `${name.count} 0 makes ${versionName(side, version)} end even a healthy session after ${wait} s of silence, instead of probing`,
    };
  }
  const twice = factor === 2 ? "2 × " : "";
  const because =
    factor === 1
      ? ""
      : version === undefined
        ? " (sshd 9.2 to 9.4 wait twice the interval, and the version is not known)"
        : ` (${version.text} waits twice the interval; sshd from 9.5 on does not)`;
  const probe = factor === 2 ? `2 × ${interval} s = ${wait} s` : `${wait} s`;
  return {
    firstProbeSeconds: wait,
    disconnectSeconds: wait * (countMax + 1),
    why: `first probe after ${probe}, end after ${twice}${interval} s × (${countMax} + 1) = ${wait * (countMax + 1)} s${because}`,
  };
}

/**
 * Seconds by which the first probe must come before the firewall forgets. One because OpenSSH counts whole seconds and
 * may be that late; one for the way to the firewall and a busy machine.
 */
export const IDLE_MARGIN_SECONDS = 2;

/** Without `idleTimeout`: a first probe later than this is warned about; common firewalls forget from 300 s on. */
export const LATE_PROBE_SECONDS = 300;

/** Why settings do not survive an idle limit, and the longest interval that does (absent when none can). */
export interface IdleProblem {
  /** One sentence without a full stop, with the arithmetic and the remedy. */
  readonly reason: string;
  /** Seconds. */
  readonly workingInterval?: number;
}

/**
 * Whether the first probe comes at least {@link IDLE_MARGIN_SECONDS} before something in between forgets an idle session
 * (`idleTimeout` seconds); undefined when it does. The two sides of one host are judged each by its own: its server
 * settings are about sessions to it, its client settings about sessions from it.
 */
export function checkIdle(
  idleTimeout: number,
  side: Side,
  version: OpenSshVersion | undefined,
  values: ProbeValues,
): IdleProblem | undefined {
  const { firstProbeSeconds: first, why } = timing(side, version, values);
  if (first !== null && first + IDLE_MARGIN_SECONDS <= idleTimeout) return undefined;

  const working = Math.floor((idleTimeout - IDLE_MARGIN_SECONDS) / intervalsToProbe(side, version));
  const name = named(side);
  const limit = `idleTimeout ${idleTimeout} s`;
  const tooLate =
    first === null
      ? `${why}, and after ${limit} an idle session is forgotten`
      : `${name.interval} ${values.interval} is too long for ${limit}: ${why}, and the first probe must come ${IDLE_MARGIN_SECONDS} s before the limit`;
  if (working < 1) {
    return {
      reason: `${tooLate}; no interval of whole seconds works on ${versionName(side, version)}: raise the limit`,
    };
  }
  // A count of 0 on a client or an old sshd sends no probe whatever the interval.
  const remedy =
    first === null && values.interval !== 0
      ? `set ${name.count} to 1 or more and ${name.interval} to ${working} or less`
      : `set ${name.interval} to ${working} or less`;
  return { reason: `${tooLate}; ${remedy}`, workingInterval: working };
}

/**
 * Without an `idleTimeout` to judge by: a sentence (no full stop) when the first probe comes later than
 * {@link LATE_PROBE_SECONDS}, undefined otherwise. No probes at all (interval 0) is what was asked for: no warning.
 */
export function lateProbeWarning(
  side: Side,
  version: OpenSshVersion | undefined,
  values: ProbeValues,
): string | undefined {
  const { firstProbeSeconds: first } = timing(side, version, values);
  if (first === null || first <= LATE_PROBE_SECONDS) return undefined;
  const working = Math.floor(LATE_PROBE_SECONDS / intervalsToProbe(side, version));
  const doubled = first === values.interval ? "" : ` on ${versionName(side, version)}, which waits twice the interval`;
  return `${named(side).interval} ${values.interval} probes after ${first} s of silence${doubled}: many firewalls forget a session after ${LATE_PROBE_SECONDS} s; set idleTimeout to what yours does, or the interval to ${working} or less`;
}
