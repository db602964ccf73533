/**
 * The inputs and outputs of the resource. Generated from schema.json by tools/generateTypes.ts: edit that, not this.
 *
 * `…Args` is what a program passes (pulumi.Input at every level), `…Inputs` the same after resolution, which is what
 * the provider works on. Lengths of time are seconds unless a comment says otherwise.
 */
import type * as pulumi from "@pulumi/pulumi";

/**
 * Keeps SSH sessions alive on one host or a fleet: compares what OpenSSH on each host really does with the settings
 * wanted here, shows every difference with file and line in `pulumi preview`, and changes it by a transaction that each
 * host reverts by itself unless a new login proves that it still works.
 * This is what a program passes.
 */
export interface SshKeepaliveArgs {
  /**
   * The hosts, each under a name of your choice; adding, removing or renaming one touches that one alone. One host is a
   * map of one.
   */
  hosts: pulumi.Input<{ [name: string]: pulumi.Input<HostArgs> }>;
  /**
   * How to reach the hosts, for all that do not say otherwise. Fields given at a host win, one by one. Not used for
   * `local` hosts.
   */
  connection?: pulumi.Input<ConnectionArgs> | undefined;
  /**
   * How to become root on the hosts, by sudo. Default: not at all, the login user must have the right to edit the
   * files.
   */
  become?: pulumi.Input<BecomeArgs> | undefined;
  /**
   * sshd settings to keep (sshd_config). An option left out is not managed. For all hosts; options given at a host win,
   * and a `local` host takes part only if it names this side itself.
   */
  server?: pulumi.Input<ServerSettingsArgs> | undefined;
  /**
   * ssh client settings to keep (ssh_config). An option left out is not managed. For all hosts; options given at a host
   * win, and a `local` host takes part only if it names this side itself.
   */
  client?: pulumi.Input<ClientSettingsArgs> | undefined;
  /**
   * What the firewall, load balancer or VPN in between forgets after: seconds, or an OpenSSH time such as `"350s"`.
   * Settings whose first probe would come too late on a host's OpenSSH version are refused, with the arithmetic and an
   * interval that works. Default: none; then a first probe after more than 300 seconds is warned about.
   */
  idleTimeout?: pulumi.Input<number | string> | undefined;
  /** How a change goes through the fleet. Default: 16 hosts at a time, no canary, stop after the first failure. */
  rollout?: pulumi.Input<RolloutArgs> | undefined;
  /**
   * How long a change may stay unconfirmed by a new login before the host reverts it by itself: seconds or an OpenSSH
   * time, 10 seconds to 1 hour. Default: 60 seconds.
   */
  confirmTimeout?: pulumi.Input<number | string> | undefined;
  /** Further users who must be able to log in after a change, beside the login user. Default: none. */
  verifyAs?: pulumi.Input<pulumi.Input<string>[]> | undefined;
  /**
   * Change a host also where no boot guard can be placed, that is where a reboot within `confirmTimeout` would leave an
   * unconfirmed change in force. Default: false, such a host is refused.
   */
  allowNoBootGuard?: pulumi.Input<boolean> | undefined;
}

/** SshKeepaliveArgs after resolution. */
export interface SshKeepaliveInputs {
  readonly hosts: { readonly [name: string]: HostInputs };
  readonly connection?: ConnectionInputs;
  readonly become?: BecomeInputs;
  readonly server?: ServerSettingsInputs;
  readonly client?: ClientSettingsInputs;
  readonly idleTimeout?: number | string;
  readonly rollout?: RolloutInputs;
  readonly confirmTimeout?: number | string;
  readonly verifyAs?: readonly string[];
  readonly allowNoBootGuard?: boolean;
}

/** The outputs of SshKeepalive: the inputs at their own paths, and what was found. */
export interface SshKeepaliveOutputs extends SshKeepaliveInputs {
  /** What was found on each host, by its name in `hosts`, the last time it was looked at. */
  readonly observed: { readonly [name: string]: ObservedHost };
  /**
   * What an update would change, by host name, for people: the difference found, the file and line it comes from, and
   * the edit. Computed by the resource in previews only, never stored, and never set by a program.
   */
  readonly pendingChanges?: { readonly [name: string]: readonly string[] };
}

