/**
 * Plan: what is wrong on a host, where it comes from, and the smallest edit that mends it. Pure: facts and wishes in,
 * a plan out; no I/O.
 */
import {
  candidateTree,
  differences,
  effective,
  planEdit,
  planUndo,
  probeHosts,
  readChain,
  rewriteForCopy,
} from "./config";
import type { ByteString, Chain, EditPlan, Effective, Placement, Tree } from "./config/types";
import { type ErrorCode, type Failure, printable, type Step } from "./errors";
import {
  type DaemonFacts,
  type FileFacts,
  type Saying,
  type ServiceManager,
  shown,
  sumOf,
  type TargetFacts,
} from "./observe";
import { fingerprint, type OwnershipRecord, readRecord, writeRecord } from "./record";
import { remembered } from "./remembered";
import { checkIdle, LATE_PROBE_SECONDS, lateProbeWarning, parseVersion, timing } from "./semantics";
import { type Option, optionsOf, type Side, type Values } from "./settings";
import { connectionSpecs } from "./specs";

/** What is wanted of one side's configuration on one host. */
export interface Wish {
  readonly side: Side;
  /** By OpenSSH's spelling, canonical. */
  readonly wanted: Values;
  readonly placement: Placement;
  /** Client: Host patterns; `["*"]` by default. */
  readonly patterns: readonly string[];
  /** Client: a user's own file, which is created when missing. */
  readonly user?: string;
  /** Server: how to make the daemon read its files, where the service manager is not the one found. */
  readonly reload?: readonly string[];
  /** Seconds after which something in between forgets an idle session. */
  readonly idleTimeout?: number;
  readonly allowNoBootGuard: boolean;
}

/** One managed option as it is and as it should be. */
export interface OptionState {
  readonly option: string;
  readonly value: string;
  readonly wanted?: string;
  readonly file?: string;
  readonly line?: number;
  /** Why no file and line can be named. */
  readonly source?: "default" | "command line" | "system file" | "not understood";
}

/** What one look at one side told, for `observed`. */
export interface TargetState {
  readonly side: Side;
  readonly config: string;
  readonly version: string;
  readonly options: readonly OptionState[];
  readonly differs: readonly {
    readonly option: string;
    readonly value: string;
    readonly header: string;
    readonly file: string;
    readonly line: number;
  }[];
  readonly firstProbeSeconds: number | null;
  readonly disconnectSeconds: number | null;
  /** For people, not failures. */
  readonly warnings: readonly string[];
}

/** A file to be installed or removed, and what it must still be. */
export interface FileChange {
  readonly path: string;
  /** New bytes; null: the file goes away. */
  readonly bytes: ByteString | null;
  /** "CRC SIZE" seen, or "absent". */
  readonly sum: string;
  /** For a new file: whose owner, mode and labels it takes; absent: 0600 of {@link TransactionPlan.owner}. */
  readonly like?: string;
}

/** All that a transaction needs to know, decided beforehand. */
export interface TransactionPlan {
  readonly side: Side;
  readonly config: string;
  readonly exe: string;
  /** The program's file and, a line below, its version: for later looks to go by. */
  readonly version?: string;
  readonly daemon?: DaemonFacts;
  /** What starts an sshd for each connection, where that is so. */
  readonly perConnection?: ServiceManager;
  readonly changes: readonly FileChange[];
  /** Every file of the chain as seen: [path, "CRC SIZE" | "absent -"]. */
  readonly seen: readonly (readonly [path: string, sum: string])[];
  /** Include patterns and what they matched. */
  readonly matches: ReadonlyMap<string, readonly string[]>;
  /** Managed keywords, lower case, that may differ in OpenSSH's dumps. */
  readonly managed: readonly string[];
  /** Lines OpenSSH's dump must have afterwards, for example `clientaliveinterval 60`. */
  readonly expect: readonly string[];
  /** Server: `-` and `-C` specifications; client: probe names. Empty: OpenSSH must not be asked (Match exec). */
  readonly specs: readonly string[];
  /** Server: cksum of what `sshd -T` is to say for the first of `specs`: what it said, the managed options as expected. */
  readonly dump?: string;
  /** For a host without mount namespaces: the unchanged tree and the candidate, rewritten to copies. */
  readonly copies?: (
    prefix: string,
    which: "unchanged" | "candidate",
  ) => { main: string; files: Map<string, ByteString> };
  readonly record: ByteString | null;
  /** What the host is to remember for a short look (remembered.ts). */
  readonly remembered?: ByteString;
  readonly user?: string;
  readonly owner?: string;
  readonly reload?: readonly string[];
  readonly allowNoBootGuard: boolean;
  readonly stateFolder: string;
}

