/** One life-cycle behind both faces: the same cases, the same plans, lines and outputs. */
import * as dynamic from "../../provider/dynamic";
import { forgetLooks } from "../../provider/fleet";
import { UNKNOWN } from "../../provider/inputs";
import { type LightHost, startFleet } from "../support/lightHost";
import { configOf, entry } from "../support/program";
import { makeTempFolder } from "../support/tempFolder";
import { type Bag, type InProcess, inProcess, plain } from "./support/inProcess";

const OWN = "sshd_config.d/00-pulumi-ssh-keepalive.conf";

const folder = makeTempFolder();
let a: LightHost;
let b: LightHost;
let printed: string[];
let runtime: string | undefined;

beforeAll(async () => {
  // Control sockets of this process, too, belong into the run's folder.
  runtime = process.env.XDG_RUNTIME_DIR;
  process.env.XDG_RUNTIME_DIR = folder.path;
  const { hosts } = await startFleet(2, {
    folder,
    name: (i) => "ab"[i] ?? "",
    files: ({ dir, head }) => ({
      sshd_config: `${head}Include ${dir}/sshd_config.d/*.conf\n`,
      "sshd_config.d/50-site.conf": "X11Forwarding no\n",
      ssh_config: "Host *\n  ForwardAgent no\n",
    }),
  });
  [a, b] = hosts as [LightHost, LightHost];
});
beforeEach(() => {
  printed = [];
  jest.spyOn(console, "log").mockImplementation((text: string) => {
    printed.push(text.startsWith("warning: ") ? text : `info: ${text}`);
  });
  forgetLooks();
});
afterEach(() => jest.restoreAllMocks());
afterAll(() => {
  if (runtime === undefined) delete process.env.XDG_RUNTIME_DIR;
  else process.env.XDG_RUNTIME_DIR = runtime;
  return folder.remove();
});

const server = { clientAliveInterval: 60, clientAliveCountMax: 3 };

/** Inputs to be tried on both faces; hosts are `a` and `b` of this file. */
const CASES: readonly (readonly [string, () => Bag])[] = [
  ["hosts that inherit", () => ({ hosts: { a: entry(a), b: entry(b) }, server })],
  [
    "a host with a value of its own",
    () => ({ hosts: { a: entry(a, { server: { clientAliveInterval: "2m" } }) }, server }),
  ],
  ["one connection for all", () => ({ hosts: { a: {} }, connection: entry(a), server })],
  [
    "a client's file",
    () => ({
      hosts: { a: entry(a, { client: { configPath: `${a.dir}/ssh_config` } }) },
      client: { serverAliveInterval: 45 },
    }),
  ],
  [
    "values that are in force",
    () => ({ hosts: { a: entry(a) }, server: { clientAliveInterval: 0, tcpKeepAlive: true } }),
  ],
  ["an interval without a limit to fit", () => ({ hosts: { a: entry(a) }, server: { clientAliveInterval: 600 } })],
];

const REFUSED: readonly (readonly [string, () => Bag])[] = [
  ["an option of the other side", () => ({ hosts: { a: entry(a) }, server: { serverAliveInterval: 60 } })],
  ["a wrong value at a host", () => ({ hosts: { a: entry(a, { server: { clientAliveInterval: "5 m" } }) } })],
  ["no host", () => ({ hosts: {}, server })],
  ["an unknown property", () => ({ hosts: { a: entry(a) }, server, sever: server })],
  [
    "a limit that this OpenSSH does not keep",
    () => ({ hosts: { a: entry(a) }, server: { clientAliveInterval: 349 }, idleTimeout: "350s" }),
  ],
  ["pendingChanges as an input", () => ({ hosts: { a: entry(a) }, server, pendingChanges: { a: ["x"] } })],
];

const NOT_LOOKED_AT: readonly (readonly [string, () => Bag])[] = [
  ["a host that is not known yet", () => ({ hosts: { a: entry(a, { host: UNKNOWN }), b: entry(b) }, server })],
  ["hosts that are not known yet", () => ({ hosts: UNKNOWN, server })],
  ["a host that does not answer", () => ({ hosts: { a: entry(a, { port: 9 }), b: entry(b) }, server })],
];

/** What a preview of a new resource says, by either face. */
async function previews(inputs: Bag): Promise<{ readonly dynamic: unknown; readonly native: unknown }> {
  const checked = await dynamic.check({}, { ...inputs, dry: true, __provider: "source" });
  const dynamicLines = [...printed];
  printed.length = 0;
  forgetLooks();
  const face = inProcess();
  const native = await nativePreview(face, inputs);
  return {
    dynamic: {
      failures: checked.failures.map((f) => f.reason),
      pendingChanges: checked.inputs.pendingChanges,
      lines: dynamicLines,
    },
    native: { ...native, lines: face.said },
  };
}

