/** Prints provider/inputs/validate.ts from schema.json: `npm run generate` (tools/generateTypes.ts). */
import Ajv from "ajv";
import standaloneCode from "ajv/dist/standalone";
import type { PackageSpec, TypeSpec } from "./generateTypes";

const HEADER = `// @ts-nocheck
// Whether inputs have the shape that schema.json describes, as code by ajv: compiling it in each run took longer than all
// other checks. Generated from schema.json by tools/generateValidator.ts: edit that, not this.
`;

/** The text of provider/inputs/validate.ts for a schema. Throws on a form that it does not know. */
export function generateValidator(schema: PackageSpec): string {
  const [resource] = Object.values(schema.resources);
  if (resource === undefined) throw new Error("schema.json describes no resource");
  const types = Object.entries(schema.types).map(([token, type]) => [
    definition(token),
    type.enum === undefined
      ? objectSchema(type.properties, type.required)
      : { type: "string", enum: type.enum.map(({ value }) => value) },
  ]);
  const ajv = new Ajv({
    ...{ allErrors: true, verbose: true, strict: false, strictNumbers: true, inlineRefs: false },
    code: { source: true, esm: true, lines: true },
  });
  const inputs = objectSchema(resource.inputProperties, resource.requiredInputs);
  const code = standaloneCode(ajv, ajv.compile({ ...inputs, $defs: Object.fromEntries(types) }));
  if (/\brequire\(/.test(code)) throw new Error("the validator would need ajv at run time");
  return `${HEADER}${code}\n`;
}

const definition = (token: string): string => token.replaceAll(":", ".");

const objectSchema = (properties: Readonly<Record<string, TypeSpec>> = {}, required: readonly string[] = []) => ({
  type: "object",
  properties: Object.fromEntries(Object.entries(properties).map(([key, type]) => [key, jsonSchema(type)])),
  required,
  additionalProperties: false,
});

function jsonSchema(type: TypeSpec): object {
  if (type.$ref !== undefined) return { $ref: `#/$defs/${definition(type.$ref.replace("#/types/", ""))}` };
  if (type.oneOf !== undefined) return { type: type.oneOf.map((one) => one.type) };
  if (type.items !== undefined) return { type: "array", items: jsonSchema(type.items) };
  if (type.additionalProperties !== undefined) {
    return { type: "object", additionalProperties: jsonSchema(type.additionalProperties) };
  }
  if (type.type === undefined) throw new Error("schema.json uses a form that the generator does not know");
  return { type: type.type };
}
