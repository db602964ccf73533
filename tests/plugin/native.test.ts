/** What the native face alone has: envelopes, detailed diffs, provider configuration, import, the function, progress, cancel. */

import { forgetLooks } from "../../provider/fleet";
import { UNKNOWN } from "../../provider/inputs";
import {
  changesOf,
  withLiveValues,
  withoutLeftovers,
  withoutLiveValues,
  withWantedValues,
} from "../../provider/plugin/compare";
import { checkConfig, parsedConfig, withDefaults } from "../../provider/plugin/config";
import { parseImportId } from "../../provider/plugin/importId";
import { opened, sealed } from "../../provider/plugin/values";
import { type LightHost, startFleet } from "../support/lightHost";
import { entry, footprint } from "../support/program";
import { makeTempFolder } from "../support/tempFolder";
import { inProcess, plain } from "./support/inProcess";
import { inClear } from "./support/native";

const folder = makeTempFolder();
let hosts: readonly LightHost[];
let first: LightHost;
let runtime: string | undefined;

beforeAll(async () => {
  runtime = process.env.XDG_RUNTIME_DIR;
  process.env.XDG_RUNTIME_DIR = folder.path;
  ({ hosts } = await startFleet(3, { folder, name: (i) => `h${i}` }));
  [first] = hosts as [LightHost];
});
beforeEach(forgetLooks);
afterAll(() => {
  if (runtime === undefined) delete process.env.XDG_RUNTIME_DIR;
  else process.env.XDG_RUNTIME_DIR = runtime;
  return folder.remove();
});

const server = { clientAliveInterval: 60 };

describe("envelopes", () => {
  test.each([
    ["a leaf", ["connection", "password"]],
    ["an element", ["hosts", "a", "verifyAs", 1]],
    ["an object", ["become"]],
    ["the whole map", ["hosts"]],
  ])("%s comes back a secret, and nothing else does", (_, path) => {
    const values = {
      hosts: { a: { host: "h", verifyAs: ["x", "y"] } },
      connection: { user: "u", password: "p" },
      become: { user: "root" },
      idleTimeout: null,
      list: [1, true, null],
    };
    const message = sealed({ values, secrets: [path] });
    const again = opened(message);
    expect(again.values).toEqual(values);
    const byName = JSON.stringify(["connection", "password"]);
    expect(again.secrets.map((p) => JSON.stringify(p)).sort()).toEqual(
      [...new Set([JSON.stringify(path), byName])].sort(),
    );
  });

  test("what is a secret by schema is sealed even where the program said it in clear", () => {
    const key = "-----BEGIN-----";
    const values = {
      connection: { privateKey: key, proxy: { password: key } },
      hosts: { password: { privateKeyPassword: key } },
    };
    expect(inClear(sealed({ values, secrets: [] }).toJavaScript(), key)).toEqual([]);
  });

  test("every kind of unknown is one, also inside a secret", () => {
    const kinds = ["3eeb2bf0-c639-47a8-9e75-3b44932eb421", "dd056dcd-154b-4c76-9bd3-c8f88648b5ff", UNKNOWN];
    for (const kind of kinds) {
      const message = sealed({ values: { a: kind, b: { c: kind } }, secrets: [["b", "c"]] });
      expect(opened(message)).toEqual({ values: { a: UNKNOWN, b: { c: UNKNOWN } }, secrets: [["b", "c"]] });
    }
  });
});

