/** Every example: it compiles, registers its resources with sound inputs, and what needs no foreign plugin runs. */
import { execFile } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { promisify } from "node:util";
import ts from "typescript";
import { checkInputs } from "../../provider/inputs";
import { makeProject, type Project, type ProjectOptions } from "../support/engine";
import { type FleetOptions, type LightHost, startFleet } from "../support/lightHost";
import { makeTempFolder, projectRoot, type TempFolder } from "../support/tempFolder";

const root = projectRoot();
const examples = path.join(root, "examples");
const ENVIRONMENTS = ["dev", "staging", "prod"] as const;
const KEEPALIVE = "pulumi-nodejs:dynamic/sshkeepalive:SshKeepalive";

/** Values of a stack by key; an object is set path by path. */
type Config = Readonly<Record<string, string>>;

interface Example {
  /** Types of the resources that it registers, the stack aside. */
  readonly registers: readonly string[];
  /** What a stack must say for these hosts; keys are paths (`hosts.web-1.port`), `secrets` are set as secrets. */
  readonly config: (hosts: readonly LightHost[]) => { readonly plain: Config; readonly secrets: Config };
  /** Light hosts that it is run against here; 0: mocks must do. */
  readonly hosts: number;
}

const [NO_HOST, NO_KEY, NO_HOST_KEY] = ["192.0.2.1", "-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----", ""];

const EXAMPLES: Readonly<Record<string, Example>> = {
  "single-host": {
    registers: [KEEPALIVE],
    hosts: 1,
    config: ([host]) => ({
      plain: {
        host: host?.connection.host ?? NO_HOST,
        port: String(host?.port ?? 22),
        hostKey: host?.connection.hostKey ?? NO_HOST_KEY,
        sudo: "false",
      },
      secrets: { privateKey: host?.connection.privateKey ?? NO_KEY },
    }),
  },
  fleet: {
    registers: [KEEPALIVE],
    hosts: 3,
    config: (hosts) => ({
      plain: {
        ...Object.fromEntries(
          hosts.flatMap(({ name, port, connection: { host, hostKey } }) =>
            Object.entries({ host, port: String(port), hostKey }).map(([key, value]) => [
              `hosts.${name}.${key}`,
              value,
            ]),
          ),
        ),
        user: "",
        sudo: "false",
        clientAliveInterval: "1m",
        idleTimeout: "350s",
        canary: "34%",
      },
      secrets: { deployKey: hosts[0]?.connection.privateKey ?? NO_KEY },
    }),
  },
  // Its life on real hosts is in shards.test.ts.
  shards: {
    registers: [KEEPALIVE],
    hosts: 0,
    config: () => ({ plain: { shard: "0", shards: "1" }, secrets: {} }),
  },
  // Its plugin cannot be had everywhere.
  "with-command": {
    registers: [KEEPALIVE, "command:remote:Command"],
    hosts: 0,
    config: () => ({
      plain: {
        host: NO_HOST,
        user: "deploy",
        hostKey: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl",
      },
      secrets: { deployKey: NO_KEY },
    }),
  },
};

let folder: TempFolder;
beforeAll(() => {
  folder = makeTempFolder();
});
afterAll(() => folder.remove());

/** A throw-away copy of an example, with a stack `test` set to the hosts. */
async function projectOf(
  name: string,
  hosts: readonly LightHost[],
  program: ProjectOptions["program"] = { folder: path.join(examples, name) },
): Promise<Project> {
  const project = await makeProject({ folder, name, program, env: { XDG_RUNTIME_DIR: undefined } });
  expect(await project.init("test")).toMatchObject({ code: 0 });
  const { plain, secrets } = exampleNamed(name).config(hosts);
  const flags = [
    ...Object.entries(plain).map((e) => ["--plaintext", e]),
    ...Object.entries(secrets).map((e) => ["--secret", e]),
  ];
  const words = flags.flatMap(([flag, e]) => [String(flag), `${e?.[0]}=${e?.[1]}`]);
  expect(await project.pulumi(["config", "set-all", "--path", ...words])).toMatchObject({ code: 0 });
  return project;
}

function exampleNamed(name: string): Example {
  const example = EXAMPLES[name];
  if (example === undefined) throw new Error(`examples/${name} is not in this test`);
  return example;
}

/** A resource as an engine would be asked for it, secrets in clear. */
interface Registered {
  readonly type: string;
  readonly name: string;
  readonly inputs: Readonly<Record<string, unknown>>;
}

