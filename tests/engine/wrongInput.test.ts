/** Wrong input, from the program or found on a host, is said at preview with its remedy, and nothing is touched. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, rmSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { type LightHost, startFleet } from "../support/lightHost";
import {
  configOf,
  entries,
  entry,
  type KeepaliveProject,
  keepaliveProject,
  pendingChanges,
  said,
} from "../support/program";
import { type ProviderProcess, startProviderProcess } from "../support/providerProcess";
import { makeTempFolder } from "../support/tempFolder";

const folder = makeTempFolder();
let project: KeepaliveProject;
let provider: ProviderProcess;
beforeAll(async () => {
  project = await keepaliveProject(folder);
  provider = await startProviderProcess(project);
});
afterAll(async () => {
  await provider.stop();
  await folder.remove();
});

const server = { clientAliveInterval: 60 };
// TEST-NET-1: a look at it would take seconds and fail, so an answer at once means that nothing was looked at.
const hosts = { web: { host: "192.0.2.1" } };
const overflow = 2 ** 31;

/** Through the provider's process alone, which is where the engine has its answer from: [inputs, property, words]. */
test.each<[string, Record<string, unknown>, RegExp]>([
  [
    "ServerAliveInterval under server",
    { server: { serverAliveInterval: 60 } },
    /server\.serverAliveInterval.*Here clientAliveInterval is meant; serverAliveInterval belongs under client/,
  ],
  [
    "ServerAliveCountMax under server",
    { server: { serverAliveCountMax: 3 } },
    /server\.serverAliveCountMax.*Here clientAliveCountMax is meant/,
  ],
  [
    "ClientAliveInterval under client",
    { client: { clientAliveInterval: 60 } },
    /client\.clientAliveInterval.*Here serverAliveInterval is meant; clientAliveInterval belongs under server/,
  ],
  [
    "ClientAliveCountMax under client",
    { client: { ClientAliveCountMax: 3 } },
    /client\.ClientAliveCountMax.*Here serverAliveCountMax is meant/,
  ],
  ["an option at the top level", { clientAliveInterval: 60 }, /clientAliveInterval.*belongs under server/],
  ["a negative interval", { server: { clientAliveInterval: -1 } }, /server\.clientAliveInterval.*-1/],
  ["a fractional interval", { server: { clientAliveInterval: 1.5 } }, /server\.clientAliveInterval.*whole number/],
  ["an interval too large", { server: { clientAliveInterval: overflow } }, /server\.clientAliveInterval.*2147483647/],
  ["a bad time", { server: { clientAliveInterval: "5 m" } }, /server\.clientAliveInterval.*"5m"/],
  ["another bad time", { client: { serverAliveInterval: "1.5m" } }, /client\.serverAliveInterval.*"5m"/],
  [
    "a negative count",
    { server: { clientAliveInterval: 60, clientAliveCountMax: -1 } },
    /server\.clientAliveCountMax.*-1/,
  ],
  [
    "a fractional count",
    { server: { clientAliveInterval: 60, clientAliveCountMax: 0.5 } },
    /server\.clientAliveCountMax.*whole number/,
  ],
  [
    "clientAliveCountMax 0",
    { server: { clientAliveInterval: 60, clientAliveCountMax: 0 } },
    /server\.clientAliveCountMax.*8\.2.*Write 1 or more/,
  ],
  [
    "serverAliveCountMax 0",
    { client: { serverAliveInterval: 60, serverAliveCountMax: 0 } },
    /client\.serverAliveCountMax.*first interval.*Write 1 or more/,
  ],
  [
    "a count beside an interval 0",
    { server: { clientAliveInterval: 0, clientAliveCountMax: 3 } },
    /server\.clientAliveCountMax.*no probes/,
  ],
  [
    "interval and count whose product overflows",
    { server: { clientAliveInterval: 2147483647, clientAliveCountMax: 3 } },
    /server\.clientAliveInterval.*× \(3 \+ 1\)/,
  ],
  [
    "settings that the idle limit outlives",
    { idleTimeout: 60, server: { clientAliveInterval: 120 } },
    /server\.clientAliveInterval.*idle/,
  ],
  ["no hosts", { hosts: {} }, /hosts.*(empty|at least|no host)/i],
  ["hosts missing", { hosts: undefined }, /hosts.*missing/],
  ["hosts as a list", { hosts: [{ host: "192.0.2.1" }] }, /hosts.*map of your names/],
  [
    "two hosts of one address",
    { hosts: { a: { host: "192.0.2.1" }, b: { host: "192.0.2.1", port: 22 } } },
    /hosts\["b"\].*same machine as hosts\["a"\]/,
  ],
  ["an unknown property", { sever: server }, /sever.*Did you mean server/],
  [
    "an unknown property of a host",
    { hosts: { web: { hostt: "192.0.2.1" } } },
    /hosts\["web"\]\.hostt.*Did you mean host/,
  ],
  [
    "a host that begins with -",
    { hosts: { web: { host: "-oProxyCommand=true" } } },
    /hosts\["web"\]\.host.*Begins with -/,
  ],
  [
    "a user that begins with -",
    { hosts: { web: { host: "192.0.2.1", user: "-l" } } },
    /hosts\["web"\]\.user.*Begins with -/,
  ],
  [
    "a control character in a host",
    { hosts: { web: { host: "192.0.2.1\n" } } },
    /hosts\["web"\]\.host.*control character/,
  ],
  ["a control character in a name", { hosts: { "we\u0007b": { host: "192.0.2.1" } } }, /control character/],
  [
    "a public key as privateKey",
    { connection: { privateKey: "ssh-ed25519 AAAA x" } },
    /connection\.privateKey.*public key/,
  ],
  ["a path as privateKey", { connection: { privateKey: "~/.ssh/id_ed25519" } }, /connection\.privateKey.*path/],
  [
    "a cut-off privateKey",
    { connection: { privateKey: "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n" } },
    /connection\.privateKey.*cut off/,
  ],
  [
    "a client user that begins with -",
    { client: { serverAliveInterval: 60, user: "-x" } },
    /client\.user.*not beginning with a digit or -/,
  ],
  ["nothing to keep", { server: {} }, /nothing to keep/],
])("%s", async (_, args, message) => {
  const reply = await provider.check({}, JSON.parse(JSON.stringify({ hosts, server, ...args, dry: true })));
  if (reply.kind === "error") throw new Error(reply.message);
  const reasons = (reply.answer.failures as { reason: string }[]).map((failure) => failure.reason);
  expect(reasons.join("\n")).toMatch(message);
  expect(reasons.join("\n")).not.toContain("AAAA");
});