/**
 * One host: how to reach it, and what is different there from the resource's own settings. Connection fields and
 * options given here win over the resource's, one by one.
 */
export interface HostArgs {
  /** This machine itself, without ssh: no connection field may stand beside it. Default: false. */
  local?: pulumi.Input<boolean> | undefined;
  /**
   * Name or address to connect to: anything `ssh` takes, also an alias from ~/.ssh/config. No user, port or scheme in
   * it. Default: `connection.host` of the resource.
   */
  host?: pulumi.Input<string> | undefined;
  /** TCP port, 1 to 65535. Default: what `ssh HOST` would use (22, or a Port line in ~/.ssh/config). */
  port?: pulumi.Input<number> | undefined;
  /** Login name. Default: what `ssh HOST` would use (the local user, or a User line in ~/.ssh/config). */
  user?: pulumi.Input<string> | undefined;
  /**
   * Login password. Handed to ssh by SSH_ASKPASS: never in its arguments, environment or a file. Tried once. A secret:
   * pass a secret output or configuration value.
   */
  password?: pulumi.Input<string> | undefined;
  /**
   * Text of a private key (not its path), in OpenSSH or PEM form. It goes to an ssh-agent of this provider's own, never
   * to disk. Default: the keys `ssh HOST` would offer. A secret: pass a secret output or configuration value.
   */
  privateKey?: pulumi.Input<string> | undefined;
  /** Passphrase of `privateKey`, where it is encrypted. A secret: pass a secret output or configuration value. */
  privateKeyPassword?: pulumi.Input<string> | undefined;
  /** Socket of the ssh-agent to use. Default: the environment's SSH_AUTH_SOCK, or IdentityAgent in ~/.ssh/config. */
  agentSocketPath?: pulumi.Input<string> | undefined;
  /**
   * Public key that the host must present, as in known_hosts without the host name: `ssh-ed25519 AAAA…`. Several lines:
   * any one of them. Default: known_hosts decides.
   */
  hostKey?: pulumi.Input<string> | undefined;
  /**
   * How often an attempt to connect that was refused, reset or timed out is repeated; -1: for ten minutes. Default: 0.
   */
  dialErrorLimit?: pulumi.Input<number> | undefined;
  /** Seconds that one attempt to connect may take; 0: no limit. Default: 15. */
  perDialTimeout?: pulumi.Input<number> | undefined;
  /**
   * Jump host to connect through, checked as strictly as the host itself. Default: what `ssh HOST` would use (ProxyJump
   * in ~/.ssh/config).
   */
  proxy?: pulumi.Input<ProxyConnectionArgs> | undefined;
  /**
   * Further options for ssh: ssh_config(5) keyword to value, for example `ProxyJump: "bastion"` or `CertificateFile:
   * "~/.ssh/id-cert.pub"`. They are for the way to the host only, they are not the managed settings. ControlMaster,
   * ControlPath, ControlPersist, RemoteCommand, BatchMode and StrictHostKeyChecking are refused: the provider needs
   * them itself.
   */
  sshOptions?: pulumi.Input<{ [name: string]: pulumi.Input<string> }> | undefined;
  /**
   * What to do about a host key that is not known yet. Default: `connection.hostKeyChecking` of the resource, else
   * `strict`.
   */
  hostKeyChecking?: pulumi.Input<HostKeyChecking> | undefined;
  /** How to become root (or another user) on this host. Fields given here win over the resource's `become`. */
  become?: pulumi.Input<BecomeArgs> | undefined;
  /**
   * sshd settings to keep (sshd_config). An option left out is not managed. Options given here win over the resource's
   * `server`, one by one.
   */
  server?: pulumi.Input<ServerSettingsArgs> | undefined;
  /**
   * ssh client settings to keep (ssh_config). An option left out is not managed. Options given here win over the
   * resource's `client`, one by one.
   */
  client?: pulumi.Input<ClientSettingsArgs> | undefined;
  /**
   * What the firewall before this host forgets after, if that differs from the resource's `idleTimeout`. Seconds or an
   * OpenSSH time.
   */
  idleTimeout?: pulumi.Input<number | string> | undefined;
  /** Further users who must be able to log in after a change on this host, instead of the resource's `verifyAs`. */
  verifyAs?: pulumi.Input<pulumi.Input<string>[]> | undefined;
  /** For this host: see the resource's `allowNoBootGuard`, which is the default. */
  allowNoBootGuard?: pulumi.Input<boolean> | undefined;
}

