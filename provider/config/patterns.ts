/** OpenSSH's patterns (match.c) and the file patterns of Include (glob(3)), and host names that stand for a pattern. */

/** What a pattern is made of: a star, or something that takes exactly one character. */
type Piece = "*" | ((c: string) => boolean);

/** Matches in time linear in text × pattern: patterns come from hosts and must not be able to keep us busy. */
function matchesPieces(text: string, pieces: readonly Piece[]): boolean {
  let t = 0;
  let p = 0;
  let star = -1;
  let mark = 0;
  while (t < text.length) {
    const piece = pieces[p];
    if (piece === "*") {
      star = p++;
      mark = t;
    } else if (piece?.(text.charAt(t))) {
      p++;
      t++;
    } else if (star >= 0) {
      p = star + 1;
      t = ++mark;
    } else {
      return false;
    }
  }
  while (pieces[p] === "*") p++;
  return p === pieces.length;
}

const literal = (wanted: string) => (c: string) => c === wanted;
const anything = () => true;

/** Whether `text` matches one pattern with `*` and `?` (match.c match_pattern). */
function matchesPattern(text: string, pattern: string): boolean {
  // Most patterns are plain names.
  if (!pattern.includes("*") && !pattern.includes("?")) return text === pattern;
  return matchesPieces(
    text,
    Array.from(pattern, (c): Piece => (c === "*" ? "*" : c === "?" ? anything : literal(c))),
  );
}

/** Whether `text` matches a comma-separated list; a matching `!pattern` decides against it (match.c match_pattern_list). */
export function matchesList(text: string, list: string): boolean {
  let positive = false;
  for (const entry of list.toLowerCase().split(",")) {
    const negated = entry.startsWith("!");
    if (!matchesPattern(text.toLowerCase(), negated ? entry.slice(1) : entry)) continue;
    if (negated) return false;
    positive = true;
  }
  return positive;
}

/** Whether a Host line with these patterns applies to `host` (readconf.c oHost: case matters, negation decides). */
export function matchesHostLine(host: string, patterns: readonly string[]): boolean {
  let positive = false;
  for (const entry of patterns) {
    const negated = entry.startsWith("!");
    if (!matchesPattern(host, negated ? entry.slice(1) : entry)) continue;
    if (negated) return false;
    positive = true;
  }
  return positive;
}

/** A host name that only catch-all patterns match: what "everyone" means for a client. */
export const PROBE_HOST = "keepalive-probe.invalid";

/** A host name that a pattern matches: `*` alone gives {@link PROBE_HOST}, within a name `keepalive-probe`; `?` gives `x`. */
export function sampleHost(pattern: string): string {
  if (/^\*+$/.test(pattern)) return PROBE_HOST;
  return pattern.replace(/\*+/g, "keepalive-probe").replaceAll("?", "x");
}

/** The host names for which a client's wanted values must be effective: one for each pattern that is not negated. */
export function probeHosts(patterns: readonly string[]): readonly string[] {
  return patterns.filter((p) => !p.startsWith("!")).map(sampleHost);
}

/** A bracket expression's test: single characters and ranges, `!` or `^` first negates. */
function oneOf(body: string): (c: string) => boolean {
  const negated = /^[!^]/.test(body);
  const ranges = [...body.slice(negated ? 1 : 0).matchAll(/(.)-(.)|(.)/gs)].map((m) => [
    m[1] ?? m[3] ?? "",
    m[2] ?? m[3] ?? "",
  ]);
  return (c) => ranges.some(([from = "", to = ""]) => from <= c && c <= to) !== negated;
}

function segmentMatches(name: string, pattern: string): boolean {
  // A leading dot has to be written out (glob(3)).
  if (name.startsWith(".") && !pattern.startsWith(".")) return false;
  const pieces: Piece[] = [];
  for (let i = 0; i < pattern.length; i++) {
    const c = pattern.charAt(i);
    const close = c === "[" ? pattern.indexOf("]", i + 2) : -1;
    if (c === "*") pieces.push("*");
    else if (c === "?") pieces.push(anything);
    else if (close > 0) {
      pieces.push(oneOf(pattern.slice(i + 1, close)));
      i = close;
    } else pieces.push(literal(c === "\\" && i + 1 < pattern.length ? pattern.charAt(++i) : c));
  }
  return matchesPieces(name, pieces);
}

/** Whether a path matches an absolute file pattern as glob(3) does it: `*` stops at `/` and at a leading dot. */
export function matchesGlob(path: string, pattern: string): boolean {
  const names = path.split("/");
  const patterns = pattern.split("/").filter((s, i) => s !== "" || i === 0);
  return names.length === patterns.length && names.every((name, i) => segmentMatches(name, patterns[i] ?? ""));
}
