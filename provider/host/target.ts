/**
 * Where a host is and how one gets in: the shape of a target, and the pure checks that decide what may reach a command
 * line, a configuration file or the host's `sudo`.
 */

/** How strictly a host's key is checked. `strict`: it must be known; `acceptNew`: a first one is kept; `off`: not at all. */
export type HostKeyChecking = "strict" | "acceptNew" | "off";

/**
 * One machine to log in to. An unset field means what `ssh HOST` would do for this user: ~/.ssh/config, agent,
 * known_hosts. Names and units are those of `@pulumi/command`'s ConnectionArgs.
 */
export interface SshEndpoint {
  /** A name, an address, or a Host alias of ~/.ssh/config. */
  readonly host: string;
  readonly port?: number;
  readonly user?: string;
  /** Secret. Given to ssh by SSH_ASKPASS, once per login. */
  readonly password?: string;
  /** Secret. The private key's text, in any form ssh-add takes. Goes to an agent of our own, never to a file. */
  readonly privateKey?: string;
  /** Secret. The passphrase of `privateKey`. */
  readonly privateKeyPassword?: string;
  /** The socket of an ssh-agent to use instead of SSH_AUTH_SOCK. */
  readonly agentSocketPath?: string;
  /** The only host keys to accept: public key lines (`ssh-ed25519 AAAA… comment`). */
  readonly hostKey?: string;
  /** How often a dial that was refused, reset or timed out is repeated; -1: for ten minutes. Default 0. */
  readonly dialErrorLimit?: number;
  /** Seconds for one dial (ssh_config(5) ConnectTimeout); 0: the system's own limit. Default 15. */
  readonly perDialTimeout?: number;
}

/** The jump host on the way to a target. Its `hostKeyChecking` defaults to the target's. */
export interface SshJump extends SshEndpoint {
  readonly hostKeyChecking?: HostKeyChecking;
}

/** Who to be on the host (sudo(8)). */
export interface Become {
  /** A user name or `#uid`. */
  readonly user: string;
  /** Secret. The password sudo asks for; unset: sudo must not ask. */
  readonly password?: string;
}

/** Everything about the way to one host. */
export interface SshTarget extends SshEndpoint {
  /** The host's name in the `hosts` map, for messages only. */
  readonly name: string;
  readonly hostKeyChecking: HostKeyChecking;
  readonly proxy?: SshJump;
  /** ssh_config(5) options that win over everything but {@link RESERVED_OPTIONS}. */
  readonly sshOptions?: Readonly<Record<string, string>>;
  readonly become?: Become;
}

/** What is wrong with one property of a target. Never contains the value of a secret. */
export interface TargetProblem {
  /** `host`, `proxy.user`, `sshOptions.BatchMode`, … */
  readonly property: string;
  /** A sentence without its full stop. */
  readonly reason: string;
  /** What to do about it, without a full stop. */
  readonly remedy: string;
}

/** Options that the shared connection and the script on stdin depend on: `sshOptions` may not set them (lower case). */
export const RESERVED_OPTIONS: readonly string[] = [
  "controlmaster",
  "controlpath",
  "controlpersist",
  "remotecommand",
  "batchmode",
  "stricthostkeychecking",
  "requesttty",
  "sessiontype",
  "stdinnull",
  "forkafterauthentication",
];

