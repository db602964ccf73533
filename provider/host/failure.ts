/**
 * Names a failed way in: from ssh's exit status and last words, or sudo's, to a code, a reason and a remedy. The
 * patterns are OpenSSH's messages (sshconnect.c, sshconnect2.c, clientloop.c, mux.c) and sudo's (check.c, sudoers.c).
 */
import { type ErrorCode, type Failure, printable } from "../errors";
import type { Conversation } from "./session";
import { lastWords } from "./session";
import type { SshEndpoint, SshTarget } from "./target";

/** What a rule knows about the failed attempt. */
interface Attempt {
  readonly text: string;
  readonly target: SshTarget;
  /** The end that the message is about: the target, or the jump host when ssh did not get past it. */
  readonly end: SshEndpoint;
}

interface Rule {
  readonly match: RegExp;
  readonly code: ErrorCode;
  readonly transient?: boolean;
  readonly reason: (found: RegExpExecArray, attempt: Attempt) => string;
  readonly remedy: string;
}

const CLOSED = {
  code: "unreachable",
  reason: "the connection was closed before the login was done",
  remedy: "look at sshd's log there; MaxStartups, a firewall or a restart of sshd close connections like this",
} as const;

const SSH_RULES: readonly Rule[] = [
  {
    match: /REMOTE HOST IDENTIFICATION HAS CHANGED|Host key for .* has changed/,
    code: "host-key",
    reason: (_, { end }) =>
      end.hostKey === undefined
        ? "the host's key is another one than known_hosts has; nothing was sent"
        : "the host's key is not the one given in hostKey; nothing was sent",
    remedy:
      "find out whether the host was reinstalled or someone stands in between, then correct hostKey or known_hosts",
  },
  {
    match: /Host key verification failed|No \S+ host key is known for|host key is not cached/i,
    code: "host-key",
    reason: () => "the host's key is not known here; nothing was sent",
    remedy: 'give hostKey, or log in once with ssh to learn it, or set hostKeyChecking to "acceptNew"',
  },
  {
    match: /Not allowed at this time/,
    code: "auth",
    reason: () => "the host refuses this address for a while after failed logins (PerSourcePenalties)",
    remedy: "wait some minutes without trying, then correct what made the logins fail",
  },
  {
    match: /(?:account|password) (?:has|is) expired|password change required|You must change your password/i,
    code: "auth",
    reason: (found) => `the host wants something done about the account first: ${found[0]}`,
    remedy: "log in by hand and change the password, or have the account extended",
  },
  {
    match: /(?:(\S+): )?Permission denied \(([^)\n]*)\)/,
    code: "auth",
    reason: (found, { end }) => {
      const who = found[1] === undefined ? "the login" : found[1].slice(0, 120);
      const tried = [
        end.privateKey === undefined ? [] : ["privateKey"],
        end.password === undefined ? [] : ["password"],
        end.agentSocketPath === undefined ? [] : ["the agent at agentSocketPath"],
      ].flat();
      const own = tried.length === 0 ? "the keys of this user's agent and files" : tried.join(" and ");
      return `${who} was refused; tried ${own}, the host takes ${found[2] ?? ""}`;
    },
    remedy: "check the user name and that the host knows this key or password",
  },
  {
    match: /Too many authentication failures/,
    code: "auth",
    reason: () => "the host ended the login after too many keys that it does not know",
    remedy: "give privateKey, or set sshOptions IdentitiesOnly with the one IdentityFile",
  },
  {
    match: /Could not resolve hostname ([^\n:]*): ([^\n]*)/,
    code: "unreachable",
    transient: false,
    reason: (found) => `the name ${found[1] ?? ""} is not known here (${found[2] ?? ""})`,
    remedy: "correct host, or add it to DNS or ~/.ssh/config",
  },
  {
    match: /Unable to negotiate[^\n]*|no matching [^\n]*/,
    code: "unreachable",
    transient: false,
    reason: (found) => `the host and this machine have no algorithm in common (${found[0]})`,
    remedy: "allow one by sshOptions, or update the older side",
  },
  {
    match: /banner line contains invalid characters|Bad remote protocol version|invalid SSH identification/i,
    code: "unreachable",
    transient: false,
    reason: () => "something else than an SSH server answers there",
    remedy: "check host and port",
  },
  {
    match: /Bad configuration option[^\n]*|Bad owner or permissions on [^\n]*|[Bb]ad configuration options/,
    code: "bad-input",
    reason: (found) => `ssh does not take its configuration on this machine (${found[0]})`,
    remedy: "correct ~/.ssh/config or sshOptions",
  },
  {
    match: /open failed: ([^\n]*)|stdio forwarding failed/,
    code: "unreachable",
    transient: true,
    reason: (found) => `the host cannot be reached from there (${found[1] ?? "forwarding failed"})`,
    remedy: "check host and port as the jump host sees them, and that it allows forwarding",
  },
  {
    match:
      /Connection timed out|Operation timed out|timed out during banner exchange|Timeout, server \S+ not responding/,
    code: "unreachable",
    transient: true,
    reason: () => "the connection timed out",
    remedy: "check the address, the way there and the firewalls on it, or raise perDialTimeout",
  },
  {
    match: /Connection refused/,
    code: "unreachable",
    transient: true,
    reason: () => "the connection was refused: nothing listens on that port",
    remedy: "check that sshd runs there, and the port",
  },
  {
    match: /No route to host|Network is unreachable|Host is down/,
    code: "unreachable",
    transient: true,
    reason: (found) => `there is no way to the host (${found[0]})`,
    remedy: "check the address and this machine's network",
  },
  {
    match: /Connection reset|Connection closed|Broken pipe|kex_exchange_identification|Connection to \S+ closed/,
    code: CLOSED.code,
    transient: true,
    reason: () => CLOSED.reason,
    remedy: CLOSED.remedy,
  },
];