/** Runs a program against mocks in a process of its own, as the language host would, and prints what it registers. */
const MOCKS = `
const fs = require("node:fs");
const ts = require("typescript");
const pulumi = require("@pulumi/pulumi");
const { main, config, secrets } = JSON.parse(fs.readFileSync(0, "utf8"));
const compilerOptions = { module: ts.ModuleKind.CommonJS, target: ts.ScriptTarget.ES2022 };
require.extensions[".ts"] = (module, file) =>
  module._compile(ts.transpileModule(fs.readFileSync(file, "utf8"), { compilerOptions }).outputText, file);
const clear = (value) =>
  Array.isArray(value) ? value.map(clear)
  : typeof value !== "object" || value === null ? value
  : "value" in value && Object.keys(value).some((key) => key.length === 32) ? clear(value.value)
  : Object.fromEntries(Object.entries(value).map(([key, v]) => [key, clear(v)]));
const registered = [];
const newResource = ({ type, name, inputs }) => {
  registered.push({ type, name, inputs: clear(inputs) });
  return { id: name, state: inputs };
};
(async () => {
  await pulumi.runtime.setMocks({ newResource, call: ({ inputs }) => inputs }, "example", "test", true);
  pulumi.runtime.setAllConfig(config, secrets);
  require(main);
  await pulumi.runtime.waitForRPCs();
  fs.writeSync(1, JSON.stringify(registered));
  process.exit(0);
})();
`;

async function registeredBy(project: Project, stack: string): Promise<readonly Registered[]> {
  const said = await project.pulumi(["config", "--json", "--show-secrets", "--stack", stack]);
  expect(said).toMatchObject({ code: 0 });
  const values = JSON.parse(said.stdout) as Readonly<Record<string, { value: string; secret: boolean }>>;
  const input = {
    main: path.join(project.dir, "index.ts"),
    config: Object.fromEntries(
      Object.entries(values).map(([key, { value }]) => [key.replace(/^.*:/, "example:"), value]),
    ),
    secrets: Object.keys(values)
      .filter((key) => values[key]?.secret)
      .map((key) => key.replace(/^.*:/, "example:")),
  };
  await project.write({ "mocks.js": MOCKS });
  const run = promisify(execFile)(process.execPath, ["mocks.js"], {
    cwd: project.dir,
    env: project.env,
    timeout: 300_000,
  });
  run.child.stdin?.end(JSON.stringify(input));
  return (JSON.parse((await run).stdout) as readonly Registered[]).filter((r) => r.type !== "pulumi:pulumi:Stack");
}

/** What a program passed to SshKeepalive: without what the class and the SDK add. */
function argsOf(all: readonly Registered[]): Readonly<Record<string, unknown>> {
  const { __provider, dry, ...args } = all.find((r) => r.type === KEEPALIVE)?.inputs ?? {};
  expect(__provider).toContain("pulumi-ssh-keepalive/dynamic");
  expect(dry).toBe(true);
  return args;
}

test("every folder in examples/ is tried here, and is a project of its own", () => {
  // The YAML project is run in tests/plugin.
  const folders = readdirSync(examples, { withFileTypes: true }).filter((e) => e.isDirectory() && e.name !== "yaml");
  expect(folders.map((entry) => entry.name).sort()).toEqual(Object.keys(EXAMPLES).sort());
  for (const { name } of folders) {
    const files = readdirSync(path.join(examples, name));
    expect(files).toEqual(expect.arrayContaining(["Pulumi.yaml", "index.ts", "package.json", "tsconfig.json"]));
    const { dependencies } = JSON.parse(readFileSync(path.join(examples, name, "package.json"), "utf8"));
    expect(dependencies).toMatchObject({ "pulumi-ssh-keepalive": "file:../.." });
  }
});

describe.each(Object.keys(EXAMPLES))("examples/%s", (name) => {
  test("compiles, and registers its resources with inputs that are sound", async () => {
    const project = await projectOf(name, []);
    if (name === "fleet") await project.pulumi(["config", "set", "--path", "hosts.web-1.host", NO_HOST]);
    const { config } = ts.readConfigFile(path.join(project.dir, "tsconfig.json"), ts.sys.readFile);
    const { options, fileNames } = ts.parseJsonConfigFileContent(config, ts.sys, project.dir);
    const diagnostics = ts.getPreEmitDiagnostics(ts.createProgram(fileNames, options));
    expect(diagnostics.map((d) => ts.flattenDiagnosticMessageText(d.messageText, "\n"))).toEqual([]);

    const registered = await registeredBy(project, "test");
    expect(registered.map((r) => r.type).sort()).toEqual([...exampleNamed(name).registers].sort());
    expect(checkInputs(argsOf(registered))).toEqual({ failures: [] });
  });
});