/** The decision about one side of one host. */
export type TargetPlan = {
  readonly state: TargetState;
  /** What differs from what is wanted, one line each, with file and line. */
  readonly drift: readonly string[];
} & (
  | {
      readonly kind: "inSync" /** A record to be written, when the host remembers another owner or none. */;
      readonly own?: Own;
    }
  | {
      readonly kind: "edit" /** What a look will tell afterwards. */;
      readonly after: TargetState;
      readonly notes: readonly string[];
      readonly left: readonly string[];
      readonly transaction: TransactionPlan;
    }
  | { readonly kind: "refused"; readonly failure: Failure }
);

/** A record to be written (or, when null, taken away) without an edit. */
export interface Own {
  readonly side: Side;
  readonly config: string;
  readonly record: ByteString | null;
  /** Sum of the record that was seen, or "absent". */
  readonly before: string;
  /** The daemon's identity, when nothing on disk is newer than what it loaded. */
  readonly identity?: string;
  /** What the host is to remember for a short look (remembered.ts). */
  readonly remembered?: ByteString;
}

/** Plans one side of a host: `owner` is the resource's id; undefined in a preview before the resource exists. */
export function planTarget(
  host: string,
  facts: TargetFacts,
  namespace: boolean,
  wish: Wish,
  owner: string | undefined,
): TargetPlan {
  const state = readState(facts, wish);
  const drift = facts.daemonGone ? [] : driftLines(state);
  const refused = (trouble: Trouble, step: Step): TargetPlan => ({
    kind: "refused",
    state,
    drift,
    failure: { ...trouble, host, step },
  });

  const underWay = lockFailure(host, facts);
  if (underWay !== undefined) return { kind: "refused", state, drift, failure: underWay };
  const broken = whatIsBroken(facts, wish);
  if (broken !== undefined) return refused(broken, "observe");
  const idle = tooLateForIdle(facts, wish, state);
  if (idle !== undefined) {
    const [interval] = optionsOf(wish.side);
    const trouble = {
      code: "idle-timeout",
      reason: idle,
      remedy: "Change the interval or idleTimeout as said",
    } as const;
    return refused({ ...trouble, property: `${wish.side}.${interval?.input}` }, "plan");
  }

  const record = readRecord(facts.record, facts.config);
  const plan = (newFileAllowed: boolean): EditPlan =>
    planEdit({
      chain: facts.chain,
      wanted: wish.wanted,
      effectiveNow: Object.fromEntries(state.options.map((o) => [o.option, o.value])),
      placement: wish.placement,
      hosts: wish.patterns,
      isUsersFile: wish.user !== undefined,
      previous: record?.edits ?? [],
      newFileAllowed,
    });
  const first = plan(wish.side === "server" || wish.user !== undefined);
  // An Include may name a folder that is not there: then the main file is the place.
  const homeless = wish.side === "server" && [...first.writes.keys()].some((path) => inMissingFolder(path, facts));
  const edit = homeless ? plan(false) : first;
  if (edit.writes.size === 0 && edit.refusal === undefined && drift.length === 0) {
    const own = ownership(facts, record, owner, wish, state);
    return { kind: "inSync", state, drift, ...(own === undefined ? {} : { own }) };
  }
  const next = {
    version: 1 as const,
    owner: owner ?? record?.owner ?? "",
    generation: (record?.generation ?? 0) + 1,
    config: facts.config,
  };
  return editing(host, facts, namespace, wish, { state, drift, edit, goal: wish.wanted, next });
}

