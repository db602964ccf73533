/** Many hosts in one resource: rollout, partial failure, hosts that come and go, and sixty difficult configurations. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import pLimit from "p-limit";
import { type LightHost, startFleet, startLightHost } from "../support/lightHost";
import {
  configOf,
  entries,
  entry,
  footprint,
  isManaged,
  type KeepaliveProject,
  keepaliveProject,
  observedIn,
  pendingChanges,
  said,
  transactionsOf,
} from "../support/program";
import { makeTempFolder, projectRoot } from "../support/tempFolder";

const folder = makeTempFolder();
afterAll(() => folder.remove());

const server = { clientAliveInterval: 60, clientAliveCountMax: 3 };
const interval = async (host: LightHost) => (await host.sshdT()).get("clientaliveinterval");

describe("a rollout through five hosts, one at a time, the first alone", () => {
  let project: KeepaliveProject;
  let hosts: readonly LightHost[];
  let [a, b, c, d, e] = [] as LightHost[] as [LightHost, LightHost, LightHost, LightHost, LightHost];
  const rollout = { parallel: 1, canary: 1 };
  const touched = () => hosts.map(transactionsOf);
  const statuses = async () =>
    Object.fromEntries(Object.entries((await observedIn(project)).fleet ?? {}).map(([k, v]) => [k, v.status]));
  beforeAll(async () => {
    const names = ["a", "b", "c", "d", "e"];
    ({ hosts } = await startFleet(5, { folder, name: (i) => names[i] ?? "" }));
    [a, b, c, d, e] = hosts as [LightHost, LightHost, LightHost, LightHost, LightHost];
    project = await keepaliveProject(folder);
  });

  test("a canary that fails keeps the others from being tried", async () => {
    // Given in another order: the canary is the first by name, in every run.
    await project.declare({ fleet: { args: { hosts: entries([e, c, a, d]), server, rollout } } });
    await a.stop();
    const up = await project.up();
    expect(up.code).not.toBe(0);
    expect(said(up)).toContain("4 hosts: 1 failed, 3 not tried");
    expect(said(up)).toMatch(/a: \[unreachable\] connect: /);
    expect(said(up)).toMatch(/3 hosts \(c, d, e\): \[stopped\] .*rollout\.maxFailures/);
    expect(touched()).toEqual([0, 0, 0, 0, 0]);
    expect(await statuses()).toEqual({ a: "unreachable", c: "unknown", d: "unknown", e: "unknown" });
  });

  test("after the first failure no further host is started; what succeeded is kept, and the next up does the rest", async () => {
    await a.start();
    await d.stop();
    const up = await project.up();
    expect(up.code).not.toBe(0);
    expect(said(up)).toContain("4 hosts: 2 changed, 1 failed, 1 not tried");
    expect(touched()).toEqual([1, 0, 1, 0, 0]);
    expect(await statuses()).toEqual({ a: "inSync", c: "inSync", d: "unreachable", e: "unknown" });

    await d.start();
    const done = [a, c].map(footprint);
    const preview = await project.previewJson();
    expect(Object.keys(pendingChanges(preview.digest).fleet ?? {}).sort()).toEqual(["d", "e"]);
    const next = await project.up();
    expect({ code: next.code, said: said(next) }).toMatchObject({ code: 0 });
    expect(said(next)).toContain("4 hosts: 2 changed, 2 unchanged");
    expect(touched()).toEqual([1, 0, 1, 1, 1]);
    expect([a, c].map(footprint)).toEqual(done);
    expect(await statuses()).toEqual({ a: "inSync", c: "inSync", d: "inSync", e: "inSync" });
  });

  test("with maxFailures 1 one failure does not stop the others", async () => {
    const more = { ...rollout, maxFailures: 1 };
    await project.declare({
      fleet: { args: { hosts: entries([a, c, d, e]), server: { clientAliveInterval: 75 }, rollout: more } },
    });
    await c.stop();
    const up = await project.up();
    expect(up.code).not.toBe(0);
    expect(said(up)).toContain("4 hosts: 3 changed, 1 failed");
    await c.start();
    expect((await project.up()).code).toBe(0);
    expect(await Promise.all([a, c, d, e].map(interval))).toEqual(["75", "75", "75", "75"]);
  });

  test("adding, removing and renaming hosts touches no other", async () => {
    const stay = [a, d, e].map(footprint);
    const [a0] = stay;
    const before = configOf(b);
    await project.declare({
      fleet: {
        args: {
          // c goes, b comes, d has another name, and e's address is written otherwise.
          hosts: { ...entries([a, b]), renamed: entry(d), e: entry(e, { host: "localhost" }) },
          server: { clientAliveInterval: 75 },
        },
      },
    });
    const preview = await project.previewJson();
    expect(pendingChanges(preview.digest).fleet).toEqual({
      b: [expect.stringContaining("ClientAliveInterval 0, wanted 75"), expect.stringContaining("will set")],
      c: ["no longer managed: server. What was set there will be put back"],
      // Only the host itself can tell that this is the machine it was.
      e: ["no longer managed: server. What was set there will be put back"],
    });
    const up = await project.up();
    expect({ code: up.code, said: said(up) }).toMatchObject({ code: 0 });
    expect(await Promise.all(hosts.map(interval))).toEqual(["75", "75", "0", "75", "75"]);
    expect(hosts.map(isManaged)).toEqual([true, true, false, true, true]);
    expect([a, d].map(footprint)).toEqual([a0, stay[1]]);
    expect(Object.keys(configOf(c))).toEqual(["sshd_config"]);
    expect(Object.keys((await observedIn(project)).fleet ?? {}).sort()).toEqual(["a", "b", "e", "renamed"]);
    expect(await project.preview(["--expect-no-changes"])).toMatchObject({ code: 0 });

    const destroy = await project.destroy();
    if (destroy.code !== 0) throw new Error(said(destroy));
    expect(hosts.map(isManaged)).toEqual([false, false, false, false, false]);
    expect(configOf(b)).toEqual(before);
    expect(await Promise.all(hosts.map(interval))).toEqual(["0", "0", "0", "0", "0"]);
  });
});

/** Real machines' files, where they are at hand; their own paths lead into the light host's folder instead. */
function corpusFiles(): readonly { readonly name: string; readonly text: string }[] {
  const corpus = process.env.SSH_KEEPALIVE_CORPUS ?? join(projectRoot(), "..", "shared", "corpus");
  if (!existsSync(join(corpus, "sshd"))) return [];
  return readdirSync(join(corpus, "sshd"))
    .sort()
    .map((name) => ({ name, text: readFileSync(join(corpus, "sshd", name), "latin1") }));
}

