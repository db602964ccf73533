/**
 * `npm run sdk [-- FOLDER]`: generates the Node.js, Python and Go SDKs from schema.json by Pulumi's own generators, into
 * FOLDER/{nodejs,python,go} (default: sdk/). Needs Go. Prints what Pulumi's binder says of the schema, and fails then.
 */
const { execFileSync } = require("node:child_process");
const fs = require("node:fs");
const path = require("node:path");

const root = path.join(__dirname, "..");

/** Generates all SDKs; `folder`'s own subfolders nodejs, python and go are written anew. Throws when it fails. */
function generateSdks(folder) {
  const program = path.join(root, "build", "generate-sdk");
  const env = { ...process.env, CGO_ENABLED: "0", GOFLAGS: "", GOWORK: "off" };
  const flags = ["-trimpath", "-buildvcs=false"];
  // Go's own cache makes this a matter of a second when nothing has changed.
  execFileSync("go", ["build", ...flags, "-o", program, "."], { cwd: path.join(__dirname, "sdk"), env, stdio: "pipe" });
  for (const language of ["nodejs", "python", "go"]) {
    fs.rmSync(path.join(folder, language), { recursive: true, force: true });
  }
  fs.mkdirSync(folder, { recursive: true });
  execFileSync(program, [path.join(root, "schema.json"), folder], { stdio: "pipe" });
}

module.exports = { generateSdks };
if (require.main === module) {
  const folder = path.resolve(process.argv[2] ?? path.join(root, "sdk"));
  try {
    generateSdks(folder);
    process.stdout.write(`SDKs for Node.js, Python and Go are in ${folder}\n`);
  } catch (error) {
    process.stderr.write(`${error.stderr?.toString() || error.message}\n`);
    process.exitCode = 1;
  }
}
