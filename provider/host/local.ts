/**
 * The connector to this machine: the same scripts and the same frame through `sh`, without ssh.
 */
import { KeepaliveError } from "../errors";
import type { Answer, Connector, Script } from "./connector";
import { loginFailure } from "./failure";
import { bootstrapArgv } from "./frame";
import { answerOf, converse } from "./session";
import { spawnBounded } from "./spawn";
import { type Become, checkTarget, type SshTarget } from "./target";

/** How to run scripts here. */
export interface LocalConnectorOptions {
  /** Who to be; unset: whoever runs this process. */
  readonly become?: Become;
  /** The environment to choose from. Default: this process's own. */
  readonly env?: NodeJS.ProcessEnv;
}

/** Milliseconds until the shell must be ready: only sudo can take time. */
const LOGIN_TIMEOUT = 30_000;

// A login has little more than these; above all nothing of Pulumi's passphrases and tokens.
const KEPT =
  /^(PATH|HOME|USER|LOGNAME|SHELL|TMPDIR|LANG|XDG_[A-Z_]+|DBUS_SESSION_BUS_ADDRESS|PULUMI_SSH_KEEPALIVE_\w+)$/;

/**
 * A connector to this machine. `name` is the host's name in the `hosts` map. There is no login here:
 * `runInNewLogin` runs a new shell like `run`, whatever user it names, and there is no connection to end.
 */
export function localConnector(name: string, options: LocalConnectorOptions = {}): Connector {
  const target: SshTarget = {
    name,
    host: "localhost",
    hostKeyChecking: "strict",
    ...(options.become === undefined ? {} : { become: options.become }),
  };
  const env = Object.fromEntries(Object.entries(options.env ?? process.env).filter(([key]) => KEPT.test(key)));
  const run = async (script: Script): Promise<Answer> => {
    const { become } = target;
    const [problem] = checkTarget(target);
    if (problem !== undefined) {
      const reason = `${problem.property}: ${problem.reason}`;
      throw new KeepaliveError({ code: "bad-input", host: name, step: "connect", reason, remedy: problem.remedy });
    }
    const [file = "sh", ...args] = bootstrapArgv(
      become === undefined ? undefined : { user: become.user, withPassword: become.password !== undefined },
    );
    const conversation = await converse({
      start: (watched) => spawnBounded({ file, args, env: { ...env, LC_ALL: "C" }, keepInput: true, ...watched }),
      script,
      ...(become?.password === undefined ? {} : { sudoPassword: become.password }),
      loginTimeoutMs: LOGIN_TIMEOUT,
    });
    if (!conversation.sent) throw new KeepaliveError(loginFailure(conversation, target));
    return answerOf(conversation, name, script);
  };
  const nothing = (): Promise<void> => Promise.resolve();
  return { name, kind: "local", run, runInNewLogin: (script) => run(script), close: nothing, release: nothing };
}