/** HostArgs after resolution. */
export interface HostInputs {
  readonly local?: boolean;
  readonly host?: string;
  readonly port?: number;
  readonly user?: string;
  readonly password?: string;
  readonly privateKey?: string;
  readonly privateKeyPassword?: string;
  readonly agentSocketPath?: string;
  readonly hostKey?: string;
  readonly dialErrorLimit?: number;
  readonly perDialTimeout?: number;
  readonly proxy?: ProxyConnectionInputs;
  readonly sshOptions?: { readonly [name: string]: string };
  readonly hostKeyChecking?: HostKeyChecking;
  readonly become?: BecomeInputs;
  readonly server?: ServerSettingsInputs;
  readonly client?: ClientSettingsInputs;
  readonly idleTimeout?: number | string;
  readonly verifyAs?: readonly string[];
  readonly allowNoBootGuard?: boolean;
}

/** How to reach a jump host. */
export interface ProxyConnectionArgs {
  /**
   * Name or address of the jump host: anything `ssh` takes, also an alias from ~/.ssh/config. No user, port or scheme
   * in it.
   */
  host: pulumi.Input<string>;
  /** TCP port, 1 to 65535. Default: what `ssh HOST` would use (22, or a Port line in ~/.ssh/config). */
  port?: pulumi.Input<number> | undefined;
  /** Login name. Default: what `ssh HOST` would use (the local user, or a User line in ~/.ssh/config). */
  user?: pulumi.Input<string> | undefined;
  /**
   * Login password. Handed to ssh by SSH_ASKPASS: never in its arguments, environment or a file. Tried once. A secret:
   * pass a secret output or configuration value.
   */
  password?: pulumi.Input<string> | undefined;
  /**
   * Text of a private key (not its path), in OpenSSH or PEM form. It goes to an ssh-agent of this provider's own, never
   * to disk. Default: the keys `ssh HOST` would offer. A secret: pass a secret output or configuration value.
   */
  privateKey?: pulumi.Input<string> | undefined;
  /** Passphrase of `privateKey`, where it is encrypted. A secret: pass a secret output or configuration value. */
  privateKeyPassword?: pulumi.Input<string> | undefined;
  /** Socket of the ssh-agent to use. Default: the environment's SSH_AUTH_SOCK, or IdentityAgent in ~/.ssh/config. */
  agentSocketPath?: pulumi.Input<string> | undefined;
  /**
   * Public key that the host must present, as in known_hosts without the host name: `ssh-ed25519 AAAA…`. Several lines:
   * any one of them. Default: known_hosts decides.
   */
  hostKey?: pulumi.Input<string> | undefined;
  /**
   * How often an attempt to connect that was refused, reset or timed out is repeated; -1: for ten minutes. Default: 0.
   */
  dialErrorLimit?: pulumi.Input<number> | undefined;
  /** Seconds that one attempt to connect may take; 0: no limit. Default: 15. */
  perDialTimeout?: pulumi.Input<number> | undefined;
}

/** ProxyConnectionArgs after resolution. */
export interface ProxyConnectionInputs {
  readonly host: string;
  readonly port?: number;
  readonly user?: string;
  readonly password?: string;
  readonly privateKey?: string;
  readonly privateKeyPassword?: string;
  readonly agentSocketPath?: string;
  readonly hostKey?: string;
  readonly dialErrorLimit?: number;
  readonly perDialTimeout?: number;
}

/**
 * What to do about a host key that is not known yet.
 * `strict`: Refuse a host whose key is neither given as `hostKey` nor in known_hosts.
 * `acceptNew`: Accept and remember a key seen for the first time; refuse one that has changed.
 * `off`: Accept any key: anyone in between can take the host's place. Warned about at every run.
 */
export type HostKeyChecking = "strict" | "acceptNew" | "off";

