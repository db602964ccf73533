/** README is complete: every property of schema.json in its reference, every error code, every example, links that lead. */
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import ts from "typescript";
import { ERROR_CODES } from "../../provider/errors";

const root = path.join(__dirname, "../..");
const file = path.join(root, "README.md");

/** A property or type in schema.json (Pulumi package schema), as far as the reference shows it. */
interface Spec {
  readonly description?: string;
  readonly secret?: boolean;
  readonly type?: string;
  readonly $ref?: string;
  readonly items?: Spec;
  readonly additionalProperties?: Spec;
  readonly oneOf?: readonly Spec[];
  readonly enum?: readonly { readonly value: string; readonly description: string }[];
  readonly properties?: Readonly<Record<string, Spec>>;
  readonly required?: readonly string[];
  readonly inputProperties?: Readonly<Record<string, Spec>>;
  readonly requiredInputs?: readonly string[];
}

const schema = JSON.parse(readFileSync(path.join(root, "schema.json"), "utf8")) as {
  readonly types: Readonly<Record<string, Spec>>;
  readonly resources: Readonly<Record<string, Spec>>;
};
const resource = schema.resources["sshkeepalive:index:SshKeepalive"] ?? {};
const typeName = (token: string): string => token.split(":").at(-1) ?? token;

function typeText(spec: Spec): string {
  if (spec.$ref !== undefined) return `[${typeName(spec.$ref)}](#${typeName(spec.$ref).toLowerCase()})`;
  if (spec.oneOf !== undefined) return spec.oneOf.map(typeText).join(" or ");
  if (spec.items !== undefined) return `list of ${typeText(spec.items)}`;
  if (spec.additionalProperties !== undefined) return `map of ${typeText(spec.additionalProperties)}`;
  return spec.type ?? "";
}

const cell = (text = ""): string => text.replaceAll("|", "\\|").replaceAll("\n", " ");

function table(properties: Readonly<Record<string, Spec>>, required: readonly string[] = []): string {
  const rows = Object.entries(properties).map(
    ([name, spec]) =>
      `| \`${name}\`${required.includes(name) ? " (required)" : ""} | ${typeText(spec)}${spec.secret === true ? ", secret" : ""} | ${cell(spec.description)} |`,
  );
  return ["| property | type | meaning |", "|---|---|---|", ...rows].join("\n");
}

/** The fields of `spec` that are word for word those of Connection are named, and described there. */
function withoutConnection(
  name: string,
  spec: Spec,
): { readonly own: Readonly<Record<string, Spec>>; readonly note: string } {
  const all = Object.entries(spec.properties ?? {});
  const connection = schema.types["sshkeepalive:index:Connection"]?.properties ?? {};
  const same =
    name === "Connection" ? [] : all.filter(([key, p]) => JSON.stringify(connection[key]) === JSON.stringify(p));
  const note = `\n\nAs in [Connection](#connection): ${same.map(([key]) => `\`${key}\``).join(", ")}.`;
  return { own: Object.fromEntries(all.filter((e) => !same.includes(e))), note: same.length === 0 ? "" : note };
}

function reference(): string {
  const outputs = Object.entries(resource.properties ?? {}).filter(
    ([name]) => resource.inputProperties?.[name] === undefined,
  );
  const parts = [
    `### Inputs\n\n${table(resource.inputProperties ?? {}, resource.requiredInputs)}`,
    `### Outputs\n\nThe inputs, and:\n\n${table(Object.fromEntries(outputs))}`,
    ...Object.entries(schema.types).map(([token, spec]) => {
      const heading = `### ${typeName(token)}\n\n${cell(spec.description)}\n\n`;
      if (spec.enum !== undefined) {
        const rows = spec.enum.map(({ value, description }) => `| \`${value}\` | ${cell(description)} |`);
        return heading + ["| value | meaning |", "|---|---|", ...rows].join("\n");
      }
      const { own, note } = withoutConnection(typeName(token), spec);
      return `${heading}${table(own, spec.required)}${note}`;
    }),
  ];
  return parts.join("\n\n");
}

