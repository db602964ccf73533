/** What a configuration amounts to: effective values, blocks that differ, and a text of all that we do not manage. */
import { type Option, optionsOf, type Values } from "../settings";
import { matchesHostLine, matchesList, PROBE_HOST } from "./patterns";
import { type Block, type PlacedStatement, type Reading, readTree } from "./read";
import type { Chain, Difference, Effective } from "./types";

/** Which line decides each option (by OpenSSH's spelling), and which blocks could not be judged from the files alone. */
export interface Winners {
  readonly byOption: ReadonlyMap<string, PlacedStatement>;
  /** Statements of managed options under criteria that only the running client knows (exec, user, localuser, …). */
  readonly uncertain: readonly PlacedStatement[];
}

/** First value wins; a server's `Match all` beats the global section, but not for options that are global only. */
function serverWinners(reading: Reading): Winners {
  const byOption = new Map<string, PlacedStatement>();
  for (const matchAll of [true, false]) {
    for (const s of reading.statements) {
      if (s.option === undefined || s.value === undefined || s.scope.kind === "some") continue;
      // In its first pass sshd takes `Match all` for a part of the global section (match_cfg_line returns 1), in the
      // second, per connection, it lets matching blocks override what SSHCFG_ALL allows in them.
      if (matchAll && (s.scope.via === "global" || !s.option.inMatch)) continue;
      if (!byOption.has(s.option.name)) byOption.set(s.option.name, s);
    }
  }
  return { byOption, uncertain: [] };
}

type Verdict = "yes" | "no" | "unknown";

/** One pass of readconf.c over the files for one host name; `final` is the pass that `Match final` asks for. */
function clientPass(
  reading: Reading,
  names: { readonly original: string; readonly host: string },
  final: boolean,
  byOption: Map<string, PlacedStatement>,
  uncertain: Set<PlacedStatement>,
  settings: Map<string, string>,
): { readonly wantsFinal: boolean } {
  const verdicts = new Map<Block, Verdict>();
  let wantsFinal = false;

  const matchVerdict = (words: readonly string[]): Verdict => {
    const set = settings.get("hostname");
    const host = set === undefined || final ? names.host : expandHost(set, names.host);
    let verdict: Verdict = "yes";
    for (let i = 0; i < words.length; i++) {
      const word = words[i] ?? "";
      const negated = word.startsWith("!");
      const criterion = word.slice(negated ? 1 : 0).toLowerCase();
      let holds: boolean | undefined;
      if (criterion === "all") holds = true;
      else if (criterion === "final" || criterion === "canonical") {
        if (criterion === "final") wantsFinal = true;
        holds = final;
      } else {
        const arg = words[++i] ?? "";
        if (criterion === "host") holds = matchesList(host, arg);
        else if (criterion === "originalhost") holds = matchesList(names.original, arg);
      }
      if (holds === undefined) verdict = verdict === "no" ? "no" : "unknown";
      else if (holds === negated) verdict = "no";
    }
    return verdict;
  };

  const together = (blocks: readonly Block[]): Verdict => {
    let all: Verdict = "yes";
    for (const block of blocks) {
      const verdict = verdicts.get(block) ?? "no";
      if (verdict === "no") return "no";
      if (verdict === "unknown") all = "unknown";
    }
    return all;
  };

  for (const event of reading.events) {
    if (event.kind === "block") {
      const { block } = event;
      const own =
        block.kind === "Match" ? matchVerdict(block.words) : matchesHostLine(names.host, block.words) ? "yes" : "no";
      verdicts.set(block, own);
      continue;
    }
    const { statement } = event;
    const { option, value } = statement;
    if (option === undefined && !/^(hostname|canonicalizehostname)$/i.test(statement.keyword)) continue;
    const verdict = together(statement.blocks);
    if (option !== undefined && value !== undefined && value !== "none") {
      if (verdict === "unknown") uncertain.add(statement);
      if (verdict === "yes" && !byOption.has(option.name)) byOption.set(option.name, statement);
    } else if (verdict === "yes" && option === undefined) {
      const key = statement.keyword.toLowerCase();
      if (!settings.has(key)) settings.set(key, statement.args[0] ?? "");
    }
  }
  return { wantsFinal };
}

