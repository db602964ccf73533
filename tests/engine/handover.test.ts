/**
 * What a preview saw serves the update that follows it: where the host still is so, which it says itself when the change
 * is armed, nothing is asked twice; where it is not, the update starts from what is there.
 */
import {
  existsSync,
  linkSync,
  readFileSync,
  rmdirSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import { doFleet, forgetLooks, lookKey, planFleet, wayTo } from "../../provider/fleet";
import { type Answer, takeOver } from "../../provider/host";
import { controlPath, privateFolder } from "../../provider/host/controlFolder";
import { hostSettings } from "../../provider/inputs";
import { type Applied, type Bag, check, diff, inputsOf } from "../../provider/lifecycle";
import { below } from "../support/below";
import type { LightHost } from "../support/lightHost";
import {
  commands,
  created,
  ended,
  expectSound,
  hostThatCounts,
  listener,
  logged,
  logins,
  preview,
  refusedCreate,
  removed,
  restarted,
  serverOn,
  testFolder,
  until,
  updated,
} from "./hostCase";

const folder = testFolder();

const hosts: LightHost[] = [];
afterAll(() => Promise.all(hosts.map((host) => host.stop())));
beforeEach(() => {
  for (const file of kept()) rmSync(file);
});

async function newHost(): Promise<LightHost> {
  const host = await hostThatCounts(folder);
  hosts.push(host);
  return host;
}

/** What is kept on this machine. */
const kept = (): readonly string[] =>
  below(privateFolder())
    .filter((name) => name.startsWith("look-"))
    .map((name) => path.join(privateFolder(), name));

/** The same answer, were there nothing under that name. */
const without = (name: string) => (file: string) => {
  const answer = JSON.parse(readFileSync(file, "utf8")) as Answer;
  writeFileSync(file, JSON.stringify(answer.filter((record) => record.name !== name)));
};

/**
 * What came of `work`, how many commands the host was given meanwhile, and how many of them over a connection that was
 * there: on a busy machine a new login can come before the daemon has read its files, and is made once more.
 */
async function counting<T>(
  host: LightHost,
  work: () => Promise<T>,
): Promise<{ asked: number; shared: number; result: T }> {
  const before = [await commands(host), await logins(host)] as const;
  const result = await work();
  const asked = (await commands(host)) - before[0];
  return { asked, shared: asked - ((await logins(host)) - before[1]), result };
}

const keepalive = async (host: LightHost): Promise<readonly (string | undefined)[]> => {
  const said = await host.sshdT();
  return [said.get("clientaliveinterval"), said.get("clientalivecountmax")];
};

test("a create after a preview is one command and the new login, and an update too", async () => {
  const host = await newHost();
  const news = serverOn(host);
  expect(await counting(host, () => preview(news))).toMatchObject({ asked: 1 });
  expect(kept()).toHaveLength(1);
  for (const file of kept()) expect(statSync(file).mode & 0o777).toBe(0o600);
  const first = await counting(host, () => created(news));
  expect(first.shared).toBe(1);
  expect(kept()).toEqual([]);
  expect(await keepalive(host)).toEqual(["60", "3"]);

  const other = serverOn(host, { server: { clientAliveInterval: 30, clientAliveCountMax: 4 } });
  await preview(other);
  const second = await counting(host, () => updated(first.result, other));
  expect(second.shared).toBe(1);
  expect(await keepalive(host)).toEqual(["30", "4"]);
  expect(await preview(other)).toEqual([]);
  expect(kept()).toEqual([]);
  await removed(second.result);
  expect(below(host.dir).filter((name) => name.includes("sshd_config.d/"))).toEqual(["sshd_config.d/50-more.conf"]);
  await expectSound(host);
});

/** What the engine asks before an update, in the process of that update. */
async function asked({ id, outputs }: Applied, news: Bag): Promise<boolean | "unsure"> {
  forgetLooks();
  return (await diff(id, outputs, news)).changes;
}

const OURS = "sshd_config.d/00-pulumi-ssh-keepalive.conf";

/** Someone takes the settings away, and has sshd know it; what brings them back. */
async function drifted(host: LightHost): Promise<() => Promise<void>> {
  const bytes = await host.read(OURS);
  await host.write(OURS, "\n");
  await host.reload();
  return async () => {
    await host.write(OURS, bytes);
    await host.reload();
  };
}

test("of what has drifted a preview's word is enough for the question whether to update, and for the update", async () => {
  const host = await newHost();
  const news = serverOn(host);
  const applied = await created(news);
  await drifted(host);
  expect(await preview(news)).not.toEqual([]);
  expect(await counting(host, () => asked(applied, news))).toMatchObject({ asked: 0, result: true });
  expect(kept()).toHaveLength(1);
  expect((await counting(host, () => updated(applied, news))).shared).toBe(1);
  expect(await keepalive(host)).toEqual(["60", "3"]);
  expect(await counting(host, () => asked(applied, news))).toMatchObject({ asked: 1, result: false });
});

test("a later look that finds it mended takes an earlier preview's word back", async () => {
  const host = await newHost();
  const news = serverOn(host);
  const applied = await created(news);
  const mend = await drifted(host);
  expect(await preview(news)).not.toEqual([]);
  await mend();
  expect(await preview(news)).toEqual([]);
  expect(kept()).toEqual([]);
  expect(await asked(applied, news)).toBe(false);
});

test("a preview that takes longer than a look is remembered asks every host once", async () => {
  const host = await newHost();
  const flag = path.join(folder.path, "reached");
  const slow = { host: "127.0.0.1", user: "nobody", sshOptions: { ProxyCommand: `sh -c 'touch ${flag}; sleep 3'` } };
  const first = await created(serverOn(host));
  const { hosts, ...rest } = serverOn(host, { rollout: { parallel: 1 } });
  const news = { ...rest, hosts: { ...(hosts as Bag), slow } };
  const now = performance.now.bind(performance);
  let ahead = 0;
  const clock = jest.spyOn(performance, "now").mockImplementation(() => now() + ahead);
  try {
    forgetLooks();
    const looked = await counting(host, async () => {
      const checking = check(news, true, listener());
      await until(() => existsSync(flag), "the second host's turn");
      ahead = 61_000;
      const checked = await checking;
      const { changes } = await diff(first.id, news, news);
      return { pending: Object.keys(checked.pendingChanges ?? {}), changes };
    });
    expect(looked).toMatchObject({ asked: 1, result: { pending: ["slow"], changes: true } });
  } finally {
    clock.mockRestore();
  }
});

test("a fleet keeps the connections to its first 512 hosts open, in previews and updates", async () => {
  const host = await newHost();
  const [settings] = hostSettings(inputsOf(serverOn(host)));
  const target = settings === undefined ? undefined : wayTo(settings).target;
  if (settings === undefined || target === undefined) throw new Error("no settings");
  const isOpen = (): boolean => existsSync(controlPath(target));
  // With nobody there to connect to.
  const behind = (n: number) => [
    ...Array.from({ length: n }, (_, i) => ({
      ...settings,
      name: `no-${i}`,
      connection: { ...settings.connection, host: "-" },
    })),
    settings,
  ];
  const rollout = { parallel: 16, canary: 1, maxFailures: 1000 };
  const outcomes: unknown[] = [];
  for (const n of [511, 512]) {
    forgetLooks();
    outcomes.push((await planFleet(behind(n), 16, undefined, "preview")).get("h")?.kind, isOpen());
  }
  await created(serverOn(host));
  for (const n of [511, 512]) {
    forgetLooks();
    const tasks = behind(n).map((each) => ({ settings: each, verb: "apply" as const }));
    // The canary must not fail.
    const done = await doFleet([...tasks.slice(-1), ...tasks.slice(1)], rollout, "other");
    outcomes.push(done.at(-1)?.outcome, isOpen());
  }
  expect(outcomes).toEqual(["looked", true, "looked", false, "unchanged", true, "unchanged", false]);
});

test.each<readonly [string, (host: LightHost) => unknown]>([
  [
    "a drop-in has come",
    (host) => host.write("sshd_config.d/10-more.conf", "MaxAuthTries 5\n").then(() => host.reload()),
  ],
  [
    "the main file is another",
    async (host) => {
      await host.write("sshd_config", `${await host.read("sshd_config")}MaxAuthTries 5\n`);
      await host.reload();
    },
  ],
  ["sshd has read its files again", (host) => host.reload()],
  ["sshd was started again", (host) => host.stop().then(() => host.start())],
  [
    "another resource has changed the host",
    (host) => created(serverOn(host, { server: { clientAliveInterval: 9, clientAliveCountMax: 9 } })),
  ],
  [
    "the change was made by hand",
    async (host) => {
      await host.write("sshd_config.d/10-more.conf", "ClientAliveInterval 60\nClientAliveCountMax 3\n");
      await host.reload();
    },
  ],
])("the update starts from what is there where %s since the preview", async (_what, happen) => {
  const host = await newHost();
  const news = serverOn(host);
  await preview(news);
  await happen(host);
  const before = await host.sshdT();
  const hups = await logged(host, "Received SIGHUP");
  expect((await counting(host, () => created(news))).asked).toBeGreaterThan(2);
  const after = await host.sshdT();
  expect([after.get("clientaliveinterval"), after.get("clientalivecountmax")]).toEqual(["60", "3"]);
  expect(after.get("maxauthtries")).toBe(before.get("maxauthtries"));
  expect((await logged(host, "Received SIGHUP")) - hups).toBe(before.get("clientaliveinterval") === "60" ? 0 : 1);
  expect(await preview(news)).toEqual([]);
  await expectSound(host);
});

test("a plan that only a look can mend is made again: the folder of the new file is gone", async () => {
  const host = await newHost();
  rmSync(`${host.dir}/sshd_config.d/50-more.conf`);
  await host.reload();
  const news = serverOn(host);
  expect(await preview(news)).toEqual(expect.arrayContaining([expect.stringMatching(/will .*sshd_config\.d\/00-/)]));
  rmdirSync(`${host.dir}/sshd_config.d`);
  await created(news);
  expect(await keepalive(host)).toEqual(["60", "3"]);
  expect(existsSync(`${host.dir}/sshd_config.d`)).toBe(false);
  await expectSound(host);
});

test("a file that someone put where the new one was to come is left, and is not put in force", async () => {
  const host = await newHost();
  const news = serverOn(host);
  await preview(news);
  await host.write(OURS, "MaxAuthTries 5\n");
  const hups = await logged(host, "Received SIGHUP");
  const said = await refusedCreate(news);
  expect(said).toContain("a reload would put that in force too");
  expect(said).toContain(OURS);
  expect(await host.read(OURS)).toBe("MaxAuthTries 5\n");
  expect(await logged(host, "Received SIGHUP")).toBe(hups);
  await expectSound(host);
});

test("a file that has got a second name since the preview keeps both", async () => {
  const host = await newHost();
  const before = await host.read("sshd_config");
  const news = serverOn(host, { server: { clientAliveInterval: 60, placement: "main" } });
  expect(await preview(news)).toEqual(expect.arrayContaining([expect.stringContaining("sshd_config:")]));
  linkSync(host.configPath, `${host.dir}/other-name`);
  expect(await refusedCreate(news)).toContain("has 2 names");
  expect(statSync(host.configPath).nlink).toBe(2);
  expect(await host.read("sshd_config")).toBe(before);
  await expectSound(host);
});

test("a daemon whose own name for the file has come to mean another is not told to read that", async () => {
  const host = await newHost();
  symlinkSync("sshd_config", `${host.dir}/alias`);
  const daemon = await restarted(host, { config: `${host.dir}/alias` });
  const news = serverOn(host, { server: { clientAliveInterval: 60, configPath: host.configPath } });
  await preview(news);
  await host.write("another", `${await host.read("sshd_config")}MaxAuthTries 5\n`);
  rmSync(`${host.dir}/alias`);
  symlinkSync("another", `${host.dir}/alias`);
  const hups = await logged(host, "Received SIGHUP");
  expect(await refusedCreate(news)).toMatch(/reads .*alias, not .*sshd_config/);
  expect(await logged(host, "Received SIGHUP")).toBe(hups);
  await ended(daemon);
});

test("a host that cannot be logged in to after the preview says so at once, and that nothing was begun", async () => {
  const host = await newHost();
  const news = serverOn(host);
  await preview(news);
  await host.stop();
  await host.write("sshd_config.d/50-more.conf", "ForceCommand exit 7\n");
  await host.start();
  const before = await logins(host);
  const said = await refusedCreate(news);
  expect(said).toContain("the login ended with status 7 before our shell was ready");
  expect(said).not.toContain("puts the old settings back");
  expect((await logins(host)) - before).toBe(1);
});

test("what the preview refused is looked at again", async () => {
  const host = await newHost();
  const news = serverOn(host);
  await host.write("sshd_config.d/60-later.conf", "MaxAuthTries 5\n");
  expect(await preview(news)).toEqual(expect.arrayContaining([expect.stringContaining("a reload would put that in")]));
  await host.reload();
  await created(news);
  expect(await keepalive(host)).toEqual(["60", "3"]);
});

test.each<readonly [string, (file: string) => void]>([
  ["too old", (file) => utimesSync(file, Date.now() / 1000 - 301, Date.now() / 1000 - 301)],
  ["of a time to come", (file) => utimesSync(file, Date.now() / 1000 + 400, Date.now() / 1000 + 400)],
  ["cut short", (file) => writeFileSync(file, "[{")],
  ["something else", (file) => writeFileSync(file, '[{"name":"target","value":"server"}]')],
  ["gone", (file) => rmSync(file)],
  ["of a daemon whose identity could not be read", without("daemon.identity")],
  ["of a host without /proc", without("daemon.start")],
  ["of a host where each connection starts its own sshd", without("daemon.pid")],
])("what was kept does not count when it is %s", async (_what, spoil) => {
  const host = await newHost();
  const news = serverOn(host);
  await preview(news);
  const files = kept();
  expect(files).toHaveLength(1);
  for (const file of files) spoil(file);
  expect((await counting(host, () => created(news))).shared).toBe(2);
  expect(kept()).toEqual([]);
  expect(await keepalive(host)).toEqual(["60", "3"]);
});

test("nothing is kept of a user's file, of a host that is as wanted, nor for another wish or way", async () => {
  const host = await newHost();
  await preview(serverOn(host, { client: { serverAliveInterval: 60, configPath: `${host.dir}/ssh_config` } }));
  expect(kept()).toEqual([]);
  const news = serverOn(host);
  await created(news);
  await preview(news);
  expect(kept()).toEqual([]);

  const more = serverOn(host, { server: { clientAliveInterval: 30 } });
  await preview(more);
  const [settings] = hostSettings(inputsOf(news));
  const [others] = hostSettings(inputsOf(more));
  const target = settings === undefined ? undefined : wayTo(settings).target;
  if (settings === undefined || others === undefined || target === undefined) throw new Error("no settings");
  expect(takeOver(target, lookKey(settings))).toBeUndefined();
  expect(takeOver({ ...target, become: { user: "root" } }, lookKey(others))).toBeUndefined();
  expect(takeOver({ ...target, port: 1 }, lookKey(others))).toBeUndefined();
  expect(takeOver(target, lookKey(others))?.map(({ name }) => name)).toContain("sshd.dump");
  expect(takeOver(target, lookKey(others))).toBeUndefined();
});
