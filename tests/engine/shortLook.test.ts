/**
 * A short look: a host that remembers how it was as wanted says that nothing has changed, at the cost of one process;
 * whatever could make that untrue gets a whole look, in the same round trip where the host can tell by itself.
 */
import { chmodSync, renameSync, rmSync, symlinkSync } from "node:fs";
import path from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { forgetLooks, lookFor, planHost, wayTo } from "../../provider/fleet";
import { hostSettings } from "../../provider/inputs";
import type { Applied, Bag } from "../../provider/lifecycle";
import { inputsOf, pendingLines } from "../../provider/lifecycle";
import { observe } from "../../provider/observe";
import { type LightHost, startLightHost } from "../support/lightHost";
import { pick, random, seedOfRun } from "../support/random";
import {
  commands,
  created,
  ended,
  expectSound,
  hostThatCounts,
  preview,
  restarted,
  serverOn,
  stateFolder,
  testFolder,
  updated,
} from "./hostCase";

const folder = testFolder();

const hosts: LightHost[] = [];
afterAll(() => Promise.all(hosts.map((host) => host.stop())));

/** A host on which the settings were applied, in a drop-in of our own. */
async function appliedHost(): Promise<{ host: LightHost; news: Bag; applied: Applied }> {
  const host = await hostThatCounts(folder);
  hosts.push(host);
  const news = serverOn(host);
  return { host, news, applied: await created(news) };
}

/** How the host answers a look that may be short, and in how many commands. */
async function looked(host: LightHost, news: Bag): Promise<string> {
  const [settings] = hostSettings(inputsOf(news));
  if (settings === undefined) throw new Error("no settings");
  const before = await commands(host);
  const { connector } = wayTo(settings);
  const seen = await observe(connector, lookFor(settings), true);
  await connector.close();
  return `${"facts" in seen ? "whole" : "short"}, ${(await commands(host)) - before} command(s)`;
}

const SHORT = "short, 1 command(s)";
const WHOLE = "whole, 1 command(s)";

test("after an up it is short; two in a row, and after a restart of sshd or a reload by hand, too", async () => {
  const { host, news } = await appliedHost();
  expect(await looked(host, news)).toBe(SHORT);
  expect(await looked(host, news)).toBe(SHORT);
  await host.reload();
  expect(await looked(host, news)).toBe(SHORT);
  await host.stop();
  await host.start();
  expect(await looked(host, news)).toBe(SHORT);
  expect(await preview(news)).toEqual([]);
  await expectSound(host);
});

test("on a host that was as wanted when it was first managed it is short as well", async () => {
  const host = await startLightHost({ folder, extraLines: ["ClientAliveInterval 60", "ClientAliveCountMax 3"] });
  hosts.push(host);
  const news = serverOn(host);
  await created(news);
  const before = await host.read("sshd_config");
  expect((await looked(host, news)).split(",")[0]).toBe("short");
  expect(await host.read("sshd_config")).toBe(before);
});

test.each<readonly [string, (host: LightHost) => Promise<void> | void]>([
  [
    "a value in our drop-in is another",
    (host) => host.write("sshd_config.d/00-pulumi-ssh-keepalive.conf", "ClientAliveInterval 61\n"),
  ],
  ["the main file got a comment", async (host) => host.write("sshd_config", `${await host.read("sshd_config")}#\n`)],
  ["a drop-in has come", (host) => host.write("sshd_config.d/99-more.conf", "")],
  ["our drop-in is gone", (host) => rmSync(`${host.dir}/sshd_config.d/00-pulumi-ssh-keepalive.conf`)],
  [
    "our drop-in has another name",
    (host) =>
      renameSync(
        `${host.dir}/sshd_config.d/00-pulumi-ssh-keepalive.conf`,
        `${host.dir}/sshd_config.d/01-pulumi-ssh-keepalive.conf`,
      ),
  ],
  ["the record is another", (host) => host.write(`${stateFolder(host.stateDir)}/record`, "{}\n")],
  ["someone holds the lock", (host) => host.write(`${stateFolder(host.stateDir)}/lock/who`, "me\n")],
  [
    "what is remembered was cut short",
    async (host) => {
      const file = `${stateFolder(host.stateDir)}/remembered`;
      await host.write(file, (await host.read(file)).slice(0, -4));
    },
  ],
])("it is whole, in one command, where %s", async (_what, change) => {
  const { host, news } = await appliedHost();
  expect(await looked(host, news)).toBe(SHORT);
  await change(host);
  expect(await looked(host, news)).toBe(WHOLE);
});

test("it is whole where sshd was started with other options, and the preview names them", async () => {
  const { host, news } = await appliedHost();
  const daemon = await restarted(host, { args: ["-o", "ClientAliveInterval=0"] });
  expect(await looked(host, news)).toBe(WHOLE);
  expect(await preview(news)).toEqual(expect.arrayContaining([expect.stringContaining("ClientAliveInterval=0")]));
  await ended(daemon);
});

test("it is whole where sshd read other bytes than those that are back now", async () => {
  const { host, news } = await appliedHost();
  const bytes = await host.read("sshd_config");
  await host.write("sshd_config", `${bytes}MaxAuthTries 3\n`);
  await host.reload();
  // Files and PidFile in different ticks of the clock.
  await pause(50);
  await host.write("sshd_config", bytes);
  // The host cannot tell; who asks can, and asks again.
  expect(await looked(host, news)).toBe("whole, 2 command(s)");
});

