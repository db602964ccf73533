/**
 * Prints provider/args.ts and provider/inputs/validate.ts from schema.json: `npm run generate`. With `--check` it writes
 * nothing and exits with 1 when a file is not what it would print.
 */
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { generateValidator } from "./generateValidator";

/** A property or type in schema.json, as far as this package uses the form. */
export interface TypeSpec {
  readonly type?: string;
  readonly $ref?: string;
  readonly items?: TypeSpec;
  readonly additionalProperties?: TypeSpec;
  readonly oneOf?: readonly TypeSpec[];
  readonly description?: string;
  readonly secret?: boolean;
}

interface ObjectSpec {
  readonly description?: string;
  readonly properties?: Readonly<Record<string, TypeSpec>>;
  readonly required?: readonly string[];
  readonly enum?: readonly { readonly value: string; readonly description?: string }[];
}

/** schema.json, as far as this package uses the form. */
export interface PackageSpec {
  readonly name: string;
  readonly types: Readonly<Record<string, ObjectSpec>>;
  readonly resources: Readonly<
    Record<
      string,
      ObjectSpec & {
        readonly inputProperties: Readonly<Record<string, TypeSpec>>;
        readonly requiredInputs?: readonly string[];
      }
    >
  >;
}

/** `args`: what a program passes, pulumi.Input at every level. `inputs`: the same after resolution. `outputs`: results. */
type Shape = "args" | "inputs" | "outputs";

const HEADER = `/**
 * The inputs and outputs of the resource. Generated from schema.json by tools/generateTypes.ts: edit that, not this.
 *
 * \`…Args\` is what a program passes (pulumi.Input at every level), \`…Inputs\` the same after resolution, which is what
 * the provider works on. Lengths of time are seconds unless a comment says otherwise.
 */
import type * as pulumi from "@pulumi/pulumi";
`;

/** The text of provider/args.ts for a schema, not yet formatted. Throws on a form that it does not know. */
export function generateTypes(schema: PackageSpec): string {
  const [resource] = Object.values(schema.resources);
  const [token] = Object.keys(schema.resources);
  if (resource === undefined || token === undefined) throw new Error("schema.json describes no resource");
  const resourceName = shortName(token);
  const inputTypes = reachable(schema, Object.values(resource.inputProperties));
  const outputTypes = reachable(schema, Object.values(resource.properties ?? {})).filter(
    (t) => !inputTypes.includes(t),
  );

  const print = (name: string, spec: ObjectSpec, shape: Shape, parent = ""): string => {
    const fields = Object.entries(spec.properties ?? {}).map(([key, property]) => {
      const optional = spec.required?.includes(key) !== true;
      // A program may well pass `undefined` on; what is resolved leaves the property out.
      const type = typeText(schema, property, shape) + (optional && shape === "args" ? " | undefined" : "");
      const note = property.secret === true ? " A secret: pass a secret output or configuration value." : "";
      // The resolved shape is the same properties again: it does not repeat what they mean.
      const text = shape === "inputs" ? "" : doc(`${property.description ?? ""}${note}`, "  ");
      return `${text}  ${shape === "args" ? "" : "readonly "}${key}${optional ? "?" : ""}: ${type};\n`;
    });
    return `${doc(spec.description ?? "", "")}export interface ${name}${parent} {\n${fields.join("")}}\n`;
  };
  const printEnum = (name: string, spec: ObjectSpec): string => {
    const values = (spec.enum ?? []).map((e) => `\`${e.value}\`: ${e.description ?? ""}`);
    const text = [spec.description ?? "", ...values].join("\n");
    return `${doc(text, "")}export type ${name} = ${(spec.enum ?? []).map((e) => JSON.stringify(e.value)).join(" | ")};\n`;
  };

  const parts: string[] = [HEADER];
  const summary = (resource.description ?? "").split("\n")[0] ?? "";
  const inputs = { properties: resource.inputProperties, required: resource.requiredInputs ?? [] };
  const found = Object.entries(resource.properties ?? {}).filter(([key]) => !(key in resource.inputProperties));
  parts.push(
    print(`${resourceName}Args`, { ...inputs, description: `${summary}\nThis is what a program passes.` }, "args"),
    print(`${resourceName}Inputs`, { ...inputs, description: `${resourceName}Args after resolution.` }, "inputs"),
    print(
      `${resourceName}Outputs`,
      {
        properties: Object.fromEntries(found),
        required: resource.required ?? [],
        description: `The outputs of ${resourceName}: the inputs at their own paths, and what was found.`,
      },
      "outputs",
      ` extends ${resourceName}Inputs`,
    ),
  );
  for (const type of inputTypes) {
    const spec = specOf(schema, type);
    if (spec.enum !== undefined) parts.push(printEnum(type, spec));
    else {
      parts.push(print(`${type}Args`, spec, "args"));
      parts.push(print(`${type}Inputs`, { ...spec, description: `${type}Args after resolution.` }, "inputs"));
    }
  }
  for (const type of outputTypes) {
    const spec = specOf(schema, type);
    parts.push(spec.enum !== undefined ? printEnum(type, spec) : print(type, spec, "outputs"));
  }
  return parts.join("\n");
}

