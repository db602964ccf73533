/** The rules that a schema cannot say. A failure names the property, what is wrong and what to write instead. */
import type { ConnectionInputs, HostInputs, ProxyConnectionInputs, SshKeepaliveInputs } from "../args";
import { RESERVED_OPTIONS } from "../host/target";
import { checkIdle, ON_TIME } from "../semantics";
import { MAX_VALUE, type Option, optionsOf, parseTime, type Side } from "../settings";
import { type Finding, isPrefix, type Path, pathText, quoted } from "./paths";
import { type HostSettings, hostSettings, probeValues, seconds } from "./resolve";
import { connectionFields, optionNamed, wrongSide } from "./shape";

/** Judges inputs of sound shape; `gaps` are the paths that were left out, unknown or already reported. */
export function ruleFailures(inputs: Partial<SshKeepaliveInputs>, gaps: readonly Path[]): Finding[] {
  const findings: Finding[] = [];
  const add = (at: Path, reason: string | undefined): void => {
    if (reason !== undefined) findings.push({ path: at, reason });
  };
  /** True when the value at `at`, or one it is part of, was left out: its absence says nothing. */
  const isGap = (...at: Path): boolean => gaps.some((gap) => isPrefix(gap, at));
  /** True when any part below `at` was left out. */
  const hasGap = (...at: Path): boolean => isGap(...at) || gaps.some((gap) => isPrefix(at, gap));

  const { hosts = {}, connection, rollout = {} } = inputs;
  const names = Object.keys(hosts);

  if (connection !== undefined) connectionRules(["connection"], connection, add);
  commonRules([], inputs, add);
  for (const name of names) {
    const host = hosts[name] ?? {};
    const at = ["hosts", name];
    add(at, hostNameProblem(name));
    connectionRules(at, host, add);
    commonRules(at, host, add);
    if (host.local === true) {
      const given = connectionFields().filter((field) => field in host || isGap(...at, field));
      if (given.length > 0) {
        add(
          at,
          `Has local: true, which is this machine without ssh, beside ${given.join(", ")}. Take out the one or the other.`,
        );
      }
    } else if (host.host === undefined && connection?.host === undefined) {
      const open = isGap(...at, "host") || isGap(...at, "local") || isGap("connection", "host");
      if (!open)
        add(
          [...at, "host"],
          "Is missing, and connection.host is not given either. Give the name or address to connect to, or local: true for this machine.",
        );
    }
  }

  const all = hostSettings(inputs as SshKeepaliveInputs);
  for (const host of all) mergedRules(host, inputs, hasGap, add);
  sameTargetRules(all, hasGap, add);

  if (inputs.hosts !== undefined && names.length === 0 && !hasGap("hosts")) {
    add(
      ["hosts"],
      'Is empty: there is nothing to keep. Give at least one host, { "web-1": { host: "192.0.2.11" } }, or take the resource out.',
    );
  }

  add(["rollout", "parallel"], rangeProblem(rollout.parallel, 1, 1000, "hosts at the same time"));
  add(["rollout", "maxFailures"], rangeProblem(rollout.maxFailures, 0, MAX_VALUE, "failed hosts"));
  add(["rollout", "canary"], canaryProblem(rollout.canary));
  add(["confirmTimeout"], confirmTimeoutProblem(inputs.confirmTimeout));
  return findings;
}

type Add = (at: Path, reason: string | undefined) => void;