/** The decision about undoing: as for an edit, or nothing to edit and only the record to take away, or not ours. */
export type RemovalPlan =
  | TargetPlan
  | { readonly kind: "forget"; readonly own: Own; readonly left: readonly string[] }
  | { readonly kind: "notOurs"; readonly reason: string };

/** Plans the undoing of what `owner` did to one side of a host. */
export function planRemoval(
  host: string,
  facts: TargetFacts,
  namespace: boolean,
  wish: Wish,
  owner: string,
): RemovalPlan {
  const state = readState(facts, wish);
  const underWay = lockFailure(host, facts);
  if (underWay !== undefined) return { kind: "refused", state, drift: [], failure: underWay };
  const record = readRecord(facts.record, facts.config);
  if (record === undefined) return { kind: "notOurs", reason: "the host remembers no edits of ours" };
  if (record.owner !== owner) return { kind: "notOurs", reason: "another resource manages it now" };
  const edit = planUndo({ chain: facts.chain, edits: record.edits });
  if (edit.writes.size === 0) {
    const { side, config } = facts;
    return {
      kind: "forget",
      own: { side, config, record: null, before: sumOf(facts.record ?? "") },
      left: edit.left,
    };
  }
  const broken = whatIsBroken(facts, wish);
  if (broken !== undefined) {
    return { kind: "refused", state, drift: [], failure: { ...broken, host, step: "delete" } };
  }
  return editing(host, facts, namespace, wish, { state, drift: [], edit, goal: {}, next: undefined });
}

interface Decision {
  readonly state: TargetState;
  readonly drift: readonly string[];
  readonly edit: EditPlan;
  /** Values that must be in force afterwards; options not in it are as the files then say. */
  readonly goal: Values;
  /** The record to leave, edits and fingerprint aside; undefined: it goes away. */
  readonly next: Omit<OwnershipRecord, "edits" | "loaded"> | undefined;
}

