/** Programs run by the lab, and waiting for conditions. */
import { execFile } from "node:child_process";
import { setTimeout as pause } from "node:timers/promises";

/** How a program ended. */
export interface Ended {
  /** Exit status; -1 when a signal or the timeout ended it. */
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Input and time limit of a program (milliseconds; default two minutes). */
export interface RunOptions {
  readonly input?: string;
  readonly timeoutMs?: number;
  readonly env?: NodeJS.ProcessEnv;
}

/** Runs a program; a failing one is an answer, not an exception. */
export function run(file: string, args: readonly string[], options: RunOptions = {}): Promise<Ended> {
  const { input = "", timeoutMs = 120_000, env } = options;
  return new Promise((resolve) => {
    const limits = { timeout: timeoutMs, killSignal: "SIGKILL" as const, maxBuffer: 64 * 1024 * 1024 };
    const child = execFile(file, [...args], { ...limits, ...(env && { env }) }, (error, stdout, stderr) => {
      const code = error === null ? 0 : typeof error.code === "number" ? error.code : -1;
      resolve({ code, stdout, stderr: code === -1 ? `${stderr}${error?.message}` : stderr });
    });
    child.stdin?.on("error", () => {});
    child.stdin?.end(input);
  });
}

/** Runs a program that must succeed; resolves to its output. Rejects with what it said. */
export async function must(file: string, args: readonly string[], options: RunOptions = {}): Promise<string> {
  const { code, stdout, stderr } = await run(file, args, options);
  if (code !== 0)
    throw new Error(`${[file, ...args].join(" ").slice(0, 500)} exited with ${code}:\n${stdout}${stderr}`);
  return stdout;
}

/** Waits until the condition holds. Rejects after `timeoutMs` with what was waited for. */
export async function until(
  condition: () => boolean | Promise<boolean>,
  what: string | (() => string),
  timeoutMs = 120_000,
): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (!(await condition())) {
    if (performance.now() > deadline) {
      throw new Error(`waited ${timeoutMs / 1000} s for ${typeof what === "string" ? what : what()}`);
    }
    await pause(25);
  }
}
