/**
 * Answers what ssh and ssh-add ask through SSH_ASKPASS (ssh(1), ENVIRONMENT). The program they start sends the prompt
 * over a socket in our private folder to this process, which decides. A secret is never in an argument, an environment
 * or a file, and is given at most once to one process, so that no host sees a second failed attempt.
 */
import { randomBytes } from "node:crypto";
import { writeFileSync } from "node:fs";
import { createServer } from "node:net";
import path from "node:path";
import { processFolder } from "./controlFolder";

/** A question, as ssh words it. */
export interface Question {
  readonly prompt: string;
  /** The process that asks: the askpass program's parent. */
  readonly askerPid: number;
}

/** What the prompt asks for, by OpenSSH's own words (sshconnect2.c, sshkey prompts in sshconnect2.c and ssh-add.c). */
export type PromptKind = "password" | "passphrase" | "other";

/** Classifies a prompt; a changed or new password is never answered. */
export function promptKind(prompt: string): PromptKind {
  if (/passphrase for/i.test(prompt)) return "passphrase";
  if (/\b(new|old|current|re-?enter|retype|again|change)\b/i.test(prompt)) return "other";
  return /password[^:]*:\s*$/i.test(prompt) ? "password" : "other";
}

/** The environment that makes ssh ask us, and the way to stop listening for its questions. */
export interface AskpassSession {
  readonly env: Readonly<Record<string, string>>;
  close(): void;
}

// Reads one line of JSON back; exit status 1 without an answer makes ssh go on without one.
const PROGRAM = `#!/bin/sh
exec "$SSH_KEEPALIVE_NODE" -e '
const s = require("net").connect(process.env.SSH_KEEPALIVE_ASKPASS);
let t = "";
s.on("error", () => process.exit(1));
s.on("data", (d) => { t += d; });
s.on("end", () => { if (t === "") process.exit(1); process.stdout.write(JSON.parse(t) + "\\n", () => process.exit(0)); });
s.end(JSON.stringify({ id: process.env.SSH_KEEPALIVE_ASKPASS_ID, prompt: String(process.argv[1]), pid: process.ppid }));
' -- "$1"
`;

type Answerer = (question: Question) => string | undefined;
const sessions = new Map<string, Answerer>();
let listening: Promise<{ readonly socket: string; readonly program: string }> | undefined;

function listen(): Promise<{ readonly socket: string; readonly program: string }> {
  listening ??= new Promise((resolve, reject) => {
    const folder = processFolder();
    const program = path.join(folder, "askpass");
    writeFileSync(program, PROGRAM, { mode: 0o700 });
    const socket = path.join(folder, "ask");
    const server = createServer({ allowHalfOpen: true }, (connection) => {
      let text = "";
      connection.on("error", () => undefined);
      connection.on("data", (chunk: Buffer) => {
        text += chunk.toString("utf8");
        if (text.length > 65_536) connection.destroy();
      });
      connection.on("end", () => {
        const answer = answerTo(text);
        connection.end(answer === undefined ? "" : JSON.stringify(answer));
      });
    });
    server.on("error", reject);
    server.listen(socket, () => resolve({ socket, program }));
    server.unref();
  });
  return listening;
}

function answerTo(text: string): string | undefined {
  try {
    const { id, prompt, pid } = JSON.parse(text) as { id?: unknown; prompt?: unknown; pid?: unknown };
    if (typeof id !== "string" || typeof prompt !== "string" || typeof pid !== "number") return undefined;
    return sessions.get(id)?.({ prompt, askerPid: pid });
  } catch {
    return undefined;
  }
}

/** Opens a session: `answer` is asked for each question, and says undefined to leave it without an answer. */
export async function openAskpass(answer: Answerer): Promise<AskpassSession> {
  const { socket, program } = await listen();
  const id = randomBytes(16).toString("hex");
  sessions.set(id, answer);
  return {
    env: {
      SSH_ASKPASS: program,
      SSH_ASKPASS_REQUIRE: "force",
      // Before OpenSSH 8.4 askpass is used when there is a DISPLAY and no terminal (spawn.ts makes a new session).
      DISPLAY: process.env.DISPLAY ?? ":0",
      SSH_KEEPALIVE_NODE: process.execPath,
      SSH_KEEPALIVE_ASKPASS: socket,
      SSH_KEEPALIVE_ASKPASS_ID: id,
    },
    close: () => void sessions.delete(id),
  };
}