/** Becoming another user on a host by sudo. */
export interface BecomeArgs {
  /** User to become. Default: `root`. */
  user?: pulumi.Input<string> | undefined;
  /**
   * Password that sudo asks for (with sudo's defaults that of the login user). Sent after sudo's prompt and once only.
   * Default: none, sudo must not ask. A secret: pass a secret output or configuration value.
   */
  password?: pulumi.Input<string> | undefined;
}

/** BecomeArgs after resolution. */
export interface BecomeInputs {
  readonly user?: string;
  readonly password?: string;
}

/** sshd settings to keep (sshd_config). An option left out is not managed. */
export interface ServerSettingsArgs {
  /**
   * ClientAliveInterval: how long a session is silent before sshd probes the client. Seconds, or an OpenSSH time such
   * as `"5m"` or `"1h30m"`; 0 to 2147483647; 0: no probes. OpenSSH's default: 0. sshd 9.2 to 9.4 (Debian 12) waits
   * twice as long before it probes. A probe refreshes every firewall in between.
   */
  clientAliveInterval?: pulumi.Input<number | string> | undefined;
  /**
   * ClientAliveCountMax: unanswered probes that are let pass. The session ends at the next one: after interval × (count
   * + 1), twice that on sshd 9.2 to 9.4. 1 to 2147483647; 0 is refused, since sshd from 8.2 then never ends a session,
   * and before 8.2 ends a healthy one at the first interval. OpenSSH's default: 3.
   */
  clientAliveCountMax?: pulumi.Input<number> | undefined;
  /**
   * TCPKeepAlive: the operating system's own probes of the TCP connection (every two hours by default on Linux: no help
   * against firewalls). OpenSSH's default: true.
   */
  tcpKeepAlive?: pulumi.Input<boolean> | undefined;
  /**
   * Absolute path of the sshd_config. Default: the one that the listening sshd was started with, usually
   * /etc/ssh/sshd_config.
   */
  configPath?: pulumi.Input<string> | undefined;
  /** Absolute path of the sshd program that judges the configuration. Default: the one that listens. */
  sshdPath?: pulumi.Input<string> | undefined;
  /**
   * Command that makes sshd read its files again, as a list of words, run without a shell: `["/usr/sbin/service",
   * "sshd", "reload"]`. Default: what the service manager found on the host offers (systemd, OpenRC, sysvinit), else a
   * SIGHUP to the listening sshd.
   */
  reload?: pulumi.Input<pulumi.Input<string>[]> | undefined;
  /** Where an edit goes. Default: `auto`. */
  placement?: pulumi.Input<Placement> | undefined;
}

/** ServerSettingsArgs after resolution. */
export interface ServerSettingsInputs {
  readonly clientAliveInterval?: number | string;
  readonly clientAliveCountMax?: number;
  readonly tcpKeepAlive?: boolean;
  readonly configPath?: string;
  readonly sshdPath?: string;
  readonly reload?: readonly string[];
  readonly placement?: Placement;
}

/**
 * Where an edit of an sshd_config goes.
 * `auto`: An early drop-in where the main file includes one before anything else sets the option, otherwise the line
 * that wins, otherwise the main file.
 * `dropIn`: A drop-in of the provider's own; refused where the main file has no fitting Include.
 * `main`: The main file, or the line that wins.
 */
export type Placement = "auto" | "dropIn" | "main";

/** ssh client settings to keep (ssh_config). An option left out is not managed. */
export interface ClientSettingsArgs {
  /**
   * ServerAliveInterval: how long a session is silent before ssh probes the server. Seconds, or an OpenSSH time such as
   * `"5m"` or `"1h30m"`; 0 to 2147483647; 0: no probes. OpenSSH's default: 0 (on Debian 300 where BatchMode is on).
   */
  serverAliveInterval?: pulumi.Input<number | string> | undefined;
  /**
   * ServerAliveCountMax: unanswered probes that are let pass. The session ends at the next one: after interval × (count
   * + 1). 1 to 2147483647; 0 is refused, since ssh then ends a healthy session at the first interval. OpenSSH's
   * default: 3.
   */
  serverAliveCountMax?: pulumi.Input<number> | undefined;
  /**
   * TCPKeepAlive: the operating system's own probes of the TCP connection (every two hours by default on Linux: no help
   * against firewalls). OpenSSH's default: true.
   */
  tcpKeepAlive?: pulumi.Input<boolean> | undefined;
  /** Manage this user's ~/.ssh/config (created 0600 in a 0700 folder where missing) instead of the system-wide file. */
  user?: pulumi.Input<string> | undefined;
  /** Host patterns (ssh_config(5), PATTERNS) that the settings are for. Default: `["*"]`, every host. */
  hosts?: pulumi.Input<pulumi.Input<string>[]> | undefined;
  /** Absolute path of the ssh_config. Default: /etc/ssh/ssh_config, or with `user` that user's ~/.ssh/config. */
  configPath?: pulumi.Input<string> | undefined;
}

