/** What users of Pulumi do to resources: rename, replace, move, protect, retain, target, ignore, destroy. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type LightHost, startFleet } from "../support/lightHost";
import {
  configOf,
  type Declared,
  entries,
  entry,
  footprint,
  isManaged,
  type KeepaliveProject,
  keepaliveProject,
  said,
  transactionsOf,
} from "../support/program";
import { makeTempFolder } from "../support/tempFolder";

const NAMES = [
  "renamed",
  "aliased",
  "replaced",
  "left",
  "right",
  "guarded",
  "retained",
  "gone",
  "along",
  "wishes",
] as const;
type Name = (typeof NAMES)[number];

const folder = makeTempFolder();
let project: KeepaliveProject;
let hosts: Record<Name, LightHost>;
let before: Record<string, Record<string, string>>;
beforeAll(async () => {
  const fleet = await startFleet(NAMES.length, { folder, name: (i) => NAMES[i] ?? "" });
  hosts = Object.fromEntries(fleet.hosts.map((host) => [host.name, host])) as Record<Name, LightHost>;
  before = Object.fromEntries(fleet.hosts.map((host) => [host.name, configOf(host)]));
  project = await keepaliveProject(folder);
});
afterAll(() => folder.remove());

const server = { clientAliveInterval: 60 };
const over = (name: Name, opts: Readonly<Record<string, unknown>> = {}): Declared => ({
  args: { hosts: entries([hosts[name]]), server },
  opts,
});
const interval = async (name: Name) => (await hosts[name].sshdT()).get("clientaliveinterval");
const urn = (name: string) => `urn:pulumi:dev::test::pulumi-nodejs:dynamic/sshkeepalive:SshKeepalive::${name}`;
const clientFile = () => join(hosts.wishes.dir, "ssh_config");
const CLIENT = "Host *.example.com\n    ForwardX11 yes\n";

async function up(...args: string[]): Promise<string> {
  const outcome = await project.up(args);
  if (outcome.code !== 0) throw new Error(said(outcome));
  return said(outcome);
}

test("resources come into being, each with a host of its own", async () => {
  await hosts.wishes.write("ssh_config", CLIENT);
  await project.declare({
    renamed: over("renamed"),
    aliased: over("aliased"),
    replaced: over("replaced"),
    left: over("left"),
    right: over("right"),
    guarded: over("guarded", { protect: true }),
    retained: over("retained", { retainOnDelete: true }),
    gone: over("gone"),
    along: over("along", { deletedWith: "gone" }),
    wishes: {
      args: {
        hosts: entries([hosts.wishes]),
        server: { clientAliveInterval: 60, clientAliveCountMax: 5, tcpKeepAlive: false },
        client: { serverAliveInterval: 50, configPath: clientFile() },
      },
    },
  });
  await up();
  expect(await Promise.all(NAMES.map(interval))).toEqual(NAMES.map(() => "60"));
  expect((await hosts.wishes.sshdT()).get("clientalivecountmax")).toBe("5");
  expect(readFileSync(clientFile(), "utf8")).toContain("ServerAliveInterval 50");
});

test("a rename, an alias, --replace, hosts that change resources and resources that go leave what they should", async () => {
  const alive = ["renamed", "aliased", "left", "right", "guarded"] as const;
  const stamps = alive.map((name) => footprint(hosts[name]));
  await project.declare({
    "renamed-2": over("renamed"),
    "aliased-2": over("aliased", { aliases: [{ name: "aliased" }] }),
    replaced: over("replaced"),
    left: over("right"),
    right: over("left"),
    guarded: over("guarded", { protect: true }),
    wishes: { args: { hosts: entries([hosts.wishes]), server: { clientAliveCountMax: 5 } } },
  });
  const text = await up("--replace", urn("replaced"));
  expect(text).toMatch(/another resource manages it now/);

  const managed = ["renamed", "aliased", "replaced", "left", "right", "guarded"] as const;
  expect(await Promise.all(managed.map(interval))).toEqual(managed.map(() => "60"));
  expect(managed.filter((name) => !isManaged(hosts[name]))).toEqual([]);
  // Ownership goes over without an edit or a reload, where the new one came first or nothing but a name changed.
  const untouched = ["renamed", "aliased", "guarded"] as const;
  expect(untouched.map((name) => footprint(hosts[name]))).toEqual(untouched.map((name) => stamps[alive.indexOf(name)]));
  expect(await project.preview(["--expect-no-changes"])).toMatchObject({ code: 0 });

  // Retained, or deleted with another: nobody touches the host.
  expect(await Promise.all((["retained", "along"] as const).map(interval))).toEqual(["60", "60"]);
  expect([configOf(hosts.gone), isManaged(hosts.gone)]).toEqual([before.gone, false]);
  // Options, and a whole side, that are no longer wanted are undone.
  const dump = await hosts.wishes.sshdT();
  expect(["clientaliveinterval", "clientalivecountmax", "tcpkeepalive"].map((o) => dump.get(o))).toEqual([
    "0",
    "5",
    "yes",
  ]);
  expect(readFileSync(clientFile(), "utf8")).toBe(CLIENT);
});

test("--target heals that resource alone and does not look at the others", async () => {
  const drift = "ClientAliveInterval 5\n";
  for (const name of ["replaced", "aliased"] as const) {
    await hosts[name].write("sshd_config", `${drift}${await hosts[name].read("sshd_config")}`);
  }
  const logins = async () => (await hosts.aliased.log()).match(/Accepted publickey/g)?.length;
  // A connection kept from the last call would hide a look.
  await hosts.aliased.stop();
  await hosts.aliased.start();
  const seen = await logins();
  await up("--target", urn("replaced"));
  expect(await interval("replaced")).toBe("60");
  expect([await interval("aliased"), await logins()]).toEqual(["5", seen]);
  await up();
  expect(await interval("aliased")).toBe("60");
  for (const name of ["replaced", "aliased"] as const) {
    const text = await hosts[name].read("sshd_config");
    await hosts[name].write("sshd_config", text.replace(/^ClientAliveInterval \d+\n/, ""));
  }
});

test.each(["*", "pendingChanges"])("ignoreChanges %j, which would hide drift, is refused", async (path) => {
  const refused = await keepaliveProject(folder);
  await refused.declare({ fleet: over("retained", { ignoreChanges: [path] }) });
  const preview = await refused.preview();
  expect(preview.code).not.toBe(0);
  expect(said(preview)).toContain(`ignoreChanges "${path}" would hide what a preview finds on the hosts`);
});

test("a protected resource is not deleted; a destroy with a host down puts the others back and can be finished", async () => {
  const protectedOne = await project.destroy();
  expect(protectedOne.code).not.toBe(0);
  expect(said(protectedOne)).toMatch(/protect/);
  expect(await interval("guarded")).toBe("60");
  await project.pulumi(["state", "unprotect", "--all", "--yes"]);

  // All in one resource: the hosts change owners once more.
  const fleet = ["renamed", "aliased", "replaced", "left", "right", "guarded"] as const;
  await project.declare({ fleet: { args: { hosts: entries(fleet.map((name) => hosts[name])), server } } });
  await up();
  expect(await Promise.all(fleet.map(interval))).toEqual(fleet.map(() => "60"));
  expect(fleet.filter((name) => !isManaged(hosts[name]))).toEqual([]);

  const changed =
    Object.keys(configOf(hosts.left)).find((path) => /ClientAliveInterval 60/.test(configOf(hosts.left)[path] ?? "")) ??
    "";
  await hosts.left.write(
    changed,
    (configOf(hosts.left)[changed] ?? "").replace("ClientAliveInterval 60", "ClientAliveInterval 45"),
  );
  await hosts.right.stop();
  const destroy = await project.destroy();
  expect(destroy.code).not.toBe(0);
  expect(said(destroy)).toMatch(/1 of 6 hosts could not be put back: right: \[unreachable\] connect: /);
  for (const name of ["renamed", "aliased", "replaced", "guarded"] as const) {
    expect([name, configOf(hosts[name])]).toEqual([name, before[name]]);
    expect([name, isManaged(hosts[name])]).toEqual([name, false]);
  }
  // What someone changed since is theirs: left, and said.
  expect(await interval("left")).toBe("45");
  expect(said(destroy)).toMatch(/left: .*ClientAliveInterval/);

  await hosts.right.start();
  expect(await project.destroy()).toMatchObject({ code: 0 });
  expect(configOf(hosts.right)).toEqual(before.right);
  expect((await project.exportState()).deployment.resources ?? []).toEqual([]);
});

test("an up that is interrupted by a failure elsewhere keeps a renamed host managed", async () => {
  const other = await keepaliveProject(folder);
  await other.declare({ first: over("gone") });
  expect(await other.up()).toMatchObject({ code: 0 });
  // The new resource fails on its second host, so the old one is not deleted in this up.
  await hosts.replaced.stop();
  await other.declare({
    second: { args: { hosts: { gone: entry(hosts.gone), replaced: entry(hosts.replaced) }, server } },
  });
  expect((await other.up()).code).not.toBe(0);
  expect([await interval("gone"), transactionsOf(hosts.gone) > 0]).toEqual(["60", true]);
  await hosts.replaced.start();
  expect(await other.up()).toMatchObject({ code: 0 });
  expect([await interval("gone"), isManaged(hosts.gone)]).toEqual(["60", true]);
  expect(await other.destroy()).toMatchObject({ code: 0 });
  expect([configOf(hosts.gone), existsSync(clientFile())]).toEqual([before.gone, true]);
});
