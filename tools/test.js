/**
 * `npm test [-- JEST-ARGUMENTS]`: sets up, runs jest over tests/, names every skipped test with its reason, and ends
 * with the lab's figures and the line `N passed, N failed, N skipped`. Files with a failure are run once more, alone: on
 * a machine at its limits a real daemon or engine can miss a bound. What passes only then is named, so that it does not
 * stay unseen.
 */
const { spawn } = require("node:child_process");
const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");
const { runMain, setup } = require("./setup.js");

const root = path.join(__dirname, "..");

/** With more failed files than this something is broken, and running them again tells nothing. */
const MOST_FILES_AGAIN = 6;

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

/** Runs jest once and reads its result; undefined when it left none. */
async function runOnce(folder, args, env) {
  const resultFile = path.join(folder, "result.json");
  fs.rmSync(resultFile, { force: true });
  const code = await runJest(["--json", `--outputFile=${resultFile}`, ...args], env);
  return { code, result: fs.existsSync(resultFile) ? JSON.parse(fs.readFileSync(resultFile, "utf8")) : undefined };
}

const failedFiles = (result) =>
  result.testResults.filter((suite) => suite.status === "failed").map((suite) => suite.name);

const failedNames = (result, files) =>
  result.testResults
    .filter((suite) => files.includes(suite.name))
    .flatMap((suite) => suite.assertionResults.filter((t) => t.status === "failed").map((t) => t.fullName));

const passedIn = (result, files) =>
  result.testResults
    .filter((suite) => files.includes(suite.name))
    .flatMap((suite) => suite.assertionResults.filter((t) => t.status === "passed")).length;

async function main() {
  const { pathEntries } = await setup();
  const args = process.argv.slice(2);
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "jest-result-"));
  try {
    const PATH = [...pathEntries, process.env.PATH].join(path.delimiter);
    const figures = path.join(folder, "figures.txt");
    const env = { ...process.env, PATH, SSH_KEEPALIVE_FIGURES: figures };
    const first = await runOnce(folder, args, env);
    let { code } = first;
    const counted = first.result ? summarize(first.result) : { passed: 0, failed: 1, skipped: [] };
    let { passed, failed } = counted;
    const { skipped } = counted;
    const files = first.result === undefined ? [] : failedFiles(first.result);
    if (args.length === 0 && files.length > 0 && files.length <= MOST_FILES_AGAIN) {
      console.log(`\n${files.length} of ${first.result.testResults.length} files had a failure and run again, alone`);
      const again = await runOnce(folder, ["--maxWorkers=1", "--runTestsByPath", ...files], env);
      if (again.result !== undefined) {
        const passedNow = files.filter((file) => !failedFiles(again.result).includes(file));
        for (const name of failedNames(first.result, passedNow)) console.log(`passed only when run again: ${name}`);
        const second = summarize(again.result);
        failed = second.failed;
        passed += second.passed - passedIn(first.result, files);
        code = again.code;
      }
    }
    // With a name pattern nearly all tests are skipped, and by wish.
    if (!args.some((arg) => /^(-t|--testNamePattern)/.test(arg))) {
      for (const name of skipped) console.log(`skipped: ${name}`);
    }
    if (fs.existsSync(figures)) console.log(fs.readFileSync(figures, "utf8"));
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
