/**
 * Private keys given as text: each lives in an ssh-agent of our own, which ends with this process, and is never
 * written to disk.
 */
import { createHash, randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import path from "node:path";
import { KeepaliveError, printable } from "../errors";
import { openAskpass, promptKind } from "./askpass";
import { processFolder } from "./controlFolder";
import { type Companion, spawnBounded, spawnCompanion } from "./spawn";

/** How long an agent keeps a key, seconds (ssh-add -t); the key is added again after three quarters of it. */
const KEY_LIFE = 3600;

interface HeldKey {
  readonly companion: Companion;
  readonly socket: string;
  readonly addedAt: number;
}

const held = new Map<string, Promise<HeldKey>>();

/** Where a bad key or passphrase is to be blamed. */
export interface KeySource {
  /** The host's name in the `hosts` map. */
  readonly host: string;
  /** Name of the property that holds the key: `privateKey` or `proxy.privateKey`. */
  readonly property: string;
}

/**
 * The path of an agent's socket that holds `privateKey` and nothing else; one agent per distinct key and passphrase.
 * Rejects with code `auth`, naming the property, when the key cannot be read or its passphrase is wrong or missing.
 */
export async function agentFor(
  privateKey: string,
  passphrase: string | undefined,
  source: KeySource,
  env: NodeJS.ProcessEnv,
): Promise<string> {
  const id = createHash("sha256")
    .update(JSON.stringify([privateKey, passphrase]))
    .digest("hex");
  const known = held.get(id);
  const fresh = known === undefined ? undefined : await known.catch(() => undefined);
  if (fresh !== undefined && Date.now() - fresh.addedAt < KEY_LIFE * 750 && existsSync(fresh.socket))
    return fresh.socket;
  // Callers that waited for the same stale agent share the new one.
  const other = held.get(id);
  if (other !== undefined && other !== known) return (await other).socket;
  const next = startAgent(privateKey, passphrase, source, env);
  held.set(id, next);
  try {
    const { socket } = await next;
    fresh?.companion.end();
    return socket;
  } catch (error) {
    if (held.get(id) === next) held.delete(id);
    throw error;
  }
}

async function startAgent(
  privateKey: string,
  passphrase: string | undefined,
  source: KeySource,
  env: NodeJS.ProcessEnv,
): Promise<HeldKey> {
  const socket = path.join(processFolder(), `a${randomBytes(4).toString("hex")}`);
  // The agent looks after its child only every ten seconds (ssh-agent.c), so the child ends it when our pipe closes.
  // It must outlive the signal that ends the pipe's reader, or the key would stay in the agent meanwhile.
  const child = 'trap : TERM; echo "$SSH_AGENT_PID"; cat >/dev/null; kill "$SSH_AGENT_PID"';
  const companion = await spawnCompanion("ssh-agent", ["-a", socket, "sh", "-c", child], env, 10_000);
  if (companion === undefined) {
    throw new KeepaliveError({
      code: "host-tools",
      host: source.host,
      step: "connect",
      reason: "ssh-agent, which would hold the private key, could not be started on this machine",
      remedy: "install OpenSSH's client tools, or load the key into an agent yourself and leave privateKey out",
    });
  }
  let asked = 0;
  const askpass = await openAskpass(({ prompt }) => {
    asked += 1;
    return promptKind(prompt) === "passphrase" && asked === 1 ? passphrase : undefined;
  });
  const result = await spawnBounded({
    file: "ssh-add",
    args: ["-q", "-t", String(KEY_LIFE), "-"],
    env: { ...env, ...askpass.env, SSH_AUTH_SOCK: socket },
    input: normaliseKey(privateKey),
    timeoutMs: 20_000,
  }).finally(() => askpass.close());
  if (result.code === 0) return { companion, socket, addedAt: Date.now() };
  companion.end();
  const detail = printable(result.stderr.toString("utf8").trim(), 200);
  throw new KeepaliveError({
    code: "auth",
    host: source.host,
    step: "connect",
    ...keyProblem(asked > 0, passphrase !== undefined, source.property, detail),
  });
}

function keyProblem(
  encrypted: boolean,
  givenPassphrase: boolean,
  property: string,
  detail: string,
): { readonly reason: string; readonly remedy: string } {
  if (!encrypted) {
    return {
      reason: `${property} cannot be read as a private key (${detail})`,
      remedy: "pass the whole text of the key file, its first and last line included",
    };
  }
  return givenPassphrase
    ? { reason: `${property}Password does not open ${property}`, remedy: "correct the passphrase" }
    : { reason: `${property} is encrypted and no passphrase was given`, remedy: `set ${property}Password` };
}

/** Line ends as ssh-add wants them: LF, with one at the end. Configuration secrets often lose or change them. */
function normaliseKey(text: string): string {
  return `${text.replace(/\r\n?/g, "\n").trim()}\n`;
}

/** Ends all agents of this process. They also end by themselves when it does. */
export function closeAgents(): void {
  for (const key of held.values()) {
    void key.then(({ companion }) => companion.end()).catch(() => undefined);
  }
  held.clear();
}