const BETWEEN = /(<!-- reference: [^\n]*-->\n)[\s\S]*(<!-- end of reference -->)/;

function readme(): string {
  const text = readFileSync(file, "utf8");
  if (process.env.README_UPDATE !== "1") return text;
  const updated = text.replace(BETWEEN, (_, start, end) => `${start}\n${reference()}\n\n${end}`);
  writeFileSync(file, updated);
  return updated;
}

test("the reference is what schema.json says (README_UPDATE=1 writes it)", () => {
  expect(BETWEEN.exec(readme())?.[0]).toContain(`\n${reference()}\n`);
});

test("every property and word of schema.json stands in the reference", () => {
  const names = [resource, ...Object.values(schema.types)].flatMap((spec) => [
    ...Object.keys({ ...spec.inputProperties, ...spec.properties }),
    ...(spec.enum ?? []).map((word) => word.value),
  ]);
  const section = BETWEEN.exec(readme())?.[0] ?? "";
  expect(names.filter((name) => !section.includes(`\`${name}\``))).toEqual([]);
});

test("every error code has a row of its own, and no other has", () => {
  const section =
    readme()
      .split("\n## ")
      .find((part) => part.startsWith("Troubleshooting")) ?? "";
  const rows = [...section.matchAll(/^\| `([a-z-]+)` \| \S.* \| \S.* \|$/gm)].map((row) => row[1]);
  expect(rows).toEqual([...ERROR_CODES]);
});

test("its programs compile", () => {
  const programs = [...readme().matchAll(/^```ts\n([\s\S]*?)^```$/gm)].map((block) => block[1] ?? "");
  expect(programs).not.toEqual([]);
  const names = programs.map((_, n) => path.join(root, `readme-${n}.ts`));
  const { config } = ts.readConfigFile(path.join(root, "tsconfig.json"), ts.sys.readFile);
  const { options } = ts.parseJsonConfigFileContent(config, ts.sys, root);
  // The package is this one, compiled or not.
  const own = { baseUrl: root, paths: { "pulumi-ssh-keepalive": ["provider/index.ts"] } };
  const host = ts.createCompilerHost({ ...options, ...own });
  const onDisk = { readFile: host.readFile, fileExists: host.fileExists, getSourceFile: host.getSourceFile };
  host.fileExists = (name) => names.includes(name) || onDisk.fileExists(name);
  host.readFile = (name) => programs[names.indexOf(name)] ?? onDisk.readFile(name);
  host.getSourceFile = (name, target, ...more) =>
    names.includes(name)
      ? ts.createSourceFile(name, programs[names.indexOf(name)] ?? "", target)
      : onDisk.getSourceFile(name, target, ...more);
  const program = ts.createProgram(names, { ...options, ...own }, host);
  const diagnostics = names.flatMap((name) => ts.getPreEmitDiagnostics(program, program.getSourceFile(name)));
  expect(diagnostics.map((d) => ts.flattenDiagnosticMessageText(d.messageText, "\n"))).toEqual([]);
});

test("what it links to is there", () => {
  const text = readme();
  const headings = [...text.matchAll(/^#+ (.+)$/gm)].map(([, heading = ""]) =>
    heading
      .toLowerCase()
      .replace(/[^\w\s-]/g, "")
      .replaceAll(" ", "-"),
  );
  const links = [...text.matchAll(/\]\(([^)]+)\)/g)].map((link) => link[1] ?? "");
  const dead = links.filter((link) =>
    link.startsWith("#")
      ? !headings.includes(link.slice(1))
      : !/^https:/.test(link) && !existsSync(path.join(root, link)),
  );
  expect(dead).toEqual([]);
  for (const document of readdirSync(path.join(root, "docs"))) expect(document).toMatch(/^([a-z-]+\.md|languages)$/);
});
