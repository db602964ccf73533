/**
 * `npm run plugin [-- FOLDER]`: puts the native plugin together as one folder that needs nothing but Node.js, and as an
 * archive of it, both for `pulumi plugin install resource sshkeepalive VERSION --file …`. Default FOLDER: build/plugin.
 */
const { execFileSync } = require("node:child_process");
const fs = require("node:fs");
const path = require("node:path");

const root = path.join(__dirname, "..");
const NAME = "pulumi-resource-sshkeepalive";

/** Of Pulumi's SDK the plugin uses the messages alone; the rest, and what only that needs, would be 100 MB. */
const PARTS = { "@pulumi/pulumi": { folders: ["proto"], dependencies: ["@grpc/grpc-js", "google-protobuf"] } };

/** Copies a package and what it needs, each to the place under node_modules that it has here. */
function copyPackage(name, from, target, done) {
  const folder = findPackage(name, from);
  if (done.has(folder)) return;
  done.add(folder);
  const place = path.join(target, path.relative(root, folder));
  const { dependencies = {} } = JSON.parse(fs.readFileSync(path.join(folder, "package.json"), "utf8"));
  const part = PARTS[name];
  fs.mkdirSync(place, { recursive: true });
  for (const entry of part ? [...part.folders, "package.json", "LICENSE"] : fs.readdirSync(folder)) {
    if (entry === "node_modules" || !fs.existsSync(path.join(folder, entry))) continue;
    fs.cpSync(path.join(folder, entry), path.join(place, entry), {
      recursive: true,
      dereference: true,
      filter: (file) => !/\.(d\.[cm]?ts|map|md|markdown)$/i.test(file) || /licen[cs]e/i.test(file),
    });
  }
  for (const dependency of part?.dependencies ?? Object.keys(dependencies))
    copyPackage(dependency, folder, target, done);
}

/** A package's folder as Node.js would find it from another one. */
function findPackage(name, from) {
  for (let folder = from; ; folder = path.dirname(folder)) {
    const found = path.join(folder, "node_modules", name);
    if (fs.existsSync(path.join(found, "package.json"))) return found;
    if (folder === path.dirname(folder)) throw new Error(`${name} is not installed`);
  }
}

/** Builds the folder and the archive; returns where they are and the version. dist/ must have been built. */
function buildPlugin(target) {
  const pkg = JSON.parse(fs.readFileSync(path.join(root, "package.json"), "utf8"));
  const folder = path.join(target, `${NAME}-v${pkg.version}`);
  fs.rmSync(folder, { recursive: true, force: true });
  fs.mkdirSync(folder, { recursive: true });
  for (const entry of ["dist", "schema.json", "LICENSE"]) {
    fs.cpSync(path.join(root, entry), path.join(folder, entry), { recursive: true });
  }
  const { name, version, license, dependencies } = pkg;
  fs.writeFileSync(
    path.join(folder, "package.json"),
    JSON.stringify({ name, version, license, dependencies }, null, 2),
  );
  const done = new Set();
  for (const dependency of Object.keys(dependencies)) copyPackage(dependency, root, folder, done);
  // In an installed plugin the executable stands beside dist/, in the npm package in bin/.
  const script = fs.readFileSync(path.join(root, "bin", NAME), "utf8").replace("../dist/", "./dist/");
  fs.writeFileSync(path.join(folder, NAME), script, { mode: 0o755 });
  const archive = `${folder}.tar.gz`;
  execFileSync("tar", ["-czf", archive, "-C", folder, "."]);
  return { folder, archive, version };
}

module.exports = { buildPlugin };
if (require.main === module) {
  execFileSync(process.execPath, [path.join(__dirname, "build.js")], { stdio: "inherit" });
  const { folder, archive, version } = buildPlugin(path.resolve(process.argv[2] ?? path.join(root, "build", "plugin")));
  process.stdout.write(
    `${folder}\n${archive}\npulumi plugin install resource sshkeepalive ${version} --file ${archive}\n`,
  );
}
