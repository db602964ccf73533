/** What people read after a look and after an up: counts first, equal causes on one line, bounded, escaped. */
import type { HostPlan, HostResult } from "../../provider/fleet";
import { groupFailures, namesOf, planSummary, resultSummary, showProgress } from "../../provider/summary";

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

/** Hosts h0, h1 … with the drift that is given for each; none: as wanted. */
const fleetOf = (count: number, driftOf: (i: number) => readonly string[]): ReadonlyMap<string, HostPlan> =>
  new Map(
    Array.from({ length: count }, (_, i) => {
      const drift = driftOf(i);
      const failure = { ...unreachable(`h${i}`), code: "foreign-edit" as const, reason: "someone is at it" };
      return [
        `h${i}`,
        looked(drift.length === 0 ? [{ kind: "inSync", state, drift }] : [{ kind: "refused", state, drift, failure }]),
      ];
    }),
  );

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
  const wanted = (i: number) => `ClientAliveInterval ${i}, wanted 60 (set by /etc/ssh/sshd_config:1)`;
  const lines = planSummary(fleetOf(50, (i) => [wanted(i)]));
  expect(lines).toHaveLength(21);
  expect(lines.at(-1)).toBe("… and 32 more causes");
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

describe("five hundred hosts", () => {
  const from = (place: string) => `ClientAliveInterval 0, wanted 60 (set by ${place})`;
  const FOREIGN = "[foreign-edit]";

  test.each<[string, (i: number) => readonly string[], readonly string[]]>([
    ["as wanted", () => [], []],
    [
      "with one that differs",
      (i) => (i === 250 ? [from("/etc/ssh/sshd_config:3")] : []),
      ["500 hosts, 499 as wanted, 1 to change", `h250: ${from("/etc/ssh/sshd_config:3")}`],
    ],
    [
      "with one difference on all",
      () => [from("/etc/ssh/sshd_config:3")],
      [
        "500 hosts, 0 as wanted, 500 to change",
        `500 hosts (h0, h1, h2, h3, h4 and 495 more): ${from("/etc/ssh/sshd_config:3")}`,
      ],
    ],
    [
      "with one difference in a few places: each place has its hosts",
      (i) => (i < 3 ? [from(`/etc/ssh/sshd_config:${i < 2 ? 3 : 9}`)] : []),
      [
        "500 hosts, 497 as wanted, 3 to change",
        `2 hosts (h0, h1): ${from("/etc/ssh/sshd_config:3")}`,
        `h2: ${from("/etc/ssh/sshd_config:9")}`,
      ],
    ],
    [
      "with one difference in more places than a page has lines: the places are counted",
      (i) => [from(i < 300 ? "/a:3" : i < 400 ? "/b:7" : `/a:${i < 402 ? 5 : i}`)],
      [
        "500 hosts, 0 as wanted, 500 to change",
        `500 hosts (h0, h1, h2, h3, h4 and 495 more): ${from("/a:3 on 300, /b:7 on 100, /a:5 on 2 and 98 other lines")}`,
      ],
    ],
  ])("%s", (_, driftOf, lines) => {
    const said = planSummary(fleetOf(500, driftOf)).filter((line) => !line.includes(FOREIGN));
    expect(said).toEqual(lines);
  });

  test("with a reason of its own for each failure: those of one kind are one line", () => {
    const failures = Array.from({ length: 500 }, (_, i) =>
      i < 400
        ? { ...unreachable(`h${i}`), reason: `no way to 192.0.2.${Math.max(0, i - 100)}` }
        : { ...unreachable(`h${i}`), code: "timeout" as const },
    );
    expect(groupFailures(failures)).toEqual([
      "400 hosts (h0, h1, h2, h3, h4 and 395 more): [unreachable] connect: no way to 192.0.2.0. Check the port. (300 reasons, this most often)",
      "100 hosts (h400, h401, h402, h403, h404 and 95 more): [timeout] connect: the connection was refused. Check the port.",
    ]);
  });
});

test("progress is shown at once, then twice a second with its last state, and its end at once", () => {
  jest.useFakeTimers();
  try {
    const shown: string[] = [];
    const tell = showProgress((text) => shown.push(text));
    const at = (step: "observe" | "validate" | "verify") => ({
      ...{ total: 2, done: 0, changed: 0, failed: 0, ended: false },
      slowest: { name: "web-1", step },
    });
    tell(at("observe"));
    tell(at("validate"));
    tell(at("verify"));
    expect(shown).toEqual(["0/2 hosts; web-1: observe"]);
    // Nothing more happens for a long time: what is shown is where it stands.
    jest.advanceTimersByTime(1_000);
    expect(shown).toEqual(["0/2 hosts; web-1: observe", "0/2 hosts; web-1: verify"]);
    tell({ ...at("verify"), done: 1, changed: 1 });
    tell({ total: 2, done: 2, changed: 1, failed: 1, ended: true });
    expect(shown.slice(2)).toEqual(["1/2 hosts, 1 changed; web-1: verify", "2/2 hosts, 1 changed, 1 failed"]);
    jest.advanceTimersByTime(1_000);
    expect(shown).toHaveLength(4);
  } finally {
    jest.useRealTimers();
  }
});
