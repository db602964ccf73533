/** The connections that Match lines speak of, as `sshd -T -C` specifications: a candidate is judged for each of them. */
import type { Chain } from "./config/types";

/** Most specifications that are tried on a host. */
const MOST = 24;

/**
 * One specification for each Match block that names a user, group, host, address or port (sshd_config(5) Match,
 * sshd(8) -C): a connection that the block is for. `group=NAME` stands for a member of that group, to be found on the
 * host. Attributes that a block does not name are nobody's.
 */
export function connectionSpecs(chain: Chain): string[] {
  const headers = new Set(chain.statements.flatMap((s) => (s.scope.kind === "some" ? [s.scope.header] : [])));
  const specs = new Set<string>();
  for (const header of headers) {
    const spec = specOf(header);
    if (spec !== undefined) specs.add(spec);
    if (specs.size === MOST) break;
  }
  return [...specs];
}

function specOf(header: string): string | undefined {
  const words = header
    .trim()
    .replace(/^"?match"?[\s=]+/i, "")
    .split(/[\s=]+/);
  const wanted = new Map<string, string>();
  for (let i = 0; i + 1 < words.length; i += 2) {
    const sample = sampleOf(words[i + 1] ?? "");
    if (sample !== undefined) wanted.set((words[i] ?? "").toLowerCase(), sample);
  }
  const user = wanted.get("user");
  const group = wanted.get("group");
  const known = ["user", "group", "host", "address", "localaddress", "localport"].some((key) => wanted.has(key));
  if (!known) return undefined;
  const rest = [
    `host=${wanted.get("host") ?? "keepalive.invalid"}`,
    `addr=${wanted.get("address") ?? "240.0.0.254"}`,
    `laddr=${wanted.get("localaddress") ?? "240.0.0.253"}`,
    `lport=${wanted.get("localport") ?? "22"}`,
  ].join(",");
  if (user === undefined && group !== undefined) return `group=${group},${rest}`;
  return `user=${user ?? "keepalive-nobody"},${rest}`;
}

/** A value that the first positive pattern of a list matches; undefined when it cannot stand in a -C list. */
function sampleOf(list: string): string | undefined {
  const pattern = list
    .replace(/^"|"$/g, "")
    .split(",")
    .find((p) => p !== "" && !p.startsWith("!"));
  if (pattern === undefined) return undefined;
  const sample = pattern
    .replace(/\/\d+$/, "")
    .replaceAll("*", "x")
    .replaceAll("?", "x");
  return /^[A-Za-z0-9_.:@-]+$/.test(sample) ? sample : undefined;
}