const CONTROL = /[\u0000-\u001f\u007f-\u009f]/;
// ssh hands a host name to the shell of a user's own ProxyCommand or Match exec (%h): plain characters only.
const HOST = /^[A-Za-z0-9_:[][A-Za-z0-9_.:%+[\]-]*$/;
// As OpenSSH's own check since 9.6 (ssh.c valid_ruser), and no blanks.
const USER = /^[^\s\u0000-\u001f\u007f"'`$;&|<>(){}-][^\s\u0000-\u001f\u007f"'`$;&|<>(){}]*$/;
const BECOME_USER = /^([a-z_][a-z0-9_.-]*\$?|#\d{1,10})$/;

/** Everything in `target` that ssh may not be given; empty when all is well. Pure. */
export function checkTarget(target: SshTarget): readonly TargetProblem[] {
  const problems: TargetProblem[] = [...checkEndpoint(target, "")];
  if (target.proxy !== undefined) {
    problems.push(...checkEndpoint(target.proxy, "proxy."));
    if (target.proxy.user !== undefined && /[\\%"#]/.test(target.proxy.user)) {
      problems.push({
        property: "proxy.user",
        reason: 'it contains a backslash, %, " or #, which ssh_config cannot carry in every version',
        remedy: "name the jump host in ~/.ssh/config and use that alias",
      });
    }
  }
  for (const [keyword, value] of Object.entries(target.sshOptions ?? {})) {
    const property = `sshOptions.${keyword}`;
    if (!/^[A-Za-z0-9]+$/.test(keyword)) {
      problems.push({ property, reason: "it is not an ssh_config keyword", remedy: "use the names of ssh_config(5)" });
    } else if (RESERVED_OPTIONS.includes(keyword.toLowerCase())) {
      problems.push({
        property,
        reason: "the provider sets this option itself",
        remedy: /^stricthost/i.test(keyword) ? "use hostKeyChecking instead" : "leave it out",
      });
    }
    if (CONTROL.test(value)) {
      problems.push({ property, reason: "its value contains a control character", remedy: "remove it" });
    }
  }
  if (target.become !== undefined) {
    if (!BECOME_USER.test(target.become.user)) {
      problems.push({
        property: "become.user",
        reason: "it is not a user name of letters, digits, _ . - or a #uid",
        remedy: 'use a plain name such as "root"',
      });
    }
    problems.push(...checkSecretLine(target.become.password, "become.password"));
  }
  return problems;
}

function checkEndpoint(end: SshEndpoint, prefix: string): readonly TargetProblem[] {
  const problems: TargetProblem[] = [];
  const add = (property: string, reason: string, remedy: string): void => {
    problems.push({ property: `${prefix}${property}`, reason, remedy });
  };
  if (!HOST.test(end.host)) {
    add("host", "it is not a host name or address that ssh can be given", "use a name, an address or an ssh alias");
  }
  if (end.port !== undefined && !(Number.isInteger(end.port) && end.port >= 1 && end.port <= 65535)) {
    add("port", "it is not a port", "use a number from 1 to 65535");
  }
  if (end.user !== undefined && !USER.test(end.user)) {
    add("user", "it begins with - or contains a blank, a quote or another character ssh refuses", "use a login name");
  }
  problems.push(...checkSecretLine(end.password, `${prefix}password`));
  problems.push(...checkSecretLine(end.privateKeyPassword, `${prefix}privateKeyPassword`));
  if (end.privateKey !== undefined && !/^\s*-----BEGIN [A-Z0-9 ]+-----/.test(end.privateKey)) {
    add("privateKey", "it is not the text of a private key", "pass the key's content, not its path");
  }
  if (end.agentSocketPath !== undefined && (end.agentSocketPath === "" || /["\\$]/.test(end.agentSocketPath))) {
    add("agentSocketPath", 'it is empty or contains ", \\ or $', "use the plain path of the agent's socket");
  } else if (CONTROL.test(end.agentSocketPath ?? "")) {
    add("agentSocketPath", "it contains a control character", "use the plain path of the agent's socket");
  }
  if (end.hostKey !== undefined && hostKeys(end.hostKey).length === 0) {
    add("hostKey", "it holds no public key line", 'pass a line such as "ssh-ed25519 AAAA…" from the host\'s .pub file');
  }
  if (end.perDialTimeout !== undefined && !(Number.isInteger(end.perDialTimeout) && end.perDialTimeout >= 0)) {
    add("perDialTimeout", "it is not a number of seconds", "use a whole number, 0 for no limit");
  }
  if (end.dialErrorLimit !== undefined && !(Number.isInteger(end.dialErrorLimit) && end.dialErrorLimit >= -1)) {
    add("dialErrorLimit", "it is not a count", "use a whole number, -1 for no limit");
  }
  return problems;
}

function checkSecretLine(value: string | undefined, property: string): readonly TargetProblem[] {
  if (value === undefined || !/[\0\r\n]/.test(value)) return [];
  return [{ property, reason: "it contains a line end", remedy: "remove it: nobody could type it at a prompt" }];
}

/**
 * The `type base64` pairs in `text`: one per line; comments, options and host fields around a pair are dropped, and
 * so are lines that hold none and @cert-authority or @revoked lines.
 */
export function hostKeys(text: string): readonly string[] {
  return text.split(/\r?\n/).flatMap((line) => {
    if (/^\s*[@#]/.test(line)) return [];
    const match = /(?:^|\s)((?:ssh|ecdsa|sk)-[A-Za-z0-9@.-]+)\s+(AAAA[A-Za-z0-9+/]+=*)(?:\s|$)/.exec(line);
    return match?.[1] === undefined || match[2] === undefined ? [] : [`${match[1]} ${match[2]}`];
  });
}
