/** examples/shards: one inventory over several stacks, and another number of stacks without a host left alone. */
import { execFile, spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { makeProject, type PreviewDigest, type Project } from "../support/engine";
import { type Fleet, type LightHost, startFleet } from "../support/lightHost";
import { configOf, footprint, isManaged } from "../support/program";
import { makeTempFolder, projectRoot, type TempFolder } from "../support/tempFolder";

const example = path.join(projectRoot(), "examples", "shards");
const { hostsOf, shardOf } = require(path.join(example, "shard.js")) as {
  shardOf(name: string, shards: number): number;
  hostsOf(inventory: object, shard: number, shards: number): object;
};

describe("the parts of an inventory", () => {
  const inventory = Object.fromEntries(Array.from({ length: 2000 }, (_, i) => [`web-${i}.example`, {}]));
  const names = Object.keys(inventory);

  test("are stable: other releases must not move hosts", () => {
    expect(["web-1", "web-2", "web-3", "db-1", "db-2"].map((name) => shardOf(name, 10))).toEqual([3, 3, 6, 4, 7]);
  });

  test("have every host once, and about as many each", () => {
    const parts = [0, 1, 2, 3].map((shard) => Object.keys(hostsOf(inventory, shard, 4)));
    expect(parts.flat().sort()).toEqual([...names].sort());
    for (const part of parts) expect(Math.abs(part.length - 500)).toBeLessThan(75);
  });

  test.each([
    [3, 4],
    [4, 3],
    [4, 9],
    [9, 2],
  ])("from %i to %i: hosts move only to parts that come or from parts that go", (from, to) => {
    const moved = names.filter((name) => shardOf(name, from) !== shardOf(name, to));
    const least = 1 - Math.min(from, to) / Math.max(from, to);
    expect(Math.abs(moved.length / names.length - least)).toBeLessThan(0.05);
    for (const name of moved) {
      expect(from < to ? shardOf(name, to) >= from : shardOf(name, from) >= to).toBe(true);
    }
  });
});

describe("eight hosts", () => {
  let folder: TempFolder;
  let fleet: Fleet;
  let project: Project;
  let before: unknown;
  const hosts = (): readonly LightHost[] => fleet.hosts;
  const hostsIn = (shard: number, shards: number) => hosts().filter((host) => shardOf(host.name, shards) === shard);
  const intervals = () => Promise.all(hosts().map(async (host) => (await host.sshdT()).get("clientaliveinterval")));

  /** The runner: its exit status, and what it said of each shard and of all. */
  const run = (verb: string, shards: number) =>
    new Promise<{ code: number; shards: Record<string, string>; all: string; text: string }>((resolve) => {
      const args = ["run.js", verb, "--shards", String(shards), "--side-by-side", "2"];
      const options = { cwd: project.dir, env: project.env, timeout: 600_000 };
      execFile(process.execPath, args, options, (error, stdout, stderr) => {
        const said = [...stdout.matchAll(/^(shard-\d+): (.*), [\d.]+ s$/gm)].map(([, name, what]) => [name, what]);
        resolve({
          code: error === null ? 0 : Number(error.code ?? -1),
          shards: Object.fromEntries(said),
          all: stdout.trim().split("\n").at(-1) ?? "",
          text: `${stdout}\n${stderr}`,
        });
      });
    });

  /** One agent with the key for all stacks: it ends with the folder. */
  const startAgent = async (key: string): Promise<string> => {
    const socket = path.join(folder.path, "agent");
    spawn("ssh-agent", ["-D", "-a", socket], { stdio: "ignore", detached: true }).unref();
    const until = Date.now() + 60_000;
    while (!existsSync(socket)) {
      if (Date.now() > until) throw new Error("ssh-agent does not listen");
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    await new Promise<void>((resolve, reject) => {
      const env = { ...process.env, SSH_AUTH_SOCK: socket };
      const child = execFile("ssh-add", ["-q", "-"], { env }, (error) => (error === null ? resolve() : reject(error)));
      child.stdin?.end(key);
    });
    return socket;
  };

  beforeAll(async () => {
    folder = makeTempFolder();
    fleet = await startFleet(8, {
      folder,
      name: (i) => `node-${i + 1}`,
      files: ({ dir, head }) => ({
        sshd_config: `Include ${dir}/sshd_config.d/*.conf\n${head}`,
        "sshd_config.d/50-cloud-init.conf": "ClientAliveInterval 0\n",
      }),
    });
    before = hosts().map(configOf);
    const agent = await startAgent(hosts()[0]?.connection.privateKey ?? "");
    project = await makeProject({
      folder,
      name: "shards",
      program: { folder: example },
      env: { XDG_RUNTIME_DIR: undefined, SSH_AUTH_SOCK: agent },
    });
    const inventory = hosts().map(({ name, connection: { privateKey: _, ...rest } }) => [name, rest]);
    await project.write({
      "inventory.json": JSON.stringify(Object.fromEntries(inventory)),
      // What all stacks have in common is said in the project.
      "Pulumi.yaml": readFileSync(path.join(example, "Pulumi.yaml"), "utf8").replace("default: true", "default: false"),
    });
  });
  afterAll(() => folder.remove());

  test("three stacks preview and change them, two at a time", async () => {
    const preview = await run("preview", 3);
    expect(preview).toMatchObject({ code: 0, all: "3 shards, 0 failed: 8 hosts, 8 to change, 0 failed" });
    expect(await intervals()).toEqual(hosts().map(() => "0"));
    const up = await run("up", 3);
    expect(up).toMatchObject({ code: 0, all: "3 shards, 0 failed: 8 hosts, 8 changed, 0 failed" });
    for (const shard of [0, 1, 2]) {
      const { length } = hostsIn(shard, 3);
      expect(length).toBeGreaterThan(0);
      expect(up.shards[`shard-${shard}`]).toBe(`${length} hosts, ${length} changed, 0 failed`);
    }
    expect(await intervals()).toEqual(hosts().map(() => "60"));
  });

  test("a change by hand shows in one stack, also to a script, and its next up heals it", async () => {
    const [victim] = hostsIn(1, 3) as [LightHost];
    await victim.write("sshd_config.d/00-pulumi-ssh-keepalive.conf", "ClientAliveInterval 7\n");
    const preview = await run("preview", 3);
    expect({ code: preview.code, shards: preview.shards }).toEqual({
      code: 0,
      shards: Object.fromEntries(
        [0, 1, 2].map((shard) => {
          const drifted = shard === 1 ? 1 : 0;
          return [`shard-${shard}`, `${hostsIn(shard, 3).length} hosts, ${drifted} to change, 0 failed`];
        }),
      ),
    });

    // docs/fleet.md has the same for jq.
    const { digest } = await project.previewJson(["--stack", "shard-1"]);
    const pending = pendingOf(digest);
    expect(Object.keys(pending)).toEqual([victim.name]);
    expect(pending[victim.name]?.[0]).toContain("ClientAliveInterval 7, wanted 60 (set by ");

    expect(await run("up", 3)).toMatchObject({ code: 0, all: "3 shards, 0 failed: 8 hosts, 1 changed, 0 failed" });
    const { stdout } = await project.pulumi(["stack", "output", "observed", "--json", "--stack", "shard-1"]);
    expect(countsOf(JSON.parse(stdout))).toEqual({ inSync: hostsIn(1, 3).length });
    expect(await intervals()).toEqual(hosts().map(() => "60"));
  });

  const stacks = async () => {
    const listed = await project.pulumi(["stack", "ls", "--json"]);
    return (JSON.parse(listed.stdout) as { name: string }[]).map(({ name }) => name).sort();
  };

  test("with two stacks instead every host stays managed, and nothing is written or reloaded", async () => {
    const stamps = hosts().map(footprint);
    const up = await run("up", 2);
    expect(up).toMatchObject({ code: 0, all: "3 shards, 0 failed: 8 hosts, 0 changed, 0 failed" });
    expect(up.shards["shard-2"]).toBe("0 hosts, 0 changed, 0 failed");
    expect(hosts().map(footprint)).toEqual(stamps);
    expect(hosts().map(isManaged)).toEqual(hosts().map(() => true));
    expect(await stacks()).toEqual(["shard-0", "shard-1"]);
    expect(await run("preview", 2)).toMatchObject({
      code: 0,
      all: "2 shards, 0 failed: 8 hosts, 0 to change, 0 failed",
    });
  });

  test("stacks that drop hosts wait until those that take them have them all", async () => {
    const [dead] = hostsIn(2, 3) as [LightHost];
    await dead.stop();
    const up = await run("up", 3);
    expect(up.code).toBe(1);
    expect(up.text).toMatch(/^ +.*[\w-]+: \[unreachable\] connect: /m);
    expect(up.text.match(/held back: shard-2 must take hosts from it first/g)).toHaveLength(2);
    expect(hosts().map(isManaged)).toEqual(hosts().map(() => true));

    // The move is half done, by hand, and then the old stack heals something: it owns the moving hosts again.
    await dead.start();
    expect(await project.up(["--stack", "shard-2"])).toMatchObject({ code: 0 });
    const [stays] = hostsIn(0, 3) as [LightHost];
    await stays.write("sshd_config.d/00-pulumi-ssh-keepalive.conf", "ClientAliveInterval 7\n");
    expect(await project.up(["--stack", "shard-0"])).toMatchObject({ code: 0 });

    const stamps = hosts().map(footprint);
    expect(await run("up", 3)).toMatchObject({ code: 0, all: "3 shards, 0 failed: 8 hosts, 0 changed, 0 failed" });
    expect(hosts().map(footprint)).toEqual(stamps);
    expect(hosts().map(isManaged)).toEqual(hosts().map(() => true));
    expect(await intervals()).toEqual(hosts().map(() => "60"));
  });

  test("destroy puts the bytes back, and takes the stacks away", async () => {
    expect(await run("destroy", 3)).toMatchObject({
      code: 0,
      all: "3 shards, 0 failed: 8 hosts, 8 put back, 0 failed",
    });
    expect(hosts().map(configOf)).toEqual(before);
    expect(await intervals()).toEqual(hosts().map(() => "0"));
    expect(await stacks()).toEqual([]);
  });
});

/** `.steps[].newState.inputs.pendingChanges // {}` of `pulumi preview --json`, merged. */
function pendingOf(digest: PreviewDigest | undefined): Record<string, readonly string[]> {
  const all = (digest?.steps ?? []).map(({ newState }) => newState?.inputs as { pendingChanges?: object } | undefined);
  return Object.assign({}, ...all.map((inputs) => inputs?.pendingChanges ?? {}));
}

/** Hosts by status: `[.[].status] | group_by(.)` of the output `observed`. */
function countsOf(observed: Readonly<Record<string, { readonly status: string }>>): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { status } of Object.values(observed)) counts[status] = (counts[status] ?? 0) + 1;
  return counts;
}
