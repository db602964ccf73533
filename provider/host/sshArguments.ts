/**
 * The arguments and the configuration text that ssh is given for a target. Pure. On ssh's command line and in its
 * files the first value wins (ssh_config(5)): what must hold comes first, then the user's sshOptions, then defaults.
 */
import { type HostKeyChecking, hostKeys, type SshEndpoint, type SshTarget } from "./target";

/** Paths made beforehand that the arguments refer to; all free of blanks, quotes, % and $ (controlFolder.ts). */
export interface SshPaths {
  /** The control socket; undefined: nothing is shared. */
  readonly controlPath?: string;
  /** Seconds that a shared connection stays after its last use. */
  readonly persistSeconds: number;
  /** A known_hosts file with the target's `hostKey` under the target's name. */
  readonly knownHosts?: string;
  /** An agent of ours with the target's `privateKey`. */
  readonly agentSocket?: string;
  /** A configuration file with the jump host ({@link jumpConfig}), if the target has one. */
  readonly jumpConfig?: string;
}

/** A version of OpenSSH's client. */
export interface SshVersion {
  readonly major: number;
  readonly minor: number;
}

const atLeast = (version: SshVersion, major: number, minor: number): boolean =>
  version.major > major || (version.major === major && version.minor >= minor);

/** Whether ssh may be answered a question for this endpoint; otherwise it runs in batch mode and asks nothing. */
export function mayAsk(end: SshEndpoint): boolean {
  return end.password !== undefined || (end.privateKeyPassword !== undefined && end.privateKey === undefined);
}

/** Seconds for one dial, undefined for no limit. */
export function dialSeconds(end: SshEndpoint): number | undefined {
  const seconds = end.perDialTimeout ?? 15;
  return seconds === 0 ? undefined : seconds;
}

type OptionList = readonly (readonly [keyword: string, value: string])[];

/** Identity, authentication and host key of one endpoint: the options that must hold. */
function identity(
  end: SshEndpoint,
  checking: HostKeyChecking,
  paths: { readonly knownHosts?: string; readonly agentSocket?: string },
  version: SshVersion,
): OptionList {
  const options: [string, string][] = [["BatchMode", mayAsk(end) ? "no" : "yes"]];
  if (paths.knownHosts !== undefined) {
    options.push(
      ["StrictHostKeyChecking", "yes"],
      ["HostKeyAlias", end.host],
      ["UserKnownHostsFile", paths.knownHosts],
      ["GlobalKnownHostsFile", "/dev/null"],
      ["VerifyHostKeyDNS", "no"],
      ["UpdateHostKeys", "no"],
    );
    if (atLeast(version, 8, 5)) options.push(["KnownHostsCommand", "none"]);
  } else if (checking === "off") {
    options.push(
      ["StrictHostKeyChecking", "no"],
      ["UserKnownHostsFile", "/dev/null"],
      ["GlobalKnownHostsFile", "/dev/null"],
    );
  } else {
    options.push(["StrictHostKeyChecking", checking === "strict" ? "yes" : "accept-new"]);
  }
  if (paths.agentSocket !== undefined) {
    options.push(["IdentityAgent", paths.agentSocket], ["IdentityFile", "none"], ["IdentitiesOnly", "no"]);
  } else if (end.agentSocketPath !== undefined) {
    options.push(["IdentityAgent", `"${end.agentSocketPath.replaceAll("%", "%%")}"`]);
  }
  if (end.password !== undefined) {
    options.push(["NumberOfPasswordPrompts", "1"]);
    // A password that was given is meant: try it before an agent full of other keys uses up the host's patience.
    const keyGiven = end.privateKey !== undefined || end.agentSocketPath !== undefined;
    const methods = keyGiven ? "publickey,password,keyboard-interactive" : "password,keyboard-interactive,publickey";
    options.push(["PreferredAuthentications", methods]);
  }
  return options;
}

