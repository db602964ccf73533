/**
 * `npm test [-- JEST-ARGUMENTS]`: sets up, runs jest over tests/, names every skipped test with its reason, and ends
 * with the line `N passed, N failed, N skipped`.
 */
const { spawn } = require("node:child_process");
const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");
const { runMain, setup } = require("./setup.js");

const root = path.join(__dirname, "..");

/** Counts and skipped names of jest's result; a suite that could not run counts as one failure. */
function summarize(result) {
  const skipped = result.testResults.flatMap((suite) =>
    suite.assertionResults
      .filter((test) => test.status !== "passed" && test.status !== "failed")
      .map((test) => `${path.relative(root, suite.name)}: ${test.fullName}`),
  );
  return {
    passed: result.numPassedTests,
    failed: result.numFailedTests + result.numRuntimeErrorTestSuites,
    skipped,
  };
}

function runJest(args, env) {
  const jest = path.join(root, "node_modules/jest/bin/jest.js");
  const child = spawn(process.execPath, [jest, ...args], { cwd: root, env, stdio: ["ignore", "inherit", "inherit"] });
  return new Promise((resolve, reject) => {
    child.once("error", reject).once("close", (code) => resolve(code ?? 1));
  });
}

async function main() {
  const { pathEntries } = await setup();
  const args = process.argv.slice(2);
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "jest-result-"));
  try {
    const resultFile = path.join(folder, "result.json");
    const env = { ...process.env, PATH: [...pathEntries, process.env.PATH].join(path.delimiter) };
    const code = await runJest(["--json", `--outputFile=${resultFile}`, ...args], env);
    const { passed, failed, skipped } = fs.existsSync(resultFile)
      ? summarize(JSON.parse(fs.readFileSync(resultFile, "utf8")))
      : { passed: 0, failed: 1, skipped: [] };
    // With a name pattern nearly all tests are skipped, and by wish.
    if (!args.some((arg) => /^(-t|--testNamePattern)/.test(arg))) {
      for (const name of skipped) console.log(`skipped: ${name}`);
    }
    // Jest can fail without a failed test, for instance when a run was interrupted.
    const unnamed = code !== 0 && failed === 0 ? 1 : 0;
    console.log(`${passed} passed, ${failed + unnamed} failed, ${skipped.length} skipped`);
    process.exitCode = failed + unnamed === 0 ? 0 : 1;
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
  }
}

module.exports = { summarize };
if (require.main === module) runMain(main);
