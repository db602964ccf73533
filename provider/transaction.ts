/**
 * The transaction of one configuration on one host: arm → install → activate → verify → confirm. The host does the
 * dangerous half by itself (scripts/supervisor.sh); this side starts it, logs in anew and confirms, or learns why not.
 */
import { randomBytes } from "node:crypto";
import { hostname, userInfo } from "node:os";
import { setTimeout as pause } from "node:timers/promises";
import { ERROR_CODES, type ErrorCode, type Failure, isKeepaliveError, KeepaliveError, type Step } from "./errors";
import { type Answer, type Connector, confirmScript, isRetryable, ownScript, transactionScript } from "./host";
import { bytesOf, globLines, shown, sumOf } from "./observe";
import type { Own, TransactionPlan } from "./plan";
import type { Side } from "./settings";

/** How a transaction is to be confirmed. */
export interface ConfirmOptions {
  /** Seconds until the host reverts by itself. */
  readonly confirmSeconds: number;
  /** Further users who must be able to log in before it is confirmed. */
  readonly verifyAs: readonly string[];
  /** Told at which step it has arrived. */
  readonly step?: (step: Step) => void;
}

/** What a confirmed transaction left on the host. */
export interface Transacted {
  /** Folder with the bytes that stood there before. */
  readonly backup: string;
}

/** Bound for staging, judging and arming, in milliseconds. */
const ARM_TIMEOUT_MS = 60_000;

/**
 * Shortest and longest pause before the new login, in milliseconds. One that comes before the daemon has read its files
 * proves nothing and has to be made again; how long that takes is guessed from the supervisor's own pauses and from how
 * long the host took to be armed.
 */
const SETTLE_MS = { least: 180, most: 3_000, pauses: 100 };

/** What an error says of a host on which nothing was begun or everything is as it was. */
export const NOTHING_CHANGED = "nothing was changed";

type Datum = readonly [name: string, value: string];

/** Carries a plan out. Rejects with a KeepaliveError that says what state the host is in. */
export async function transact(
  connector: Connector,
  plan: TransactionPlan,
  options: ConfirmOptions,
): Promise<Transacted> {
  const txid = randomBytes(8).toString("hex");
  options.step?.("validate");
  const began = performance.now();
  try {
    await arm(connector, plan, txid, options);
  } catch (error) {
    if (!isKeepaliveError(error)) throw error;
    const { code, step } = error.failure;
    // The connection broke while the host was at it: it may be armed, or not. A login that failed has sent nothing.
    if (step === "connect" || !["timeout", "protocol"].includes(code)) throw error;
    throw await withAftermath(connector, plan, txid, performance.now(), error.failure);
  }
  options.step?.("verify");
  const guess = Math.max((performance.now() - began) * 0.8 + SETTLE_MS.pauses, SETTLE_MS.least);
  const settle = Math.min(guess, SETTLE_MS.most, options.confirmSeconds * 250);
  const until = performance.now() + options.confirmSeconds * 1000;
  // Only a server's connection is at stake; a client's file is confirmed over the connection at hand.
  const login = plan.side === "server" && connector.kind === "ssh";
  if (login) await connector.close();
  try {
    return await verify(connector, plan, txid, options, login ? settle : undefined);
  } catch (error) {
    if (!isKeepaliveError(error)) throw error;
    throw await withAftermath(connector, plan, txid, until, error.failure);
  }
}

/**
 * Brings to its end what a crash left of an earlier transaction: the old state, or the new one where that had been
 * confirmed. Rejects with code `locked` while someone works on it.
 */
export async function settleLeftover(connector: Connector, side: Side, config: string): Promise<void> {
  const answer = await connector.run({
    name: "transaction",
    text: transactionScript(),
    data: [
      ["txid", randomBytes(8).toString("hex")],
      ["side", side],
      ["config", config],
      ["controller", bytesOf(controllerName())],
      ["tidy", "yes"],
    ],
    timeoutMs: ARM_TIMEOUT_MS,
    step: "arm",
  });
  if (value(answer, "tidied") === undefined) throw refusal(connector, answer);
}

