/** schema.json is the one description: complete, sound, and what the code says too. */
import { readFileSync } from "node:fs";
import path from "node:path";
import type { types as commandTypes } from "@pulumi/command";
import type * as pulumi from "@pulumi/pulumi";
import ts from "typescript";
import type {
  ConnectionArgs,
  HostArgs,
  HostInputs,
  ProxyConnectionArgs,
  SshKeepaliveArgs,
  SshKeepaliveInputs,
} from "../../provider/args";
import { type HostConnection, hostSettings } from "../../provider/inputs";
import { OPTIONS } from "../../provider/settings";
import { formatTypes, generateTypes, type PackageSpec } from "../../tools/generateTypes";
import { generateValidator } from "../../tools/generateValidator";

const root = path.join(__dirname, "../..");
const text = readFileSync(path.join(root, "schema.json"), "utf8");
const schema = JSON.parse(text) as PackageSpec & { readonly name: string; readonly version: string };
const resource = schema.resources["sshkeepalive:index:SshKeepalive"];
if (resource === undefined) throw new Error("schema.json has no SshKeepalive");

type Property = NonNullable<typeof resource.properties>[string];
const typeNamed = (name: string) => schema.types[`sshkeepalive:index:${name}`] ?? {};
const propertiesOf = (name: string): Readonly<Record<string, Property>> => typeNamed(name).properties ?? {};

/** Every property of the resource and of all types, by where it stands. */
const everyProperty: readonly (readonly [string, Property])[] = [
  ...Object.entries(resource.inputProperties).map(([key, p]) => [`inputs.${key}`, p] as const),
  ...Object.entries(resource.properties ?? {}).map(([key, p]) => [`outputs.${key}`, p] as const),
  ...Object.entries(schema.types).flatMap(([name, type]) =>
    Object.entries(type.properties ?? {}).map(([key, p]) => [`${name.split(":")[2]}.${key}`, p] as const),
  ),
];

// An object that a program passes to @pulumi/command works here unchanged. These lines are checked by the compiler, in
// the test below as well as by `tsc`.
type CommandConnection = commandTypes.input.remote.ConnectionArgs;
type CommandProxy = commandTypes.input.remote.ProxyConnectionArgs;
const asConnection = (connection: CommandConnection): ConnectionArgs => connection;
const asOutput = (connection: pulumi.Output<CommandConnection>): SshKeepaliveArgs => ({ hosts: {}, connection });
const asProxy = (proxy: CommandProxy): ProxyConnectionArgs => proxy;
const atHost = (connection: CommandConnection): HostArgs => ({ ...connection, server: { clientAliveInterval: 60 } });
const resolved = (inputs: SshKeepaliveInputs): readonly HostConnection[] =>
  hostSettings(inputs).map((h) => h.connection);
const mayBeUndefined = (user: string | undefined): SshKeepaliveArgs => ({ hosts: { a: { host: "h", user } } });
// @ts-expect-error what is misspelt does not compile
const misspelt: HostInputs = { hots: "h" };
// @ts-expect-error an option of the other side does not compile
const mixedUp: SshKeepaliveArgs = { hosts: {}, server: { serverAliveInterval: 300 } };

test("takes @pulumi/command's connection, and refuses slips, by its types", () => {
  const config = ts.readConfigFile(path.join(root, "tsconfig.json"), ts.sys.readFile);
  const { options } = ts.parseJsonConfigFileContent(config.config, ts.sys, root);
  const program = ts.createProgram([__filename], options);
  const source = program.getSourceFile(__filename);
  const messages = ts
    .getPreEmitDiagnostics(program, source)
    .map((d) => ts.flattenDiagnosticMessageText(d.messageText, "\n"));
  expect(messages).toEqual([]);
  expect([asConnection, asOutput, asProxy, atHost, resolved, mayBeUndefined, misspelt, mixedUp]).toHaveLength(8);
});

test.each([
  ["provider/args.ts", () => formatTypes(generateTypes(schema), root)],
  ["provider/inputs/validate.ts", () => generateValidator(schema)],
])("%s is what the generator prints (npm run generate)", (name, print) => {
  expect(readFileSync(path.join(root, name), "utf8")).toBe(print());
});

test("has the package's version", () => {
  const pkg = JSON.parse(readFileSync(path.join(root, "package.json"), "utf8")) as { readonly version: string };
  expect(schema.version).toBe(pkg.version);
});

test.each(everyProperty)("%s is described in whole sentences", (_name, property) => {
  expect(property.description).toMatch(/^[A-Z`a-z].{8,}[.)]$/s);
});

test("every type is described, used and found", () => {
  const used = new Set([...text.matchAll(/#\/types\/([\w:]+)/g)].map(([, name]) => name));
  expect([...used].sort()).toEqual(Object.keys(schema.types).sort());
  for (const type of Object.values(schema.types)) {
    expect(type.description).toMatch(/\.$/);
    for (const word of type.enum ?? []) expect(word.description).toMatch(/\.$/);
  }
});

test("every password and private key is a secret, and nothing else", () => {
  const secrets = everyProperty.filter(([, p]) => p.secret === true).map(([name]) => name);
  const named = everyProperty.filter(([name]) => /\.(password|privateKey|privateKeyPassword)$/.test(name));
  expect(secrets).toEqual(named.map(([name]) => name));
  expect(secrets).toHaveLength(10);
});

test("a host takes every field of a connection, meaning the same", () => {
  const bare = (p: Property | undefined) => ({ ...p, description: "" });
  for (const [key, property] of Object.entries(propertiesOf("Connection"))) {
    expect(bare(propertiesOf("Host")[key])).toEqual(bare(property));
  }
  for (const [key, property] of Object.entries(propertiesOf("ProxyConnection"))) {
    expect(bare(propertiesOf("Connection")[key])).toEqual(bare(property));
  }
});

test("the settings are those of the table of directives", () => {
  for (const [side, type] of [
    ["server", "ServerSettings"],
    ["client", "ClientSettings"],
  ] as const) {
    for (const option of OPTIONS.filter((o) => o.side === side)) {
      const property = propertiesOf(type)[option.input];
      expect(property?.description).toContain(`${option.name}:`);
      const shown = option.kind === "flag" ? String(option.defaultValue === "yes") : option.defaultValue;
      expect(property?.description).toContain(`OpenSSH's default: ${shown}`);
      const form = option.kind === "time" ? property?.oneOf?.map((t) => t.type) : property?.type;
      expect(form).toEqual({ time: ["integer", "string"], count: "integer", flag: "boolean" }[option.kind]);
    }
  }
});

test("sets no defaults of its own: a generated SDK would send a host's before the resource's own settings", () => {
  expect(text).not.toMatch(/"default(Info)?":/);
});

test("echoes every input, and takes no output as input", () => {
  const outputs = Object.keys(resource.properties ?? {}).filter((key) => !(key in resource.inputProperties));
  expect(outputs).toEqual(["observed", "pendingChanges"]);
  for (const [key, property] of Object.entries(resource.inputProperties))
    expect(resource.properties?.[key]).toEqual(property);
  expect(resource.required).toEqual(["hosts", "observed"]);
});

test("shows how it is used in TypeScript, Python, YAML and Go", () => {
  const fences = [...(resource.description ?? "").matchAll(/^```(\w+)\n/gm)].map(([, language]) => language);
  expect(fences).toEqual(["typescript", "python", "yaml", "go"]);
  expect(resource.description).toMatch(
    /\{\{% examples %\}\}[\s\S]*\{\{% example %\}\}[\s\S]*\{\{% \/example %\}\}\n\{\{% \/examples %\}\}$/,
  );
});
