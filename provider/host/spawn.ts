/**
 * The one place of the package that starts processes: bounded output, bounded time, and an end for the whole process
 * group. Arguments are lists; nothing here goes through a shell.
 */
import { type ChildProcess, spawn } from "node:child_process";
import type { Readable } from "node:stream";

/** What a watcher of a running process may do to it. */
export interface Running {
  /** The child's process id, undefined if it could not be started or is no process. */
  readonly pid: number | undefined;
  /** Writes to its stdin; a process that no longer reads is no error. */
  write(data: string | Buffer): void;
  /** Closes its stdin. */
  endInput(): void;
  /** Ends it; a process group by SIGTERM, half a second later SIGKILL. */
  kill(): void;
  /** Sets a new deadline, `ms` milliseconds from now. */
  deadline(ms: number): void;
}

/** Bounds and watchers of something that runs. */
export interface Watched {
  /** Milliseconds after which it is ended. */
  readonly timeoutMs: number;
  /** Most bytes of stdout; more ends it with `overflow`. Default 1 MiB. */
  readonly maxStdout?: number;
  /** How many of the last bytes of stderr are kept. Default 64 KiB. */
  readonly maxStderr?: number;
  readonly onStart?: (running: Running) => void;
  readonly onStdout?: (chunk: Buffer, running: Running) => void;
  readonly onStderr?: (chunk: Buffer, running: Running) => void;
}

/** What to run, and its bounds; what is ended is the whole process group. */
export interface SpawnRequest extends Watched {
  /** A name to be found on PATH, or an absolute path. */
  readonly file: string;
  readonly args: readonly string[];
  /** The whole environment. Default: this process's own. */
  readonly env?: NodeJS.ProcessEnv;
  /** Written to stdin, which is then closed. Absent: closed at once, unless `keepInput`. */
  readonly input?: string | Buffer;
  /** Leaves stdin open for a watcher to write to. Default false. */
  readonly keepInput?: boolean;
}

/** How it ended. Never an exception: a process that could not be started has `error`. */
export interface SpawnResult {
  /** Exit status, null if a signal ended it or it never ran. */
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: Buffer;
  readonly stderr: Buffer;
  readonly timedOut: boolean;
  /** stdout passed its bound. */
  readonly overflow: boolean;
  /** Why it could not be started (`code` ENOENT: no such program). */
  readonly error?: NodeJS.ErrnoException;
}

/** Between SIGTERM and SIGKILL, milliseconds. */
const KILL_AFTER = 500;
/** How long stderr is still awaited after the exit, milliseconds: an ssh that stays as a master may hold it open. */
const DRAIN = 300;

/** How long stdout is still awaited after the exit, milliseconds; it is only held open by something gone astray. */
const HELD_OPEN = 3_000;

const running = new Set<ChildProcess>();

function signalGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, signal);
  } catch {
    // Already gone.
  }
}

process.on("exit", () => {
  for (const child of running) signalGroup(child, "SIGTERM");
});

/** What something printed, kept within its bounds. */
export interface Output {
  readonly stdout: (chunk: Buffer) => void;
  readonly stderr: (chunk: Buffer) => void;
  /** What was kept. */
  readonly kept: () => Pick<SpawnResult, "stdout" | "stderr" | "overflow">;
}

/** Keeps what `running` prints and tells its watchers; ends it when that is too much. */
export function outputOf(watched: Watched, running: Running): Output {
  const { maxStdout = 1024 * 1024, maxStderr = 64 * 1024 } = watched;
  const out: Buffer[] = [];
  let err: Buffer = Buffer.alloc(0);
  let size = 0;
  let overflow = false;
  return {
    stdout: (chunk) => {
      if (overflow) return;
      size += chunk.length;
      if (size > maxStdout) {
        overflow = true;
        running.kill();
        return;
      }
      out.push(chunk);
      watched.onStdout?.(chunk, running);
    },
    stderr: (chunk) => {
      err = Buffer.concat([err, chunk]).subarray(-maxStderr);
      watched.onStderr?.(chunk, running);
    },
    kept: () => ({ stdout: Buffer.concat(out), stderr: err, overflow }),
  };
}