/** Writes the record of a configuration that needs no edit, or takes it away. */
export async function takeOwnership(connector: Connector, own: Own): Promise<void> {
  const answer = await connector.run({
    name: "own",
    text: ownScript(),
    data: [
      ["side", own.side],
      ["config", own.config],
      ["txid", randomBytes(8).toString("hex")],
      ["controller", bytesOf(controllerName())],
      ["before", own.before],
      ...(own.record === null ? [] : [["record", own.record] as const, ["recordsum", sumOf(own.record)] as const]),
      ...(own.identity === undefined ? [] : [["identity", own.identity] as const]),
      ...(own.remembered === undefined ? [] : [["remembered", own.remembered] as const]),
    ],
  });
  const failed = value(answer, "failed");
  if (failed !== undefined) {
    const code = (value(answer, "failed.code") ?? "not-writable") as ErrorCode;
    throw new KeepaliveError({
      code,
      host: connector.name,
      step: "confirm",
      reason: shown(failed),
      remedy: remedyOf(code),
      aftermath: NOTHING_CHANGED,
      ...retryAfter(answer),
    });
  }
}

async function arm(connector: Connector, plan: TransactionPlan, txid: string, options: ConfirmOptions): Promise<void> {
  const answer = await connector.run({
    name: "transaction",
    text: transactionScript(),
    data: armData(connector, plan, txid, options),
    timeoutMs: ARM_TIMEOUT_MS,
    step: "arm",
  });
  if (value(answer, "armed") !== txid) throw refusal(connector, answer);
}

const retryAfter = (answer: Answer): { retryAfterSeconds?: number } => {
  const seconds = Number(value(answer, "locked.seconds") ?? "0");
  return seconds > 0 ? { retryAfterSeconds: seconds } : {};
};

/** The error for an answer of the transaction script that refuses. */
function refusal(connector: Connector, answer: Answer): KeepaliveError {
  const code = (value(answer, "failed.code") ?? "protocol") as ErrorCode;
  const step = (value(answer, "failed.step") ?? "arm") as Step;
  return new KeepaliveError({
    code,
    host: connector.name,
    step,
    reason: shown(value(answer, "failed.reason") ?? "the host did not say that it is armed", 900),
    remedy: remedyOf(code),
    aftermath: NOTHING_CHANGED,
    ...retryAfter(answer),
  });
}

function armData(connector: Connector, plan: TransactionPlan, txid: string, options: ConfirmOptions): Datum[] {
  const data: Datum[] = [
    ["txid", txid],
    ["side", plan.side],
    ["config", plan.config],
    ["target", plan.stateFolder],
    ["seconds", String(options.confirmSeconds)],
    ["controller", bytesOf(controllerName())],
    ["managed", `^(${plan.managed.join("|")}) `],
  ];
  const add = (name: string, ...values: readonly string[]): void => {
    for (const v of values) data.push([name, v]);
  };
  const settings = [`exe ${plan.exe}`];
  const conf = (key: string, ...values: readonly string[]): void => {
    for (const v of values) settings.push(`${key} ${v}`);
  };
  if (plan.daemon !== undefined) {
    const d = plan.daemon;
    conf("pid", d.pid);
    conf("pidstart", d.start);
    conf("manager", d.manager);
    conf("unit", d.unit);
    conf("socket", d.socket);
    conf("pidfile", d.pidfile);
    conf("activation", d.activation);
    conf("arg", ...d.args);
    conf("argv", ...d.argv);
    add("identity", d.identity);
  }
  if (plan.perConnection !== undefined) conf("manager", plan.perConnection);
  if (plan.side === "client" || connector.kind === "local") add("local", "yes");
  if (plan.allowNoBootGuard) add("noguard", "yes");
  if (plan.user !== undefined) add("client_user", plan.user);
  if (plan.owner !== undefined) conf("owner", plan.owner);
  if (plan.reload !== undefined) conf("reload", ...plan.reload.map(bytesOf));
  if (plan.record === null) {
    conf("forget", "yes");
  } else {
    add("record", plan.record);
    add("recordsum", sumOf(plan.record));
  }
  add("want", ...plan.expect);
  add("spec", ...plan.specs);
  if (plan.dump !== undefined) add("dump", plan.dump);
  if (plan.version !== undefined) add("version", plan.version);
  if (plan.remembered !== undefined) add("remembered", plan.remembered);
  const seen = [...plan.seen.map(([path, sum]) => `${sum} ${path}`), ...globLines(plan.matches)];
  add("seen", [...seen, ""].join("\n"));
  add("conf", [...settings, ""].join("\n"));
  // The host takes all of this line by line.
  const names = plan.changes.flatMap(({ path, like = "" }) => [path, like]);
  if ([plan.config, ...settings, ...seen, ...plan.specs, ...names].some((line) => line.includes("\n"))) {
    throw new KeepaliveError({
      code: "config-not-understood",
      host: connector.name,
      step: "arm",
      reason: "the name of a file that OpenSSH reads has a newline in it",
      remedy: remedyOf("config-not-understood"),
      aftermath: NOTHING_CHANGED,
    });
  }
  plan.changes.forEach((change, n) => {
    add(`w${n}.path`, change.path);
    add(`w${n}.sum`, change.sum);
    if (change.bytes !== null) {
      add(`w${n}.bytes`, change.bytes);
      add(`w${n}.newsum`, sumOf(change.bytes));
    }
    if (change.like !== undefined) add(`w${n}.like`, change.like);
  });
  if (plan.copies !== undefined && plan.specs.length > 0) {
    for (const which of ["unchanged", "candidate"] as const) {
      const { main, files } = plan.copies(`${plan.stateFolder}/lock/copy.${which}`, which);
      add(which === "unchanged" ? "copy.live" : "copy.candidate", main);
      add("copy", ...[...files].map(([path, bytes]) => `${path}\n${bytes}`));
    }
  }
  return data;
}

