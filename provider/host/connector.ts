/**
 * How a host is reached: the interface that everything above `host/` sees. A connector runs one of the package's own
 * POSIX sh scripts on the host and brings back framed records; it knows nothing of what the scripts do.
 */
import type { Step } from "../errors";

/** A script to run on the host. */
export interface Script {
  /** For messages: "observe", "transaction". */
  readonly name: string;
  /** POSIX sh source: definitions only; the frame's last line calls `main`. */
  readonly text: string;
  /**
   * Data for the script, never part of its source: sent after it, decoded on the host. Each entry is a name
   * ([a-z][a-z0-9_.]*) and a byte string (latin1). Names may repeat; order is kept.
   */
  readonly data: readonly (readonly [name: string, value: string])[];
  /** Bound for the whole command, in milliseconds, login excluded. Default 20,000. */
  readonly timeoutMs?: number;
  /** The step that a failure after the login is reported under. Default "connect". */
  readonly step?: Step;
}

/** One framed record of an answer. */
export interface AnswerRecord {
  readonly name: string;
  /** Byte string (latin1). */
  readonly value: string;
}

/** A complete answer: records in the order the script wrote them. */
export type Answer = readonly AnswerRecord[];

/**
 * A way to a host. Every method rejects with a KeepaliveError whose step is "connect" (codes unreachable, host-key,
 * auth, sudo) or the given step (timeout, protocol, host-tools).
 */
export interface Connector {
  /** The host's name in the `hosts` map, for messages. */
  readonly name: string;
  /** `local` never leaves this machine; `ssh` goes through the system's OpenSSH client. */
  readonly kind: "local" | "ssh";
  /** Runs a script over the shared connection (opened at first use, kept for a later process to reuse). */
  run(script: Script): Promise<Answer>;
  /** Runs a script over a login of its own: new TCP connection, new authentication, nothing shared, closed at the end. */
  runInNewLogin(script: Script, options?: { readonly user?: string }): Promise<Answer>;
  /** Closes the shared connection, also one that an earlier process left open; resolves when it is gone. */
  close(): Promise<void>;
  /** Has the shared connection end as soon as nobody works over it; nothing new can begin on it. */
  release(): Promise<void>;
}