describe("detailed diff", () => {
  const drift = (...options: readonly (readonly [string, "server" | "client", string, number])[]) => ({
    options: options.map(([host, side, input, live]) => ({ host, side, input, live })),
    others: [],
    summary: [],
  });
  const olds = { hosts: { a: { host: "1" }, b: { host: "2", server: { clientAliveInterval: 30 } } }, server };

  test.each([
    ["nothing", olds, olds, {}],
    [
      "a value for all",
      olds,
      { ...olds, server: { clientAliveInterval: 90 } },
      { "server.clientAliveInterval": "update" },
    ],
    [
      "a value at a host",
      olds,
      { ...olds, hosts: { ...olds.hosts, b: { host: "2", server: { clientAliveInterval: 31 } } } },
      { 'hosts["b"].server.clientAliveInterval': "update" },
    ],
    ["a host more", olds, { ...olds, hosts: { ...olds.hosts, "c.d": { host: "3" } } }, { 'hosts["c.d"]': "add" }],
    ["a host less", olds, { ...olds, hosts: { a: { host: "1" } } }, { 'hosts["b"]': "delete" }],
    ["what all say, said again at a host", olds, { ...olds, hosts: { ...olds.hosts, a: { host: "1", server } } }, {}],
    [
      "a host that is not known yet",
      olds,
      { ...olds, hosts: { ...olds.hosts, a: { host: UNKNOWN } } },
      { 'hosts["a"].host': "update" },
    ],
    ["a list", { ...olds, verifyAs: ["x"] }, { ...olds, verifyAs: ["y"] }, { verifyAs: "update" }],
  ] as const)("of %s", (_, before, after, wanted) => {
    const changes = changesOf(before, before, after, drift());
    expect(Object.fromEntries(changes.map((c) => [c.path, c.kind]))).toEqual(wanted);
  });

  test("a host that follows a changed input is no drift, one with a live value of its own is", () => {
    const news = { ...olds, server: { clientAliveInterval: 90 } };
    const found = drift(["a", "server", "clientAliveInterval", 60], ["b", "server", "clientAliveInterval", 8]);
    expect(changesOf(olds, olds, news, drift(["a", "server", "clientAliveInterval", 60])).map((c) => c.path)).toEqual([
      "server.clientAliveInterval",
    ]);
    const { values } = withLiveValues({ values: olds, secrets: [] }, drift(["b", "server", "clientAliveInterval", 8]));
    expect(changesOf(olds, values, news, found).map((c) => c.path)).toEqual([
      "server.clientAliveInterval",
      'hosts["b"].server.clientAliveInterval',
    ]);
  });

  test("a host without a value to show is named", () => {
    expect(changesOf(olds, olds, olds, { options: [], others: ["b.c"], summary: [] })).toEqual([
      { path: 'pendingChanges["b.c"]', kind: "add", inputDiff: true },
    ]);
  });

  test("drift is at the host's own path, live value in the outputs, wanted one in the inputs, also where it is inherited", () => {
    const found = drift(["a", "server", "clientAliveInterval", 7], ["b", "server", "clientAliveInterval", 8]);
    const outputs = withLiveValues({ values: olds, secrets: [["server"]] }, found);
    expect(outputs.values.hosts).toEqual({
      a: { host: "1", server: { clientAliveInterval: 7 } },
      b: { host: "2", server: { clientAliveInterval: 8 } },
    });
    const inputs = withWantedValues({ values: olds, secrets: [["server"]] }, found);
    expect(inputs.values.hosts).toMatchObject({ a: { host: "1", server: { clientAliveInterval: 60 } } });
    expect(inputs.added).toEqual([["hosts", "a", "server", "clientAliveInterval"]]);
    // What is a secret for all is one at each host.
    for (const { secrets } of [outputs, inputs])
      expect(secrets).toContainEqual(["hosts", "a", "server", "clientAliveInterval"]);
    expect(changesOf(olds, outputs.values, inputs.values, found)).toEqual([
      { path: 'hosts["a"].server.clientAliveInterval', kind: "update", inputDiff: false },
      { path: 'hosts["b"].server.clientAliveInterval', kind: "update", inputDiff: false },
    ]);
    expect(withoutLeftovers(inputs.values, olds)).toEqual(olds);
    expect(withoutLiveValues(outputs.values, olds)).toEqual(olds);
    // Left in the state by an up, they are no difference to the program.
    expect(changesOf(inputs.values, olds, olds, drift())).toEqual([]);
  });
});