test("examples/with-command gives both resources the same connection", async () => {
  const registered = await registeredBy(await projectOf("with-command", []), "test");
  const command = registered.find((r) => r.type === "command:remote:Command");
  expect(argsOf(registered).connection).toMatchObject({ host: NO_HOST, user: "deploy", privateKey: NO_KEY });
  expect(command?.inputs.connection).toEqual(expect.objectContaining(argsOf(registered).connection));
});

const live = Object.keys(EXAMPLES).filter((name) => exampleNamed(name).hosts > 0);

/** A distribution's main file, and what a cloud image puts beside it. */
const cloudImage: FleetOptions["files"] = ({ dir, head }) => ({
  sshd_config: `Include ${dir}/sshd_config.d/*.conf\n${head}`,
  "sshd_config.d/50-cloud-init.conf": "ClientAliveInterval 0\n",
});

const filesOf = (hosts: readonly LightHost[]): Promise<unknown> =>
  Promise.all(
    hosts.map(async (host) => ({
      main: await host.read("sshd_config"),
      dropIns: readdirSync(path.join(host.dir, "sshd_config.d")),
      cloudInit: await host.read("sshd_config.d/50-cloud-init.conf"),
    })),
  );

test.each(live)("examples/%s goes through its life on real hosts", async (name) => {
  const fleet = await startFleet(exampleNamed(name).hosts, {
    folder,
    name: (i) => `${name}-${i + 1}`,
    files: cloudImage,
  });
  try {
    const before = await filesOf(fleet.hosts);
    const project = await projectOf(name, fleet.hosts);
    const preview = await project.previewJson();
    expect(preview).toMatchObject({ code: 0, digest: { changeSummary: { create: 2 } } });
    expect(await project.up()).toMatchObject({ code: 0 });
    for (const host of fleet.hosts) expect((await host.sshdT()).get("clientaliveinterval")).toBe("60");
    expect(await project.preview(["--expect-no-changes"])).toMatchObject({ code: 0 });
    expect(await project.destroy()).toMatchObject({ code: 0 });
    expect(await filesOf(fleet.hosts)).toEqual(before);
  } finally {
    await fleet.stop();
  }
});

describe("the project at the root of the repository", () => {
  const read = (...names: readonly string[]) => readFileSync(path.join(root, ...names), "utf8");

  test("is examples/fleet, its main being a file", () => {
    const main = "main: examples/fleet/index.ts\n";
    expect(read("Pulumi.yaml")).toContain(main);
    expect(read("Pulumi.yaml").replace(main, "")).toBe(read("examples/fleet/Pulumi.yaml"));
    for (const stack of ENVIRONMENTS) {
      expect(read(`Pulumi.${stack}.yaml`)).toBe(read(`examples/fleet/Pulumi.${stack}.yaml`));
    }
  });

  test("has environments that are sound and differ in hosts, interval and rollout", async () => {
    const project = await makeProject({ folder, program: { folder: path.join(examples, "fleet") } });
    const seen = { hosts: new Set(), server: new Set(), rollout: new Set() };
    for (const stack of ENVIRONMENTS) {
      expect(await project.init(stack)).toMatchObject({ code: 0 });
      const args = argsOf(await registeredBy(project, stack));
      expect(checkInputs(args)).toEqual({ failures: [] });
      for (const [key, values] of Object.entries(seen)) values.add(JSON.stringify(args[key]));

      // The engine itself judges the stack file by Pulumi.yaml: with hosts on loopback ports that nobody listens on.
      const nobody = Object.keys(args.hosts as object).flatMap((host, n) =>
        [`host=127.0.0.1`, `port=${n + 1}`].flatMap((field) => ["--plaintext", `hosts.${host}.${field}`]),
      );
      expect(await project.pulumi(["config", "set-all", "--stack", stack, "--path", ...nobody])).toMatchObject({
        code: 0,
      });
      const preview = await project.previewJson(["--stack", stack]);
      expect(preview).toMatchObject({ code: 0, digest: { changeSummary: { create: 2 } } });
      expect(JSON.stringify(preview.digest)).toContain("[unreachable] connect");
    }
    expect(Object.values(seen).map((values) => values.size)).toEqual([3, 3, 3]);
  });

  test("previews from the root", async () => {
    const files = [
      "Pulumi.yaml",
      "package.json",
      "tsconfig.json",
      "examples/fleet/index.ts",
      "examples/fleet/package.json",
    ];
    const { hosts, stop } = await startFleet(1, { folder, name: () => "root-1" });
    try {
      const program = Object.fromEntries(files.map((file) => [file, read(file)]));
      const preview = await (await projectOf("fleet", hosts, program)).previewJson();
      expect(preview).toMatchObject({ code: 0, digest: { changeSummary: { create: 2 } } });
    } finally {
      await stop();
    }
  });
});
