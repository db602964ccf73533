/** The test support itself: throw-away projects on the real engine, light hosts, and folders that clean up. */
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { below } from "../support/below";
import { makeProject } from "../support/engine";
import { startFleet, startLightHost } from "../support/lightHost";
import { makeTempFolder, projectRoot, type TempFolder } from "../support/tempFolder";

let folder: TempFolder;
beforeAll(() => {
  folder = makeTempFolder();
});
afterAll(async () => {
  const { path } = folder;
  await folder.remove();
  expect(existsSync(path)).toBe(false);
});

/** A dynamic resource whose provider calls into an installed package, in the one way that survives serialization. */
const PROGRAM = `
const pulumi = require("@pulumi/pulumi");
const provider = {
  create: async (inputs) => require("stand-in").create(inputs),
  diff: async (id, old, wanted) => ({ changes: old.size !== wanted.size }),
  delete: async () => {},
};
class Thing extends pulumi.dynamic.Resource {
  constructor(name, args) { super(provider, name, { label: undefined, ...args }); }
}
const config = new pulumi.Config();
exports.label = new Thing("thing", { size: 1, note: config.requireSecret("note") }).label;
`;

describe("a project on the real engine", () => {
  /** A package of the same make as ours: name, main and files. */
  const standIn = () => {
    const root = join(folder.path, "stand-in");
    mkdirSync(join(root, "dist"), { recursive: true });
    writeFileSync(
      join(root, "package.json"),
      JSON.stringify({ name: "stand-in", version: "1.0.0", main: "dist/index.js", files: ["dist"] }),
    );
    writeFileSync(
      join(root, "dist/index.js"),
      'exports.create = async (inputs) => ({ id: "one", outs: { ...inputs, label: `size ${inputs.size}` } });',
    );
    return root;
  };

  test.each(["copy", "symlink"] as const)("goes through its life with the package as a %s", async (link) => {
    const project = await makeProject({ folder, program: PROGRAM, packageRoot: standIn(), link });
    expect(await project.init()).toMatchObject({ code: 0 });
    expect(await project.setConfig("note", "-hush hush", { secret: true })).toMatchObject({ code: 0 });

    const first = await project.previewJson();
    expect(first).toMatchObject({ code: 0, digest: { changeSummary: { create: 2 } } });
    expect(await project.up()).toMatchObject({ code: 0, stdout: expect.stringContaining("size 1") });
    expect(await project.preview(["--expect-no-changes"])).toMatchObject({ code: 0 });

    const state = await project.exportState();
    expect(state.deployment.resources?.find((resource) => resource.id === "one")).toMatchObject({
      outputs: { label: "size 1" },
    });
    expect(JSON.stringify(state)).not.toContain("hush");

    await project.write({ "index.js": PROGRAM.replace("size: 1", "size: 2") });
    expect((await project.preview(["--expect-no-changes"])).code).not.toBe(0);
    expect(await project.refresh()).toMatchObject({ code: 0 });
    expect(await project.destroy()).toMatchObject({ code: 0 });
  });

  test("reports a failing program as an answer, and ends one that hangs", async () => {
    // Without a stack: Node.js 20.20 takes half a minute to print one that has frames of Pulumi's own in it.
    const program = 'throw Object.assign(new Error("no such luck"), { stack: undefined });';
    const project = await makeProject({ folder, program });
    await project.init();
    const failed = await project.preview();
    expect(failed.code).not.toBe(0);
    expect(failed.stdout + failed.stderr).toContain("no such luck");
    await project.write({ "index.js": "setInterval(() => {}, 1000);" });
    expect(await project.preview([], { timeoutMs: 4000 })).toMatchObject({ code: -1, timedOut: true });
  });
});