describe("provider configuration", () => {
  test.each([
    ["objects", { connection: { user: "deploy" }, become: { user: "root" } }, []],
    ["objects as JSON", { connection: '{"user":"deploy","port":2222}', rollout: '{"parallel":4,"canary":3}' }, []],
    ["an unknown key", { conection: "{}" }, [/^conection: Is no configuration/]],
    [
      "a field that there is none of",
      { connection: { usr: "x" } },
      [/^connection\.usr: Is no property here\. Did you mean user/],
    ],
    ["a wrong type", { connection: '{"port":"22"}' }, [/^connection\.port: Must be a whole number/]],
    ["no JSON", { connection: "deploy" }, [/^connection: Must be an object/]],
    ["an unknown value", { connection: { host: UNKNOWN } }, []],
  ])("takes or refuses %s", (_, given, wanted) => {
    const failures = checkConfig(given).map((f) => `${f.property}: ${f.reason}`);
    expect(failures).toEqual(wanted.map((pattern) => expect.stringMatching(pattern)));
  });

  test("is below the resource's own, field by field, and cuts canaries to the fleet", () => {
    const config = parsedConfig({
      values: { connection: { user: "deploy", port: 2222 }, rollout: { canary: 5 } },
      secrets: [],
    });
    expect(withDefaults(config, { hosts: { a: {}, b: {} }, connection: { port: 22 } })).toEqual({
      hosts: { a: {}, b: {} },
      connection: { user: "deploy", port: 22 },
      rollout: { canary: 2 },
    });
  });

  test("reaches hosts, and never enters inputs, outputs or state", async () => {
    const face = inProcess();
    const { privateKey, ...rest } = entry(first);
    await face.configure({ connection: JSON.stringify({ privateKey }) });
    const news = { hosts: { a: rest }, server };
    const { message: checked } = await face.check({}, news);
    expect(plain(checked?.getInputs())).toEqual(news);
    const { message: created } = await face.create(news, true);
    expect(JSON.stringify(plain(created?.getProperties()))).not.toContain("privateKey");
    expect(plain(created?.getProperties())).toMatchObject({
      pendingChanges: { a: [expect.stringContaining("wanted 60"), expect.anything()] },
    });
  });
});