/** Defaults that a user's own options may replace. */
function defaults(end: SshEndpoint): OptionList {
  const seconds = dialSeconds(end);
  return [
    ...(seconds === undefined ? [] : [["ConnectTimeout", String(seconds)] as const]),
    ["ServerAliveInterval", "5"],
    ["ServerAliveCountMax", "3"],
    ["LogLevel", "ERROR"],
    ["ForwardAgent", "no"],
    ["ForwardX11", "no"],
    ["EscapeChar", "none"],
  ];
}

const asArguments = (options: OptionList): readonly string[] =>
  options.flatMap(([keyword, value]) => ["-o", `${keyword}=${value}`]);

/** ssh's argument list for running `command` on the target, which {@link checkTarget} has passed. */
export function sshArguments(
  target: SshTarget,
  paths: SshPaths,
  version: SshVersion,
  command: string,
  user: string | undefined = target.user,
): readonly string[] {
  const sharing: OptionList =
    paths.controlPath === undefined
      ? [
          ["ControlMaster", "no"],
          ["ControlPath", "none"],
        ]
      : [
          ["ControlMaster", "auto"],
          ["ControlPath", paths.controlPath],
          ["ControlPersist", String(paths.persistSeconds)],
        ];
  const ours: OptionList = [
    ...sharing,
    ["RequestTTY", "no"],
    ["RemoteCommand", "none"],
    ["ClearAllForwardings", "yes"],
    ...(atLeast(version, 8, 7)
      ? ([
          ["SessionType", "default"],
          ["StdinNull", "no"],
          ["ForkAfterAuthentication", "no"],
        ] as const)
      : []),
    ...identity(target, target.hostKeyChecking, paths, version),
  ];
  return [
    "-T",
    ...(paths.jumpConfig === undefined ? [] : ["-F", paths.jumpConfig]),
    ...asArguments(ours),
    ...(target.proxy === undefined ? [] : ["-o", `ProxyJump=${jumpName(target)}`]),
    ...asArguments(Object.entries(target.sshOptions ?? {})),
    ...asArguments(defaults(target)),
    ...(target.port === undefined ? [] : ["-p", String(target.port)]),
    ...(user === undefined ? [] : ["-l", user]),
    "--",
    target.host,
    command,
  ];
}

/**
 * What the jump host is called on the way: its own name, so that the user's configuration for it applies, unless that
 * is the target's name too or an IPv6 address.
 */
function jumpName(target: SshTarget): string {
  const host = target.proxy?.host ?? "";
  return host === target.host || /[:[\]%]/.test(host) ? "pulumi-ssh-keepalive-jump" : host;
}

/**
 * The text of a configuration file that says how to reach the jump host, then reads the user's and the system's own.
 * ssh starts a second ssh with the same -F for the jump (ssh.c), so nothing is built into a ProxyCommand.
 */
export function jumpConfig(
  target: SshTarget,
  paths: { readonly knownHosts?: string; readonly agentSocket?: string },
  version: SshVersion,
): string {
  const jump = target.proxy;
  if (jump === undefined) return "";
  const options: OptionList = [
    ["HostName", jump.host],
    ...(jump.port === undefined ? [] : [["Port", String(jump.port)] as const]),
    ...(jump.user === undefined ? [] : [["User", jump.user] as const]),
    ["ControlMaster", "no"],
    ["ControlPath", "none"],
    ...identity(jump, jump.hostKeyChecking ?? target.hostKeyChecking, paths, version),
    ...defaults(jump).filter(([keyword]) => keyword !== "EscapeChar"),
  ];
  // HostName is left out for the jump's own name: it may be an alias of ~/.ssh/config.
  const lines = options
    .filter(([keyword]) => keyword !== "HostName" || jumpName(target) !== jump.host)
    .map(([keyword, value]) => `  ${keyword} ${value}\n`);
  return `Host ${jumpName(target)}\n${lines.join("")}Host *\n  Include ~/.ssh/config\n  Include /etc/ssh/ssh_config\n`;
}

/** A known_hosts file (sshd(8), SSH_KNOWN_HOSTS) that knows `end` by the name of HostKeyAlias. */
export function knownHostsText(end: SshEndpoint): string {
  return hostKeys(end.hostKey ?? "")
    .map((key) => `${end.host} ${key}\n`)
    .join("");
}
