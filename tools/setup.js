/**
 * Makes a fresh clone ready to test and to demonstrate, from Node.js, npm and Go alone:
 *
 *   node tools/setup.js [--languages yaml,python]
 *
 * npm packages, a Pulumi engine, OpenSSH, and the compiled provider and tools; what is already there is left alone.
 * It runs before `npm ci`, so it is plain JavaScript without dependencies.
 */
const { execFileSync, spawn, spawnSync } = require("node:child_process");
const { createHash } = require("node:crypto");
const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");

const root = path.join(__dirname, "..");

/** The oldest engine that the engine tests were run with; older ones are passed over. */
const MINIMUM_ENGINE = "3.220.0";
/** The release that npm's `pulumi` package is asked to download. */
const DOWNLOAD_VERSION = "3.265.0";
/** The release in tools/engine/cli/go.mod: the newest that the Go module proxy serves complete. */
const BUILD_VERSION = "3.232.0";
/** Patience with the download, in milliseconds: where Pulumi's site cannot be reached at all, it fails at once. */
const DOWNLOAD_TIMEOUT_MS = 60_000;

/** What an engine needs beside `pulumi` to run this project's programs. */
const ENGINE_FILES = ["pulumi", "pulumi-language-nodejs", "pulumi-resource-pulumi-nodejs"];
/** What each further language needs on top. */
const LANGUAGE_FILES = {
  yaml: ["pulumi-language-yaml"],
  python: ["pulumi-language-python", "pulumi-language-python-exec"],
};
/** Where sshd is when it is not on an ordinary user's PATH. */
const SSHD_FOLDERS = ["/usr/sbin", "/usr/local/sbin", "/sbin", "/opt/homebrew/sbin"];

/** A failure that the reader can do something about: printed without a stack. */
class SetupError extends Error {}

const say = (text) => process.stderr.write(`setup: ${text}\n`);
const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** Whether dotted version `have` is at least `want`; a leading `v` or `go` and anything after the numbers are ignored. */
function versionAtLeast(have, want) {
  const numbers = (text) => (/\d+(\.\d+)*/.exec(text)?.[0] ?? "0").split(".").map(Number);
  const a = numbers(have);
  const b = numbers(want);
  for (let i = 0; i < Math.max(a.length, b.length); i++) {
    const difference = (a[i] ?? 0) - (b[i] ?? 0);
    if (difference !== 0) return difference > 0;
  }
  return true;
}

function isExecutable(file) {
  try {
    fs.accessSync(file, fs.constants.X_OK);
    return fs.statSync(file).isFile();
  } catch {
    return false;
  }
}

/** The first executable called `name` in the folders, or undefined. */
function findIn(folders, name) {
  return folders
    .filter((folder) => path.isAbsolute(folder))
    .map((folder) => path.join(folder, name))
    .find(isExecutable);
}

const pathFolders = (env) => (env.PATH ?? "").split(path.delimiter);

/** Runs a long step: its output is kept and shown only if it fails; says every half minute that it still runs. */
async function runStep(what, command, args, { cwd = root, env = process.env, timeoutMs } = {}) {
  say(what);
  const started = Date.now();
  const seconds = () => Math.round((Date.now() - started) / 1000);
  // Its own process group, so that a timeout ends whatever the command started.
  const child = spawn(command, args, { cwd, env, stdio: ["ignore", "pipe", "pipe"], detached: true });
  const kill = () => {
    try {
      process.kill(-child.pid, "SIGKILL");
    } catch {
      // It has just ended by itself.
    }
  };
  const interrupted = (signal) => {
    kill();
    process.exit(128 + os.constants.signals[signal]);
  };
  process.once("SIGINT", interrupted).once("SIGTERM", interrupted);
  const ticker = setInterval(() => say(`  … ${seconds()} s`), 30_000);
  let timedOut = false;
  const timer =
    timeoutMs &&
    setTimeout(() => {
      timedOut = true;
      kill();
    }, timeoutMs);
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text) => {
      output = (output + text).slice(-200_000);
    });
  }
  try {
    const code = await new Promise((resolve, reject) => {
      child.once("error", reject).once("close", resolve);
    });
    if (code === 0) return output;
    const end = timedOut ? `was ended after ${seconds()} s` : `exited with ${code}`;
    throw new SetupError(`${path.basename(command)} ${end}\n${excerpt(output)}`);
  } catch (error) {
    if (error instanceof SetupError) throw error;
    throw new SetupError(`${command} could not be started: ${error.message}`);
  } finally {
    clearInterval(ticker);
    clearTimeout(timer);
    process.off("SIGINT", interrupted).off("SIGTERM", interrupted);
  }
}

