/**
 * One conversation with a shell, near or far: wait until it is ready (sudo's question answered once on the way), send
 * the script, collect the answer. Knows nothing of ssh; failures of the way in are named by failure.ts.
 */
import { KeepaliveError, printable, type Step } from "../errors";
import type { Answer, Script } from "./connector";
import { frameInput, MAX_ANSWER, newNonce, parseAnswer, READY, SUDO_PROMPT } from "./frame";
import { libScript } from "./scripts";
import type { Running, SpawnResult, Watched } from "./spawn";

/** How to reach the shell, and how long that may take. */
export interface SessionRequest {
  /** Starts what leads to the shell: a process, or a command over a connection that exists. */
  readonly start: (watched: Watched) => Promise<SpawnResult>;
  readonly script: Script;
  /** Secret: what sudo is told when it asks. Undefined: it may not ask. */
  readonly sudoPassword?: string;
  /** Milliseconds until the shell must be ready. */
  readonly loginTimeoutMs: number;
  readonly onStart?: (running: Running) => void;
  /** Called once when the shell is ready. */
  readonly onReady?: () => void;
}

/** How a conversation went. */
export interface Conversation {
  readonly result: SpawnResult;
  /** The script was sent: it may have run, and must not be sent again. */
  readonly sent: boolean;
  /** How often sudo asked for a password. */
  readonly sudoAsked: number;
  readonly nonce: string;
}

/** Default of {@link Script.timeoutMs}. */
const SCRIPT_TIMEOUT = 20_000;
/** How long a process may go on after its answer is complete, milliseconds; something on the host holds its output. */
const LINGER = 2_000;

/** Finds `marker` in a stream: returns how often it has come so far, chunk borders notwithstanding. */
function counter(marker: string): (chunk: Buffer) => number {
  let tail = "";
  let count = 0;
  return (chunk) => {
    const text = tail + chunk.toString("latin1");
    const parts = text.split(marker);
    count += parts.length - 1;
    tail = (parts.at(-1) ?? "").slice(1 - marker.length);
    return count;
  };
}

/** Runs one conversation to its end. */
export async function converse(request: SessionRequest): Promise<Conversation> {
  const nonce = newNonce();
  const input = frameInput(request.script, libScript(), nonce);
  const readies = counter(`\n${READY}\n`);
  const prompts = counter(SUDO_PROMPT);
  const ends = counter(`\n${nonce} end `);
  let sent = false;
  let ended = false;
  let sudoAsked = 0;
  const result = await request.start({
    timeoutMs: request.loginTimeoutMs,
    maxStdout: MAX_ANSWER,
    ...(request.onStart === undefined ? {} : { onStart: request.onStart }),
    onStdout: (chunk, running) => {
      if (!sent && readies(chunk) > 0) {
        sent = true;
        running.deadline(request.script.timeoutMs ?? SCRIPT_TIMEOUT);
        running.write(input);
        running.endInput();
        request.onReady?.();
      }
      if (sent && !ended && ends(chunk) > 0) {
        ended = true;
        running.deadline(LINGER);
      }
    },
    onStderr: (chunk, running) => {
      const count = prompts(chunk);
      if (sent || count === sudoAsked) return;
      sudoAsked = count;
      // A second question means that the password was wrong: one attempt only, accounts get locked.
      if (count === 1 && request.sudoPassword !== undefined) running.write(`${request.sudoPassword}\n`);
      else running.kill();
    },
  });
  return { result, sent, sudoAsked, nonce };
}

/**
 * The answer of a conversation whose script was sent. Throws a KeepaliveError with code timeout or protocol when it is
 * not complete.
 */
export function answerOf(conversation: Conversation, host: string, script: Script): Answer {
  const { result, nonce } = conversation;
  const step: Step = script.step ?? "connect";
  const fail = (code: "timeout" | "protocol", reason: string, remedy: string): KeepaliveError =>
    new KeepaliveError({ code, host, step, reason, remedy });
  if (result.overflow) {
    return raise(
      fail("protocol", "the host sent more than 9 MiB", "look at what its login files and the script's tools print"),
    );
  }
  const parsed = parseAnswer(result.stdout, nonce);
  if ("answer" in parsed) return parsed.answer;
  if (result.timedOut) {
    const seconds = (script.timeoutMs ?? SCRIPT_TIMEOUT) / 1000;
    return raise(
      fail(
        "timeout",
        `${script.name} had no complete answer after ${seconds} s`,
        "see whether the host is overloaded or a command on it hangs",
      ),
    );
  }
  const said = lastWords(result.stderr);
  return raise(
    fail(
      "protocol",
      `the answer to ${script.name} is not usable: ${parsed.problem}${said === "" ? "" : ` (the host said: ${said})`}`,
      "try again; if it happens again, run `ssh HOST sh` by hand and look at what it prints",
    ),
  );
}

function raise(error: KeepaliveError): never {
  throw error;
}

/** The last line or two of what a process said on stderr, our prompt and blanks removed, made printable. */
export function lastWords(stderr: Buffer, max = 300): string {
  const lines = stderr
    .toString("utf8")
    .replaceAll(SUDO_PROMPT, "")
    .split(/[\r\n]+/)
    .map((line) => line.trim())
    .filter((line) => line !== "" && !/^@+$/.test(line));
  return printable(lines.slice(-2).join(" / ").slice(-max), max);
}