describe("a light host", () => {
  test("takes a login, re-reads its files on a reload, and can be stopped and started", async () => {
    const host = await startLightHost({
      folder,
      ipv6: existsSync("/proc/net/if_inet6"),
      files: ({ dir, head }) => ({
        sshd_config: `Include ${dir}/sshd_config.d/*.conf\n${head}ClientAliveInterval 7\n`,
        "sshd_config.d/50-cloud.conf": "ClientAliveCountMax 4\n",
      }),
    });
    expect(await host.ssh('echo "$PULUMI_SSH_KEEPALIVE_STATE_DIR"; cat', { input: "in" })).toEqual({
      code: 0,
      stdout: `${host.stateDir}\nin`,
      stderr: "",
    });
    const before = await host.sshdT();
    expect([before.get("clientaliveinterval"), before.get("clientalivecountmax")]).toEqual(["7", "4"]);

    const pid = host.pid();
    await host.write("sshd_config.d/10-ours.conf", "ClientAliveInterval 60\nSetEnv SEEN=60\n");
    await host.reload();
    expect(host.pid()).toBe(pid);
    expect((await host.sshdT()).get("clientaliveinterval")).toBe("60");
    expect(await host.ssh('echo "$SEEN"')).toMatchObject({ code: 0, stdout: "60\n" });
    expect((await host.log()).match(/Server listening on 127/g)).toHaveLength(2);

    await host.stop();
    expect(host.pid()).toBeUndefined();
    expect(await host.ssh("true")).toMatchObject({ code: 255, stderr: expect.stringContaining("refused") });
    await host.start();
    expect(await host.ssh("true")).toMatchObject({ code: 0 });

    await host.write("sshd_config.d/99-broken.conf", "ServerAliveInterval 60\n");
    await expect(host.reload()).rejects.toThrow("Bad configuration option: ServerAliveInterval");
    expect(host.pid()).toBeUndefined();
  });

  test.each([
    { keepSessions: false, code: 255 },
    { keepSessions: true, code: 0 },
  ])("stopped with keepSessions $keepSessions, a session ends with $code", async ({ keepSessions, code }) => {
    const host = await startLightHost({ folder });
    const go = join(host.dir, "go");
    const session = host.ssh(`while [ ! -e ${go} ]; do sleep 0.05; done`);
    while (!(await host.log()).includes("Accepted publickey")) await new Promise((done) => setTimeout(done, 10));
    await host.stop({ keepSessions });
    writeFileSync(go, "");
    expect((await session).code).toBe(code);
  });

  test("refuses a configuration that is not on loopback alone", async () => {
    const stray = startLightHost({
      folder,
      files: ({ head }) => ({ sshd_config: `ListenAddress 0.0.0.0:22\n${head}` }),
    });
    await expect(stray).rejects.toThrow("would listen on 0.0.0.0:22");
  });

  test("two fleets in parallel do not collide", async () => {
    const fleets = await Promise.all([
      startFleet(8, { folder, name: (i) => `a-${i}` }),
      startFleet(8, { folder, name: (i) => `b-${i}`, extraLines: ["ClientAliveInterval 9"] }),
    ]);
    const hosts = fleets.flatMap((fleet) => fleet.hosts);
    expect(new Set(hosts.map((host) => host.port)).size).toBe(16);
    expect(new Set(hosts.map((host) => host.connection.hostKey)).size).toBe(16);
    for (const host of hosts) {
      expect((await host.sshdT()).get("clientaliveinterval")).toBe(host.name.startsWith("b") ? "9" : "0");
    }
    const logins = await Promise.all(hosts.map((host) => host.ssh("echo here")));
    expect(logins.map((login) => login.stdout)).toEqual(hosts.map(() => "here\n"));
    await Promise.all(fleets.map((fleet) => fleet.stop()));
    expect(hosts.map((host) => host.pid())).toEqual(hosts.map(() => undefined));
  });
});

test("what is below a folder is told while folders come and go there", async () => {
  const root = join(folder.path, "busy");
  mkdirSync(root);
  writeFileSync(join(root, "stays"), "");
  const busy = 'while mkdir "$0/a" "$0/a/b" "$0/a/b/c"; do rmdir "$0/a/b/c" "$0/a/b" "$0/a"; done';
  const other = spawn("sh", ["-c", busy, root], { stdio: "ignore" });
  const ended = new Promise((resolve) => other.on("exit", resolve));
  const seen = new Set<string>();
  // Until every state was met, and for long enough to meet one that changes meanwhile.
  const deadline = performance.now() + 30_000;
  for (let n = 0; (n < 20_000 || seen.size < 4) && performance.now() < deadline; n++) seen.add(below(root).join(" "));
  other.kill();
  await ended;
  expect([...seen].sort()).toEqual(["a a/b a/b/c stays", "a a/b stays", "a stays", "stays"]);
});

test("a test run that is killed leaves no folder and no process behind", async () => {
  const program = `
    const { makeTempFolder } = require("./build/tests/support/tempFolder");
    const { startLightHost } = require("./build/tests/support/lightHost");
    const folder = makeTempFolder();
    startLightHost({ folder }).then((host) => {
      require("node:fs").writeSync(1, folder.path + " " + host.pid());
      process.kill(process.pid, "SIGKILL");
    });`;
  const run = spawnSync(process.execPath, ["-e", program], { cwd: projectRoot(), encoding: "utf8" });
  expect(run).toMatchObject({ signal: "SIGKILL", stdout: expect.stringMatching(/^\/\S+ \d+$/) });
  const [path = "", pid = ""] = run.stdout.split(" ");
  const gone = () => {
    try {
      process.kill(Number(pid), 0);
      return false;
    } catch {
      return !existsSync(path);
    }
  };
  while (!gone()) await new Promise((resolve) => setTimeout(resolve, 20));
});
