/** Python with pip's `pulumi`: a virtual environment, made once per checkout and kept in build/. */
import { execFile } from "node:child_process";
import { existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { projectRoot, setupModule } from "../../support/tempFolder";

const run = promisify(execFile);

/** How long pip may take in all, in milliseconds. */
const PATIENCE_MS = 600_000;

let made: Promise<string> | undefined;

/** The environment's bin folder. Rejects where there is no Python 3 or no package index. */
export function pythonBin(): Promise<string> {
  made ??= make();
  return made;
}

async function make(): Promise<string> {
  const folder = join(projectRoot(), "build", "python");
  const stamp = join(folder, ".complete");
  const bin = join(folder, "bin");
  mkdirSync(join(projectRoot(), "build"), { recursive: true });
  const { withLock } = setupModule() as unknown as { withLock<T>(file: string, work: () => Promise<T>): Promise<T> };
  return withLock(join(projectRoot(), "build", ".python-lock"), async () => {
    if (existsSync(stamp)) return bin;
    rmSync(folder, { recursive: true, force: true });
    await run("python3", ["-m", "venv", folder], { timeout: PATIENCE_MS });
    // What generated SDKs ask for, and what builds them.
    const packages = ["pulumi>=3.165,<4", "parver>=0.2.1", "semver>=2.8.1", "setuptools>=61", "wheel"];
    await run(join(bin, "pip"), ["install", "--quiet", "--disable-pip-version-check", ...packages], {
      timeout: PATIENCE_MS,
    });
    writeFileSync(stamp, "");
    return bin;
  });
}