async function nativePreview(face: InProcess, inputs: Bag): Promise<{ failures: string[]; pendingChanges: unknown }> {
  const { message } = await face.check({}, inputs);
  const failures = message?.getFailuresList().map((f) => f.getReason()) ?? [];
  if (failures.length > 0) return { failures, pendingChanges: undefined };
  const created = await face.create(plain(message?.getInputs()), true);
  if (created.error !== undefined) return { failures: created.error.split("\n"), pendingChanges: undefined };
  expect(created.message?.getId()).toBe("");
  const outputs = plain(created.message?.getProperties());
  expect(outputs.observed).toBe(UNKNOWN);
  return { failures: [], pendingChanges: outputs.pendingChanges };
}

test.each([...CASES, ...REFUSED, ...NOT_LOOKED_AT])("a first preview of %s is the same", async (_, inputs) => {
  const before = [a, b].map(configOf);
  const { dynamic: one, native: other } = await previews(inputs());
  expect(other).toEqual(one);
  expect([a, b].map(configOf)).toEqual(before);
});

/** What differs from run to run: where the backup lies. */
const timeless = (outputs: Bag): unknown =>
  JSON.parse(JSON.stringify({ ...outputs, __provider: undefined }).replace(/"backup":"[^"]*"/g, '"backup":""'));

test.each(CASES)("create, read, diff, update and delete of %s come to the same", async (_, inputs) => {
  const news = inputs();
  const fresh = [a, b].map(configOf);

  const { id, outs } = await dynamic.create({ ...news, __provider: "source" });
  const written = [a, b].map(configOf);
  const again = await dynamic.diff(id, outs, news);
  const readBack = (await dynamic.read(id, outs)).props;
  await tamper(a);
  forgetLooks();
  const drifted = await dynamic.diff(id, outs, news);
  const healed = (await dynamic.update(id, outs, { ...news, __provider: "source" })).outs;
  await dynamic.remove(id, healed);
  expect([a, b].map(configOf)).toEqual(fresh);
  forgetLooks();

  const face = inProcess();
  const created = (await face.create(news)).message;
  const outputs = plain(created?.getProperties());
  expect(created?.getRefreshBeforeUpdate()).toBe(true);
  expect([a, b].map(configOf)).toEqual(written);
  expect(timeless(outputs)).toEqual(timeless(outs));
  const nativeId = created?.getId() ?? "";
  const none = (await face.diff(nativeId, news, outputs, news)).message;
  expect(none?.getChanges() === 2).toBe(again.changes);
  const nativeRead = (await face.read(nativeId, news, outputs)).message;
  expect(timeless(plain(nativeRead?.getProperties()))).toEqual(timeless(readBack));
  expect(plain(nativeRead?.getInputs())).toEqual(news);
  await tamper(a);
  forgetLooks();
  const some = (await face.diff(nativeId, news, outputs, news)).message;
  expect(some?.getChanges() === 2).toBe(drifted.changes);
  const updated = (await face.update(nativeId, outputs, news)).message;
  expect(timeless(plain(updated?.getProperties()))).toEqual(timeless(healed));
  expect([a, b].map(configOf)).toEqual(written);
  expect(await face.remove(nativeId, plain(updated?.getProperties()))).not.toHaveProperty("error");
  expect([a, b].map(configOf)).toEqual(fresh);
});

/** Someone else's hand: another interval where ours stands. */
async function tamper(host: LightHost): Promise<void> {
  const files = configOf(host);
  if (OWN in files) await host.write(OWN, (files[OWN] ?? "").replace(/Interval \S+/, "Interval 7"));
}

test("a partial failure keeps what succeeded, by the same words", async () => {
  const news = { hosts: { a: entry(a), b: entry(b, { port: 9 }) }, server, rollout: { maxFailures: 1 } };
  const failure = await dynamic.create({ ...news, __provider: "source" }).catch((error: unknown) => error as Bag);
  await dynamic.remove(String((failure as Bag).id), { ...news, hosts: { a: entry(a) } });
  forgetLooks();
  const { error, partial } = await inProcess().create(news);
  expect(error).toBe((failure as Bag).message);
  expect(partial?.reasons).toEqual((failure as Bag).reasons);
  expect(timeless(partial?.properties.values ?? {})).toEqual(timeless((failure as Bag).properties as Bag));
  expect(partial?.properties.values).toMatchObject({
    observed: { a: { status: "inSync" }, b: { status: "unreachable" } },
  });
  forgetLooks();
  await dynamic.remove(partial?.id ?? "", { ...news, hosts: { a: entry(a) } });
});

test("hosts move from the dynamic face to the native one by import with the old id, untouched, and can be undone there", async () => {
  const fresh = configOf(a);
  const { id } = await dynamic.create({ hosts: { a: entry(a) }, server, __provider: "source" });
  const written = configOf(a);
  const face = inProcess();
  const { privateKey, ...at } = entry(a);
  await face.configure({ connection: { privateKey } });
  const { message } = await face.read(JSON.stringify({ id, hosts: { a: at } }));
  const inputs = plain(message?.getInputs());
  expect(inputs).toMatchObject({ hosts: { a: at }, server });
  const outputs = plain(message?.getProperties());
  expect((await face.diff(id, inputs, outputs, inputs)).message?.getChanges()).toBe(1);
  expect(configOf(a)).toEqual(written);
  expect(await face.remove(id, outputs)).not.toHaveProperty("error");
  expect(configOf(a)).toEqual(fresh);
});