/** The generated text as the project's formatter wants it. */
export function formatTypes(text: string, root: string): string {
  const biome = require.resolve("@biomejs/biome/bin/biome", { paths: [root] });
  return execFileSync(process.execPath, [biome, "format", "--stdin-file-path=provider/args.ts"], {
    cwd: root,
    input: text,
    encoding: "utf8",
    stdio: ["pipe", "pipe", "pipe"],
  });
}

const shortName = (token: string): string => token.slice(token.lastIndexOf(":") + 1);
const refName = (ref: string): string => shortName(ref.slice(ref.lastIndexOf("/") + 1));

function specOf(schema: PackageSpec, name: string): ObjectSpec {
  const spec = schema.types[`${schema.name}:index:${name}`];
  if (spec === undefined) throw new Error(`schema.json has no type ${name}`);
  return spec;
}

/** Names of all types that properties lead to, in the order of first mention. */
function reachable(schema: PackageSpec, properties: readonly TypeSpec[], seen: string[] = []): string[] {
  for (const property of properties) {
    if (property.$ref !== undefined) {
      const name = refName(property.$ref);
      if (!seen.includes(name)) {
        seen.push(name);
        reachable(schema, Object.values(specOf(schema, name).properties ?? {}), seen);
      }
    }
    const inner = [property.items, property.additionalProperties].filter((t) => t !== undefined);
    reachable(schema, inner, seen);
  }
  return seen;
}

function typeText(schema: PackageSpec, spec: TypeSpec, shape: Shape): string {
  const input = (text: string): string => (shape === "args" ? `pulumi.Input<${text}>` : text);
  const readonly = shape === "args" ? "" : "readonly ";
  if (spec.$ref !== undefined) {
    const name = refName(spec.$ref);
    if (specOf(schema, name).enum !== undefined) return input(name);
    const suffix = shape === "args" ? "Args" : isInputType(schema, name) ? "Inputs" : "";
    return input(name + suffix);
  }
  if (spec.oneOf !== undefined) return input(spec.oneOf.map((s) => primitive(s.type)).join(" | "));
  if (spec.type === "array" && spec.items !== undefined) {
    const item = typeText(schema, spec.items, shape);
    return input(`${readonly}${item}[]`);
  }
  if (spec.type === "object" && spec.additionalProperties !== undefined) {
    return input(`{ ${readonly}[name: string]: ${typeText(schema, spec.additionalProperties, shape)} }`);
  }
  return input(primitive(spec.type));
}

function isInputType(schema: PackageSpec, name: string): boolean {
  const [resource] = Object.values(schema.resources);
  return reachable(schema, Object.values(resource?.inputProperties ?? {})).includes(name);
}

function primitive(type: string | undefined): string {
  if (type === "integer" || type === "number") return "number";
  if (type === "string" || type === "boolean") return type;
  throw new Error(`schema.json uses a form that the generator does not know: type ${type}`);
}

/** A doc comment, wrapped at 120 columns; a line end in the text stays one. */
function doc(text: string, indent: string): string {
  if (text === "") return "";
  const width = 120 - indent.length - 3;
  const lines = text
    .replaceAll("*/", "*\\/")
    .split("\n")
    .flatMap((line) => wrap(line, width));
  const [first = ""] = lines;
  if (lines.length === 1 && first.length + 4 <= width) return `${indent}/** ${first} */\n`;
  return `${indent}/**\n${lines.map((l) => `${indent} * ${l}\n`).join("")}${indent} */\n`;
}

function wrap(line: string, width: number): string[] {
  const lines: string[] = [];
  let current = "";
  for (const word of line.split(" ")) {
    if (current !== "" && current.length + 1 + word.length > width) {
      lines.push(current);
      current = word;
    } else current = current === "" ? word : `${current} ${word}`;
  }
  return [...lines, current];
}

/** The project's folder: the nearest one above that has schema.json, from tools/ as from a compiled copy. */
function projectRoot(from: string): string {
  if (existsSync(path.join(from, "schema.json"))) return from;
  const parent = path.dirname(from);
  if (parent === from) throw new Error("schema.json is in no folder above this program");
  return projectRoot(parent);
}

if (require.main === module) {
  const root = projectRoot(__dirname);
  const schema = JSON.parse(readFileSync(path.join(root, "schema.json"), "utf8")) as PackageSpec;
  for (const [name, text] of [
    ["provider/args.ts", formatTypes(generateTypes(schema), root)],
    ["provider/inputs/validate.ts", generateValidator(schema)],
  ] as const) {
    const target = path.join(root, name);
    if (!process.argv.includes("--check")) writeFileSync(target, text);
    else if (!existsSync(target) || readFileSync(target, "utf8") !== text) {
      console.error(`${name} is not what schema.json says: run \`npm run generate\``);
      process.exitCode = 1;
    }
  }
}
