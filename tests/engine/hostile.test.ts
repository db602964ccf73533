/**
 * Hosts that mean harm or are out of order: what they answer is bounded in time and size, escaped before it is printed,
 * and never executed. The transport's own limits: transport.test.ts; the reader and editor: tests/unit/config/fuzz.test.ts.
 */
import { chmodSync, existsSync } from "node:fs";
import path from "node:path";
import { failureOf, forgetLooks, type HostPlan, lookFor, wayTo, wishOf } from "../../provider/fleet";
import type { Answer, Connector } from "../../provider/host";
import { hostSettings } from "../../provider/inputs";
import { inputsOf, observedPlan } from "../../provider/lifecycle";
import { observe } from "../../provider/observe";
import { planTarget } from "../../provider/plan";
import { planSummary } from "../../provider/summary";
import { type LightHost, startLightHost } from "../support/lightHost";
import { random, seedOfRun } from "../support/random";
import { makeTempFolder } from "../support/tempFolder";
import { configuration, preview, refusedCreate, serverOn } from "./hostCase";

const folder = makeTempFolder();
process.env.TMPDIR = folder.path;
process.env.XDG_RUNTIME_DIR = "";
process.env.SSH_AUTH_SOCK = "";
afterAll(() => folder.remove());
/** Everything that acts on a terminal, or on the order of what is read there. */
const RAW = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2066-\u2069]/;

/** Seconds: dial, login, one look (README, Connections), and what a busy machine adds. */
const LOOK = 15 + 25 + 20;
const SLACK = 30;

/** A host on whose path stand tools of its own, in a folder that does not exist on the controller's path. */
async function hostWith(tools: Readonly<Record<string, string>>): Promise<LightHost> {
  const host = await startLightHost({
    folder,
    files: ({ dir, head }) => ({
      sshd_config: `${head}Include ${dir}/sshd_config.d/*.conf\nForceCommand ${dir}/first\n`,
      first: `#!/bin/sh\nPATH=${dir}/tools:/usr/sbin:/usr/bin:/sbin:/bin exec sh -c "$SSH_ORIGINAL_COMMAND"\n`,
      "sshd_config.d/50-cloud-init.conf": "ClientAliveInterval 0\n",
      ...Object.fromEntries(Object.entries(tools).map(([name, text]) => [`tools/${name}`, `#!/bin/sh\n${text}\n`])),
    }),
  });
  const scripts = ["first", ...Object.keys(tools).map((name) => `tools/${name}`)];
  for (const name of scripts) chmodSync(path.join(host.dir, name), 0o755);
  return host;
}

describe("a host whose tools", () => {
  test.each([
    ["hang", { awk: "exec sleep 300" }, /^\[timeout\] observe: observe had no complete answer after 20 s/],
    [
      "print 100 MB",
      { cat: "[ $# -eq 0 ] || exec head -c 100000000 /dev/zero\nexec /bin/cat" },
      /^\[protocol\] observe: the host sent more than 9 MiB/,
    ],
    [
      "print escape sequences",
      { id: "printf '\\033]0;pwned\\007\\033[2Jroot'", uname: "printf '\\033[31mLinux\\033[0m'" },
      /ClientAliveInterval 0, wanted 60|^\[[\w-]+\]/,
    ],
    ["end the shell", { cksum: "kill -9 $PPID" }, /^\[protocol\] observe: /],
    ["fail", { ls: "exit 1", find: "exit 1", stat: "exit 1", id: "exit 1" }, /^\[[\w-]+\]|ClientAliveInterval 0/],
    ["are somebody's answer", { cksum: "echo '0 0'" }, /^\[protocol\] observe: /],
  ])("%s", async (_name, tools, pattern) => {
    const host = await hostWith(tools);
    const old = configuration(host);
    const start = performance.now();
    const lines = await preview(serverOn(host));
    expect((performance.now() - start) / 1000).toBeLessThan(LOOK + SLACK);
    expect(lines.join("\n")).toMatch(pattern);
    expect(lines.join("\n")).not.toMatch(RAW);
    expect(configuration(host)).toEqual(old);
    await host.stop();
  });
});

