// Compiles provider/ to dist/ and puts the host scripts beside the code that sends them.
const { execFileSync } = require("node:child_process");
const { cpSync, rmSync } = require("node:fs");
const path = require("node:path");

const root = path.join(__dirname, "..");
rmSync(path.join(root, "dist"), { recursive: true, force: true });
execFileSync(process.execPath, [require.resolve("typescript/bin/tsc"), "-p", "tsconfig.build.json"], {
  cwd: root,
  stdio: "inherit",
});
cpSync(path.join(root, "provider/host/scripts"), path.join(root, "dist/host/scripts"), { recursive: true });