test("a program's mistakes fail the preview and the up, all at once, and touch no host", async () => {
  const fleet = await startFleet(1, { folder, name: () => "web" });
  const [web] = fleet.hosts as [LightHost];
  const before = configOf(web);
  await project.declare({
    fleet: {
      args: {
        hosts: { web: entry(web), other: { host: "-oProxyCommand=true", server: { clientAliveInterval: 1.5 } } },
        server: { serverAliveInterval: 60 },
        client: { serverAliveInterval: 60, serverAliveCountMax: 0 },
      },
    },
  });
  for (const outcome of [await project.preview(), await project.up()]) {
    expect(outcome.code).not.toBe(0);
    for (const words of [
      "server.serverAliveInterval",
      "client.serverAliveCountMax",
      'hosts["other"].host',
      'hosts["other"].server.clientAliveInterval',
    ]) {
      expect(said(outcome)).toContain(words);
    }
    expect(said(outcome)).not.toMatch(/\n\s+at /);
  }
  expect(await web.log()).not.toContain("Accepted");
  expect(configOf(web)).toEqual(before);
});

/** What is wrong with a host's configuration, made after its sshd has started. */
const SABOTAGE: Readonly<Record<string, { readonly make: (host: LightHost) => unknown; readonly says: RegExp }>> = {
  missing: {
    make: (host) => rmSync(host.configPath),
    says: /^\[config-missing\] observe: \S+\/missing\/sshd_config does not exist\. .*put the file there/,
  },
  directory: {
    make: (host) => {
      rmSync(host.configPath);
      mkdirSync(host.configPath);
    },
    says: /^\[config-missing\] observe: \S+\/directory\/sshd_config is a folder\. /,
  },
  dangling: {
    make: (host) => {
      rmSync(host.configPath);
      symlinkSync(join(host.dir, "nowhere"), host.configPath);
    },
    says: /^\[config-missing\] observe: \S+\/dangling\/sshd_config is a link to nothing\. /,
  },
  broken: {
    make: async (host) => host.write("sshd_config", `${await host.read("sshd_config")}NoSuchOption yes\n`),
    says: /^\[config-broken\] observe: .*\/broken\/sshd_config.*NoSuchOption.* Correct it by hand/i,
  },
  wrongSide: {
    make: async (host) => host.write("sshd_config", `${await host.read("sshd_config")}ServerAliveInterval 60\n`),
    says: /^\[config-wrong-side\] observe: \S+\/wrongSide\/sshd_config:\d+: .*ClientAliveInterval.* Correct that line/,
  },
  bom: {
    make: async (host) => host.write("sshd_config", `\ufeff${await host.read("sshd_config")}`),
    says: /^\[config-broken\] observe: .*\/bom\/sshd_config.*/,
  },
  readonly: {
    // Root may write wherever modes forbid it: an immutable file is read-only for root too.
    make: (host) => execFileSync("chattr", ["+i", host.configPath]),
    says: /\[not-writable\] plan: \S+\/readonly\/sshd_config (is immutable|cannot|or its).* Make it writable/,
  },
};