test("file names and contents with quotes, newlines, escapes and no UTF-8 are read, shown escaped, and not executed", async () => {
  const marker = path.join(folder.path, "executed");
  const name = `$(touch ${path.basename(marker)})'"\n\u001b[31m;touch x;.conf`.replaceAll("/", "");
  const host = await startLightHost({
    folder,
    files: ({ dir, head }) => ({
      sshd_config: `${head}Include ${dir}/sshd_config.d/*.conf\n`,
      [`sshd_config.d/${name}`]: "ClientAliveInterval 0\n",
      "sshd_config.d/60-bytes.conf": Buffer.from(
        `# \xff\xfe \x1b]0;pwned\x07 $(touch ${marker}) \`touch ${marker}\`\nClientAliveCountMax 9\n`,
        "latin1",
      ),
    }),
  });
  const old = configuration(host);
  // A newline in a name cannot be told from two names in what OpenSSH itself says: read or refused, never guessed.
  const lines = (await preview(serverOn(host))).join("\n");
  expect(lines).toMatch(/ClientAliveInterval 0, wanted 60|^\[[\w-]+\]/);
  expect(lines).not.toMatch(RAW);
  expect(existsSync(marker)).toBe(false);
  expect(configuration(host)).toEqual(old);
  expect(await refusedCreate(serverOn(host))).toMatch(/\[config-not-understood\] observe: /);
  expect(configuration(host)).toEqual(old);
  await host.stop();
});

test("answers that are well framed and lie are refused or read, and never printed raw", async () => {
  const host = await hostWith({});
  const [settings] = hostSettings(inputsOf(serverOn(host)));
  if (settings === undefined) throw new Error("no settings");
  const { connector } = wayTo(settings);
  const wish = wishOf(settings, "server");
  if (wish === undefined) throw new Error("no wish");
  const answering = (answer: () => Promise<Answer>): Connector => ({ ...connector, run: answer });
  let genuine: Answer = [];
  await observe(
    { ...connector, run: async (script) => (genuine = await connector.run(script)) },
    lookFor(settings),
    true,
  );
  expect(genuine.length).toBeGreaterThan(20);

  const seed = seedOfRun();
  const r = random(seed);
  const below = (n: number) => Math.floor(r() * n);
  const LIES = ["", "\x1b]0;pwned\x07", "\0", "\n", "-1", "NaN", "9".repeat(400), "\xff\xfe", "../../../etc/shadow"];
  LIES.push(
    "; touch /tmp/x",
    "$(id)",
    "Match all\nClientAliveInterval 5\n",
    "Include /etc/ssh/*\n",
    "\xe2\x80\xae",
    "x y\t",
  );
  for (let round = 0; round < 600; round++) {
    const answer = [...genuine];
    for (let n = 0; n <= below(3); n++) {
      const at = below(answer.length);
      const { name = "", value = "" } = answer[at] ?? {};
      const lie = LIES[below(LIES.length)] ?? "";
      const cut = below(value.length + 1);
      const ways: (() => void)[] = [
        () => answer.splice(at, 1),
        () => answer.splice(at, 1, { name, value: lie }),
        () => answer.splice(at, 1, { name, value: value.slice(0, cut) + lie + value.slice(cut) }),
        () => answer.splice(below(answer.length), 0, { name, value: lie }),
        () => answer.splice(at, 1, { name: genuine[below(genuine.length)]?.name ?? name, value }),
      ];
      ways[below(ways.length)]?.();
    }
    let plan: HostPlan;
    try {
      const seen = await observe(
        answering(async () => answer),
        lookFor(settings),
        true,
      );
      if (!("facts" in seen)) plan = { kind: "unchanged" };
      else {
        const { server, namespace } = seen.facts;
        const targets = server === undefined ? [] : [planTarget("h", server, namespace, wish, undefined)];
        plan = { kind: "looked", targets, openssh: "" };
      }
    } catch (error) {
      plan = { kind: "failed", failure: failureOf(error, "h") };
      expect([seed, round, plan.failure.reason]).not.toEqual([seed, round, expect.stringMatching(/^unexpected/)]);
    }
    const printed: string[] = [...planSummary(new Map([["h", plan]]))];
    JSON.stringify(observedPlan(plan, undefined), (_key, value) => {
      if (typeof value === "string") printed.push(value);
      return value;
    });
    expect([seed, round, printed.filter((text) => RAW.test(text))]).toEqual([seed, round, []]);
  }
  await connector.close();
  await host.stop();
});

test("a host that hangs while it is changed costs no more than its limits, and keeps its settings", async () => {
  // The judgement of the candidate never ends: the only thing that `diff`, `cmp` and `unshare` are for.
  const host = await hostWith({ unshare: "exec sleep 300", cmp: "exec sleep 300" });
  const old = configuration(host);
  forgetLooks();
  const start = performance.now();
  const failure = await refusedCreate({ ...serverOn(host), confirmTimeout: 10 });
  expect((performance.now() - start) / 1000).toBeLessThan(LOOK + 60 + 35 + SLACK);
  expect(failure).toMatch(/^h: \[timeout\] (arm|observe): .* had no complete answer after \d+ s.*\. [A-Z]/);
  expect(configuration(host)).toEqual(old);
  expect((await host.ssh("true")).code).toBe(0);
});
