/** A YAML program end to end under the real engine: the plugin's whole life, with every call of it read. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { below, bytesOf } from "../support/below";
import { type LightHost, startFleet } from "../support/lightHost";
import { configOf, entry, footprint, isManaged, observedIn, said } from "../support/program";
import { makeTempFolder, projectRoot } from "../support/tempFolder";
import {
  type Call,
  inClear,
  languagePath,
  type NativeProject,
  nativeProject,
  visitsTo,
  withPlugin,
  yaml,
} from "./support/native";

const OWN = "sshd_config.d/00-pulumi-ssh-keepalive.conf";
const TYPE = "sshkeepalive:index:SshKeepalive";

const folder = makeTempFolder();
let a: LightHost;
let b: LightHost;
let project: NativeProject;
let privateKey: string;
let fresh: readonly Record<string, string>[];

/** `a` inherits its interval, `b` has one of its own; the key is a secret of the configuration. */
const program = (interval: number | string = 60): string => `name: test
runtime: yaml
configuration: # the word of the YAML host that can be built from modules; newer ones have "config"
  key:
    type: string
    secret: true
resources:
  fleet:
    type: sshkeepalive:SshKeepalive
    properties:
      hosts:
        a: ${yaml({ ...entry(a), privateKey: undefined })}
        b: ${yaml({ ...entry(b), privateKey: undefined, server: { clientAliveInterval: "2m" } })}
      connection:
        privateKey: \${key}
      server:
        clientAliveInterval: ${interval}
        clientAliveCountMax: 3
variables:
  today:
    fn::invoke:
      function: sshkeepalive:getSshKeepalive
      arguments:
        hosts:
          a: ${yaml({ ...entry(a), privateKey: undefined })}
        connection:
          privateKey: \${key}
outputs:
  observed: \${fleet.observed}
  today: \${today.observed}
`;

/** A program without the variable, whose lines would count as a visit of their own. */
const plain = (interval?: number | string): string =>
  program(interval)
    .replace(/variables:[\s\S]*(?=outputs:)/, "")
    .replace(/\n {2}today:.*/, "");

beforeAll(async () => {
  await languagePath();
  const { hosts } = await startFleet(2, {
    folder,
    name: (i) => "ab"[i] ?? "",
    extraLines: ["LogLevel VERBOSE"],
    files: ({ dir, head }) => ({
      sshd_config: `${head}Include ${dir}/sshd_config.d/*.conf\n`,
      "sshd_config.d/50-site.conf": "X11Forwarding no\n",
    }),
  });
  [a, b] = hosts as [LightHost, LightHost];
  privateKey = a.connection.privateKey;
  fresh = [a, b].map(configOf);
  project = await nativeProject(folder, { "Pulumi.yaml": plain() });
  expect(await project.setConfig("key", privateKey, { secret: true })).toMatchObject({ code: 0 });
});
afterAll(() => folder.remove());

/** Ids of the resources that a host takes for its owners. */
const ownersOf = (host: LightHost): string[] =>
  below(host.stateDir)
    .filter((path) => path.endsWith("/record"))
    .map((path) => (JSON.parse(readFileSync(join(host.stateDir, path), "utf8")) as { owner: string }).owner);

const methods = (calls: readonly Call[]): string[] =>
  calls
    .filter(({ method }) => /^(Check|Diff|Create|Read|Update|Delete|Invoke)$/.test(method))
    .map(({ method, request }) => (request.preview === true ? `${method}(preview)` : method));

/** Fails when the key stands in clear anywhere in what the plugin answered, or in its requests outside the configuration. */
function expectSecrecy(calls: readonly Call[]): void {
  const line = privateKey.split("\n")[2] ?? "no key";
  for (const { method, request, response } of calls) {
    // A language host decides how it sends a function's arguments; with YAML's they come in clear.
    const asked = method === "Invoke" ? [] : inClear(request, line);
    expect({ method, response: inClear(response, line), request: asked }).toEqual({
      method,
      response: [],
      request: [],
    });
  }
}

async function drift(): Promise<void> {
  for (const host of [a, b]) {
    await host.write(OWN, (await host.read(OWN)).replace(/Interval \d+/, "Interval 7"));
  }
}