/** Runs one process to its end, in a session of its own (no terminal, so nothing can ask the user past us). */
export function spawnBounded(request: SpawnRequest): Promise<SpawnResult> {
  return new Promise((resolve) => {
    const child = spawn(request.file, request.args, {
      env: request.env ?? process.env,
      stdio: ["pipe", "pipe", "pipe"],
      detached: true,
    });
    const { stdin, stdout, stderr } = child;
    running.add(child);
    let timedOut = false;
    let settled = false;
    let killTimer: NodeJS.Timeout | undefined;
    let drainTimer: NodeJS.Timeout | undefined;
    let exit: { code: number | null; signal: NodeJS.Signals | null } | undefined;

    const kill = (): void => {
      // After the exit the number may be another process's.
      if (killTimer !== undefined || exit !== undefined) return;
      signalGroup(child, "SIGTERM");
      killTimer = setTimeout(() => signalGroup(child, "SIGKILL"), KILL_AFTER);
    };
    const expire = (): void => {
      timedOut = true;
      kill();
    };
    let timer = setTimeout(expire, request.timeoutMs);
    const control: Running = {
      pid: child.pid,
      write: (data) => void (stdin.writable && stdin.write(data)),
      endInput: () => void stdin.end(),
      kill,
      deadline: (ms) => {
        clearTimeout(timer);
        if (!settled) timer = setTimeout(expire, ms);
      },
    };
    const output = outputOf(request, control);
    const settle = (error?: NodeJS.ErrnoException): void => {
      if (settled) return;
      settled = true;
      clearTimeout(timer);
      clearTimeout(killTimer);
      // It would keep this process alive for nothing.
      clearTimeout(drainTimer);
      running.delete(child);
      for (const stream of [stdin, stdout, stderr]) stream.destroy();
      resolve({
        code: exit?.code ?? null,
        signal: exit?.signal ?? null,
        ...output.kept(),
        timedOut,
        ...(error === undefined ? {} : { error }),
      });
    };

    // EPIPE: the process ended without reading all; its exit status says more.
    stdin.on("error", () => undefined);
    stdout.on("data", (chunk: Buffer) => {
      if (!settled) output.stdout(chunk);
    });
    stderr.on("data", (chunk: Buffer) => {
      if (!settled) output.stderr(chunk);
    });
    child.on("error", (error) => {
      if (child.pid === undefined) settle(error);
    });
    // A busy event loop runs timers before it reads what has long arrived: no timer alone may end the reading.
    const settleAfter = (ms: number): void => {
      clearTimeout(drainTimer);
      if (!settled) drainTimer = setTimeout(() => setImmediate(() => settle()), ms);
    };
    let stdoutEnded = false;
    stdout.on("end", () => {
      stdoutEnded = true;
      if (exit !== undefined) settleAfter(DRAIN);
    });
    child.on("exit", (code, signal) => {
      exit = { code, signal };
      if (killTimer === undefined) clearTimeout(timer);
      settleAfter(stdoutEnded ? DRAIN : HELD_OPEN);
    });
    child.on("close", () => settle());
    request.onStart?.(control);
    if (request.input !== undefined) stdin.end(request.input);
    else if (request.keepInput !== true) stdin.end();
  });
}

/** A process that lives as long as this one, or until `end`. */
export interface Companion {
  readonly pid: number;
  /** The first line it printed. */
  readonly line: string;
  /** Closes its stdin and sends it SIGTERM. */
  end(): void;
}

/**
 * Starts a process whose stdin is a pipe that closes when this process ends, however it ends; it should end then. It
 * neither keeps this process alive nor hears the terminal's signals. Resolves with its first line of stdout, undefined
 * if none comes within `timeoutMs` (the process is then ended).
 */
export function spawnCompanion(
  file: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv,
  timeoutMs: number,
): Promise<Companion | undefined> {
  return new Promise((resolve) => {
    const child = spawn(file, args, { env, stdio: ["pipe", "pipe", "ignore"], detached: true });
    const { stdin, stdout } = child;
    let text = "";
    const end = (): void => {
      stdin.destroy();
      signalGroup(child, "SIGTERM");
    };
    const settle = (companion: Companion | undefined): void => {
      clearTimeout(timer);
      if (companion === undefined) end();
      child.unref();
      for (const stream of [stdin, stdout]) unref(stream);
      resolve(companion);
    };
    const timer = setTimeout(() => settle(undefined), timeoutMs);
    stdin.on("error", () => undefined);
    child.on("error", () => settle(undefined));
    child.on("exit", () => settle(undefined));
    stdout.on("data", (chunk: Buffer) => {
      text += chunk.toString("latin1");
      const newline = text.indexOf("\n");
      if (newline !== -1 && child.pid !== undefined) settle({ pid: child.pid, line: text.slice(0, newline), end });
    });
  });
}

function unref(stream: Readable | NodeJS.WritableStream): void {
  if ("unref" in stream && typeof stream.unref === "function") stream.unref();
}
