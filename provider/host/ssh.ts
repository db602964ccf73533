/**
 * The connector over the system's OpenSSH client: one shared connection per target, kept for a while so that the `up`
 * after a `preview` needs no second login, and separate logins where a new one is to be proven.
 */
import { existsSync, rmSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { type Failure, isKeepaliveError, KeepaliveError, printable } from "../errors";
import { agentFor } from "./agent";
import { openAskpass, promptKind, type Question } from "./askpass";
import type { Answer, Connector, Script } from "./connector";
import { controlPath, processFile } from "./controlFolder";
import { beforeClosed, loginFailure } from "./failure";
import { bootstrapCommand } from "./frame";
import { controlShared, runShared } from "./mux";
import { answerOf, type Conversation, converse } from "./session";
import { type Running, spawnBounded } from "./spawn";
import {
  dialSeconds,
  jumpConfig,
  knownHostsText,
  mayAsk,
  type SshPaths,
  type SshVersion,
  sshArguments,
} from "./sshArguments";
import { checkTarget, type SshEndpoint, type SshTarget } from "./target";

/** How to use the client. */
export interface SshConnectorOptions {
  /** The client program, a name on PATH or a path. Default "ssh". */
  readonly sshPath?: string;
  /** The environment that decides about agent, home and temporary folder. Default: this process's own. */
  readonly env?: NodeJS.ProcessEnv;
  /** Seconds that the shared connection stays open after its last use, also after this process. Default 90. */
  readonly persistSeconds?: number;
  /** Milliseconds for authentication, login files and sudo, the dial not included. Default 25,000. */
  readonly loginTimeoutMs?: number;
}

/** Milliseconds for the socket of a shared connection that was told to end to vanish. */
const CONTROL_TIMEOUT = 2_000;
/** Milliseconds until a shell must be ready over a connection that exists; then a new one is tried. */
const REUSE_TIMEOUT = 10_000;
/** Milliseconds after which "unlimited" dialling ends. */
const DIAL_FOREVER = 600_000;

interface Attempt {
  readonly conversation: Conversation;
  /** The host asked for the password a second time. */
  readonly passwordRefused: boolean;
  /** The jump host was given its password. */
  readonly jumpAsked: boolean;
}

const versions = new Map<string, Promise<SshVersion>>();

/** The client's version (`ssh -V`), asked once per process. An unreadable one counts as 7.6, the oldest supported. */
function clientVersion(sshPath: string, env: NodeJS.ProcessEnv): Promise<SshVersion> {
  const key = `${sshPath}\0${env.PATH ?? ""}`;
  let version = versions.get(key);
  if (version === undefined) {
    version = spawnBounded({ file: sshPath, args: ["-V"], env, timeoutMs: 5_000 }).then(({ stderr }) => {
      const found = /OpenSSH_(?:for_Windows_)?(\d+)\.(\d+)/.exec(stderr.toString("latin1"));
      return { major: Number(found?.[1] ?? 7), minor: Number(found?.[2] ?? 6) };
    });
    versions.set(key, version);
  }
  return version;
}

/**
 * What ssh's processes get of the environment: the user's own, so that agents and tickets are found, without what is
 * Pulumi's (passphrases, tokens), and with messages in English.
 */
function clientEnvironment(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const kept = Object.entries(env).filter(
    ([name]) =>
      !/^(PULUMI_|LC_|LANGUAGE$|NODE_OPTIONS$|SSH_ASKPASS)/.test(name) || name.startsWith("PULUMI_SSH_KEEPALIVE_"),
  );
  return { ...Object.fromEntries(kept), LC_ALL: "C" };
}

/**
 * A connector to `target` through OpenSSH's client (7.6 or newer). Nothing happens before the first call; a target
 * that {@link checkTarget} refuses makes every call reject with code `bad-input`.
 */
export function sshConnector(target: SshTarget, options: SshConnectorOptions = {}): Connector {
  const sshPath = options.sshPath ?? "ssh";
  const given = options.env ?? process.env;
  const persistSeconds = options.persistSeconds ?? 90;
  const loginTimeoutMs = options.loginTimeoutMs ?? 25_000;
  let path: string | undefined;
  let opening: Promise<void> | undefined;

  const check = (): void => {
    const [problem] = checkTarget(target);
    if (problem === undefined) return;
    throw new KeepaliveError({
      code: "bad-input",
      host: target.name,
      step: "connect",
      reason: `${printable(problem.property, 100)}: ${problem.reason}`,
      remedy: problem.remedy,
    });
  };

  const socket = (): string => {
    try {
      path ??= controlPath(target, given);
      return path;
    } catch (error) {
      if (!isKeepaliveError(error)) throw error;
      throw new KeepaliveError({ ...error.failure, host: target.name });
    }
  };

  /** Keys into agents and public data into files: what the arguments of one login refer to. */
  const prepare = async (
    shared: string | undefined,
    version: SshVersion,
    env: NodeJS.ProcessEnv,
  ): Promise<SshPaths> => {
    const endpoint = async (
      end: SshEndpoint,
      prefix: string,
    ): Promise<{ readonly knownHosts?: string; readonly agentSocket?: string }> => {
      const { privateKey, privateKeyPassword, hostKey } = end;
      const source = { host: target.name, property: `${prefix}privateKey` };
      return {
        ...(privateKey === undefined
          ? {}
          : { agentSocket: await agentFor(privateKey, privateKeyPassword, source, env) }),
        ...(hostKey === undefined ? {} : { knownHosts: processFile("known_hosts", knownHostsText(end)) }),
      };
    };
    const { proxy } = target;
    const jump =
      proxy === undefined
        ? {}
        : { jumpConfig: processFile("config", jumpConfig(target, await endpoint(proxy, "proxy."), version)) };
    return {
      persistSeconds,
      ...(shared === undefined ? {} : { controlPath: shared }),
      ...(await endpoint(target, "")),
      ...jump,
    };
  };

  /** Whom to become there; another `user` than the target's must only get in, our sudo rights say nothing about it. */
  const becomeFor = (user: string | undefined): SshTarget["become"] =>
    (user !== undefined && user !== target.user) || target.become?.user === target.user ? undefined : target.become;

  /** What the far side's login shell is given. */
  const commandFor = (become: SshTarget["become"]): string =>
    bootstrapCommand(
      become === undefined ? undefined : { user: become.user, withPassword: become.password !== undefined },
    );

  const sudoPassword = (become: SshTarget["become"]): { sudoPassword?: string } =>
    become?.password === undefined ? {} : { sudoPassword: become.password };

  /** One more session on a shared connection. */
  const again = (script: Script, path: string): Promise<Conversation> => {
    const become = becomeFor(undefined);
    return converse({
      start: (watched) => runShared({ path, command: commandFor(become), ...watched }),
      script,
      ...sudoPassword(become),
      loginTimeoutMs: REUSE_TIMEOUT,
    });
  };

  /** One login. */
  const attempt = async (
    script: Script,
    how: { readonly shared?: string; readonly user?: string; readonly onReady?: () => void },
  ): Promise<Attempt> => {
    const env = clientEnvironment(given);
    const version = await clientVersion(sshPath, env);
    const paths = await prepare(how.shared, version, env);
    const become = becomeFor(how.user);
    const args = sshArguments(target, paths, version, commandFor(become), how.user ?? target.user);
    let running: Running | undefined;
    let passwordRefused = false;
    let jumpAsked = false;
    const answers = secretsOnce(
      target,
      () => running?.pid,
      () => {
        passwordRefused = true;
        running?.kill();
      },
      () => {
        jumpAsked = true;
      },
    );
    const asks = mayAsk(target) || (target.proxy !== undefined && mayAsk(target.proxy));
    const askpass = asks ? await openAskpass(answers) : undefined;
    const dial = (dialSeconds(target) ?? 120) + (target.proxy === undefined ? 0 : (dialSeconds(target.proxy) ?? 120));
    try {
      const conversation = await converse({
        start: (watched) =>
          spawnBounded({ file: sshPath, args, env: { ...env, ...askpass?.env }, keepInput: true, ...watched }),
        script,
        ...sudoPassword(become),
        loginTimeoutMs: dial * 1000 + loginTimeoutMs,
        onStart: (started) => {
          running = started;
        },
        ...(how.onReady === undefined ? {} : { onReady: how.onReady }),
      });
      return { conversation, passwordRefused, jumpAsked };
    } finally {
      askpass?.close();
    }
  };

  /** Logs in, dialling again as often as the target allows, and brings back the answer. */
  const login = async (
    script: Script,
    how: { readonly shared?: string; readonly user?: string; readonly onReady?: () => void },
  ): Promise<Answer> => {
    const limit = target.dialErrorLimit ?? 0;
    const until = Date.now() + DIAL_FOREVER;
    for (let tries = 0; ; tries++) {
      let { conversation, passwordRefused, jumpAsked } = await attempt(script, how);
      const mute = jumpIsMute(conversation, target);
      if (how.shared !== undefined && (mute || lostItsOwn(conversation))) {
        if (mute && jumpAsked) throw new KeepaliveError(jumpRefused(target.name));
        const { shared: _, ...alone } = how;
        ({ conversation, passwordRefused } = await attempt(script, alone));
      }
      if (conversation.sent) return answerOf(conversation, target.name, script);
      const failure = loginFailure(conversation, target, passwordRefused);
      const mayDial = limit === -1 ? Date.now() < until : tries < limit;
      if (failure.transient !== true || !mayDial) throw new KeepaliveError(failure);
      await delay(Math.min(500 * 2 ** tries, 5_000));
    }
  };

  const run = async (script: Script): Promise<Answer> => {
    check();
    const shared = socket();
    // One login for calls that come at the same time: the others wait until the first has its shell.
    while (opening !== undefined) await opening;
    let opened = (): void => undefined;
    const mine = new Promise<void>((resolve) => {
      opened = () => {
        if (opening === mine) opening = undefined;
        resolve();
      };
    });
    opening = mine;
    try {
      if (existsSync(shared)) {
        opened();
        const conversation = await again(script, shared);
        if (conversation.sent) return answerOf(conversation, target.name, script);
        const failure = loginFailure(conversation, target);
        if (failure.code === "sudo") throw new KeepaliveError(failure);
        // The connection is dead or full, or there is only its socket. Nothing was sent, so once more over a new one;
        // `stop` lets others finish.
        await controlShared(shared, "stop");
        rmSync(shared, { force: true });
      }
      return await login(script, { shared, onReady: opened });
    } finally {
      opened();
    }
  };

  return {
    name: target.name,
    kind: "ssh",
    run,
    runInNewLogin: async (script, { user } = {}) => {
      check();
      if (user !== undefined) {
        const [problem] = checkTarget({ ...target, user });
        if (problem !== undefined) {
          const { reason, remedy } = problem;
          throw new KeepaliveError({ code: "bad-input", host: target.name, step: "connect", reason, remedy });
        }
      }
      return login(script, user === undefined ? {} : { user });
    },
    close: async () => {
      check();
      const shared = socket();
      if (!existsSync(shared)) return;
      await controlShared(shared, "exit");
      const until = Date.now() + CONTROL_TIMEOUT;
      while (existsSync(shared) && Date.now() < until) await delay(20);
      rmSync(shared, { force: true });
    },
    release: async () => {
      check();
      if (existsSync(socket())) await controlShared(socket(), "stop");
    },
  };
}

/**
 * Whether the jump host failed without a word: ssh drops what the ssh on the jump says while it opens a connection that
 * will persist (sshconnect.c ssh_proxy_connect). A connection that is not shared says why.
 */
function jumpIsMute({ sent, result }: Conversation, { proxy }: SshTarget): boolean {
  return proxy !== undefined && !sent && result.code === 255 && beforeClosed(result.stderr.toString("utf8")) === "";
}

/**
 * Whether the login worked and the connection that it made to be shared was gone before its own session was on it: ssh
 * goes on as a client of that (ssh.c control_persist_detach), and someone else had it end meanwhile. Nothing was sent.
 */
function lostItsOwn({ sent, result }: Conversation): boolean {
  return !sent && result.code === 255 && /^Failed to connect to new control master/m.test(result.stderr.toString());
}

/** No second attempt to learn more: it would be a second failed login. */
function jumpRefused(host: string): Failure {
  return {
    code: "auth",
    host,
    step: "connect",
    reason: "the jump host was given its password and then did not let us through",
    remedy: "check proxy.password, and that the jump host may reach host and port",
  };
}

/**
 * Chooses the answer to what ssh asks. The ssh that we started asks for the target, any other (its child) for the jump
 * host. Each secret is given once; a second question for a password ends the attempt, since even an empty answer would
 * count as a failed login.
 */
function secretsOnce(
  target: SshTarget,
  mainPid: () => number | undefined,
  refused: () => void,
  jumpGiven: () => void,
): (question: Question) => string | undefined {
  const given = new Set<string>();
  return ({ prompt, askerPid }) => {
    const end: SshEndpoint | undefined = askerPid === mainPid() ? target : target.proxy;
    const kind = promptKind(prompt);
    const secret =
      kind === "password"
        ? end?.password
        : kind === "passphrase" && end?.privateKey === undefined
          ? end?.privateKeyPassword
          : undefined;
    if (secret === undefined) return undefined;
    const key = `${end === target ? "target" : "jump"} ${kind}`;
    if (given.has(key)) {
      if (kind === "password") refused();
      return undefined;
    }
    given.add(key);
    if (end !== target) jumpGiven();
    return secret;
  };
}