/** ClientSettingsArgs after resolution. */
export interface ClientSettingsInputs {
  readonly serverAliveInterval?: number | string;
  readonly serverAliveCountMax?: number;
  readonly tcpKeepAlive?: boolean;
  readonly user?: string;
  readonly hosts?: readonly string[];
  readonly configPath?: string;
}

/**
 * How to reach a host: takes the object that `@pulumi/command`'s remote.Command takes as its `connection`, unchanged. A
 * field left out means what `ssh HOST` would do for this user: ~/.ssh/config, agent, known_hosts, ProxyJump,
 * certificates and security keys.
 */
export interface ConnectionArgs {
  /**
   * Name or address to connect to: anything `ssh` takes, also an alias from ~/.ssh/config. No user, port or scheme in
   * it. Usually given per host.
   */
  host?: pulumi.Input<string> | undefined;
  /** TCP port, 1 to 65535. Default: what `ssh HOST` would use (22, or a Port line in ~/.ssh/config). */
  port?: pulumi.Input<number> | undefined;
  /** Login name. Default: what `ssh HOST` would use (the local user, or a User line in ~/.ssh/config). */
  user?: pulumi.Input<string> | undefined;
  /**
   * Login password. Handed to ssh by SSH_ASKPASS: never in its arguments, environment or a file. Tried once. A secret:
   * pass a secret output or configuration value.
   */
  password?: pulumi.Input<string> | undefined;
  /**
   * Text of a private key (not its path), in OpenSSH or PEM form. It goes to an ssh-agent of this provider's own, never
   * to disk. Default: the keys `ssh HOST` would offer. A secret: pass a secret output or configuration value.
   */
  privateKey?: pulumi.Input<string> | undefined;
  /** Passphrase of `privateKey`, where it is encrypted. A secret: pass a secret output or configuration value. */
  privateKeyPassword?: pulumi.Input<string> | undefined;
  /** Socket of the ssh-agent to use. Default: the environment's SSH_AUTH_SOCK, or IdentityAgent in ~/.ssh/config. */
  agentSocketPath?: pulumi.Input<string> | undefined;
  /**
   * Public key that the host must present, as in known_hosts without the host name: `ssh-ed25519 AAAA…`. Several lines:
   * any one of them. Default: known_hosts decides.
   */
  hostKey?: pulumi.Input<string> | undefined;
  /**
   * How often an attempt to connect that was refused, reset or timed out is repeated; -1: for ten minutes. Default: 0.
   */
  dialErrorLimit?: pulumi.Input<number> | undefined;
  /** Seconds that one attempt to connect may take; 0: no limit. Default: 15. */
  perDialTimeout?: pulumi.Input<number> | undefined;
  /**
   * Jump host to connect through, checked as strictly as the host itself. Default: what `ssh HOST` would use (ProxyJump
   * in ~/.ssh/config).
   */
  proxy?: pulumi.Input<ProxyConnectionArgs> | undefined;
  /**
   * Further options for ssh: ssh_config(5) keyword to value, for example `ProxyJump: "bastion"` or `CertificateFile:
   * "~/.ssh/id-cert.pub"`. They are for the way to the host only, they are not the managed settings. ControlMaster,
   * ControlPath, ControlPersist, RemoteCommand, BatchMode and StrictHostKeyChecking are refused: the provider needs
   * them itself.
   */
  sshOptions?: pulumi.Input<{ [name: string]: pulumi.Input<string> }> | undefined;
  /** What to do about a host key that is not known yet. Default: `strict`. */
  hostKeyChecking?: pulumi.Input<HostKeyChecking> | undefined;
}