const SUDO_ADVICE = "correct become, or the sudoers rule for this user";

const SUDO_RULES: readonly Rule[] = [
  {
    match: /must have a tty|requiretty/i,
    code: "sudo",
    reason: () => "sudo insists on a terminal (requiretty)",
    remedy: "add `Defaults:USER !requiretty` for the login user to sudoers",
  },
  {
    match: /(?:account|password)[^\n]*expired|account validation failure|change your password/i,
    code: "sudo",
    reason: (found) => `sudo refuses the login user's account (${found[0]})`,
    remedy: "log in by hand and change the password, or have the account extended",
  },
  {
    match: /not in the sudoers file|not allowed to (?:run|execute)|may not run sudo/i,
    code: "sudo",
    reason: (_, { target }) => `the login user may not become ${target.become?.user ?? ""}`,
    remedy: "allow `sh` for it in sudoers, or log in as a user that may",
  },
  {
    match: /a password is required|a terminal is required|interactive authentication is required/i,
    code: "sudo",
    reason: () => "sudo asks for a password",
    remedy: "set become.password, or allow `sh` with NOPASSWD in sudoers",
  },
  {
    match: /unknown user|invalid user/i,
    code: "sudo",
    reason: (_, { target }) => `there is no user ${target.become?.user ?? ""} on the host`,
    remedy: "correct become.user",
  },
  {
    match: /sudo: (?:command )?not found|sudo: inaccessible|unknown command:? '?sudo/i,
    code: "sudo",
    reason: () => "the host has no sudo",
    remedy: "install sudo there, or log in as the user itself and leave become out",
  },
  {
    match: /incorrect password|Sorry, try again|authentication failure|maximum \d+ incorrect/i,
    code: "sudo",
    reason: () => "sudo refused the password",
    remedy: "correct become.password",
  },
];

function byRules(rules: readonly Rule[], attempt: Attempt): Omit<Failure, "step" | "host"> | undefined {
  for (const rule of rules) {
    const found = rule.match.exec(attempt.text);
    if (found === null) continue;
    const reason = printable(rule.reason(found, attempt), 400);
    return {
      code: rule.code,
      reason,
      remedy: rule.remedy,
      ...(rule.transient === true ? { transient: true } : {}),
    };
  }
  return undefined;
}