test("a configuration on a host that cannot be worked on is said, left alone, and holds up no other host", async () => {
  const names = [...Object.keys(SABOTAGE), "sound"];
  const fleet = await startFleet(names.length, {
    folder,
    name: (i) => names[i] ?? "",
    files: ({ head }) => ({ sshd_config: head }),
  });
  const immutable = fleet.hosts.find((host) => host.name === "readonly");
  try {
    for (const host of fleet.hosts) await SABOTAGE[host.name]?.make(host);
    const before = fleet.hosts.map(configOf);
    await project.declare({
      fleet: { args: { hosts: entries(fleet.hosts), server, rollout: { maxFailures: 20 } } },
    });
    const preview = await project.previewJson();
    expect(preview.code).toBe(0);
    const lines = pendingChanges(preview.digest).fleet ?? {};
    for (const [name, { says }] of Object.entries(SABOTAGE)) {
      expect([name, lines[name]]).toEqual([name, expect.arrayContaining([expect.stringMatching(says)])]);
    }
    expect(fleet.hosts.map(configOf)).toEqual(before);

    const up = await project.up();
    expect(up.code).not.toBe(0);
    expect(said(up)).toContain("8 hosts: 1 changed, 7 failed");
    for (const [i, host] of fleet.hosts.entries()) {
      if (host.name === "sound") expect((await host.sshdT()).get("clientaliveinterval")).toBe("60");
      else expect([host.name, configOf(host)]).toEqual([host.name, before[i]]);
      // Nobody's daemon was reloaded into a file that would end it.
      expect([host.name, (await host.ssh("true")).code]).toEqual([host.name, 0]);
    }
  } finally {
    if (immutable !== undefined) execFileSync("chattr", ["-i", immutable.configPath]);
  }
  for (const host of fleet.hosts) if (existsSync(join(host.dir, "sshd.pid"))) await host.stop();
});

test("a path or user that the program names and the host does not have is the program's mistake", async () => {
  const fleet = await startFleet(1, { folder, name: () => "named" });
  const [named] = fleet.hosts as [LightHost];
  await project.declare({
    fleet: {
      args: {
        hosts: {
          file: entry(named, { client: { configPath: "/nonexistent/ssh_config" } }),
          user: entry(named, { client: { user: "no-such-user-here" } }),
        },
        client: { serverAliveInterval: 60 },
      },
    },
  });
  const preview = await project.preview();
  expect(preview.code).not.toBe(0);
  expect(said(preview)).toMatch(/hosts\["file"\]\.client\.configPath: .*\/nonexistent\/ssh_config does not exist/);
  expect(said(preview)).toMatch(/hosts\["user"\]\.client\.user: .*there is no user no-such-user-here/);
  await project.declare({
    fleet: { args: { hosts: entries([named]), server: { ...server, configPath: "/nonexistent/sshd_config" } } },
  });
  const up = await project.up();
  expect(up.code).not.toBe(0);
  expect(said(up)).toMatch(/named: .*reads \S+, not \/nonexistent\/sshd_config.*Leave server\.configPath out/);
  expect((await named.sshdT()).get("clientaliveinterval")).toBe("0");
});
