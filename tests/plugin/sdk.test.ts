/** schema.json and the SDKs that Pulumi's own generators make of it: they bind, say the same, compile and run. */
import { execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import ts from "typescript";
import { below } from "../support/below";
import { type LightHost, startFleet } from "../support/lightHost";
import { configOf, entry, said } from "../support/program";
import { makeTempFolder, projectRoot } from "../support/tempFolder";
import { inClear, type NativeProject, nativeProject, visitsTo, yaml } from "./support/native";
import { pythonBin } from "./support/python";

const OWN = "sshd_config.d/00-pulumi-ssh-keepalive.conf";

const root = projectRoot();
const { generateSdks } = require(path.join(root, "tools/sdk.js")) as { generateSdks(folder: string): void };
const folder = makeTempFolder();
const sdks = path.join(folder.path, "sdk");
let host: LightHost;

interface Spec {
  readonly properties?: Readonly<Record<string, unknown>>;
  readonly enum?: readonly { readonly value: string }[];
  readonly inputProperties?: Readonly<Record<string, unknown>>;
}
const schema = JSON.parse(readFileSync(path.join(root, "schema.json"), "utf8")) as {
  readonly version: string;
  readonly types: Readonly<Record<string, Spec>>;
  readonly resources: Readonly<Record<string, Spec>>;
};

beforeAll(async () => {
  generateSdks(sdks);
  ({
    hosts: [host],
  } = (await startFleet(1, {
    folder,
    name: () => "h",
    extraLines: ["LogLevel VERBOSE"],
    files: ({ dir, head }) => ({
      sshd_config: `${head}Include ${dir}/sshd_config.d/*.conf\n`,
      "sshd_config.d/50-site.conf": "X11Forwarding no\n",
    }),
  })) as unknown as { hosts: [LightHost] });
});
afterAll(() => folder.remove());

const snake = (name: string): string => name.replace(/[A-Z]/g, (c) => `_${c.toLowerCase()}`);
const pascal = (name: string): string => name.charAt(0).toUpperCase() + name.slice(1);
const allText = (dir: string, ending: string): string =>
  below(dir)
    .filter((file) => file.endsWith(ending))
    .map((file) => readFileSync(path.join(dir, file), "utf8"))
    .join("\n");

test("the schema binds without a word, and every property and value is in every SDK, under one version", () => {
  const properties = Object.values({ ...schema.types, ...schema.resources }).flatMap((spec) =>
    Object.keys({ ...spec.properties, ...spec.inputProperties }),
  );
  const words = Object.values(schema.types).flatMap((spec) => (spec.enum ?? []).map(({ value }) => value));
  const languages = [
    ["nodejs", ".ts", (name: string) => new RegExp(`\\b${name}\\??:`)],
    ["python", ".py", (name: string) => new RegExp(`\\b${snake(name)}\\b`)],
    ["go", ".go", (name: string) => new RegExp(`\\b${pascal(name)}\\b`)],
  ] as const;
  for (const [language, ending, pattern] of languages) {
    const text = allText(path.join(sdks, language), ending);
    const lacking = [...new Set(properties)].filter((name) => !pattern(name).test(text));
    expect({ language, lacking }).toEqual({ language, lacking: [] });
    expect({ language, words: words.filter((word) => !text.includes(`"${word}"`)) }).toEqual({ language, words: [] });
  }
  const version = (file: string): unknown => JSON.parse(readFileSync(path.join(sdks, file), "utf8")).version;
  expect(version("nodejs/package.json")).toBe(schema.version);
  expect(version("python/pulumi_ssh_keepalive/pulumi-plugin.json")).toBe(schema.version);
  expect(readFileSync(path.join(sdks, "python/pyproject.toml"), "utf8")).toContain(`version = "${schema.version}"`);
});

describe("TypeScript", () => {
  const packages = path.join(folder.path, "node_modules");
  const sdk = path.join(packages, "pulumi-ssh-keepalive-sdk");
  beforeAll(() => {
    mkdirSync(packages, { recursive: true });
    for (const name of ["@pulumi", "@types", "@grpc", "google-protobuf", "typescript"]) {
      symlinkSync(path.join(root, "node_modules", name), path.join(packages, name));
    }
    cpSync(path.join(sdks, "nodejs"), sdk, { recursive: true });
    // As its own build script does; package.json is where the SDK looks for its version.
    execFileSync(process.execPath, [
      require.resolve("typescript/bin/tsc"),
      "-p",
      sdk,
      "--outDir",
      sdk,
      "--skipLibCheck",
    ]);
  });

  test("what compiles with one face compiles with the other", () => {
    const file = path.join(folder.path, "both.ts");
    writeFileSync(
      file,
      `import type { SshKeepaliveArgs as Native, types } from "pulumi-ssh-keepalive-sdk";
import type { ObservedHost, SshKeepaliveArgs as Dynamic } from "${path.join(root, "provider/args")}";
export const there = (args: Dynamic): Native => args;
export const back = (args: Native): Dynamic => args;
export const out = (host: ObservedHost): types.output.ObservedHost => host as never;
// @ts-expect-error what is misspelt does not compile
export const misspelt: Native = { hosts: { a: { hots: "h" } } };
`,
    );
    const program = ts.createProgram([file], {
      strict: true,
      skipLibCheck: true,
      noEmit: true,
      target: ts.ScriptTarget.ES2022,
      module: ts.ModuleKind.CommonJS,
      moduleResolution: ts.ModuleResolutionKind.Node10,
      types: ["node"],
      typeRoots: [path.join(root, "node_modules/@types")],
    });
    const messages = ts
      .getPreEmitDiagnostics(program)
      .filter((d) => d.file?.fileName === file)
      .map((d) => ts.flattenDiagnosticMessageText(d.messageText, "\n"));
    expect(messages).toEqual([]);
  });

  test("a program with the compiled SDK keeps no code in its state, and comes up and goes", async () => {
    const project = await nativeProject(folder, {
      "Pulumi.yaml": "name: test\nruntime: nodejs\n",
      "index.js": `
const { SshKeepalive, getSshKeepaliveOutput } = require("pulumi-ssh-keepalive-sdk");
const hosts = { h: ${yaml(entry(host))} };
const fleet = new SshKeepalive("fleet", { hosts, server: { clientAliveInterval: 60 } });
exports.value = fleet.observed.h.server.options.ClientAliveInterval.value;
`,
    });
    cpSync(sdk, path.join(project.dir, "node_modules/pulumi-ssh-keepalive-sdk"), { recursive: true });
    await wholeLife(project, "clientAliveInterval: 7 => 60");
  });
});

test("Python: a program with the installed SDK comes up, shows drift, heals and goes", async () => {
  const bin = await pythonBin();
  const site = path.join(folder.path, "site");
  execFileSync(
    path.join(bin, "pip"),
    [
      "install",
      "--quiet",
      "--disable-pip-version-check",
      "--no-deps",
      "--no-build-isolation",
      "--target",
      site,
      path.join(sdks, "python"),
    ],
    { stdio: "pipe" },
  );
  const { privateKey, hostKey, port, ...rest } = entry(host);
  const project = await nativeProject(
    folder,
    {
      "Pulumi.yaml": "name: test\nruntime: python\n",
      "__main__.py": `
import pulumi
import pulumi_ssh_keepalive as sshkeepalive

config = pulumi.Config()
fleet = sshkeepalive.SshKeepalive(
    "fleet",
    hosts={"h": sshkeepalive.HostArgs(host=${yaml(rest.host)}, user=${yaml(rest.user)}, port=${yaml(port)}, host_key=${yaml(hostKey)})},
    connection=sshkeepalive.ConnectionArgs(private_key=config.require_secret("key"), host_key_checking=sshkeepalive.HostKeyChecking.STRICT),
    server=sshkeepalive.ServerSettingsArgs(client_alive_interval=60),
)
pulumi.export("value", fleet.observed["h"].server.options["ClientAliveInterval"].value)
`,
    },
    { path: bin, env: { PYTHONPATH: site, PYTHONDONTWRITEBYTECODE: "1" } },
  );
  expect(await project.setConfig("key", String(privateKey), { secret: true })).toMatchObject({ code: 0 });
  await wholeLife(project, "clientAliveInterval: 7 => 60");
  const secret = String(privateKey).split("\n")[2] ?? "";
  for (const { method, response } of project.calls())
    expect({ method, clear: inClear(response, secret) }).toEqual({ method, clear: [] });
});

/** Preview, up, drift, preview, up, destroy; each preview visits the host once. */
async function wholeLife(project: NativeProject, drift: string): Promise<void> {
  const fresh = configOf(host);
  const before = await visitsTo(host);
  const preview = await project.preview();
  expect({ code: preview.code, said: said(preview) }).toMatchObject({
    code: 0,
    said: expect.stringContaining("h: ClientAliveInterval 0, wanted 60"),
  });
  expect((await visitsTo(host)).commands - before.commands).toBe(1);
  expect(configOf(host)).toEqual(fresh);
  const up = await project.up();
  expect({ code: up.code, said: said(up) }).toMatchObject({ code: 0 });
  expect((await project.pulumi(["stack", "output", "value"])).stdout.trim()).toBe("60");
  expect(await project.preview(["--expect-no-changes"])).toMatchObject({ code: 0 });
  await host.write(OWN, (await host.read(OWN)).replace(/Interval \d+/, "Interval 7"));
  const drifted = await project.preview(["--diff"]);
  expect(said(drifted)).toContain(drift);
  expect(await project.up()).toMatchObject({ code: 0 });
  expect(await project.preview(["--expect-no-changes"])).toMatchObject({ code: 0 });
  const state = JSON.stringify(await project.exportState());
  for (const word of ["__provider", "require(", "pendingChanges"]) expect(state).not.toContain(word);
  expect(await project.destroy()).toMatchObject({ code: 0 });
  expect(configOf(host)).toEqual(fresh);
}

test("Go: the SDK and a program with it compile", () => {
  const module = path.join(sdks, "go");
  const program = path.join(module, "example");
  mkdirSync(program);
  const example = /```go\n([\s\S]*?)```/.exec(
    JSON.stringify(schema.resources).replaceAll("\\n", "\n").replaceAll("\\t", "\t").replaceAll('\\"', '"'),
  )?.[1];
  writeFileSync(path.join(program, "main.go"), example ?? "");
  // The versions that tools/sdk was built with, so that nothing is looked up.
  const known = readFileSync(path.join(root, "tools/sdk/go.mod"), "utf8");
  writeFileSync(
    path.join(module, "go.mod"),
    known.replace(/^module .*$/m, "module pulumi-ssh-keepalive/sdk/go/sshkeepalive"),
  );
  cpSync(path.join(root, "tools/sdk/go.sum"), path.join(module, "go.sum"));
  const env = { ...process.env, GOFLAGS: "-mod=mod", GOWORK: "off", CGO_ENABLED: "0" };
  execFileSync("go", ["build", "-o", path.join(folder.path, "go-out") + path.sep, "./..."], {
    cwd: module,
    env,
    stdio: "pipe",
  });
  expect(existsSync(path.join(folder.path, "go-out/example"))).toBe(true);
});

test("`pulumi package get-schema` returns schema.json, and a version is told", async () => {
  const project = await nativeProject(folder, { "Pulumi.yaml": "name: test\nruntime: yaml\n" });
  const executable = path.join(project.dir, "node_modules/pulumi-ssh-keepalive/bin/pulumi-resource-sshkeepalive");
  const { stdout, code } = await project.pulumi(["package", "get-schema", executable]);
  expect(code).toBe(0);
  const got = JSON.parse(stdout) as Record<string, unknown>;
  expect({ types: got.types, resources: got.resources, version: got.version }).toEqual({
    types: schema.types,
    resources: schema.resources,
    version: schema.version,
  });
});