/** Beginnings, ends and line ends that real files have. */
const PATTERNS = [
  "",
  "ClientAliveInterval 0\n",
  "#ClientAliveInterval 0\n#ClientAliveCountMax 3\n",
  "clientaliveinterval=15\nCLIENTALIVECOUNTMAX\t2\n",
  "\tClientAliveInterval   10m  \n\tTCPKeepAlive no\n",
  "ClientAliveInterval 30\r\nClientAliveCountMax 0\r\n",
  '"ClientAliveInterval" "45"\n',
  "Match User nobody\n  ClientAliveInterval 5\n  X11Forwarding no",
  "X11Forwarding no\nMatch all\n  ClientAliveInterval 20\n",
  "ClientAliveInterval 10\nClientAliveInterval 20\nClientAliveInterval 30\nMatch Address 192.0.2.0/24\n\tAllowTcpForwarding no\n",
  "# \u00fcml\u00e4ut\nX11Forwarding yes",
  "Match Group nogroup\n  ClientAliveCountMax 9\nMatch User nobody Address 10.0.0.0/8\n  Banner none\n",
];

function madeFiles(): readonly { readonly name: string; readonly text: string; readonly dropIn?: string }[] {
  const dropIns = [
    undefined,
    "ClientAliveInterval 180\n",
    "# only a comment\n",
    "ClientAliveCountMax 1\nX11Forwarding no\n",
    "clientaliveinterval\t7m\r\nTCPKeepAlive no\r\n",
    "Match User nobody\n  ClientAliveInterval 11\n",
  ];
  return dropIns.flatMap((dropIn, i) =>
    PATTERNS.map((text, j) => ({ name: `made-${i}-${j}`, text, ...(dropIn === undefined ? {} : { dropIn }) })),
  );
}

const MANAGED = /^\s*"?(clientaliveinterval|clientalivecountmax|tcpkeepalive|keepalive)\b/i;
/** A last line without its end gets one when a line is put after it. */
const withoutManaged = (text: string): string[] =>
  text
    .split("\n")
    .filter((line) => !MANAGED.test(line))
    .join("\n")
    .replace(/[\r\n]+$/, "")
    .split("\n");

const corpus = corpusFiles();
const source = corpus.length > 0 ? "real machines' and made ones" : "made ones; no corpus of real machines here";
test("a partial failure of two thousand hosts is in the state, and the next up goes on from there", async () => {
  const good = await startLightHost({ folder, name: "a-good" });
  const closed = await startLightHost({ folder, name: "closed" });
  await closed.stop();
  const { connection } = closed;
  // Every address of 127.0.0.0/8 is this machine, where nothing listens on that port.
  const away = Array.from({ length: 1999 }, (_, i) => [
    `web-${i}.fleet.example`,
    { host: `127.1.${i >> 8}.${i & 255}`, port: connection.port },
  ]);
  const project = await keepaliveProject(folder);
  const hosts = { "a-good": entry(good), ...Object.fromEntries(away) };
  const args = { hosts, connection: entry(closed), server, rollout: { parallel: 16, maxFailures: 2000 } };
  await project.declare({ fleet: { args } });
  const up = await project.up();
  expect(up.code).not.toBe(0);
  expect(said(up)).toContain("2000 hosts: 1 changed, 1999 failed");
  const observed = (await observedIn(project)).fleet ?? {};
  expect(Object.keys(observed)).toHaveLength(2000);
  expect(observed["a-good"]).toMatchObject({
    status: "inSync",
    server: { options: { ClientAliveInterval: { value: "60" } } },
  });
  expect(Object.values(observed).filter(({ status }) => status === "unreachable")).toHaveLength(1999);
  const done = footprint(good);
  await project.declare({ fleet: { args: { ...args, hosts: { "a-good": entry(good) } } } });
  const next = await project.up();
  expect({ code: next.code, said: said(next) }).toMatchObject({ code: 0 });
  expect(said(next)).toMatch(
    /1999 hosts \(web-.*\): \[unreachable\] .* It is no longer managed and was left as it is\./,
  );
  // Once while it runs and once in the end.
  expect(said(next).match(/warning: /g)?.length).toBeLessThanOrEqual(2);
  expect(footprint(good)).toEqual(done);
});