test("a first preview logs in once to each host, says what is wrong there, and touches nothing", async () => {
  const before = [a, b].map(footprint);
  const preview = await project.previewJson();
  expect(preview).toMatchObject({ code: 0, digest: { changeSummary: { create: 2 } } });
  const lines = preview.digest?.diagnostics?.map((d) => d.message?.trim());
  expect(lines).toEqual(
    expect.arrayContaining([
      "2 hosts, 0 as wanted, 2 to change",
      "a: ClientAliveInterval 0, wanted 60 (OpenSSH's default, no line sets it)",
      "b: ClientAliveInterval 0, wanted 120 (OpenSSH's default, no line sets it)",
    ]),
  );
  const calls = project.calls();
  expect(calls.find(({ method }) => method === "Create")?.response).toMatchObject({
    properties: {
      pendingChanges: {
        a: [expect.stringContaining("wanted 60"), expect.stringContaining("will set ClientAliveInterval 60")],
      },
    },
  });
  expect(methods(calls)).toEqual(["Check", "Create(preview)"]);
  expectSecrecy(calls);
  for (const host of [a, b]) expect(await visitsTo(host)).toEqual({ logins: 1, commands: 1 });
  expect([a, b].map(footprint)).toEqual(before);
});

test("an up makes it so, shows its progress, and a following preview has nothing to do", async () => {
  const up = await project.up();
  expect({ code: up.code, said: said(up) }).toMatchObject({ code: 0 });
  expect(said(up)).toMatch(/\d\/2 hosts.*[ab]: (observe|validate|verify)/);
  expect((await a.sshdT()).get("clientaliveinterval")).toBe("60");
  expect((await b.sshdT()).get("clientaliveinterval")).toBe("120");
  expectSecrecy(project.calls());

  const before = await visitsTo(a);
  expect(await project.preview(["--expect-no-changes"])).toMatchObject({ code: 0 });
  const calls = project.calls();
  expect(methods(calls)).toEqual(["Read", "Diff", "Check", "Diff"]);
  const after = await visitsTo(a);
  expect(after.commands - before.commands).toBe(1);
  expect(after.logins - before.logins).toBeLessThanOrEqual(1);

  const state = JSON.stringify(await project.exportState());
  expect(state).not.toContain(privateKey.split("\n")[2]);
  expect(state).not.toContain("pendingChanges");
});