/**
 * What stands before ssh's message that its connection closed before a banner came (kex.c), undefined without one.
 * Behind a jump host that is what the ssh to the jump host said, if anything.
 */
export function beforeClosed(text: string): string | undefined {
  const at = text.search(/^kex_exchange_identification: .*Connection (?:closed|reset)/m);
  return at === -1 ? undefined : text.slice(0, at).trim();
}

/** Why a conversation did not reach a ready shell on the host. Everything from outside in it is escaped and bounded. */
export function loginFailure(conversation: Conversation, target: SshTarget, passwordRefused = false): Failure {
  const { result, sudoAsked } = conversation;
  const at = { host: target.name, step: "connect" } as const;
  const text = result.stderr.toString("utf8");
  const said = lastWords(result.stderr);
  const tail = said === "" ? "" : ` (${said})`;
  if (result.error !== undefined) {
    return {
      ...at,
      code: "host-tools",
      reason: `the program could not be started on this machine (${printable(result.error.message, 200)})`,
      remedy: "install OpenSSH's client, or put it on PATH",
    };
  }
  if (passwordRefused) {
    return {
      ...at,
      code: "auth",
      reason: "the host refused the password; it was tried once",
      remedy: "correct password",
    };
  }
  if (result.overflow) {
    const reason = "the host sent more than 9 MiB instead of starting a shell";
    return { ...at, code: "protocol", reason, remedy: "look at what the login files on the host print" };
  }
  if (sudoAsked > 1) {
    return {
      ...at,
      code: "sudo",
      reason: "sudo refused the password; it was tried once",
      remedy: "correct become.password",
    };
  }
  const atJump = target.proxy !== undefined && result.code === 255 && (beforeClosed(text) ?? "") !== "";
  const attempt = { text, target, end: atJump ? (target.proxy ?? target) : target };
  const bySudo = target.become === undefined || result.code === 255 ? undefined : byRules(SUDO_RULES, attempt);
  if (bySudo !== undefined) return { ...at, ...bySudo };
  const bySsh = byRules(SSH_RULES, attempt);
  if (bySsh !== undefined && atJump)
    return { ...at, ...bySsh, reason: `on the way through the jump host, ${bySsh.reason}` };
  if (bySsh !== undefined && (result.code === 255 || result.timedOut || bySsh.code === "auth"))
    return { ...at, ...bySsh };
  if (result.timedOut) {
    return {
      ...at,
      code: "timeout",
      reason: `the login did not come to a shell in time${tail}`,
      remedy:
        target.become === undefined
          ? "see by `ssh HOST sh` whether the login hangs or asks for something"
          : "see by `ssh HOST sudo sh` whether the login or sudo hangs or asks for something else than a password",
      transient: true,
    };
  }
  if (result.code === 255 && text.trim() === "") {
    // Below LogLevel INFO, ssh says nothing when the other side closes or resets the connection (packet.c sshpkt_vfatal).
    return { ...at, ...CLOSED, transient: true };
  }
  if (result.code === 255) {
    return {
      ...at,
      code: "unreachable",
      reason: `ssh could not log in${tail}`,
      remedy: "try `ssh -v HOST` by hand",
    };
  }
  if (target.become !== undefined) {
    return { ...at, code: "sudo", reason: `sudo did not start a shell${tail}`, remedy: SUDO_ADVICE };
  }
  const how = result.code === null ? `signal ${result.signal ?? "unknown"}` : `status ${result.code}`;
  return {
    ...at,
    code: "protocol",
    reason: `the login ended with ${how} before our shell was ready${tail}`,
    remedy: "check that the account may run commands: `ssh HOST sh` (login shell, ForceCommand, restricted keys)",
  };
}

/** Whether the same attempt may work soon: connections that were refused, reset or timed out, never refused logins. */
export function isRetryable(failure: Failure): boolean {
  return failure.transient === true;
}