test(`sixty configurations (${source}) in one resource`, async () => {
  const limit = pLimit(8);
  const wishes = [...corpus, ...madeFiles()];
  let number = 0;
  const started: LightHost[] = [];
  await Promise.all(
    wishes.map((wish) =>
      limit(async () => {
        if (started.length >= 60) return;
        number += 1;
        const host = await startLightHost({
          folder,
          name: `h${number}`,
          files: ({ dir, head }) => ({
            // Includes and keys of the real machine lie in the light host's own folder: nothing here may lead to /etc.
            sshd_config: Buffer.from(
              `${head}${"dropIn" in wish ? `Include ${dir}/sshd_config.d/*.conf\n` : ""}${wish.text.replaceAll(/(\/etc\/ssh|\/usr\/local\/etc\/ssh|\$\{\w+\})(?=\/)/g, dir).replaceAll(/^(\s*include\s+)(?=[^/\s])/gim, `$1${dir}/`)}`,
              "latin1",
            ),
            "sshd_config.d/50-theirs.conf": "dropIn" in wish ? String(wish.dropIn) : "# nothing\n",
          }),
        }).catch(() => undefined);
        if (host === undefined) return;
        // Files that keep us out (AllowUsers and the like) are not what is meant here.
        const login = await host.ssh("echo in");
        if (login.stdout === "in\n" && started.length < 60) started.push(host);
        else await host.stop();
      }),
    ),
  );
  expect(started.length).toBe(60);
  const project = await keepaliveProject(folder);
  const before = await Promise.all(started.map((host) => limit(() => host.sshdT())));
  const files = started.map(configOf);
  await project.declare({ fleet: { args: { hosts: entries(started), server: { ...server, tcpKeepAlive: true } } } });
  const up = await project.up();
  expect({ code: up.code, said: said(up) }).toMatchObject({ code: 0 });

  const wanted: Readonly<Record<string, string>> = {
    clientaliveinterval: "60",
    clientalivecountmax: "3",
    tcpkeepalive: "yes",
  };
  const after = await Promise.all(started.map((host) => limit(() => host.sshdT())));
  for (const [i, host] of started.entries()) {
    const asWished = Object.entries(Object.fromEntries(before[i] ?? [])).map(([k, v]) => [k, wanted[k] ?? v]);
    expect([host.name, Object.fromEntries(after[i] ?? [])]).toEqual([host.name, Object.fromEntries(asWished)]);
    for (const [path, text] of Object.entries(files[i] ?? {})) {
      expect([host.name, withoutManaged(configOf(host)[path] ?? "")]).toEqual([host.name, withoutManaged(text)]);
    }
  }
  const second = await project.preview(["--expect-no-changes"]);
  expect({ code: second.code, said: said(second) }).toMatchObject({ code: 0 });

  const victims = [3, 30, 59].map((i) => started[i] as LightHost);
  const [bytes, stamps] = [started.map(configOf), started.map(footprint)];
  for (const host of victims) {
    await host.write("sshd_config", `ClientAliveInterval 1234\n${await host.read("sshd_config")}`);
  }
  const drift = await project.previewJson(["--expect-no-changes"]);
  expect(drift.code).not.toBe(0);
  const lines = pendingChanges(drift.digest).fleet ?? {};
  const others = Object.entries(lines).filter(([name]) => !victims.some((host) => host.name === name));
  expect(others).toEqual([]);
  expect(Object.keys(lines)).toHaveLength(victims.length);
  for (const host of victims) {
    expect(lines[host.name]?.[0]).toBe(`ClientAliveInterval 1234, wanted 60 (set by ${host.configPath}:1)`);
  }
  expect((await project.up()).code).toBe(0);
  const untouched = started.map((host, i) => (victims.includes(host) ? "" : stamps[i]));
  expect(started.map((host) => (victims.includes(host) ? "" : footprint(host)))).toEqual(untouched);
  // The foreign line is taken out again for the comparison that follows.
  for (const [i, host] of started.entries()) {
    if (!victims.includes(host)) continue;
    for (const [path, text] of Object.entries(bytes[i] ?? {})) await host.write(path, Buffer.from(text, "latin1"));
  }

  const destroy = await project.destroy();
  if (destroy.code !== 0) throw new Error(said(destroy));
  for (const [i, host] of started.entries()) {
    if (!victims.includes(host)) expect([host.name, configOf(host)]).toEqual([host.name, files[i]]);
  }
});
