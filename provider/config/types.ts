/**
 * The shapes that reading and editing OpenSSH configuration share. File contents are "byte strings": one character per
 * byte (latin1), so that nothing is lost whatever the encoding.
 */
import type { Side } from "../settings";

/** A file's content, one character (0x00–0xff) per byte. */
export type ByteString = string;

/** Every file OpenSSH would read for one main file, as observe found them on the host. */
export interface Tree {
  readonly side: Side;
  /** Absolute path of the main file, as OpenSSH is given it. */
  readonly main: string;
  /** Path → bytes of each file of the Include chain that exists. The main file is absent when it does not exist. */
  readonly files: ReadonlyMap<string, ByteString>;
  /**
   * What each Include pattern matched on the host: the absolute pattern (relative names already completed with
   * {@link includeBase}) → paths in the order OpenSSH reads them (C locale). A pattern that matched nothing maps to [].
   */
  readonly globs: ReadonlyMap<string, readonly string[]>;
  /** The folder that relative Include names are under: /etc/ssh for sshd and the system-wide ssh_config, ~/.ssh for a user's. */
  readonly includeBase: string;
  /** Where `~/` in a client's Include leads; absent for a server. */
  readonly home?: string;
}

/** What a line stands under. */
export type Scope =
  /** Before any Match or Host, or under `Match all` / `Host *`: speaks for everyone. */
  | { readonly kind: "everyone"; readonly via: "global" | "Match all" | "Host *" }
  /** Under a Match or Host (or an Include inside one) that speaks for some. */
  | { readonly kind: "some"; readonly header: string; readonly file: string; readonly line: number };

/** One line that sets something, in reading order across Includes. */
export interface Statement {
  readonly file: string;
  /** 1-based. */
  readonly line: number;
  /** As written in the file. */
  readonly keyword: string;
  readonly args: readonly string[];
  readonly scope: Scope;
}

/** What cannot be edited safely, and why. Found while reading; the host is reported, not edited. */
export interface ReadProblem {
  readonly kind: "missing" | "bom" | "nul" | "wrong-side" | "include-not-read" | "include-depth" | "syntax";
  readonly file: string;
  readonly line?: number;
  /** One sentence; for `wrong-side` it says which option was meant. Already escaped for printing. */
  readonly message: string;
}

/** The whole configuration as OpenSSH reads it. */
export interface Chain {
  readonly tree: Tree;
  readonly statements: readonly Statement[];
  readonly problems: readonly ReadProblem[];
}

/** Where an effective value comes from. */
export interface Origin {
  readonly file: string;
  readonly line: number;
}

/** An option's value for everyone. `origin` is absent when no line sets it (OpenSSH's default). */
export interface Effective {
  readonly value: string;
  readonly origin?: Origin;
}

/** A Match or Host block for some that sets a managed option to something else than it is for everyone. */
export interface Difference {
  readonly option: string;
  readonly value: string;
  readonly header: string;
  readonly file: string;
  readonly line: number;
}

/**
 * One edit this package made to a file, kept on the host so that it can be undone. Lines include their line ends.
 */
export type Edit =
  /** The file did not exist before: `lines` are its whole content. */
  | { readonly kind: "created"; readonly file: string; readonly lines: readonly ByteString[] }
  /** At 0-based line index `at`, `removed` (may be empty) was replaced by `inserted` (may be empty). */
  | {
      readonly kind: "spliced";
      readonly file: string;
      /** The managed option it is about; empty for what frames others: a Host line, a blank line, a newline at the end. */
      readonly option: string;
      readonly at: number;
      readonly removed: readonly ByteString[];
      readonly inserted: readonly ByteString[];
    };

/** Result of planning an edit or an undo: pure data. */
export interface EditPlan {
  /** Path → new bytes; `null` removes the file. Only files that change. Empty: nothing to do. */
  readonly writes: ReadonlyMap<string, ByteString | null>;
  /**
   * All edits of ours that stand in the files after this plan, earlier ones included, at their places of now; and
   * earlier ones whose lines someone else removed or changed, so that healing them can go back to what they replaced.
   */
  readonly edits: readonly Edit[];
  /** What will be edited, for people: `set ClientAliveInterval 60 in /etc/ssh/sshd_config:12 (was 300)`. */
  readonly notes: readonly string[];
  /** What was left alone on undo because someone changed it since, for people. */
  readonly left: readonly string[];
  /** Why the wanted values cannot be made effective by an edit; then `writes` is empty. */
  readonly refusal?: string;
}

/** Where a server's edit may go: design's `placement`. */
export type Placement = "auto" | "dropIn" | "main";