test("with a client's side it is short where both are unchanged, and whole where one is not", async () => {
  const { host, news } = await appliedHost();
  const configPath = `${host.dir}/ssh_config`;
  await host.write("ssh_config", "Host *\n  ForwardAgent no\n");
  const both = { ...news, client: { serverAliveInterval: 60, configPath } };
  expect(await looked(host, both)).toBe(WHOLE);
  await created(both);
  expect(await looked(host, both)).toBe(SHORT);
  expect(await looked(host, { ...both, server: undefined })).toBe(SHORT);
  await host.reload();
  expect(await looked(host, both)).toBe(SHORT);
  await host.write("ssh_config", `${await host.read("ssh_config")}#\n`);
  expect(await looked(host, both)).toBe(WHOLE);
  expect(await looked(host, news)).toBe(SHORT);
  expect(await preview(both)).toEqual([]);
});

test("it is whole where something else is wanted", async () => {
  const { host, news } = await appliedHost();
  expect(await looked(host, { ...news, server: { clientAliveInterval: 60, clientAliveCountMax: 4 } })).toBe(WHOLE);
  expect(await looked(host, { ...news, idleTimeout: 300 })).toBe(WHOLE);
  expect(await looked(host, { ...news, confirmTimeout: 20 })).toBe(SHORT);
});

test("an up in which another host changes leaves what was observed of this one, in one command", async () => {
  const first = await appliedHost();
  const second = await startLightHost({ folder });
  hosts.push(second);
  const before = await commands(first.host);
  const news = { ...first.news, hosts: { ...(first.news.hosts as Bag), other: { ...second.connection } } };
  const applied = await updated(first.applied, news);
  expect((await commands(first.host)) - before).toBe(1);
  const observed = applied.outputs.observed as Record<string, unknown>;
  expect(observed.h).toEqual((first.applied.outputs.observed as Record<string, unknown>).h);
  expect(observed.other).toMatchObject({ status: "inSync" });
});

test("an up by another resource takes the host over though nothing else has changed", async () => {
  const { host, news, applied } = await appliedHost();
  const other = await created(news);
  expect(other.id).not.toBe(applied.id);
  expect(await host.read(`${stateFolder(host.stateDir)}/record`)).toContain(other.id);
  expect(await looked(host, news)).toBe(SHORT);
  // The first resource knows it as before, and the host says whose it is.
  const back = await updated(applied, { ...news, confirmTimeout: 20 });
  expect(await host.read(`${stateFolder(host.stateDir)}/record`)).toContain(back.id);
});

test("whatever happens to a host, it is never short where a whole one finds something to do", async () => {
  const { host, news, applied } = await appliedHost();
  const [settings] = hostSettings(inputsOf(news));
  if (settings === undefined) throw new Error("no settings");
  const seed = seedOfRun();
  const r = random(seed);
  const OURS = "sshd_config.d/00-pulumi-ssh-keepalive.conf";
  const first = { main: await host.read("sshd_config"), ours: await host.read(OURS) };
  const at = (name: string): string => path.join(host.dir, name);
  const happenings: readonly (readonly [string, () => Promise<unknown> | unknown])[] = [
    ["reload", () => host.reload()],
    ["restart", () => host.stop().then(() => host.start())],
    ["comment", async () => host.write("sshd_config", `${await host.read("sshd_config")}# ${r()}\n`)],
    ["our value", () => host.write(OURS, "ClientAliveInterval 7\nClientAliveCountMax 3\n")],
    ["our file gone", () => rmSync(at(OURS), { force: true })],
    ["our file again", () => host.write(OURS, first.ours)],
    ["main file again", () => host.write("sshd_config", first.main)],
    ["an earlier drop-in", () => host.write("sshd_config.d/00-a.conf", "ClientAliveInterval 9\n")],
    ["no earlier drop-in", () => rmSync(at("sshd_config.d/00-a.conf"), { force: true })],
    [
      "a link to the same bytes",
      async () => {
        await host.write("elsewhere", first.main);
        rmSync(at("sshd_config"));
        symlinkSync(at("elsewhere"), at("sshd_config"));
      },
    ],
    ["other bytes behind the link", () => host.write("elsewhere", `ClientAliveInterval 8\n${first.main}`)],
    [
      "moved away and back",
      () => {
        renameSync(at("sshd_config.d/50-more.conf"), at("50-more.conf"));
        renameSync(at("50-more.conf"), at("sshd_config.d/50-more.conf"));
      },
    ],
    ["mode", () => chmodSync(at("sshd_config"), pick(r, [0o600, 0o644]))],
  ];
  const kinds = new Set<string>();
  // By chance nothing may be left to be short about for long.
  for (let round = 0; round < 25 || (kinds.size < 2 && round < 200); round++) {
    const story: string[] = [];
    for (let i = 0; i <= r() * 4; i++) {
      const [name, happen] = pick(r, happenings);
      story.push(name);
      await happen();
    }
    const { connector } = wayTo(settings);
    const short = await observe(connector, lookFor(settings), true);
    forgetLooks();
    const whole = await planHost(settings, applied.id, "fresh");
    await connector.close();
    const todo = whole.kind !== "looked" || whole.targets.some((t) => t.kind !== "inSync" || t.own !== undefined);
    if (!("facts" in short))
      expect([seed, round, story, todo, pendingLines(whole)]).toEqual([seed, round, story, false, []]);
    kinds.add("facts" in short ? "whole" : "short");
    if (r() < 0.5) {
      // Back to where it began, so that there is something to be short about.
      rmSync(at("sshd_config"), { force: true });
      await host.write("sshd_config", first.main);
      rmSync(at("sshd_config.d/00-a.conf"), { force: true });
      await host.write(OURS, first.ours);
      await host.reload();
    }
  }
  expect([...kinds].sort()).toEqual(["short", "whole"]);
});