/** What the top level and a host have in common, connection apart. */
function commonRules(at: Path, level: Partial<SshKeepaliveInputs> | HostInputs, add: Add): void {
  if (level.idleTimeout !== undefined) {
    const problem = timeProblem(level.idleTimeout);
    const zero =
      seconds(level.idleTimeout) === 0
        ? "Is 0: nothing would survive. Give the seconds after which the firewall in between forgets, or leave it out."
        : undefined;
    add([...at, "idleTimeout"], problem ?? zero);
  }
  if (level.become?.user !== undefined && !/^([A-Za-z_][A-Za-z0-9_.-]{0,255}\$?|#\d{1,10})$/.test(level.become.user)) {
    add(
      [...at, "become", "user"],
      "Must be a plain user name (letters, digits, _ . -) or #UID: it becomes a word of sudo's command line.",
    );
  }
  level.verifyAs?.forEach((user, i) => {
    add([...at, "verifyAs", i], userProblem(user));
  });
  for (const side of ["server", "client"] as const) {
    const settings = level[side];
    if (settings !== undefined) sideRules([...at, side], side, settings, add);
  }
}

function sideRules(at: Path, side: Side, settings: object, add: Add): void {
  const given = settings as Readonly<Record<string, unknown>>;
  const [interval, count] = optionsOf(side);
  for (const option of optionsOf(side)) {
    const value = given[option.input];
    if (option.kind === "time" && (typeof value === "number" || typeof value === "string")) {
      add([...at, option.input], timeProblem(value));
    }
    if (option.kind === "count" && typeof value === "number") add([...at, option.input], countProblem(option, value));
  }
  if (interval !== undefined && count !== undefined) {
    const off = given[interval.input];
    const counted = given[count.input];
    if (
      off !== undefined &&
      seconds(off as number | string) === 0 &&
      timeProblem(off as number | string) === undefined &&
      counted !== undefined
    ) {
      add(
        [...at, count.input],
        `Has no meaning beside ${interval.input} 0, which sends no probes. Leave it out, or give an interval of 1 or more.`,
      );
    }
  }

  for (const field of ["configPath", "sshdPath"]) {
    const value = given[field];
    if (typeof value === "string") add([...at, field], absolutePathProblem(value, field));
  }
  const { reload, user, hosts } = given;
  if (side === "server" && Array.isArray(reload)) commandRules([...at, "reload"], reload.map(String), add);
  if (side === "client" && typeof user === "string" && !/^[A-Za-z_][A-Za-z0-9_.-]{0,255}\$?$/.test(user)) {
    add(
      [...at, "user"],
      "Must be a plain user name of the host (letters, digits, _ . -, not beginning with a digit or -).",
    );
  }
  if (side === "client" && Array.isArray(hosts)) patternRules([...at, "hosts"], hosts.map(String), add);
}

/** A value of a time option, whatever the option: why OpenSSH would not take it. */
function timeProblem(value: number | string): string | undefined {
  const tooLong = `Is more than ${MAX_VALUE} seconds (68 years), the most that OpenSSH takes.`;
  if (typeof value === "number") {
    if (value < 0) return `Is ${value}: a length of time cannot be negative.`;
    return value > MAX_VALUE ? tooLong : undefined;
  }
  if (parseTime(value) !== undefined) return undefined;
  if (/^(\d+[smhdw]?)+$/i.test(value)) return tooLong;
  const none = value === "none" ? " To switch it off write 0; to leave it alone leave it out." : "";
  return `Is ${quoted(value)}, which is no OpenSSH time: write seconds, or whole numbers with the units s, m, h, d, w and no blanks, as in "90", "5m" or "1h30m".${none}`;
}

function countProblem(option: Option, value: number): string | undefined {
  if (value < 0) return `Is ${value}: a count cannot be negative. Write 1 or more.`;
  if (value > MAX_VALUE) return `Is more than ${MAX_VALUE}, the most that OpenSSH takes.`;
  if (value !== 0) return undefined;
  return option.side === "server"
    ? "Is 0: sshd from 8.2 on then never ends a dead session, and before 8.2 it ends a healthy one at the first interval. Write 1 or more."
    : "Is 0: ssh then ends a healthy session at the first interval, instead of probing. Write 1 or more.";
}

function rangeProblem(value: number | undefined, min: number, max: number, unit: string): string | undefined {
  if (value === undefined || (value >= min && value <= max)) return undefined;
  return `Is ${value}: must be from ${min} to ${max} ${unit}.`;
}

function canaryProblem(value: number | string | undefined): string | undefined {
  if (value === undefined) return undefined;
  if (typeof value === "string") {
    const percent = /^(\d{1,3})%$/.exec(value);
    if (percent !== null && Number(percent[1]) >= 1 && Number(percent[1]) <= 100) return undefined;
    return `Is ${quoted(value)}: must be a count of hosts (a number), or a whole percentage from "1%" to "100%".`;
  }
  return value < 1 ? `Is ${value}: must be 1 or more. Leave it out for no canary.` : undefined;
}

function confirmTimeoutProblem(value: number | string | undefined): string | undefined {
  if (value === undefined) return undefined;
  const problem = timeProblem(value);
  if (problem !== undefined) return problem;
  const s = seconds(value);
  if (s >= 10 && s <= 3600) return undefined;
  return `Is ${s} s: must be from 10 s, in which a reload and a new login fit, to 3600 s, for which a host may stay with unproven settings.`;
}

function absolutePathProblem(value: string, field: string): string | undefined {
  if (/[\u0000-\u001f\u007f]/.test(value)) return "Holds a control character.";
  if (!value.startsWith("/")) {
    const home = value.startsWith("~") && field === "configPath" ? " For a user's ~/.ssh/config give client.user." : "";
    return `Is ${quoted(value)}: must be an absolute path on the host, beginning with /.${home}`;
  }
  if (value.endsWith("/")) return `Is ${quoted(value)}, a folder: give the path of the file.`;
  if (value.split("/").includes("..")) return `Is ${quoted(value)}: must not hold \`..\`.`;
  return undefined;
}

function commandRules(at: Path, words: readonly string[], add: Add): void {
  const [program] = words;
  if (program === undefined) {
    add(at, 'Is empty: give the command as a list of words, ["/usr/sbin/service", "sshd", "reload"], or leave it out.');
    return;
  }
  words.forEach((word, i) => {
    if (/[\u0000-\u001f\u007f]/.test(word)) add([...at, i], "Holds a control character.");
  });
  if (program === "" || program.startsWith("-") || /\s/.test(program)) {
    add(
      [...at, 0],
      'Must be a program: the command runs without a shell, one entry per word, ["systemctl", "reload", "ssh"].',
    );
  }
}

function patternRules(at: Path, patterns: readonly string[], add: Add): void {
  if (patterns.length === 0) {
    add(at, 'Is empty: no host would match. Leave it out for every host, or give patterns, ["*.example.com"].');
    return;
  }
  patterns.forEach((pattern, i) => {
    if (pattern === "" || pattern === "!") add([...at, i], "Is empty: give a host name or pattern.");
    else if (/[\s\u0000-\u001f\u007f"'\\#=,]/.test(pattern)) {
      add(
        [...at, i],
        "Must be one Host pattern: no blanks, control characters, quotes, backslashes, #, = or commas. Give several as several entries.",
      );
    }
  });
  if (patterns.every((p) => p.startsWith("!") && p.length > 1)) {
    add(
      at,
      'Has exceptions only, and those match nothing by themselves (ssh_config(5), PATTERNS). Add what they are exceptions from: ["*", "!…"].',
    );
  }
}

const hasBlankOrControl = (text: string): boolean => /[\s\u0000-\u001f\u007f-\u009f]/.test(text);

/** Problems with a name in `hosts`. */
function hostNameProblem(name: string): string | undefined {
  if (name.trim() === "") return "Has an empty name: give the host a name of your choice.";
  if (/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/.test(name)) return "Has a control character in its name.";
  return undefined;
}

function userProblem(user: string): string | undefined {
  if (user === "") return "Is empty: give a user name, or leave it out.";
  if (user.startsWith("-")) return "Begins with -, which ssh would take for an option.";
  return hasBlankOrControl(user) ? "Holds a blank or a control character." : undefined;
}

function addressProblem(host: string): string | undefined {
  if (host === "") return "Is empty: give the name or address to connect to.";
  if (host.startsWith("-")) return "Begins with -, which ssh would take for an option.";
  if (hasBlankOrControl(host)) return "Holds a blank or a control character.";
  if (host.includes("://"))
    return "Is a URL: give the name or address alone, with port and user as properties of their own.";
  if (host.includes("@")) return "Holds an @: give the login name as user.";
  if (/^[^:]+:\d+$/.test(host)) return "Ends in a port: give it as port.";
  return undefined;
}

function connectionRules(at: Path, fields: ConnectionInputs | ProxyConnectionInputs, add: Add): void {
  if (fields.host !== undefined) add([...at, "host"], addressProblem(fields.host));
  if (fields.user !== undefined) add([...at, "user"], userProblem(fields.user));
  add([...at, "port"], rangeProblem(fields.port, 1, 65535, "(a TCP port)"));
  add([...at, "dialErrorLimit"], rangeProblem(fields.dialErrorLimit, -1, MAX_VALUE, "attempts (-1: no limit)"));
  add([...at, "perDialTimeout"], rangeProblem(fields.perDialTimeout, 0, MAX_VALUE, "seconds (0: no limit)"));
  if (fields.privateKey !== undefined) add([...at, "privateKey"], privateKeyProblem(fields.privateKey));
  if (fields.hostKey !== undefined) add([...at, "hostKey"], hostKeyProblem(fields.hostKey));
  if (fields.agentSocketPath !== undefined) {
    const bad = fields.agentSocketPath === "" || /[\u0000-\u001f\u007f]/.test(fields.agentSocketPath);
    if (bad)
      add(
        [...at, "agentSocketPath"],
        "Must be the path of an agent's socket: it is empty or holds a control character.",
      );
  }
  if ("proxy" in fields && fields.proxy !== undefined) connectionRules([...at, "proxy"], fields.proxy, add);
  if ("sshOptions" in fields) {
    for (const [keyword, value] of Object.entries(fields.sshOptions ?? {})) {
      add([...at, "sshOptions", keyword], sshOptionProblem(keyword, value));
    }
  }
}

function sshOptionProblem(keyword: string, value: string): string | undefined {
  if (!/^[A-Za-z][A-Za-z0-9]*$/.test(keyword)) return "Is no ssh_config keyword: letters and digits only.";
  const lower = keyword.toLowerCase();
  if (lower === "stricthostkeychecking") return "Is set by the provider. Use hostKeyChecking.";
  if (RESERVED_OPTIONS.includes(lower))
    return "Is set by the provider, which shares one connection per host. Take it out.";
  const mixedUp = wrongSide("client", keyword);
  if (mixedUp !== undefined)
    return `${optionNamed(keyword)?.name ?? keyword} is an option of sshd: ssh refuses it. sshOptions are for the way to the host; wanted settings belong under server or client.`;
  if (value === "" || /[\u0000-\u001f\u007f]/.test(value)) return "Must have a value without control characters.";
  return undefined;
}

/** Why a text is no private key, without repeating any of it. */
function privateKeyProblem(text: string): string | undefined {
  const key = text.trim();
  const readIt =
    'Pass the key\'s text, for example readFileSync(path, "utf8") made secret, or a secret configuration value.';
  if (key === "") return `Is empty. ${readIt}`;
  if (!key.includes("\n") && /^([~.]{0,2}\/|[A-Za-z]:[\\/]|\S*\bid_[a-z0-9_]+$)/.test(key))
    return `Looks like a path. ${readIt}`;
  if (/^(ssh-|ecdsa-|sk-)\S+ /.test(key) || key.startsWith("-----BEGIN PUBLIC KEY")) {
    return "Is a public key. The private one is in the file of the same name without .pub.";
  }
  if (key.startsWith("PuTTY-User-Key-File")) {
    return "Is a key in PuTTY's form. Convert it: puttygen KEY.ppk -O private-openssh -o KEY.";
  }
  if (!/^-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----/.test(key)) {
    return `Is no private key: it does not begin with "-----BEGIN … PRIVATE KEY-----". ${readIt}`;
  }
  if (!key.includes("\n") && key.includes("\\n")) {
    return "Has the two characters \\n in place of line ends. Store the key with real ones: pulumi config set --secret KEY < FILE.";
  }
  if (!key.includes("\n")) return `Has lost its line ends. In YAML write the block with |, not with >. ${readIt}`;
  if (!/-----END [A-Z0-9 ]*PRIVATE KEY-----$/.test(key))
    return `Is cut off: its "-----END … PRIVATE KEY-----" line is missing. ${readIt}`;
  return undefined;
}

/** Public key types that a host can have (sshd(8), AUTHORIZED_KEYS FILE FORMAT; certificates are for known_hosts). */
const KEY_TYPE =
  /^(ssh-ed25519|ssh-rsa|ssh-dss|ecdsa-sha2-nistp(256|384|521)|sk-(ssh-ed25519|ecdsa-sha2-nistp256)@openssh\.com)$/;

/** Why a text is no host key: each line must be `TYPE BASE64 [comment]`, and the blob must say the same type. */
function hostKeyProblem(text: string): string | undefined {
  const lines = text
    .split(/\r?\n/)
    .map((l) => l.trim())
    .filter((l) => l !== "" && !l.startsWith("#"));
  const form =
    "Give the line of the host's /etc/ssh/ssh_host_ed25519_key.pub, or of ssh-keyscan without the host name: ssh-ed25519 AAAA….";
  if (lines.length === 0) return `Is empty. ${form}`;
  for (const line of lines) {
    if (/^(SHA256|MD5):/.test(line)) return `Is a fingerprint, and the key itself is needed. ${form}`;
    if (line.startsWith("-----BEGIN")) return `Is not a public key line. ${form}`;
    const [type = "", blob = ""] = line.split(/\s+/);
    if (!KEY_TYPE.test(type)) {
      return KEY_TYPE.test(blob)
        ? "Begins with a host name, as in known_hosts. Leave that out: ssh-ed25519 AAAA…."
        : `Is not a public key line. ${form}`;
    }
    const bytes = Buffer.from(blob, "base64");
    const named = bytes.length > 4 ? bytes.subarray(4, 4 + Math.min(bytes.readUInt32BE(0), 64)).toString("latin1") : "";
    if (!/^[A-Za-z0-9+/]+={0,2}$/.test(blob) || named !== type)
      return `Is not a whole public key: the part after the type is damaged or cut off. ${form}`;
  }
  return undefined;
}

/** Rules about what a host's own and the top-level settings make together. */
function mergedRules(
  host: HostSettings,
  inputs: Partial<SshKeepaliveInputs>,
  hasGap: (...at: Path) => boolean,
  add: Add,
): void {
  const at = ["hosts", host.name];
  const own = inputs.hosts?.[host.name] ?? {};
  const managed = (["server", "client"] as const).some((side) => {
    if (host.local && own[side] === undefined && !hasGap(...at, side)) return false;
    const given = { ...inputs[side], ...own[side] };
    return hasGap(side) || hasGap(...at, side) || optionsOf(side).some((o) => o.input in given);
  });
  if (!managed) {
    add(
      at,
      host.local
        ? "Has nothing to keep: a local host takes the top level's options only for a side that it names itself. Name one, server: {} or client: {}, or take the host out."
        : "Has nothing to keep: no option is given under server or client, neither here nor at the top level. Give one, server: { clientAliveInterval: 60 }, or take the host out.",
    );
  }
  for (const side of ["server", "client"] as const) {
    const [interval, count] = optionsOf(side);
    const values = host[side]?.values ?? {};
    const probe = probeValues(side, values);
    if (interval === undefined || count === undefined || probe === undefined) continue;
    const ownSide = (own[side] ?? {}) as Readonly<Record<string, unknown>>;
    // Where a failure is shown: at the host when it has a part in it, else once at the top level.
    const place = (...options: readonly Option[]): Path =>
      options.some((o) => o.input in ownSide) ? [...at, side] : [side];

    // A count of the top level may stand beside an interval 0 of one host: there is no way to take it out there.
    if (probe.interval === 0 && count.input in ownSide && !(interval.input in ownSide)) {
      add(
        [...at, side, count.input],
        `Has no meaning beside ${interval.input} 0 of the top level, which sends no probes. Leave it out, or give an interval here too.`,
      );
    }
    if (count.name in values && probe.interval * (probe.countMax + 1) > MAX_VALUE) {
      add(
        [...place(interval, count), interval.input],
        `Gives, with ${count.input} ${probe.countMax}, ${probe.interval} s × (${probe.countMax} + 1), more than ${MAX_VALUE} seconds, before a dead session ends. Write a smaller interval or count.`,
      );
    }
    if (host.idleTimeout !== undefined && host.idleTimeout > 0) {
      // Whatever the version found on the host, it probes no earlier than this.
      const problem = probe.countMax === 0 ? undefined : checkIdle(host.idleTimeout, side, ON_TIME, probe);
      const where =
        interval.input in ownSide || own.idleTimeout === undefined
          ? [...place(interval), interval.input]
          : [...at, "idleTimeout"];
      if (problem !== undefined) add(where, `The settings do not survive the idle limit: ${problem.reason}.`);
    }
  }
}

/** Two hosts that are the same machine must not manage the same file: they would undo each other's edits. */
function sameTargetRules(all: readonly HostSettings[], hasGap: (...at: Path) => boolean, add: Add): void {
  const seen = new Map<string, string>();
  for (const host of all) {
    const at = ["hosts", host.name];
    const { connection: c } = host;
    if (hasGap(...at) || (!host.local && (c.host === undefined || hasGap("connection")))) continue;
    const route = Object.entries(c.sshOptions)
      .filter(([key]) => /^(proxyjump|proxycommand|hostname|port|bindinterface)$/i.test(key))
      .map(([key, value]) => [key.toLowerCase(), value] as const)
      .sort(([a], [b]) => (a < b ? -1 : 1));
    // The same private address behind another jump host is another machine.
    const machine = host.local
      ? ["local"]
      : [c.host?.toLowerCase().replace(/^\[(.*)\]$/, "$1"), c.port ?? 22, c.proxy?.host, c.proxy?.port, route];
    const targets = [
      host.server === undefined ? undefined : { file: "sshd_config", key: ["server", host.server.configPath] },
      host.client === undefined
        ? undefined
        : { file: "ssh_config", key: ["client", host.client.configPath, host.client.user] },
    ];
    for (const target of targets) {
      if (target === undefined) continue;
      const key = JSON.stringify([machine, target.key]);
      const other = seen.get(key);
      if (other === undefined) seen.set(key, host.name);
      else {
        add(
          at,
          `Is the same machine as ${pathText(["hosts", other])} and keeps the same ${target.file}: the two would undo each other. Make them one host, or give one another configPath.`,
        );
      }
    }
  }
}
