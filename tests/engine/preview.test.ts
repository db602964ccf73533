/** Previews under the real engine: they look at the hosts by themselves, tell drift with its place, and touch nothing. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type LightHost, startFleet } from "../support/lightHost";
import {
  entries,
  entry,
  footprint,
  type KeepaliveProject,
  keepaliveProject,
  observedIn,
  pendingChanges,
  said,
} from "../support/program";
import { makeTempFolder } from "../support/tempFolder";

const OWN = "sshd_config.d/00-pulumi-ssh-keepalive.conf";
const CLOUD = "sshd_config.d/50-cloud-init.conf";

const folder = makeTempFolder();
let project: KeepaliveProject;
let hosts: readonly LightHost[];
let plain: LightHost;
let cloud: LightHost;
let match: LightHost;
beforeAll(async () => {
  const files = [
    // An Include of a folder that is not there.
    ({ dir = "", head = "" }) => ({ sshd_config: `${head}Include ${dir}/sshd_config.d/*.conf\n` }),
    ({ dir = "", head = "" }) => ({
      sshd_config: `${head}Include ${dir}/sshd_config.d/*.conf\nClientAliveInterval 90\n`,
      [CLOUD]: "# cloud\nPasswordAuthentication no\nClientAliveInterval 180\n",
    }),
    ({ head = "" }) => ({
      sshd_config: `${head}#ClientAliveInterval 0\r\n\tClientAliveCountMax   5\r\nMatch User nobody\r\n  X11Forwarding no\r\n`,
    }),
  ];
  const names = ["plain", "cloud", "match"];
  ({ hosts } = await startFleet(3, {
    folder,
    name: (i) => names[i] ?? "",
    files: (setting, i) => files[i]?.(setting) ?? {},
  }));
  [plain, cloud, match] = hosts as [LightHost, LightHost, LightHost];
  project = await keepaliveProject(folder);
  await project.declare({ fleet: { args: { hosts: entries(hosts), server } } });
});
afterAll(() => folder.remove());

const server = { clientAliveInterval: 60, clientAliveCountMax: 3 };
const lineOf = (host: LightHost, file: string, text: string): number =>
  readFileSync(join(host.dir, file), "latin1")
    .split("\n")
    .findIndex((line) => line.includes(text)) + 1;

test("a first preview tells value, wanted value, place and edit of every host, and touches nothing", async () => {
  const seen = hosts.map(footprint);
  const preview = await project.previewJson();
  expect(preview).toMatchObject({ code: 0, digest: { changeSummary: { create: 2 } } });
  const commented = lineOf(match, "sshd_config", "#ClientAliveInterval 0");
  expect(pendingChanges(preview.digest).fleet).toEqual({
    plain: [
      "ClientAliveInterval 0, wanted 60 (OpenSSH's default, no line sets it)",
      expect.stringMatching(`^will set ClientAliveInterval 60 in ${plain.configPath}:\\d+ \\(was 0 by default\\)$`),
    ],
    cloud: [
      `ClientAliveInterval 180, wanted 60 (set by ${cloud.dir}/${CLOUD}:3)`,
      `will set ClientAliveInterval 60 in ${cloud.dir}/${OWN}:2 (was 180, set by ${cloud.dir}/${CLOUD}:3)`,
    ],
    match: [
      "ClientAliveInterval 0, wanted 60 (OpenSSH's default, no line sets it)",
      `ClientAliveCountMax 5, wanted 3 (set by ${match.configPath}:${commented + 1})`,
      expect.stringContaining(`will set ClientAliveInterval 60 in ${match.configPath}:`),
      expect.stringContaining(`will set ClientAliveCountMax 3 in ${match.configPath}:`),
    ],
  });
  expect(hosts.map(footprint)).toEqual(seen);
});

test("after an up nothing is to be changed, and a refresh finds what the up recorded", async () => {
  const up = await project.up();
  expect({ code: up.code, said: said(up) }).toMatchObject({ code: 0 });
  for (const host of hosts) {
    const dump = await host.sshdT();
    expect([dump.get("clientaliveinterval"), dump.get("clientalivecountmax")]).toEqual(["60", "3"]);
  }
  const preview = await project.previewJson(["--expect-no-changes"]);
  expect(preview).toMatchObject({ code: 0, digest: { changeSummary: { same: 2 } } });

  const recorded = await observedIn(project);
  expect(recorded.fleet?.cloud).toMatchObject({
    status: "inSync",
    server: { options: { ClientAliveInterval: { value: "60", wanted: "60", file: `${cloud.dir}/${OWN}`, line: 2 } } },
  });
  const refresh = await project.refresh();
  expect(refresh.code).toBe(0);
  expect(await observedIn(project)).toEqual(recorded);
});

test.each(["first", "second"])("drift shows with its place, the %s time too, and an up heals it", async () => {
  const own = await cloud.read(OWN);
  await cloud.write(OWN, own.replace("ClientAliveInterval 60", "ClientAliveInterval 5m"));
  const [others, touched] = [[plain, match].map(footprint), footprint(cloud)];
  for (let round = 0; round < 2; round++) {
    const preview = await project.previewJson(["--expect-no-changes"]);
    expect(preview.code).not.toBe(0);
    expect(pendingChanges(preview.digest)).toEqual({
      fleet: {
        cloud: [
          `ClientAliveInterval 300, wanted 60 (set by ${cloud.dir}/${OWN}:2)`,
          expect.stringContaining(`will set ClientAliveInterval 60 in ${cloud.dir}/${OWN}:2`),
        ],
      },
    });
    const step = preview.digest?.steps?.find(({ urn }) => urn.endsWith("::fleet"));
    expect(step).toMatchObject({ op: "update", detailedDiff: { pendingChanges: { kind: "add" } } });
    expect(Object.keys(step?.detailedDiff ?? {})).toEqual(["pendingChanges"]);
    expect(footprint(cloud)).toBe(touched);
  }
  expect((await project.up()).code).toBe(0);
  expect(await cloud.read(OWN)).toBe(own);
  expect([plain, match].map(footprint)).toEqual(others);
  expect(await project.previewJson(["--expect-no-changes"])).toMatchObject({ code: 0 });
  const state = await project.exportState();
  expect(JSON.stringify(state)).not.toContain("pendingChanges");
});

test("drift shows with --refresh; pulumi refresh records the live values, and a following up heals them", async () => {
  const tampered = { ClientAliveInterval: { value: "7", wanted: "60", file: match.configPath } };
  const text = await match.read("sshd_config");
  await match.write("sshd_config", text.replace("ClientAliveInterval 60", "ClientAliveInterval 7"));
  const preview = await project.preview(["--refresh", "--expect-no-changes"]);
  expect(preview.code).not.toBe(0);
  expect(said(preview)).toContain(`match: ClientAliveInterval 7, wanted 60 (set by ${match.configPath}:`);

  expect((await project.refresh()).code).toBe(0);
  expect((await observedIn(project)).fleet?.match).toMatchObject({ status: "drifted", server: { options: tampered } });
  expect((await project.preview(["--expect-no-changes"])).code).not.toBe(0);
  expect((await project.up()).code).toBe(0);
  expect(await match.read("sshd_config")).toBe(text);
  expect((await observedIn(project)).fleet?.match).toMatchObject({ status: "inSync" });
});

test("with `refresh: always` a plain preview shows drift too, and nothing without any", async () => {
  const settings = await project.exportState().then(() => readFileSync(join(project.dir, "Pulumi.yaml"), "utf8"));
  await project.write({ "Pulumi.yaml": `${settings}options:\n  refresh: always\n` });
  expect(await project.previewJson(["--expect-no-changes"])).toMatchObject({ code: 0 });
  const own = await cloud.read(OWN);
  await cloud.write(OWN, own.replace("ClientAliveInterval 60", "ClientAliveInterval 61"));
  const preview = await project.preview(["--expect-no-changes"]);
  expect(preview.code).not.toBe(0);
  expect(said(preview)).toContain(`cloud: ClientAliveInterval 61, wanted 60 (set by ${cloud.dir}/${OWN}:2)`);
  expect((await project.up()).code).toBe(0);
  expect(await project.preview(["--expect-no-changes"])).toMatchObject({ code: 0 });
  await project.write({ "Pulumi.yaml": settings });
});

test("an unreachable host is named, counts as a change and stops neither preview nor the others", async () => {
  const own = await cloud.read(OWN);
  await cloud.write(OWN, own.replace("ClientAliveInterval 60", "ClientAliveInterval 61"));
  await plain.stop();
  const preview = await project.previewJson(["--expect-no-changes"]);
  expect(preview.code).not.toBe(0);
  expect(pendingChanges(preview.digest).fleet).toEqual({
    plain: [expect.stringMatching(/^\[unreachable\] connect: .*refused/)],
    cloud: [expect.stringContaining("ClientAliveInterval 61, wanted 60"), expect.stringContaining("will set")],
  });
  const up = await project.up();
  expect(up.code).not.toBe(0);
  expect(said(up)).toMatch(/plain: \[unreachable\] connect: .*refused/);
  expect(await cloud.read(OWN)).toBe(own);
  expect((await observedIn(project)).fleet).toMatchObject({
    plain: { status: "unreachable", reason: expect.stringContaining("[unreachable]") },
    cloud: { status: "inSync" },
    match: { status: "inSync" },
  });
  const refresh = await project.refresh();
  expect(refresh.code).toBe(0);
  expect((await observedIn(project)).fleet?.plain).toMatchObject({ status: "unreachable" });

  await plain.start();
  expect(await project.preview(["--refresh", "--expect-no-changes"])).toMatchObject({ code: 0 });
});

test("inputs that are not known yet are said and not looked at, and the up then works", async () => {
  const machines = await startFleet(4, { folder, name: (i) => `vm-${i}` });
  const [leaf, whole, all, known] = machines.hosts as [LightHost, LightHost, LightHost, LightHost];
  const later = await keepaliveProject(folder, {
    program: {
      "index.js": `
const pulumi = require("@pulumi/pulumi");
const { SshKeepalive } = require("pulumi-ssh-keepalive");
const provider = { create: async ({ at }) => ({ id: "vm", outs: { at, made: at } }), diff: async () => ({ changes: false }) };
class Vm extends pulumi.dynamic.Resource {
  constructor(name, at) { super(provider, name, { at, made: undefined }); }
}
const { leaf, whole, all, known } = require("./hosts.json");
const server = { clientAliveInterval: 60 };
const made = (host) => new Vm("vm-" + host.port, host).made;
new SshKeepalive("leaf", { hosts: { a: { ...leaf, host: made(leaf).host }, b: known }, server });
new SshKeepalive("whole", { hosts: { c: made(whole) }, server });
new SshKeepalive("all", { hosts: made(all).apply((host) => ({ d: host })), server });
`,
      "hosts.json": JSON.stringify({
        leaf: entry(leaf),
        whole: entry(whole),
        all: entry(all),
        known: entry(known),
      }),
    },
  });
  const preview = await later.previewJson();
  expect(preview.code).toBe(0);
  const unknown = (path: string) => [`not looked at: not known before the update: ${path}`];
  expect(pendingChanges(preview.digest)).toEqual({
    leaf: {
      a: unknown('hosts["a"].host'),
      b: ["ClientAliveInterval 0, wanted 60 (OpenSSH's default, no line sets it)", expect.stringContaining("will set")],
    },
    whole: { c: unknown('hosts["c"]') },
    all: { "*": ["not looked at: hosts are not known before the update"] },
  });
  for (const host of [leaf, whole, all]) expect(await host.log()).not.toContain("Accepted");

  const up = await later.up();
  expect({ code: up.code, said: said(up) }).toMatchObject({ code: 0 });
  for (const host of machines.hosts) expect((await host.sshdT()).get("clientaliveinterval")).toBe("60");
  expect(await later.preview(["--expect-no-changes"])).toMatchObject({ code: 0 });
});