/** From a decided edit to a transaction, or the reason why it may not be made. */
function editing(host: string, facts: TargetFacts, namespace: boolean, wish: Wish, decision: Decision): TargetPlan {
  const { state, drift, edit, goal, next } = decision;
  const refused = (code: ErrorCode, reason: string, remedy: string): TargetPlan => ({
    kind: "refused",
    state,
    drift,
    failure: { code, host, step: "plan", reason, remedy },
  });
  const overridden = state.options.find(
    (o) => o.source === "command line" && o.wanted !== undefined && o.value !== o.wanted,
  );
  if (overridden !== undefined) {
    return refused(
      "daemon",
      `sshd was started with -o ${overridden.option}=${overridden.value}, which no file can override`,
      "Take the option out of sshd's command line (often SSHD_OPTS in /etc/default/ssh or /etc/sysconfig/sshd)",
    );
  }
  const unexplained = state.options.find(
    (o) => o.source === "not understood" && o.wanted !== undefined && o.value !== o.wanted,
  );
  if (unexplained !== undefined) {
    return refused(
      "config-not-understood",
      `OpenSSH says ${unexplained.option} ${unexplained.value}, which the files as read here do not explain`,
      "Report the configuration file, or set the option by hand",
    );
  }
  if (edit.refusal !== undefined) {
    return refused("plan", edit.refusal, "Change the placement, or set the option where the reason says");
  }
  const changes: FileChange[] = [];
  for (const [path, bytes] of edit.writes) {
    const file = facts.files.get(path);
    const stuck = whyNotWritable(path, file, facts, wish);
    if (stuck !== undefined)
      return refused(
        "not-writable",
        stuck,
        "Make it writable for the user that edits it (see become), or exclude the host",
      );
    const like = wish.side === "server" || wish.user === undefined ? facts.config : undefined;
    changes.push({ path, bytes, sum: file?.sum ?? "absent", ...(like === undefined ? {} : { like }) });
  }
  const candidate = readChain(candidateTree(facts.chain.tree, edit.writes));
  const foreign = foreignEdits(facts, readRecord(facts.record, facts.config), candidate);
  if (foreign !== undefined && changes.length > 0) {
    return refused(
      "foreign-edit",
      `${foreign} changed after sshd last read its files, and a reload would put that in force too`,
      "Look at that change, reload sshd yourself if it is right, and run again",
    );
  }

  const seen = seenFiles(facts);
  const asked = facts.matchExec === undefined;
  const probes = wish.side === "server" ? [] : probeHosts(wish.patterns);
  const managed = optionsOf(wish.side).filter((o) => o.name in goal || touches(candidate, facts, o, probes));
  const expect = managed
    .filter((o) => !overriddenOnCommandLine(facts, o))
    // What a user's file leaves open the system's decides.
    .filter((o) => o.name in goal || wish.user === undefined || effective(candidate, o, probes[0]).origin !== undefined)
    .map((o) => `${o.name.toLowerCase()} ${goal[o.name] ?? effective(candidate, o, probes[0]).value}`);
  const specs = wish.side === "server" ? [facts.spec ?? "-", ...connectionSpecs(facts.chain)] : asked ? probes : [];
  const tree = facts.chain.tree;
  const after = readState({ ...facts, chain: candidate, said: [] }, wish);
  const record =
    next === undefined ? null : writeRecord({ ...next, edits: edit.edits, loaded: fingerprint(candidate) });
  const sums = new Map(seen);
  for (const { path, bytes } of changes) sums.set(path, bytes === null ? "absent -" : sumOf(bytes));
  const kept =
    next === undefined || record === null
      ? undefined
      : remembered(facts, wish, {
          owner: next.owner,
          record,
          sums,
          matches: candidate.tree.globs,
          warnings: after.warnings,
        });
  return {
    kind: "edit",
    state,
    drift,
    after,
    notes: edit.notes,
    left: edit.left,
    transaction: {
      side: wish.side,
      config: facts.config,
      exe: facts.exe,
      ...(wish.side === "client" || facts.program === undefined || facts.version === ""
        ? {}
        : { version: `${facts.program}\n${facts.version}` }),
      ...(facts.daemon === undefined ? {} : { daemon: facts.daemon }),
      ...(facts.perConnection === undefined ? {} : { perConnection: facts.perConnection }),
      changes,
      seen: [
        ...seen,
        // Where a new file comes nobody else's may have come.
        ...changes.flatMap(({ path }) => (facts.files.has(path) ? [] : [[path, "absent -"] as const])),
        // The record too: who owns the host must not change between the look and the edit.
        [`${facts.stateFolder}/record`, facts.record === undefined ? "absent -" : sumOf(facts.record)] as const,
      ],
      matches: tree.globs,
      managed: managed.flatMap((o) => [o.name.toLowerCase()]),
      expect,
      specs,
      ...(wish.side === "server" ? dumpAfter(managed, expect, facts.said[0]) : {}),
      ...(namespace
        ? {}
        : { copies: (prefix, which) => copiesOf(which === "unchanged" ? tree : candidate.tree, prefix) }),
      record,
      ...(kept === undefined ? {} : { remembered: kept }),
      ...(wish.user === undefined ? {} : { user: wish.user }),
      ...(facts.owner === undefined ? {} : { owner: facts.owner }),
      ...(wish.reload === undefined ? {} : { reload: wish.reload }),
      allowNoBootGuard: wish.allowNoBootGuard,
      stateFolder: facts.stateFolder,
    },
  };
}

/** Every file of the chain as it was seen: [path, "CRC SIZE" | "absent -"]. */
const seenFiles = (facts: TargetFacts): (readonly [path: string, sum: string])[] =>
  [...facts.files.values()]
    .filter((f) => f.sum !== undefined || f.problem === "missing")
    .map((f) => [f.path, f.sum ?? "absent -"] as const);