/** Who we are, for a person who finds the lock. */
function controllerName(): string {
  let user = "someone";
  try {
    user = userInfo().username;
  } catch {
    // No passwd entry (containers): the host name and process will do.
  }
  return `${user}@${hostname()} (process ${process.pid})`.replace(/[^\x20-\x7e]/g, "?");
}

/**
 * New logins, the first after `settle` milliseconds, until one is served by the daemon that has read the new files, and
 * that one confirms. Without `settle` over the connection at hand.
 */
async function verify(
  connector: Connector,
  plan: TransactionPlan,
  txid: string,
  options: ConfirmOptions,
  settle: number | undefined,
): Promise<Transacted> {
  const login = settle !== undefined;
  const until = performance.now() + (options.confirmSeconds * 1000) / 2;
  const ask = async (extra: readonly Datum[]): Promise<Answer> => {
    const script = {
      name: "confirm",
      text: confirmScript(),
      data: [...confirmData(plan, txid), ...(login ? [] : [["local", "yes"] as const]), ...extra],
      timeoutMs: 30_000,
      step: "verify" as const,
    };
    return login ? connector.runInNewLogin(script) : connector.run(script);
  };
  let usersProven = options.verifyAs.length === 0 || !login;
  let wait = settle ?? 0;
  for (;;) {
    await pause(wait);
    let answer: Answer;
    try {
      answer = await ask(usersProven ? [] : [["ask", "yes"]]);
    } catch (error) {
      if (!isKeepaliveError(error)) throw error;
      // A reload closes the listener for milliseconds: refused and reset are tried again, everything else is final.
      if (!isRetryable(error.failure) || performance.now() > until) throw atVerify(error.failure);
      wait = Math.min(Math.max(wait * 2, 200), 3000);
      continue;
    }
    const outcome = value(answer, "outcome") ?? "";
    if (outcome === "confirmed") return { backup: value(answer, "backup") ?? "" };
    if (outcome === "pending" && value(answer, "state") === "activated" && !usersProven) {
      await proveUsers(connector, options.verifyAs);
      usersProven = true;
      wait = 0;
      continue;
    }
    if (outcome === "early" || outcome === "pending") {
      if (performance.now() > until) {
        throw failed(connector, "verify", "timeout", "the host did not get as far as a login that proves it in time");
      }
      wait = outcome === "early" ? 0 : 200;
      continue;
    }
    throw outcomeFailure(connector, outcome, answer);
  }
}

function confirmData(plan: TransactionPlan, txid: string): Datum[] {
  return [
    ["txid", txid],
    ["side", plan.side],
    ["config", plan.config],
    ["target", plan.stateFolder],
    ...(plan.user === undefined ? [] : [["client_user", plan.user] as const]),
    ...plan.specs.slice(0, 1).map((spec) => ["spec", spec] as const),
    ...plan.expect.map((line) => ["want", line] as const),
  ];
}

/** A login each, nothing more: whoever is named must still get in. */
async function proveUsers(connector: Connector, users: readonly string[]): Promise<void> {
  for (const user of users) {
    try {
      await connector.runInNewLogin({ name: "login", text: "main() { finish; }", data: [] }, { user });
    } catch (error) {
      if (!isKeepaliveError(error)) throw error;
      throw new KeepaliveError({ ...error.failure, step: "verify", reason: `as ${user}: ${error.failure.reason}` });
    }
  }
}

const atVerify = (failure: Failure): KeepaliveError =>
  new KeepaliveError({ ...failure, step: "verify", reason: `the new login did not work: ${failure.reason}` });

function failed(connector: Connector, step: Step, code: ErrorCode, reason: string): KeepaliveError {
  return new KeepaliveError({ code, host: connector.name, step, reason, remedy: remedyOf(code) });
}

