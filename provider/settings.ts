/**
 * The table of managed OpenSSH directives: names, side, values. Everything that knows what an option is called or how
 * its value is written reads this table.
 */

/** Which of OpenSSH's two configurations: sshd_config (`server`) or ssh_config (`client`). */
export type Side = "server" | "client";

/** How a value is written: an OpenSSH time, a decimal count, or yes/no. */
export type ValueKind = "time" | "count" | "flag";

/** One managed directive. */
export interface Option {
  /** OpenSSH's spelling, as in the manual pages. */
  readonly name: string;
  /** The input property's name. */
  readonly input: string;
  readonly side: Side;
  readonly kind: ValueKind;
  /** Other keywords that OpenSSH takes for the same option, lower case (servconf.c, readconf.c, Debian's patches). */
  readonly aliases: readonly string[];
  /** OpenSSH's own default in canonical form (sshd_config(5), ssh_config(5)). */
  readonly defaultValue: string;
  /** Whether the option may stand in a Match block (servconf.c: SSHCFG_ALL or SSHCFG_GLOBAL). Clients: always. */
  readonly inMatch: boolean;
}

/** All managed directives, server side first, in the order in which they are written. */
export const OPTIONS: readonly Option[] = [
  {
    name: "ClientAliveInterval",
    input: "clientAliveInterval",
    side: "server",
    kind: "time",
    aliases: [],
    defaultValue: "0",
    inMatch: true,
  },
  {
    name: "ClientAliveCountMax",
    input: "clientAliveCountMax",
    side: "server",
    kind: "count",
    aliases: [],
    defaultValue: "3",
    inMatch: true,
  },
  {
    name: "TCPKeepAlive",
    input: "tcpKeepAlive",
    side: "server",
    kind: "flag",
    aliases: ["keepalive"],
    defaultValue: "yes",
    inMatch: false,
  },
  {
    name: "ServerAliveInterval",
    input: "serverAliveInterval",
    side: "client",
    kind: "time",
    aliases: ["protocolkeepalives", "setuptimeout"],
    defaultValue: "0",
    inMatch: true,
  },
  {
    name: "ServerAliveCountMax",
    input: "serverAliveCountMax",
    side: "client",
    kind: "count",
    aliases: [],
    defaultValue: "3",
    inMatch: true,
  },
  {
    name: "TCPKeepAlive",
    input: "tcpKeepAlive",
    side: "client",
    kind: "flag",
    aliases: ["keepalive"],
    defaultValue: "yes",
    inMatch: true,
  },
];

/** The largest interval and count OpenSSH takes (misc.c convtime and a2 int: INT_MAX). */
export const MAX_VALUE = 2147483647;

/** The managed options of one side, in writing order. */
export function optionsOf(side: Side): readonly Option[] {
  return OPTIONS.filter((o) => o.side === side);
}

/** The option that `keyword` (any case, aliases included) names on `side`, if we manage it. */
export function optionByKeyword(side: Side, keyword: string): Option | undefined {
  const k = keyword.toLowerCase();
  return OPTIONS.find((o) => o.side === side && (o.name.toLowerCase() === k || o.aliases.includes(k)));
}

/** If `keyword` belongs to the other side only (the mix-up of the best-known advice): the option that was meant here. */
export function meantOnThisSide(side: Side, keyword: string): Option | undefined {
  if (optionByKeyword(side, keyword) !== undefined) return undefined;
  const other = OPTIONS.find((o) => o.side !== side && o.name.toLowerCase() === keyword.toLowerCase());
  if (other === undefined) return undefined;
  return OPTIONS.find((o) => o.side === side && o.kind === other.kind);
}

/** Wanted or effective values of one side, by OpenSSH's spelling, in canonical form; an absent option is not managed. */
export type Values = Readonly<Record<string, string>>;

const UNIT_SECONDS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86400, w: 604800 };

/**
 * Seconds in an OpenSSH time (sshd_config(5) TIME FORMATS: `90`, `5m`, `1h30m`, either case), or undefined when
 * OpenSSH 9.2 would refuse it or it passes {@link MAX_VALUE}.
 */
export function parseTime(text: string): number | undefined {
  if (!/^(\d+[smhdw]?)+$/i.test(text)) return undefined;
  let total = 0;
  for (const [, digits = "", unit = "s"] of text.matchAll(/(\d+)([smhdw]?)/gi)) {
    total += Number(digits) * (UNIT_SECONDS[(unit || "s").toLowerCase()] ?? 1);
  }
  return total <= MAX_VALUE ? total : undefined;
}

/**
 * The canonical form of a value as it stands in a file or an input: seconds and counts in decimal, flags as yes/no.
 * Undefined when OpenSSH would not take it. A client's interval may be `none`, which leaves it unset (readconf.c).
 */
export function canonical(option: Option, text: string): string | undefined {
  switch (option.kind) {
    case "time": {
      if (option.side === "client" && text === "none") return option.defaultValue;
      const seconds = parseTime(text);
      return seconds === undefined ? undefined : String(seconds);
    }
    case "count": {
      if (!/^\d{1,10}$/.test(text)) return undefined;
      return Number(text) <= MAX_VALUE ? String(Number(text)) : undefined;
    }
    case "flag": {
      // ssh also takes true/false (readconf.c parse_flag); sshd only yes/no (servconf.c multistate_flag).
      if (text === "yes" || (option.side === "client" && text === "true")) return "yes";
      if (text === "no" || (option.side === "client" && text === "false")) return "no";
      return undefined;
    }
  }
}