/**
 * What the host is to find as the dump's checksum with the candidate in place (scripts/transaction.sh validate): the
 * managed lines as expected, all others as they were. Nothing where that cannot be told beforehand.
 */
function dumpAfter(managed: readonly Option[], expect: readonly string[], said: Saying | undefined): { dump?: string } {
  if (said?.exit !== 0) return {};
  const after = new Map(expect.map((line) => line.split(" ", 2) as [string, string]));
  const missing = new Set(managed.map((o) => o.name.toLowerCase()));
  const lines = said.text.split("\n").map((line) => {
    const [keyword = "", value = ""] = line.split(" ", 2);
    const name = keyword.toLowerCase();
    if (!missing.delete(name)) return line;
    // An option that the daemon's command line decides stays what it is.
    const wanted = after.get(name) ?? value;
    // OpenSSH 10.6 writes flags so.
    const flags: Readonly<Record<string, string>> = /^(true|false)$/.test(value) ? { yes: "true", no: "false" } : {};
    return `${keyword} ${flags[wanted] ?? wanted}`;
  });
  return missing.size > 0 ? {} : { dump: sumOf(lines.map((line) => `${line}\n`).join("")) };
}

function copiesOf(tree: Tree, prefix: string): { main: string; files: Map<string, ByteString> } {
  const { main, files } = rewriteForCopy(tree, prefix);
  return { main, files: new Map(files) };
}

/** Whether the edit changes the option's value for any of the probes (for a server: for everyone). */
const touches = (candidate: Chain, facts: TargetFacts, option: Option, probes: readonly string[]): boolean =>
  (probes.length === 0 ? [undefined] : probes).some(
    (probe) => effective(facts.chain, option, probe).value !== effective(candidate, option, probe).value,
  );

/** The value OpenSSH has, from what it said; undefined when it could not be asked. */
function said(facts: TargetFacts, option: Option, probe: string): string | undefined {
  const saying = facts.said.find((s) => s.exit === 0 && (facts.side === "server" || s.probe === probe));
  const match = saying === undefined ? null : new RegExp(`^${option.name} (\\S+)`, "im").exec(saying.text);
  const value = match?.[1];
  // OpenSSH 10.6 writes `TCPKeepAlive true` where all before wrote `tcpkeepalive yes`.
  if (option.kind === "flag" && (value === "true" || value === "false")) return value === "true" ? "yes" : "no";
  return value;
}

function overriddenOnCommandLine(facts: TargetFacts, option: Option | undefined): boolean {
  if (option === undefined || facts.daemon === undefined) return false;
  const words = facts.daemon.args;
  return words.some((word, i) => {
    const text = word.startsWith("-o") ? (word === "-o" ? words[i + 1] : word.slice(2)) : undefined;
    const keyword = text?.trim().split(/[\s=]/)[0]?.toLowerCase();
    return keyword !== undefined && (keyword === option.name.toLowerCase() || option.aliases.includes(keyword));
  });
}