/** The beginning, where compilers name what is wrong, and the end, where others do. */
function excerpt(output) {
  const lines = output.trim().split("\n");
  const shown = lines.length <= 40 ? lines : [...lines.slice(0, 15), "…", ...lines.slice(-25)];
  return shown.map((line) => `    ${line}`).join("\n");
}

/**
 * Runs `work` while no other set-up does. The lock only saves double work: what set-up puts in place is moved there
 * in one rename, so two at once would not break each other either.
 */
async function withLock(file, work) {
  fs.mkdirSync(path.dirname(file), { recursive: true });
  for (let waited = false; ; waited = true) {
    try {
      fs.writeFileSync(file, String(process.pid), { flag: "wx" });
      break;
    } catch (error) {
      if (error.code !== "EEXIST") throw error;
    }
    const holder = lockHolder(file);
    if (holder === "gone") fs.rmSync(file, { force: true });
    else {
      if (!waited) say(`waiting for the set-up that already runs (process ${holder})`);
      await sleep(250);
    }
  }
  try {
    return await work();
  } finally {
    fs.rmSync(file, { force: true });
  }
}

/** The process id in a lock file, or "gone" if that process is or the lock is over an hour old. */
function lockHolder(file) {
  try {
    const age = Date.now() - fs.statSync(file).mtimeMs;
    const pid = fs.readFileSync(file, "utf8");
    if (age > 3_600_000) return "gone";
    if (pid === "") return age > 10_000 ? "gone" : "unknown";
    process.kill(Number(pid), 0);
    return pid;
  } catch (error) {
    return error.code === "EPERM" ? "of another user" : "gone";
  }
}

// --- Node.js and npm packages -------------------------------------------------------------------------------------

function checkNode() {
  const { engines } = JSON.parse(fs.readFileSync(path.join(root, "package.json"), "utf8"));
  const wanted = engines.node.replace(/^[^\d]*/, "");
  if (!versionAtLeast(process.version, wanted)) {
    throw new SetupError(
      `Node.js ${wanted} or newer is needed, this is ${process.version}: install it from nodejs.org`,
    );
  }
}