function expandHost(hostname: string, host: string): string {
  return hostname.replace(/%([%h])/g, (_, c: string) => (c === "h" ? host : "%"));
}

function clientWinners(reading: Reading, host: string): Winners {
  const byOption = new Map<string, PlacedStatement>();
  const uncertain = new Set<PlacedStatement>();
  const settings = new Map<string, string>();
  const { wantsFinal } = clientPass(reading, { original: host, host }, false, byOption, uncertain, settings);
  const canonicalizes = !["no", "false"].includes(settings.get("canonicalizehostname")?.toLowerCase() ?? "no");
  if (wantsFinal || canonicalizes) {
    // The second pass reads everything again under the name that HostName gave (ssh.c main); names are not resolved here.
    const renamed = expandHost(settings.get("hostname") ?? host, host).toLowerCase();
    clientPass(reading, { original: host, host: renamed }, true, byOption, uncertain, settings);
  }
  return { byOption, uncertain: [...uncertain] };
}

const known = new WeakMap<Reading, Map<string, Winners>>();

/** The deciding lines for everyone (server) or for one host name (client). */
export function winners(reading: Reading, host: string = PROBE_HOST): Winners {
  const cache = known.get(reading) ?? new Map<string, Winners>();
  known.set(reading, cache);
  const key = reading.tree.side === "server" ? "" : host;
  const found = cache.get(key) ?? (key === "" ? serverWinners(reading) : clientWinners(reading, host));
  cache.set(key, found);
  return found;
}

/**
 * The value of `option` for everyone, or on a client for `forHost`, and the line that sets it; without such a line
 * OpenSSH's default. Default of `forHost`: a name that only catch-all patterns match. Blocks whose criteria only the
 * running client knows (exec, user, localuser, tagged, …) count as not matching. A client's `none` leaves the option
 * to later lines, as `ssh -G` does (readconf.c: none is -1, which is "not yet set"). Not modelled: Debian's 300 under
 * `BatchMode yes` where no line sets ServerAliveInterval.
 */
export function effective(chain: Chain, option: Option, forHost: string = PROBE_HOST): Effective {
  const winner = winners(readTree(chain.tree), forHost).byOption.get(option.name);
  if (winner?.value === undefined) return { value: option.defaultValue };
  return { value: winner.value, origin: { file: winner.file, line: winner.line } };
}

/**
 * Match and Host blocks for some that set an option in `values` to something else: someone's intent, reported and left
 * alone. Of several lines for one option in one block the first counts, as for OpenSSH.
 */
export function differences(chain: Chain, values: Values): readonly Difference[] {
  const seen = new Set<string>();
  const found: Difference[] = [];
  for (const s of readTree(chain.tree).statements) {
    if (s.option === undefined || s.scope.kind !== "some" || s.value === undefined || s.value === "none") continue;
    const wanted = values[s.option.name];
    const key = `${s.option.name} ${s.scope.file} ${s.scope.line}`;
    if (wanted === undefined || seen.has(key)) continue;
    seen.add(key);
    if (s.value === wanted) continue;
    found.push({ option: s.option.name, value: s.value, header: s.scope.header, file: s.file, line: s.line });
  }
  return found;
}

/** One statement as a line of text that does not depend on where it stands: conditions, keyword, arguments. */
export function statementText(s: PlacedStatement): string {
  return JSON.stringify([s.blocks.map((b) => [b.kind, ...b.words]), s.keyword.toLowerCase(), ...s.args]);
}

/**
 * A canonical text of every statement that is not a managed option, in reading order, one a line: its conditions,
 * keyword in lower case, arguments. Equal texts mean that OpenSSH would act the same apart from managed options.
 */
export function significant(chain: Chain): string {
  const reading = readTree(chain.tree);
  let text = significantTexts.get(reading);
  if (text === undefined) {
    const others = reading.statements.filter((s) => s.option === undefined);
    text = others.map(statementText).join("\n");
    significantTexts.set(reading, text);
  }
  return text;
}

const significantTexts = new WeakMap<Reading, string>();

/** The managed options of the chain's side that `values` names, in writing order. */
export function optionsIn(chain: Chain, values: Values): readonly Option[] {
  return optionsOf(chain.tree.side).filter((o) => values[o.name] !== undefined);
}