function readState(facts: TargetFacts, wish: Wish): TargetState {
  const options: OptionState[] = [];
  const probes = wish.side === "server" ? [""] : probeHosts(wish.patterns);
  for (const option of optionsOf(wish.side)) {
    const wanted = wish.wanted[option.name];
    let shownState: OptionState | undefined;
    // With several Host patterns the first that differs speaks for the option.
    for (const probe of probes) {
      const model: Effective = effective(facts.chain, option, probe === "" ? undefined : probe);
      const value = said(facts, option, probe) ?? model.value;
      const one: OptionState = {
        option: option.name,
        value,
        ...(wanted === undefined ? {} : { wanted }),
        ...(overriddenOnCommandLine(facts, option)
          ? { source: "command line" as const }
          : model.value !== value
            ? // ssh goes on to the system's file where a user's own says nothing.
              {
                source:
                  wish.user !== undefined && model.origin === undefined
                    ? ("system file" as const)
                    : ("not understood" as const),
              }
            : model.origin === undefined
              ? { source: "default" as const }
              : { file: model.origin.file, line: model.origin.line }),
      };
      if (shownState === undefined || (shownState.value === shownState.wanted && value !== wanted)) shownState = one;
    }
    if (shownState !== undefined) options.push(shownState);
  }
  const version = parseVersion(facts.version);
  const values = probeValues(wish.side, options);
  const when = timing(wish.side, version, values);
  const warnings: string[] = [];
  const hopeful = probeValues(
    wish.side,
    options.map((o) => ({ ...o, value: o.wanted ?? o.value })),
  );
  const late =
    // An interval that is late on every release is warned about before any look.
    wish.idleTimeout === undefined && manages(wish) && hopeful.interval <= LATE_PROBE_SECONDS
      ? lateProbeWarning(wish.side, version, hopeful)
      : undefined;
  if (late !== undefined) warnings.push(late);
  if (facts.matchExec !== undefined) {
    warnings.push(
      `${shown(facts.matchExec)} has a Match exec, whose command \`ssh -G\` would run: the values are read from the files alone`,
    );
  }
  return {
    side: wish.side,
    config: facts.config,
    version: version?.text ?? printable(facts.version, 80),
    options,
    differs: differences(facts.chain, wish.wanted).map((d) => ({ ...d, header: shown(d.header), file: d.file })),
    firstProbeSeconds: when.firstProbeSeconds,
    disconnectSeconds: when.disconnectSeconds,
    warnings,
  };
}

const manages = (wish: Wish): boolean => Object.keys(wish.wanted).some((name) => name.endsWith("Interval"));

function probeValues(
  side: Side,
  options: readonly { option: string; value: string }[],
): { interval: number; countMax: number } {
  const of = (kind: string): number => {
    const option = optionsOf(side).find((o) => o.kind === kind);
    const value = options.find((o) => o.option === option?.name)?.value;
    return Number(value ?? option?.defaultValue ?? 0);
  };
  return { interval: of("time"), countMax: of("count") };
}

function driftLines(state: TargetState): string[] {
  return state.options.flatMap((o) => {
    if (o.wanted === undefined || o.value === o.wanted) return [];
    const from =
      o.file !== undefined
        ? `set by ${shown(o.file)}:${o.line}`
        : o.source === "command line"
          ? "set on sshd's command line"
          : o.source === "system file"
            ? "set by the system's file, not by this one"
            : o.source === "not understood"
              ? "no line read here explains it"
              : "OpenSSH's default, no line sets it";
    return [`${o.option} ${printable(o.value, 40)}, wanted ${o.wanted} (${from})`];
  });
}

/** What stands there now may be gone in a moment: the files of a transaction that is not over say nothing. */
function lockFailure(host: string, facts: TargetFacts): Failure | undefined {
  const { lock } = facts;
  if (lock === undefined) return undefined;
  return lock.state === "live"
    ? {
        code: "locked",
        host,
        step: "observe",
        reason: `another transaction, by ${shown(lock.who, 100)}, is under way for ${lock.leftSeconds} s at most`,
        remedy: "Nothing to do: an up waits for its end",
        retryAfterSeconds: lock.leftSeconds,
      }
    : {
        code: "locked",
        host,
        step: "observe",
        reason: `a transaction by ${shown(lock.who, 100)} was cut off and nobody looks after it`,
        remedy: "Run `pulumi up`: it first brings that one to its end",
      };
}

/** A failure before host and step are put to it. */
type Trouble = Pick<Failure, "code" | "reason" | "remedy" | "property">;