/** The error for a transaction that ended otherwise than confirmed. */
function outcomeFailure(connector: Connector, outcome: string, answer: Answer): KeepaliveError {
  if (outcome === "wrong-values") {
    return failed(connector, "verify", "verify", shown(value(answer, "why") ?? "other values are in force", 600));
  }
  if (outcome === "other-daemon") {
    return failed(
      connector,
      "verify",
      "verify",
      "the new login was served by another sshd than the one whose files were changed",
    );
  }
  if (outcome === "daemon-ended") {
    return failed(connector, "verify", "verify", "the daemon has ended after it read the new files");
  }
  if (outcome === "unknown") {
    return failed(connector, "verify", "verify", "the host's state of the transaction is gone: someone removed it");
  }
  const [what = "", ...why] = (value(answer, "failure") ?? "").split("\n");
  const [step = "", code = ""] = what.split(" ");
  const steps: readonly string[] = ["arm", "install", "activate", "verify", "confirm"];
  if (steps.includes(step)) {
    const known = (ERROR_CODES as readonly string[]).includes(code) ? (code as ErrorCode) : "verify";
    return failed(connector, step as Step, known, shown(why.join(" ").trim(), 600));
  }
  return failed(connector, "verify", "verify", `the host says: ${shown(outcome, 300)}`);
}

/** Gives the transaction up, where the host can still be reached, and adds what became of it. */
async function withAftermath(
  connector: Connector,
  plan: TransactionPlan,
  txid: string,
  deadline: number,
  failure: Failure,
): Promise<KeepaliveError> {
  const giveUp = Math.max(deadline, performance.now()) + 35_000;
  let outcome = "";
  let own = failure;
  let unanswered = false;
  let refusals = 0;
  while (performance.now() < giveUp) {
    try {
      const answer = await connector.run({
        name: "confirm",
        text: confirmScript(),
        data: [...confirmData(plan, txid), ["ask", "yes"], ["giveup", "yes"], ["local", "yes"], ["wait", "1"]],
        timeoutMs: 10_000,
      });
      outcome = value(answer, "outcome") ?? "";
      if (outcome !== "pending") {
        // What the host itself met first says more than what it looked like from here.
        if (/^(arm|install|activate) /.test(value(answer, "failure") ?? "")) {
          own = outcomeFailure(connector, outcome, answer).failure;
        }
        break;
      }
    } catch (error) {
      if (!isKeepaliveError(error)) throw error;
      // Not hammered: a host that cannot be reached is asked again only once its revert is due, and while that may still
      // be bringing its daemon back; one that refuses the login itself a few times.
      unanswered = true;
      if (performance.now() > deadline && error.failure.code !== "unreachable" && ++refusals > 3) break;
    }
    const left = deadline - performance.now();
    await pause(unanswered ? Math.max(left + 500, 1500) : 200);
  }
  const aftermath = outcome.startsWith("reverted")
    ? outcome === "reverted"
      ? "the old settings are back in force"
      : `the host ${shown(outcome)}`
    : outcome === "unknown" && failure.step === "arm"
      ? NOTHING_CHANGED
      : outcome === "unknown"
        ? "the host does not know any more how it ended, a preview shows which settings are there"
        : outcome === "confirmed"
          ? "the new settings are in force"
          : "the host could not be asked how it ended; it puts the old settings back by itself";
  if (outcome === "confirmed") {
    return new KeepaliveError({ ...own, aftermath, remedy: "Run again: it will find the host as wanted" });
  }
  return new KeepaliveError({ ...own, aftermath });
}

const value = (answer: Answer, name: string): string | undefined => answer.find((r) => r.name === name)?.value;

function remedyOf(code: ErrorCode): string {
  switch (code) {
    case "locked":
      return "Wait for it to end and run again; nothing was changed";
    case "changed-meanwhile":
      return "Run again, it starts from what is there now";
    case "validate":
      return "Look at the named lines on the host; nothing was touched";
    case "boot-guard":
      return "Make it possible, or accept the risk of a reboot before the confirmation with allowNoBootGuard";
    case "supervisor":
      return "See that processes may outlive a logout there (loginctl enable-linger, KillUserProcesses), or use become";
    case "not-writable":
      return "Make room or give the right to write, and run again";
    case "foreign-edit":
      return "Look at that change, reload sshd yourself if it is right, and run again";
    case "config-not-understood":
      return "Give it a name without one, and run again";
    case "activate":
    case "install":
    case "verify":
      return "See the reason, mend it, and run again";
    default:
      return "Run again; if it stays, see the host's sshd log";
  }
}
