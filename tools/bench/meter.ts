/** Runs commands one after another under tools/bench/meter.py, which measures each with all it starts. Linux only. */
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { projectRoot, type TempFolder } from "../../tests/support/tempFolder";

/** A program to run; nothing goes through a shell. */
export interface Command {
  readonly argv: readonly string[];
  readonly cwd: string;
  readonly env: Readonly<NodeJS.ProcessEnv>;
}

/** What a command cost the controller; what its sshd processes used is not in it. */
export interface Cost {
  /** Wall-clock seconds from its start to its end. */
  readonly seconds: number;
  /** User and system processor seconds of all its descendants, detached ones and shared connections included. */
  readonly cpu: number;
  /** Most MiB at one time, of all descendants together: PSS, sampled a few times a second. */
  readonly peak: number;
  /** Most MiB of one process, sampled likewise. */
  readonly largest: number;
}

/** How a measured command ended. */
export interface Measured extends Cost {
  /** Exit status, negative for a signal. */
  readonly code: number;
  /** Both streams. */
  readonly output: string;
}

/** Measures one command at a time. */
export interface Meter {
  /** Runs and measures a command; it and all it started are killed after `timeoutSeconds`. */
  run(command: Command, timeoutSeconds: number): Promise<Measured>;
  /** Ends what earlier commands left behind, shared connections above all; resolves to the number of processes. */
  clear(): Promise<number>;
}

/** Starts a meter, which ends with the folder. Its answers reject when it has died. */
export function startMeter(folder: TempFolder): Meter {
  const script = join(projectRoot(), "tools", "bench", "meter.py");
  // The folder's name in its arguments lets the folder's guard find it.
  const child = spawn("python3", ["-u", script, folder.path], { stdio: ["pipe", "pipe", "inherit"] });
  const output = join(folder.path, "output");
  let waiting: { resolve(line: string): void; reject(error: Error): void } | undefined;
  let dead: Error | undefined;
  const die = (error: Error) => {
    dead = error;
    waiting?.reject(error);
  };
  child.once("error", (error) => die(new Error(`python3, which measures, cannot be started: ${error.message}`)));
  child.once("exit", (code) => die(new Error(`the meter ended (${code})`)));
  child.stdin.on("error", () => {});
  createInterface({ input: child.stdout }).on("line", (line) => waiting?.resolve(line));

  const ask = async <T>(request: object): Promise<T> => {
    if (dead !== undefined) throw dead;
    const line = await new Promise<string>((resolve, reject) => {
      waiting = { resolve, reject };
      child.stdin.write(`${JSON.stringify(request)}\n`);
    });
    return JSON.parse(line) as T;
  };
  return {
    run: async (command, timeoutSeconds) => {
      const answer = await ask<Cost & { readonly code: number }>({ ...command, timeout: timeoutSeconds, output });
      return { ...answer, output: readFileSync(output, "utf8") };
    },
    clear: async () => (await ask<{ readonly ended: number }>({ clear: true })).ended,
  };
}
