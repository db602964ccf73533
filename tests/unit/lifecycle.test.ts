/** The life-cycle without hosts: what check, diff and the lines of a preview say. */
import type { HostPlan } from "../../provider/fleet";
import { check, diff, inputsOf, pendingLines, type Reporter } from "../../provider/lifecycle";

const UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9";
const said: string[] = [];
const report: Reporter = { info: (text) => said.push(text), warn: (text) => said.push(`warning: ${text}`) };
beforeEach(() => {
  said.length = 0;
});

const server = { clientAliveInterval: 60 };

test("inputs are picked out of a bag, absent ones left out", () => {
  expect(inputsOf({ hosts: {}, server, observed: {}, __provider: "…", client: undefined })).toEqual({
    hosts: {},
    server,
  });
});

test.each([
  ["a computed property given by the program", { pendingChanges: {} }, "pendingChanges"],
  ["an unknown property", { sever: {} }, "sever"],
  ["an option of the other side", { server: { serverAliveInterval: 60 } }, "server.serverAliveInterval"],
])("check names %s", async (_, more, property) => {
  const { failures } = await check({ hosts: { a: { local: true } }, server, ...more }, false, report);
  expect(failures.map((f) => f.property)).toContain(property);
});

test("check says several mistakes in one run", async () => {
  const { failures } = await check(
    { hosts: { a: { host: "-oProxyCommand=x" } }, server: { clientAliveCountMax: 0 } },
    true,
    report,
  );
  expect(failures.map((f) => f.property).sort()).toEqual(['hosts["a"].host', "server.clientAliveCountMax"]);
});

test.each([
  [{ a: { host: UNKNOWN } }, { a: ['not looked at: not known before the update: hosts["a"].host'] }],
  [{ a: UNKNOWN }, { a: ['not looked at: not known before the update: hosts["a"]'] }],
  [UNKNOWN, { "*": ["not looked at: hosts are not known before the update"] }],
])("hosts %j, not known yet, are not looked at", async (hosts, pendingChanges) => {
  expect(await check({ hosts, server }, true, report)).toEqual({ failures: [], pendingChanges });
});

test("a check for an update looks at nothing", async () => {
  const unroutable = { a: { host: "192.0.2.1" } };
  expect(await check({ hosts: unroutable, server }, false, report)).toEqual({ failures: [] });
});

test("host key checking that is off is warned about at every run", async () => {
  await check({ hosts: { a: { host: "192.0.2.1", hostKeyChecking: "off" } }, server }, false, report);
  expect(said).toEqual([expect.stringMatching(/^warning: a: hostKeyChecking is off/)]);
});

test.each([
  ["other inputs", { hosts: { a: UNKNOWN }, server }, { hosts: { a: UNKNOWN }, server: { clientAliveInterval: 61 } }],
  [
    "pending changes",
    { hosts: { a: UNKNOWN }, server },
    { hosts: { a: UNKNOWN }, server, pendingChanges: { a: ["…"] } },
  ],
])("diff leaves %s to the engine, which names them", async (_, olds, news) => {
  expect(await diff("id", olds, news)).toEqual({ changes: "unsure" });
});

test("diff of equal inputs counts a host that cannot be looked at as a change", async () => {
  const bag = { hosts: { a: UNKNOWN }, server };
  expect(await diff("id", { ...bag, observed: {} }, bag)).toEqual({ changes: true });
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
const failure = { code: "auth" as const, host: "a", step: "connect" as const, reason: "no", remedy: "yes" };

test.each<[string, HostPlan, string[]]>([
  ["nothing", { kind: "looked", openssh: "", targets: [{ kind: "inSync", state, drift: [] }] }, []],
  ["why a host could not be looked at", { kind: "failed", failure }, ["[auth] connect: no. Yes."]],
  [
    "drift and why it cannot be mended",
    { kind: "looked", openssh: "", targets: [{ kind: "refused", state, drift: ["X 1, wanted 2"], failure }] },
    ["X 1, wanted 2", "[auth] connect: no. Yes."],
  ],
  [
    "an escape sequence from a host, harmless",
    { kind: "unknown", properties: ["hosts[\u001b]"] },
    ["not looked at: not known before the update: hosts[\\x1b]"],
  ],
])("a preview's lines tell %s", (_, plan, lines) => {
  expect(pendingLines(plan)).toEqual(lines);
});