/** ConnectionArgs after resolution. */
export interface ConnectionInputs {
  readonly host?: string;
  readonly port?: number;
  readonly user?: string;
  readonly password?: string;
  readonly privateKey?: string;
  readonly privateKeyPassword?: string;
  readonly agentSocketPath?: string;
  readonly hostKey?: string;
  readonly dialErrorLimit?: number;
  readonly perDialTimeout?: number;
  readonly proxy?: ProxyConnectionInputs;
  readonly sshOptions?: { readonly [name: string]: string };
  readonly hostKeyChecking?: HostKeyChecking;
}

/** How a change goes through the fleet. */
export interface RolloutArgs {
  /** Hosts worked on at the same time, 1 to 1000. Default: 16. */
  parallel?: pulumi.Input<number> | undefined;
  /**
   * Hosts that are done first, before any other: a count from 1 to the number of hosts, or a percentage from `"1%"` to
   * `"100%"`, rounded up. Default: none.
   */
  canary?: pulumi.Input<number | string> | undefined;
  /** Failed hosts after which no further host is started. Default: 0, stop after the first failure. */
  maxFailures?: pulumi.Input<number> | undefined;
}

/** RolloutArgs after resolution. */
export interface RolloutInputs {
  readonly parallel?: number;
  readonly canary?: number | string;
  readonly maxFailures?: number;
}

/** What was found on one host the last time it was looked at. */
export interface ObservedHost {
  /** How the host stands to the settings wanted for it. */
  readonly status: HostStatus;
  /** Why the status is what it is, when it is not `inSync`. */
  readonly reason?: string;
  /** OpenSSH version as the host names it, for example `OpenSSH_9.2p1 Debian-2+deb12u6`. */
  readonly openssh?: string;
  /** The host's sshd, when `server` settings are managed there. */
  readonly server?: ObservedSide;
  /** The host's ssh client, when `client` settings are managed there. */
  readonly client?: ObservedSide;
  /** Path, on the host, of the newest backup of the files as they were before the last change. */
  readonly backup?: string;
}

/**
 * How a host stands to the settings wanted for it.
 * `inSync`: Every managed option has the wanted value.
 * `drifted`: At least one managed option has another value.
 * `unreachable`: The host could not be looked at.
 * `failed`: The host could not be changed as wanted; `reason` says why and what state it is in.
 * `unknown`: Not looked at: inputs are not known yet, or the rollout stopped before.
 */
export type HostStatus = "inSync" | "drifted" | "unreachable" | "failed" | "unknown";

/** What was found of one side (sshd or ssh client) of a host. */
export interface ObservedSide {
  /** Path of the main configuration file. */
  readonly configPath: string;
  /** Each keepalive option of that side, by OpenSSH's spelling: its value for everyone and where it comes from. */
  readonly options: { readonly [name: string]: ObservedOption };
  /**
   * Match or Host blocks that set a managed option to something else for some. Reported and left alone: they are
   * someone's intent.
   */
  readonly differs: readonly ObservedDifference[];
  /** Seconds of silence after which the first probe goes out, on this OpenSSH version. Absent: never. */
  readonly firstProbeSeconds?: number;
  /** Seconds after which a session whose other end is gone is ended, on this OpenSSH version. Absent: never. */
  readonly disconnectSeconds?: number;
}

/** The effective value of one managed option. */
export interface ObservedOption {
  /** Value for everyone, in OpenSSH's canonical form: seconds, a count, or yes and no. */
  readonly value: string;
  /** Wanted value in the same form. Absent: the option is not managed. */
  readonly wanted?: string;
  /** File that sets the value. Absent: OpenSSH's default. */
  readonly file?: string;
  /** Line in `file`, from 1. */
  readonly line?: number;
}

/** A Match or Host block that sets a managed option to something else than it is for everyone. */
export interface ObservedDifference {
  /** Option, in OpenSSH's spelling. */
  readonly option: string;
  /** Value inside the block. */
  readonly value: string;
  /** The block's Match or Host line. */
  readonly header: string;
  /** File that the option stands in. */
  readonly file: string;
  /** Line in `file`, from 1. */
  readonly line: number;
}