describe("import", () => {
  test.each([
    ["web=deploy@192.0.2.1:2222", { web: { host: "192.0.2.1", user: "deploy", port: 2222 } }],
    ["192.0.2.1, web-2=alias", { "192.0.2.1": { host: "192.0.2.1" }, "web-2": { host: "alias" } }],
    [
      "six=root@[2001:db8::1]:22 this=local",
      { six: { host: "2001:db8::1", user: "root", port: 22 }, this: { local: true } },
    ],
    ["local", { local: { local: true } }],
    ['{"hosts":{"a":{"host":"h"}}}', { a: { host: "h" } }],
  ])("reads %s", (text, wanted) => {
    expect(parseImportId(text).inputs.hosts).toEqual(wanted);
  });

  test.each([
    ["", /names no host/],
    ["a=1,a=2", /named twice/],
    ["web=a:b:c", /is no host/],
    ["{hosts", /begins like JSON/],
    ["ssh-keepalive-0123456789abcdef", /does not say how its hosts are reached/],
    ['{"hosts":{"a":{"host":"h","password":"hunter2"}}}', /is a secret, and IDs are printed/],
    ['{"id":"mine","hosts":{}}', /none of this provider's/],
  ])("refuses %s", (text, reason) => {
    expect(() => parseImportId(text)).toThrow(reason);
    expect(() => parseImportId(text)).not.toThrow(/hunter2/);
  });

  test("says once what all hosts have in common, takes over an id, and touches nothing", async () => {
    const before = hosts.map(footprint);
    const face = inProcess();
    await face.configure({ connection: { privateKey: first.connection.privateKey } });
    const at = Object.fromEntries(hosts.map((h) => [h.name, { ...entry(h), privateKey: undefined }]));
    const id = "ssh-keepalive-0123456789abcdef";
    const { message } = await face.read(JSON.stringify({ id, hosts: at }));
    expect(message?.getId()).toBe(id);
    const inputs = plain(message?.getInputs());
    expect(inputs).toEqual({
      hosts: JSON.parse(JSON.stringify(at)),
      // Without the number of the probes that are not sent: beside an interval of 0 it would be refused.
      server: { clientAliveInterval: 0, tcpKeepAlive: true },
    });
    expect((await face.check({}, inputs)).message?.getFailuresList()).toEqual([]);
    expect(plain(message?.getProperties())).toMatchObject({ observed: { h0: { status: "inSync" } } });
    const { message: none } = await face.diff(id, inputs, plain(message?.getProperties()), inputs);
    expect(none?.getChanges()).toBe(1);
    expect(hosts.map(footprint)).toEqual(before);
  });

  test("fails for a host that cannot be looked at: nobody could say what it does", async () => {
    const { error } = await inProcess().read("gone=127.0.0.1:9");
    expect(error).toMatch(/^gone: \[unreachable\] connect: /);
  });
});

test("the function tells values, and status where settings are given; an unreachable host is a value", async () => {
  const before = footprint(first);
  const { message } = await inProcess().invoke({
    hosts: { a: entry(first), b: entry(hosts[1] as LightHost, { server }), gone: entry(first, { port: 9 }) },
  });
  expect(plain(message?.getReturn())).toMatchObject({
    observed: {
      a: { status: "inSync", server: { options: { ClientAliveInterval: { value: "0" } } } },
      b: { status: "drifted", server: { options: { ClientAliveInterval: { value: "0", wanted: "60" } } } },
      gone: { status: "unreachable", reason: expect.stringContaining("[unreachable]") },
    },
  });
  expect(footprint(first)).toBe(before);
  const refused = await inProcess().invoke({ hosts: { a: { hots: "h" } } });
  expect(refused.message?.getFailuresList().map((f) => f.getReason())).toEqual([
    expect.stringMatching(/hosts\["a"\]\.hots: Is no property here/),
    expect.anything(),
  ]);
});

test("progress names counts and the slowest host's step; a cancel starts no further host and lets the running one end", async () => {
  const face = inProcess();
  face.onShow = (text) => {
    if (/h0: /.test(text)) face.cancel();
  };
  const news = { hosts: Object.fromEntries(hosts.map((h) => [h.name, entry(h)])), server, rollout: { parallel: 1 } };
  const { error, partial } = await face.create(news);
  expect(face.shown[0]).toBe("0/3 hosts; h0: observe");
  expect(face.shown.at(-1)).toMatch(/^1\/3 hosts, 1 changed/);
  expect(error).toMatch(/2 hosts \(h1, h2\): \[stopped\] connect: not tried, the run was cancelled\. Run again/);
  expect(partial?.properties.values).toMatchObject({
    observed: { h0: { status: "inSync" }, h1: { status: "unknown" }, h2: { status: "unknown" } },
  });
  expect((await first.sshdT()).get("clientaliveinterval")).toBe("60");
  expect((await (hosts[1] as LightHost).sshdT()).get("clientaliveinterval")).toBe("0");
  // The state that is left is enough to go on, and to undo.
  const next = inProcess();
  forgetLooks();
  const properties = partial?.properties.values ?? {};
  const { message } = await next.update(partial?.id ?? "", properties, news);
  expect(plain(message?.getProperties())).toMatchObject({ observed: { h2: { status: "inSync" } } });
  expect(await next.remove(partial?.id ?? "", plain(message?.getProperties()))).not.toHaveProperty("error");
  expect((await first.sshdT()).get("clientaliveinterval")).toBe("0");
});

test("keys given as text serve several resources at once, also when one of them is done first", async () => {
  const face = inProcess();
  const [a, b] = hosts as [LightHost, LightHost];
  const [one, two] = await Promise.all([
    face.create({ hosts: { a: entry(a) }, server: { tcpKeepAlive: true } }),
    face.create({ hosts: { b: entry(b) }, server }),
  ]);
  for (const made of [one, two]) {
    expect(made).not.toHaveProperty("error");
    await face.remove(made.message?.getId() ?? "", plain(made.message?.getProperties()));
  }
});
