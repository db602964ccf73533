/** What people read after a look and after an up: counts first, equal causes on one line, bounded, escaped. */
import type { HostPlan, HostResult } from "../../provider/fleet";
import { groupFailures, namesOf, planSummary, resultSummary } from "../../provider/summary";

const unreachable = (host: string) => ({
  code: "unreachable" as const,
  host,
  step: "connect" as const,
  reason: "the connection was refused",
  remedy: "check the port",
});
const REFUSED = "[unreachable] connect: the connection was refused. Check the port.";

const result = (name: string, outcome: HostResult["outcome"]): HostResult => ({
  name,
  outcome,
  states: [],
  openssh: "",
  places: [],
  notes: [],
});

test.each([
  [["a"], "a"],
  [["a", "b", "c", "d", "e", "f"], "a, b, c, d, e, f"],
  [["a", "b", "c", "d", "e", "f", "g"], "a, b, c, d, e and 2 more"],
  [["\u001b[31mred"], "\\x1b[31mred"],
])("names %j", (names, text) => {
  expect(namesOf(names)).toBe(text);
});

test("failures with one cause share a line, the most frequent first", () => {
  const odd = { ...unreachable("c"), code: "auth" as const, reason: "the key was refused" };
  expect(groupFailures([odd, unreachable("a"), unreachable("b")])).toEqual([
    `2 hosts (a, b): ${REFUSED}`,
    "c: [auth] connect: the key was refused. Check the port.",
  ]);
  expect(groupFailures([])).toEqual([]);
});

test("many causes are cut to a page", () => {
  const many = Array.from({ length: 50 }, (_, i) => ({ ...unreachable(`h${i}`), reason: `reason ${i}` }));
  const lines = groupFailures(many);
  expect(lines).toHaveLength(20);
  expect(lines.at(-1)).toBe("… and 31 more causes");
});

test.each([
  [["unchanged", "unchanged"], []],
  [["changed"], ["1 host: 1 changed"]],
  [
    ["changed", "unchanged", "failed", "stopped", "stopped"],
    ["5 hosts: 1 changed, 1 unchanged, 1 failed, 2 not tried"],
  ],
] as const)("an up that ended in %j", (outcomes, lines) => {
  expect(resultSummary(outcomes.map((outcome, i) => result(`h${i}`, outcome)))).toEqual(lines);
});

const looked = (targets: Extract<HostPlan, { kind: "looked" }>["targets"]): HostPlan => ({
  kind: "looked",
  targets,
  openssh: "",
});
const state = {
  side: "server" as const,
  config: "/etc/ssh/sshd_config",
  version: "9.2",
  options: [],
  differs: [],
  firstProbeSeconds: null,
  disconnectSeconds: null,
  warnings: [],
};

test("a look at hosts that are all as wanted says nothing", () => {
  expect(planSummary(new Map([["a", looked([{ kind: "inSync", state, drift: [] }])]]))).toEqual([]);
});

test("a look says what differs, what was refused, what was not seen, and warns", () => {
  const drift = ["ClientAliveInterval 0, wanted 60 (OpenSSH's default, no line sets it)"];
  const plans = new Map<string, HostPlan>([
    [
      "a",
      looked([{ kind: "refused", state, drift, failure: { ...unreachable("a"), code: "foreign-edit", step: "plan" } }]),
    ],
    ["b", looked([{ kind: "inSync", state: { ...state, warnings: ["probes come late"] }, drift: [] }])],
    ["c", { kind: "failed", failure: unreachable("c") }],
    ["d", { kind: "unknown", properties: ['hosts["d"].host'] }],
  ]);
  expect(planSummary(plans)).toEqual([
    "4 hosts, 1 as wanted, 1 to change, 2 not seen",
    `a: ${drift[0]}`,
    "a: [foreign-edit] plan: the connection was refused. Check the port.",
    "b: note: probes come late",
    `c: ${REFUSED}`,
    "d: not looked at: some of the inputs are not known before the update",
  ]);
});