test.each(["first", "second"])(
  "drift shows as live => wanted at each host, the %s time too, and an up heals it",
  async () => {
    const written = [a, b].map(configOf);
    await drift();
    const touched = [a, b].map(footprint);
    const before = await visitsTo(a);
    project.calls();
    const preview = await project.preview(["--diff", "--save-plan", "plan.json"]);
    expect(preview.code).toBe(0);
    const text = said(preview);
    expect(text).toMatch(/~ a: \{\s*~ server: \{\s*~ clientAliveInterval: 7 => 60/);
    expect(text).toMatch(/~ b: \{\s*~ server: \{\s*~ clientAliveInterval: 7 => "2m"/);
    expect(text).toContain(`a: ClientAliveInterval 7, wanted 60 (set by ${a.dir}/${OWN}:2)`);
    expect(text).not.toContain(privateKey.split("\n")[2]);
    const calls = project.calls();
    expect(methods(calls)).toEqual(["Read", "Diff", "Check", "Diff", "Update(preview)"]);
    expectSecrecy(calls);
    expect((await visitsTo(a)).commands - before.commands).toBe(1);
    expect([a, b].map(footprint)).toEqual(touched);

    const { digest, code } = await project.previewJson(["--expect-no-changes"]);
    expect(code).not.toBe(0);
    const step = digest?.steps?.find(({ urn, op }) => urn.endsWith("::fleet") && op === "update");
    expect(step?.detailedDiff).toEqual({
      'hosts["a"].server.clientAliveInterval': { kind: "update", inputDiff: false },
      'hosts["b"].server.clientAliveInterval': { kind: "update", inputDiff: false },
    });

    const up = await project.up(["--plan", "plan.json"]);
    expect({ code: up.code, said: said(up) }).toMatchObject({ code: 0 });
    expect([a, b].map(configOf)).toEqual(written);
    expect(await project.preview(["--expect-no-changes"])).toMatchObject({ code: 0 });
  },
);

test("an unreachable host is a change to make with its reason, tried once, and the others are seen", async () => {
  await drift();
  await b.stop();
  project.calls();
  const preview = await project.previewJson();
  expect(preview.code).toBe(0);
  const step = preview.digest?.steps?.find(({ urn, op }) => urn.endsWith("::fleet") && op === "update");
  expect(Object.keys(step?.detailedDiff ?? {}).sort()).toEqual([
    'hosts["a"].server.clientAliveInterval',
    'pendingChanges["b"]',
  ]);
  expect(said(preview)).toMatch(/b: \[unreachable\] connect: .*refused/);
  const up = await project.up();
  expect(up.code).not.toBe(0);
  expect((await a.sshdT()).get("clientaliveinterval")).toBe("60");
  await b.start();
  expect(await project.up()).toMatchObject({ code: 0 });
  expect((await b.sshdT()).get("clientaliveinterval")).toBe("120");
  expect(await project.preview(["--expect-no-changes"])).toMatchObject({ code: 0 });
});

test("changed inputs show at their own path, wrong ones are refused with their path and no value", async () => {
  await project.write({
    "Pulumi.yaml": readFileSync(join(project.dir, "Pulumi.yaml"), "utf8").replace("Interval: 60", "Interval: 90"),
  });
  const { digest } = await project.previewJson();
  const step = digest?.steps?.find(({ urn, op }) => urn.endsWith("::fleet") && op === "update");
  // Not at each host that inherits it: nothing has drifted there.
  expect(Object.keys(step?.detailedDiff ?? {})).toEqual(["server.clientAliveInterval"]);
  await project.write({
    "Pulumi.yaml": readFileSync(join(project.dir, "Pulumi.yaml"), "utf8").replace("Interval: 90", "Interval: -5"),
  });
  const refused = await project.preview();
  expect(refused.code).not.toBe(0);
  expect(said(refused)).toMatch(/server\.clientAliveInterval: Is -5: a length of time cannot be negative/);
  await project.write({
    "Pulumi.yaml": readFileSync(join(project.dir, "Pulumi.yaml"), "utf8").replace("Interval: -5", "Interval: 60"),
  });
});

test("refresh records the live values, and the next up still heals them", async () => {
  await drift();
  expect(await project.refresh()).toMatchObject({ code: 0 });
  expect((await project.preview(["--expect-no-changes"])).code).not.toBe(0);
  expect(await project.up()).toMatchObject({ code: 0 });
  expect((await a.sshdT()).get("clientaliveinterval")).toBe("60");
  expect(await project.preview(["--expect-no-changes"])).toMatchObject({ code: 0 });
});

test("a function looks at hosts without managing them", async () => {
  const before = footprint(a);
  const withFunction =
    program().replace(/plugins:[\s\S]*/, "") +
    "plugins:\n  providers:\n    - name: sshkeepalive\n      path: node_modules/pulumi-ssh-keepalive/bin\n";
  await project.write({ "Pulumi.yaml": withFunction });
  expect(await project.up()).toMatchObject({ code: 0 });
  const { stdout } = await project.pulumi(["stack", "output", "today", "--json", "--show-secrets"]);
  expect(JSON.parse(stdout)).toMatchObject({
    a: {
      status: "inSync",
      server: { options: { ClientAliveInterval: { value: "60", file: `${a.dir}/${OWN}`, line: 2 } } },
    },
  });
  expect(footprint(a)).toBe(before);
});

test("destroy puts every host back", async () => {
  expect(await project.destroy()).toMatchObject({ code: 0 });
  expect([a, b].map(configOf)).toEqual(fresh);
  expect([a, b].map(isManaged)).toEqual([false, false]);
  expectSecrecy(project.calls());
});

test("import adopts hosts as they are, and the program it writes previews clean", async () => {
  await a.write("sshd_config.d/60-site.conf", "ClientAliveInterval 90\nClientAliveCountMax 5\n");
  await b.write("sshd_config.d/60-site.conf", "ClientAliveInterval 45\n");
  for (const host of [a, b]) await host.reload();
  const before = [a, b].map(footprint);
  const importing = await nativeProject(folder, { "Pulumi.yaml": "name: test\nruntime: yaml\n" });
  const set = await importing.pulumi([
    "config",
    "set",
    "--secret",
    "--path",
    "sshkeepalive:connection.privateKey",
    "--",
    privateKey,
  ]);
  expect({ code: set.code, said: said(set) }).toMatchObject({ code: 0 });
  const { privateKey: _, ...at } = entry(a);
  const { privateKey: __, ...bt } = entry(b);
  const id = yaml({ hosts: { a: at, b: bt } });
  const done = await importing.pulumi(["import", TYPE, "fleet", id, "--yes", "--protect=false", "--out", "fleet.yaml"]);
  expect({ code: done.code, said: said(done) }).toMatchObject({ code: 0 });
  expect(said(done)).not.toMatch(/warning|failed to validate/);
  const { deployment } = await importing.exportState();
  expect(deployment.resources?.find(({ type }) => type === TYPE)?.inputs).toEqual({
    hosts: {
      a: { ...at, server: { clientAliveInterval: 90, clientAliveCountMax: 5, tcpKeepAlive: true } },
      b: { ...bt, server: { clientAliveInterval: 45, clientAliveCountMax: 3, tcpKeepAlive: true } },
    },
  });
  const [project, program] = ["Pulumi.yaml", "fleet.yaml"].map((file) =>
    readFileSync(join(importing.dir, file), "utf8"),
  );
  expect(program).toContain("clientAliveInterval: 90");
  await importing.write({ "Pulumi.yaml": `${project}${program}` });
  const preview = await importing.preview(["--expect-no-changes", "--diff"]);
  expect({ code: preview.code, said: said(preview) }).toMatchObject({ code: 0 });
  expectSecrecy(importing.calls().filter(({ method }) => !/Config/.test(method)));
  // What was adopted and never changed is left alone.
  expect(await importing.destroy()).toMatchObject({ code: 0 });
  expect([a, b].map(footprint)).toEqual(before);
});

test("examples/yaml goes through its life", async () => {
  const text = readFileSync(join(projectRoot(), "examples/yaml/Pulumi.yaml"), "utf8");
  // The plugin is where this test's project has it; the host at hand wants other words for configuration (see above).
  const adapted = text
    .replace(/plugins:[\s\S]*?(?=\nconfig:)/, "")
    .replace(/^config:$/m, "configuration:")
    .replace(/^ {4}description:.*\n/gm, "")
    .replace("type: integer", "type: number");
  const example = await nativeProject(folder, { "Pulumi.yaml": adapted });
  const { hostKey } = a.connection;
  for (const [key, value] of [
    ["host", "127.0.0.1"],
    ["port", String(a.port)],
  ] as const) {
    expect(await example.setConfig(key, value)).toMatchObject({ code: 0 });
  }
  const secret = ["config", "set", "--secret", "--path"];
  await example.pulumi([...secret, "sshkeepalive:connection.privateKey", "--", privateKey]);
  await example.pulumi([...secret, "sshkeepalive:connection.hostKey", "--", hostKey]);
  const before = configOf(a);
  const up = await example.up();
  expect({ code: up.code, said: said(up) }).toMatchObject({ code: 0 });
  expect((await a.sshdT()).get("clientaliveinterval")).toBe("60");
  expect(await example.preview(["--expect-no-changes"])).toMatchObject({ code: 0 });
  const { deployment } = await example.exportState();
  expect(JSON.stringify(deployment.resources?.filter(({ type }) => type === TYPE))).not.toContain("privateKey");
  expect(await example.destroy()).toMatchObject({ code: 0 });
  expect(configOf(a)).toEqual(before);
});

test("hosts move from the dynamic face to the plugin and back, owned by each in turn and untouched", async () => {
  const { privateKey: _, ...at } = entry(a);
  const untouched = configOf(a);
  const dynamic = {
    "Pulumi.yaml": "name: test\nruntime: nodejs\n",
    "index.js": `const { SshKeepalive } = require("pulumi-ssh-keepalive");
new SshKeepalive("fleet", ${yaml({ hosts: { a: entry(a) }, server: { clientAliveInterval: 55 } })});\n`,
  };
  const moving = await nativeProject(folder, dynamic);
  const fleet = async (): Promise<{ readonly urn: string; readonly type: string; readonly id?: string }> => {
    const { deployment } = await moving.exportState();
    const found = deployment.resources?.find(({ urn }) => urn.endsWith("::fleet"));
    if (found === undefined) throw new Error("no resource");
    return found;
  };
  const forget = async (): Promise<void> => {
    expect(await moving.pulumi(["state", "delete", (await fleet()).urn, "--yes"])).toMatchObject({ code: 0 });
  };
  const first = await moving.up();
  expect({ code: first.code, said: said(first) }).toMatchObject({ code: 0 });
  const { id } = await fleet();
  expect(ownersOf(a)).toEqual([id]);
  const before = footprint(a);

  await forget();
  await moving.write({ "Pulumi.yaml": withPlugin("name: test\nruntime: yaml\n") });
  await moving.pulumi(["config", "set", "--secret", "--path", "sshkeepalive:connection.privateKey", "--", privateKey]);
  const importing = ["import", TYPE, "fleet", yaml({ id, hosts: { a: at } }), "--yes", "--protect=false"];
  const done = await moving.pulumi([...importing, "--out", "fleet.yaml"]);
  expect({ code: done.code, said: said(done) }).toMatchObject({ code: 0 });
  const text = readFileSync(join(moving.dir, "fleet.yaml"), "utf8");
  await moving.write({ "Pulumi.yaml": withPlugin(`name: test\nruntime: yaml\n${text}`) });
  const up = await moving.up(["--expect-no-changes"]);
  expect({ code: up.code, said: said(up) }).toMatchObject({ code: 0 });
  expect(await fleet()).toMatchObject({ type: TYPE, id });
  expect(ownersOf(a)).toEqual([id]);

  await forget();
  await moving.write(dynamic);
  const back = await moving.up();
  expect({ code: back.code, said: said(back) }).toMatchObject({ code: 0 });
  const { id: next, type } = await fleet();
  expect(type).toBe("pulumi-nodejs:dynamic/sshkeepalive:SshKeepalive");
  expect(next).not.toBe(id);
  expect(ownersOf(a)).toEqual([next]);
  expect(footprint(a)).toBe(before);
  expect(await moving.destroy()).toMatchObject({ code: 0 });
  expect(configOf(a)).toEqual(untouched);
});

test("Ctrl-C starts no further host, lets the running one end, and the next up does the rest", async () => {
  // The first host is not done before the plugin was told: its reload waits for that, twenty seconds at most.
  const told = join(a.dir, "told");
  const wait = `tries=0; until [ -e ${told} ] || [ $tries -ge 200 ]; do tries=$((tries + 1)); sleep 0.1; done`;
  const reload = ["sh", "-c", `${wait}; kill -HUP "$(cat ${a.dir}/sshd.pid)"`];
  const cancelled = await nativeProject(folder, {
    "Pulumi.yaml": `name: test\nruntime: yaml\nresources:\n  fleet:\n    type: ${TYPE}\n    properties: ${yaml({
      hosts: { a: entry(a, { server: { reload } }), b: entry(b) },
      server: { clientAliveInterval: 50 },
      rollout: { parallel: 1 },
    })}\n`,
  });
  const before = [a, b].map(configOf);
  const up = spawn("pulumi", ["--non-interactive", "up", "--yes", "--skip-preview"], {
    cwd: cancelled.dir,
    env: { ...cancelled.env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let text = "";
  let interrupted = false;
  for (const stream of [up.stdout, up.stderr]) {
    stream.setEncoding("utf8").on("data", (part: string) => {
      text += part;
      if (!interrupted && /hosts; a: /.test(text)) {
        interrupted = true;
        up.kill("SIGINT");
      }
    });
  }
  const closed = once(up, "close");
  let over = false;
  void closed.then(() => {
    over = true;
  });
  while (!over && !(bytesOf(join(cancelled.dir, "grpc.json")) ?? "").includes("ResourceProvider/Cancel"))
    await new Promise((resolve) => setTimeout(resolve, 50));
  writeFileSync(told, "");
  const [code] = (await closed) as [number];
  expect({ code, text }).toMatchObject({
    text: expect.stringContaining("b: [stopped] connect: not tried, the run was cancelled"),
  });
  expect(code).not.toBe(0);
  expect((await a.sshdT()).get("clientaliveinterval")).toBe("50");
  expect(configOf(b)).toEqual(before[1]);
  expect(await observedIn(cancelled)).toMatchObject({ fleet: { a: { status: "inSync" }, b: { status: "unknown" } } });
  const rest = await cancelled.up();
  expect({ code: rest.code, said: said(rest) }).toMatchObject({ code: 0 });
  expect((await b.sshdT()).get("clientaliveinterval")).toBe("50");
  expect(await cancelled.destroy()).toMatchObject({ code: 0 });
  expect([a, b].map(configOf)).toEqual(before);
});