/** Why node_modules does not fit package-lock.json, or undefined if it does: npm's own record against the lock. */
function packagesMisfit(projectRoot = root) {
  const read = (file) => JSON.parse(fs.readFileSync(path.join(projectRoot, file), "utf8")).packages;
  if (!fs.existsSync(path.join(projectRoot, "node_modules/.package-lock.json"))) return "nothing is installed";
  const wanted = read("package-lock.json");
  const installed = read("node_modules/.package-lock.json");
  for (const [name, entry] of Object.entries(wanted)) {
    if (!/(^|\/)node_modules\//.test(name)) continue;
    if (entry.link) {
      if (!fs.existsSync(path.join(projectRoot, name))) return `${name} is missing`;
      continue;
    }
    const present = installed[name];
    // Optional packages are for other platforms: npm leaves them out.
    if (present === undefined && entry.optional) continue;
    if (present?.version !== entry.version || present?.integrity !== entry.integrity) {
      return `${name} is ${present?.version ?? "missing"}, wanted ${entry.version}`;
    }
  }
  return undefined;
}

async function installPackages() {
  const reason = packagesMisfit();
  if (reason === undefined) return;
  // No package here needs its install script, and that of @pulumi/command would download a plugin.
  const flags = ["--ignore-scripts", "--no-audit", "--no-fund"];
  try {
    await runStep(`npm ci (${reason})`, "npm", ["ci", ...flags]);
  } catch (error) {
    // A lock lacks other platforms' optional packages when it was made against a registry that lacks them, and npm ci
    // takes that for a lock out of step. `npm install --no-save` keeps to the same lock and leaves it as it is.
    if (!/Missing: \S+ from lock file/.test(error.message)) throw error;
    await runStep("npm install: the lock lacks packages of other platforms", "npm", ["install", "--no-save", ...flags]);
  }
}

// --- engine -------------------------------------------------------------------------------------------------------

const versionsFolder = (env) => path.join(env.PULUMI_HOME || path.join(os.homedir(), ".pulumi"), "versions");
const versionBin = (env, version) => path.join(versionsFolder(env), version, "bin");
const complete = (folder, files = ENGINE_FILES) => files.every((file) => isExecutable(path.join(folder, file)));

/**
 * The engine that is already on this machine: { pulumi, binDir, kind, version }, with kind "path" (a `pulumi` on
 * PATH with its language host beside it) or "cache" (downloaded or built before); or { reason } if there is none.
 */
function findEngine(env = process.env) {
  const reasons = [];
  const onPath = findIn(pathFolders(env), "pulumi");
  if (onPath === undefined) reasons.push("no pulumi on PATH");
  else {
    // Package managers put a link on PATH. The npm wrapper has nothing beside it; its cache is looked at below.
    const binDir = [path.dirname(onPath), path.dirname(fs.realpathSync(onPath))].find((folder) => complete(folder));
    if (binDir === undefined) reasons.push(`${onPath} has no Node.js language host beside it`);
    else {
      const answer = spawnSync(onPath, ["version"], {
        encoding: "utf8",
        timeout: 30_000,
        env: { ...env, PULUMI_SKIP_UPDATE_CHECK: "true" },
      });
      const version = /\d+\.\d+\.\d+/.exec(answer.stdout ?? "")?.[0];
      if (version !== undefined && versionAtLeast(version, MINIMUM_ENGINE)) {
        return { pulumi: onPath, binDir, kind: "path", version };
      }
      reasons.push(`${onPath} is ${version ?? "of unknown version"}, at least ${MINIMUM_ENGINE} is needed`);
    }
  }
  for (const version of [DOWNLOAD_VERSION, BUILD_VERSION]) {
    const binDir = versionBin(env, version);
    if (complete(binDir)) return { pulumi: path.join(binDir, "pulumi"), binDir, kind: "cache", version };
  }
  reasons.push(`no complete engine in ${versionsFolder(env)}`);
  return { reason: reasons.join("; ") };
}

async function getEngine() {
  const found = findEngine();
  if (found.pulumi !== undefined) return found;
  say(found.reason);
  return withLock(path.join(versionsFolder(process.env), ".setup-lock"), async () => {
    const meanwhile = findEngine();
    if (meanwhile.pulumi !== undefined) return meanwhile;
    try {
      await runStep(
        `downloading Pulumi ${DOWNLOAD_VERSION} with npm's pulumi package`,
        "npm",
        ["exec", "--yes", `--package=pulumi@${DOWNLOAD_VERSION}`, "--", "pulumi", "version"],
        { cwd: os.tmpdir(), env: { ...process.env, PULUMI_VERSION: DOWNLOAD_VERSION }, timeoutMs: DOWNLOAD_TIMEOUT_MS },
      );
      const downloaded = findEngine();
      if (downloaded.pulumi !== undefined) return { ...downloaded, kind: "download" };
      say("the download is not complete");
    } catch (error) {
      if (!(error instanceof SetupError)) throw error;
      say(`no download: ${error.message.trim().split("\n").at(-1).trim()}`);
    }
    say("building the engine from its Go modules instead: some minutes, once per machine");
    const version = `-X github.com/pulumi/pulumi/sdk/v3/go/common/version.Version=${BUILD_VERSION}`;
    await goBuild([
      { module: "hosts", target: "github.com/pulumi/pulumi/sdk/v3/nodejs/cmd/pulumi-language-nodejs" },
      { module: "cli", target: "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi", ldflags: version },
    ]);
    const built = findEngine();
    if (built.pulumi === undefined) throw new SetupError(`the engine was built but is not found: ${built.reason}`);
    return { ...built, kind: "build" };
  });
}

/** Builds and puts language hosts that the engine lacks; returns the folders that PATH needs. */
async function getLanguages(engine, languages) {
  const ownBin = versionBin(process.env, BUILD_VERSION);
  const folders = new Set([engine.binDir]);
  for (const language of languages) {
    const files = LANGUAGE_FILES[language];
    if (engine.binDir !== ownBin && complete(engine.binDir, files)) continue;
    folders.add(ownBin);
    const program =
      language === "yaml"
        ? { module: "yaml", target: ".", name: files[0] }
        : { module: "hosts", target: "github.com/pulumi/pulumi/sdk/v3/python/cmd/pulumi-language-python" };
    // What an older checkout has built may be of other sources.
    const built = () => complete(ownBin, files) && readStamp(ownBin, files[0]) === sourceStamp(program.module);
    if (built()) continue;
    await withLock(path.join(versionsFolder(process.env), ".setup-lock"), async () => {
      if (!built()) await goBuild([program]);
    });
  }
  return [...folders];
}

/** Says which sources a program of tools/engine is of; it lies beside the program. */
const sourceStamp = (module) => fingerprint([path.join("tools/engine", module)]);
const stampFile = (bin, name) => path.join(bin, `.${name}-stamp`);
const readStamp = (bin, name) =>
  fs.existsSync(stampFile(bin, name)) ? fs.readFileSync(stampFile(bin, name), "utf8") : "";

/** Builds Go programs of tools/engine and moves them, with the scripts they need, into this machine's engine cache. */
async function goBuild(programs) {
  for (const { module } of programs) checkGo(module);
  const bin = versionBin(process.env, BUILD_VERSION);
  fs.mkdirSync(bin, { recursive: true });
  // On the same file system as its place, so that each file gets there by one rename.
  const temporary = fs.mkdtempSync(path.join(versionsFolder(process.env), ".build-"));
  try {
    for (const { module, target, name = path.posix.basename(target), ldflags = "" } of programs) {
      const flags = ["-trimpath", "-buildvcs=false", "-ldflags", `-s -w ${ldflags}`];
      await runStep(`go build ${name}`, "go", ["build", ...flags, "-o", path.join(temporary, name), target], {
        cwd: path.join(__dirname, "engine", module),
        env: { ...process.env, CGO_ENABLED: "0", GOFLAGS: "", GOWORK: "off" },
      });
      if (name === "pulumi-language-python") {
        const sources = execFileSync("go", ["list", "-m", "-f", "{{.Dir}}", "github.com/pulumi/pulumi/sdk/v3"], {
          cwd: path.join(__dirname, "engine", module),
          encoding: "utf8",
        }).trim();
        fs.copyFileSync(path.join(sources, "python/cmd", `${name}-exec`), path.join(temporary, `${name}-exec`));
      }
      if (name === "pulumi") {
        const script = "pulumi-resource-pulumi-nodejs";
        fs.copyFileSync(path.join(root, "node_modules/@pulumi/pulumi", script), path.join(temporary, script));
      }
    }
    for (const file of fs.readdirSync(temporary)) {
      fs.chmodSync(path.join(temporary, file), 0o755);
      fs.renameSync(path.join(temporary, file), path.join(bin, file));
    }
    for (const { module, target, name = path.posix.basename(target) } of programs) {
      fs.writeFileSync(stampFile(bin, name), sourceStamp(module));
    }
  } finally {
    fs.rmSync(temporary, { recursive: true, force: true });
  }
}

function checkGo(module) {
  const wanted = /^go (\S+)$/m.exec(fs.readFileSync(path.join(__dirname, "engine", module, "go.mod"), "utf8"))?.[1];
  // Outside the module: inside, an older Go might go and fetch the wanted one before it answers.
  const answer = spawnSync("go", ["env", "GOVERSION", "GOTOOLCHAIN"], { cwd: os.tmpdir(), encoding: "utf8" });
  const [version = "", toolchain = ""] = (answer.stdout ?? "").trim().split("\n");
  // From 1.21 on, Go fetches the toolchain that a module asks for, unless it is told not to.
  const fetches = versionAtLeast(version, "1.21") && toolchain !== "local";
  if (answer.status === 0 && (versionAtLeast(version, wanted) || fetches)) return;
  const found = answer.status === 0 ? `this is ${version}` : "there is none on PATH";
  throw new SetupError(
    `building the engine takes Go ${wanted} or newer and ${found}: install it from go.dev/dl, ` +
      `or put Pulumi's own CLI (${MINIMUM_ENGINE} or newer) on PATH`,
  );
}

// --- OpenSSH ------------------------------------------------------------------------------------------------------

/** What the tests and the demo need of OpenSSH: { sshd, ssh, missing }, missing naming the Debian packages. */
function findOpenSsh(env = process.env) {
  const folders = pathFolders(env);
  const ssh = findIn(folders, "ssh");
  const sshd = findIn([...folders, ...SSHD_FOLDERS], "sshd");
  const clientTools = ssh && findIn(folders, "ssh-keygen") && findIn(folders, "ssh-agent");
  return { ssh, sshd, missing: [...(sshd ? [] : ["openssh-server"]), ...(clientTools ? [] : ["openssh-client"])] };
}

/** sshd as root refuses everything, even `sshd -t`, without its empty folder; on Debian only a service makes it. */
function ensurePrivsepFolder() {
  if (process.getuid?.() === 0 && fs.existsSync("/etc/debian_version")) {
    fs.mkdirSync("/run/sshd", { recursive: true, mode: 0o755 });
  }
}

async function getOpenSsh() {
  let found = findOpenSsh();
  if (found.missing.length > 0) {
    const packages = found.missing.join(" and ");
    const apt = findIn(pathFolders(process.env), "apt-get");
    // Where systemd runs, the package would open port 22: that is for this machine's owner to decide.
    if (process.getuid?.() !== 0 || apt === undefined || fs.existsSync("/run/systemd/system")) {
      throw new SetupError(`OpenSSH is incomplete: install ${packages} (Debian's names) with your package manager`);
    }
    const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
    await runStep(`installing ${packages}`, apt, ["update", "-q"], { env });
    await withoutServiceStart(() =>
      runStep("apt-get install", apt, ["install", "-q", "-y", "--no-install-recommends", ...found.missing], { env }),
    );
    found = findOpenSsh();
    if (found.missing.length > 0) throw new SetupError(`${packages} installed, but still not found on PATH`);
  }
  ensurePrivsepFolder();
  return found;
}

/** Debian asks this file whether a newly installed service may start; a machine that has an answer keeps it. */
async function withoutServiceStart(work) {
  const policy = "/usr/sbin/policy-rc.d";
  if (fs.existsSync(policy)) return work();
  fs.writeFileSync(policy, "#!/bin/sh\nexit 101\n", { mode: 0o755, flag: "wx" });
  try {
    return await work();
  } finally {
    fs.rmSync(policy, { force: true });
  }
}

// --- compiled code ------------------------------------------------------------------------------------------------

/** What is compiled: from which folders and files, into which folder, by which program of node_modules or tools. */
const COMPILED = [
  {
    output: "dist",
    sources: ["provider", "tools/build.js", "tsconfig.json", "tsconfig.build.json"],
    args: ["tools/build.js"],
  },
  {
    output: "build",
    sources: ["provider", "tests/support", "tools", "tsconfig.json", "tsconfig.tools.json"],
    // Types are a check of their own (`npm run lint`).
    args: ["node_modules/typescript/bin/tsc", "-p", "tsconfig.tools.json", "--noCheck"],
  },
];

/** A checksum over the names and bytes of files and of everything below folders: checkouts keep no useful times. */
function fingerprint(sources) {
  const hash = createHash("sha256");
  const add = (name) => {
    const file = path.join(root, name);
    const stat = fs.statSync(file, { throwIfNoEntry: false });
    if (stat?.isDirectory()) for (const entry of fs.readdirSync(file).sort()) add(path.join(name, entry));
    else if (stat?.isFile()) hash.update(`${name}\0${stat.size}\0`).update(fs.readFileSync(file));
  };
  for (const source of sources) add(source);
  return hash.digest("hex");
}

async function compile({ output, sources, args }) {
  const stampFile = path.join(root, "build", `.${output}-stamp`);
  // The folder's own time, so that a `npm run build` by hand in between is noticed.
  const stamp = () => {
    const made = output === "dist" ? fs.statSync(path.join(root, output), { throwIfNoEntry: false })?.mtimeMs : "";
    return `${fingerprint(sources)} ${made}`;
  };
  const upToDate = () => fs.existsSync(stampFile) && fs.readFileSync(stampFile, "utf8") === stamp();
  if (upToDate()) return;
  await withLock(path.join(root, "build", ".setup-lock"), async () => {
    if (upToDate()) return;
    await runStep(`compiling ${output}`, process.execPath, args);
    fs.writeFileSync(stampFile, stamp());
  });
}

// --- all of it ----------------------------------------------------------------------------------------------------

/** The languages of `--languages yaml,python`; throws SetupError for anything else. */
function parseArguments(args) {
  const languages = [];
  for (let i = 0; i < args.length; i++) {
    const [flag, inline] = args[i].split(/=(.*)/s);
    if (flag !== "--languages")
      throw new SetupError(`unknown argument ${args[i]}: there is only --languages yaml,python`);
    languages.push(...(inline ?? args[++i] ?? "").split(",").filter(Boolean));
  }
  const unknown = languages.find((language) => !(language in LANGUAGE_FILES));
  if (unknown !== undefined) throw new SetupError(`no language host for ${unknown}: there are yaml and python`);
  return languages;
}

/**
 * Sets everything up. Returns { pulumi, binDir, kind, version, pathEntries, sshd, ssh }: the engine's executable and
 * folder, where it came from ("path", "cache", "download", "build"), the folders that PATH needs first, and OpenSSH's
 * server and client. Rejects with SetupError.
 */
async function setup({ languages = [] } = {}) {
  checkNode();
  await withLock(path.join(root, "build", ".packages-lock"), installPackages);
  const engine = await getEngine();
  const pathEntries = await getLanguages(engine, languages);
  const { sshd, ssh } = await getOpenSsh();
  for (const target of COMPILED) await compile(target);
  return { ...engine, pathEntries, sshd, ssh };
}

module.exports = {
  BUILD_VERSION,
  ENGINE_FILES,
  MINIMUM_ENGINE,
  SetupError,
  ensurePrivsepFolder,
  findEngine,
  findOpenSsh,
  packagesMisfit,
  parseArguments,
  setup,
  versionAtLeast,
  versionBin,
  withLock,
};

/** Runs a tool's main function; a SetupError is printed without its stack. Used by tools/test.js as well. */
module.exports.runMain = (main) => {
  main().catch((error) => {
    say(error instanceof SetupError ? error.message : (error.stack ?? String(error)));
    process.exitCode = 1;
  });
};

if (require.main === module) {
  module.exports.runMain(async () => {
    const result = await setup({ languages: parseArguments(process.argv.slice(2)) });
    const kinds = { path: "found on PATH", cache: "from the cache", download: "downloaded", build: "built from Go" };
    say(`engine ${result.version} (${kinds[result.kind]}): ${result.pulumi}`);
    say(`PATH needs ${result.pathEntries.join(path.delimiter)}; sshd is ${result.sshd}`);
  });
}