/** Why a host's configuration cannot be worked on as it stands. */
function whatIsBroken(facts: TargetFacts, wish: Wish): Trouble | undefined {
  if (facts.noUser !== undefined) {
    return {
      code: "config-missing",
      property: "client.user",
      reason: `there is no user ${shown(facts.noUser)}`,
      remedy: "Correct client.user, or make the user first",
    };
  }
  if (facts.missingProgram !== undefined) {
    const program = wish.side === "server" ? "sshd" : "ssh";
    return {
      code: "host-tools",
      ...(wish.side === "server" ? { property: "server.sshdPath" } : {}),
      reason: `${program} was not found${facts.missingProgram === program ? "" : ` at ${shown(facts.missingProgram)}`}`,
      remedy: `Install OpenSSH's ${wish.side}${wish.side === "server" ? ", or say where it is with server.sshdPath" : ""}`,
    };
  }
  if (facts.daemonGone) {
    return {
      code: "daemon",
      reason: "the sshd that accepted this connection has ended since, so a new login may find nobody",
      remedy: "Start sshd on the host, over this or another way in, and run again",
    };
  }
  if (facts.severalDaemons !== undefined) {
    return {
      code: "daemon",
      reason: `several sshd processes fit (pids ${printable(facts.severalDaemons, 100)})`,
      remedy: "Name the file of the one you mean with server.configPath",
    };
  }
  const { daemon } = facts;
  if (daemon !== undefined && daemon.realConfig !== "" && daemon.realConfig !== facts.realConfig) {
    return {
      code: "daemon",
      property: "server.configPath",
      reason: `the sshd that serves this login reads ${shown(daemon.config)}, not ${shown(facts.config)}`,
      remedy: "Leave server.configPath out, or connect to the port of the daemon that reads that file",
    };
  }
  const main = facts.files.get(facts.config);
  const mayCreate = wish.side === "client" && wish.user !== undefined;
  if (main?.problem === "directory" || main?.problem === "dangling" || (main?.problem === "missing" && !mayCreate)) {
    const what = { directory: "is a folder", dangling: "is a link to nothing", missing: "does not exist" }[
      main.problem
    ];
    return {
      code: "config-missing",
      property: `${wish.side}.configPath`,
      reason: `${shown(facts.config)} ${what}`,
      remedy: "Correct configPath, or put the file there first",
    };
  }
  for (const file of facts.files.values()) {
    if (file.problem === "unreadable" || file.problem === "toobig") {
      return {
        code: "config-unreadable",
        reason: `${shown(file.path)} ${file.problem === "toobig" ? "is larger than 1 MiB" : "cannot be read"}`,
        remedy: file.problem === "toobig" ? "Make it smaller" : "Let become name a user that may read it",
      };
    }
  }
  if (facts.tooManyFiles) {
    return {
      code: "config-unreadable",
      reason: `${shown(facts.config)} includes more than 256 files`,
      remedy: "Put them together into fewer",
    };
  }
  const wrongSide = facts.chain.problems.find((p) => p.kind === "wrong-side");
  const failed = facts.said.find((s) => s.exit !== 0);
  if (failed !== undefined) {
    if (wrongSide !== undefined) {
      return {
        code: "config-wrong-side",
        reason: `${at(wrongSide.file, wrongSide.line)}: ${wrongSide.message}; OpenSSH refuses the file`,
        remedy: "Correct that line by hand before the next restart of the daemon locks you out",
      };
    }
    const noRight = /no hostkeys available|Permission denied/i.test(failed.text);
    return {
      code: noRight ? "config-unreadable" : "config-broken",
      reason: `OpenSSH refuses the configuration as it stands: ${shown(failed.text.trim().replace(/[\r\n]+/g, "; "), 400)}`,
      remedy: noRight
        ? "Let become name a user that may read host keys and configuration"
        : "Correct it by hand; a broken configuration is never edited here",
    };
  }
  const fatal = facts.chain.problems.find((p) => p.kind !== "wrong-side" && !(p.kind === "missing" && mayCreate));
  if (fatal !== undefined) {
    const code: ErrorCode =
      fatal.kind === "missing"
        ? "config-missing"
        : fatal.kind === "bom" || fatal.kind === "nul"
          ? "config-broken"
          : "config-not-understood";
    return { code, reason: `${at(fatal.file, fatal.line)}: ${fatal.message}`, remedy: "Correct the file by hand" };
  }
  return undefined;
}

const at = (file: ByteString, line?: number): string => (line === undefined ? shown(file) : `${shown(file)}:${line}`);

function tooLateForIdle(facts: TargetFacts, wish: Wish, state: TargetState): string | undefined {
  if (wish.idleTimeout === undefined || !manages(wish)) return undefined;
  const values = probeValues(
    wish.side,
    state.options.map((o) => ({ option: o.option, value: o.wanted ?? o.value })),
  );
  return checkIdle(wish.idleTimeout, wish.side, parseVersion(facts.version), values)?.reason;
}

function whyNotWritable(path: string, file: FileFacts | undefined, facts: TargetFacts, wish: Wish): string | undefined {
  const name = shown(path);
  if (file?.readonly === "immutable") return `${name} is immutable (chattr +i)`;
  if (file?.readonly === "permission") return `${name} or its folder cannot be written`;
  if ((file?.links ?? 1) > 1)
    return `${name} has ${file?.links} names (hard links), which an atomic replacement would part`;
  if (file?.sum !== undefined) return undefined;
  const folder = path.slice(0, path.lastIndexOf("/"));
  const known =
    [...facts.folders].find(([pattern]) => pattern.slice(0, pattern.lastIndexOf("/")) === folder)?.[1] ?? file?.folder;
  if (known === "readonly") return `the folder of ${name} cannot be written`;
  if (known === "missing" && !(wish.side === "client" && wish.user !== undefined))
    return `the folder of ${name} does not exist`;
  return undefined;
}

/** Whether a new file would stand in a folder that an Include names and the host does not have. */
function inMissingFolder(path: string, facts: TargetFacts): boolean {
  const folder = path.slice(0, path.lastIndexOf("/"));
  return (
    !facts.files.has(path) &&
    ![...facts.folders.keys()].some((pattern) => pattern.slice(0, pattern.lastIndexOf("/")) === folder)
  );
}

/** Names what someone else changed after the daemon loaded its files; undefined when nothing foreign would go live. */
function foreignEdits(facts: TargetFacts, record: OwnershipRecord | undefined, candidate: Chain): string | undefined {
  const daemon = facts.daemon;
  if (facts.side === "client" || daemon === undefined) return undefined;
  const changed = daemon.changedSince ?? [];
  const names = changed.map((path) => shown(path)).join(", ");
  if (record !== undefined && facts.loadedIdentity !== undefined && facts.loadedIdentity === daemon.identity) {
    // The daemon runs with what it loaded then: compare meaning, so that edits of managed options can be healed.
    if (fingerprint(candidate) === record.loaded) return undefined;
    return names === "" ? `the configuration of ${shown(facts.config)}` : names;
  }
  return changed.length === 0 ? undefined : names;
}

/** The record to write on a host that needs no edit, so that it knows its owner and what its daemon has loaded. */
function ownership(
  facts: TargetFacts,
  record: OwnershipRecord | undefined,
  owner: string | undefined,
  wish: Wish,
  { warnings }: TargetState,
): Own | undefined {
  if (owner === undefined || record?.owner === owner) return undefined;
  const loaded = fingerprint(facts.chain);
  const fresh = facts.daemon !== undefined && facts.daemon.changedSince?.length === 0;
  const keepsIdentity = record !== undefined && facts.loadedIdentity === facts.daemon?.identity;
  const written = writeRecord({
    version: 1,
    owner,
    generation: (record?.generation ?? 0) + 1,
    config: facts.config,
    edits: record?.edits ?? [],
    loaded: keepsIdentity ? record.loaded : loaded,
  });
  const sums = new Map(seenFiles(facts));
  const matches = facts.chain.tree.globs;
  const kept = remembered(facts, wish, { owner, record: written, sums, matches, warnings });
  return {
    side: facts.side,
    config: facts.config,
    record: written,
    ...(kept === undefined ? {} : { remembered: kept }),
    before: facts.record === undefined ? "absent" : sumOf(facts.record),
    ...(fresh && !keepsIdentity && facts.daemon !== undefined ? { identity: facts.daemon.identity } : {}),
  };
}
