/** The connector against real sshd processes: what it brings back, what it shares, what it refuses, what it leaks. */
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import path from "node:path";
import ts from "typescript";
import { isKeepaliveError } from "../../provider/errors";
import {
  type Connector,
  closeAgents,
  isRetryable,
  type Script,
  type SshTarget,
  sshConnector,
} from "../../provider/host";
import { controlPath, privateFolder } from "../../provider/host/controlFolder";
import { below } from "../support/below";
import { type LightHost, startLightHost } from "../support/lightHost";
import { makeTempFolder, projectRoot, setupModule } from "../support/tempFolder";
import { until } from "../support/until";

/** Of this run alone: all processes of this machine are searched for them, another run's too. */
const PASS_PHRASE = `a pass phrase ${randomBytes(6).toString("hex")}`;
const PASSWORD = `correct horse ${randomBytes(6).toString("hex")}`;

const folder = makeTempFolder();
// Control sockets, agents and masters live and end with the folder.
process.env.TMPDIR = folder.path;
process.env.XDG_RUNTIME_DIR = "";
process.env.SSH_AUTH_SOCK = "";

let host: LightHost;
const servers: Server[] = [];
beforeAll(async () => {
  host = await startLightHost({ folder, extraLines: ["LogLevel VERBOSE", "MaxStartups 100"] });
});
afterAll(async () => {
  closeAgents();
  for (const server of servers) server.close();
  await host.stop();
  await folder.remove();
});

const targetOf = (light: LightHost, more: Partial<SshTarget> = {}): SshTarget => ({
  name: "web-1",
  hostKeyChecking: "strict",
  ...light.connection,
  ...more,
});
const target = (more: Partial<SshTarget> = {}): SshTarget => targetOf(host, more);

const say = (text: string, data: Script["data"] = [], timeoutMs = 60_000): Script => ({
  name: "observe",
  step: "observe",
  text: `main() {\n${text}\nfinish\n}`,
  data,
  timeoutMs,
});
const HELLO = say('record hello "$SSH_CONNECTION"');

async function accepted(light: LightHost): Promise<number> {
  return (await light.log()).split("\n").filter((line) => /^Accepted (publickey|password)/.test(line)).length;
}

/** Runs `work` and returns how many logins it took. */
async function logins(light: LightHost, work: () => Promise<unknown>): Promise<number> {
  const before = await accepted(light);
  await work();
  return (await accepted(light)) - before;
}

async function failureOf(work: Promise<unknown>) {
  const error: unknown = await work.then(
    () => new Error("it worked"),
    (e: unknown) => e,
  );
  if (!isKeepaliveError(error)) throw error;
  return error.failure;
}

function masterPid(of: SshTarget): number {
  const said = spawnSync("ssh", [
    "-F",
    "none",
    "-S",
    controlPath(of, process.env),
    "-O",
    "check",
    "x",
  ]).stderr.toString();
  const pid = Number(/pid=(\d+)/.exec(said)?.[1]);
  if (!Number.isInteger(pid)) throw new Error(`no master: ${said}`);
  return pid;
}

describe("an answer", () => {
  test("carries every byte there and back", async () => {
    const value = String.fromCharCode(...Array.from({ length: 256 }, (_, i) => i)).repeat(20);
    const file = path.join(host.dir, "bytes");
    const script = say('get_file bytes "$FILE" || return\nrecord_files bytes command "$(cksum "$FILE")"', [
      ["bytes", value],
    ]);
    const connector = sshConnector(target());
    const text = script.text.replaceAll("$FILE", file);
    expect((await connector.run({ ...script, text })).find(({ name }) => name === "bytes")).toEqual({
      name: "bytes",
      value,
    });
    expect(readFileSync(file, "latin1") === value).toBe(true);
    await connector.close();
  });

  test("is found behind a login that prints escape sequences, bytes and 100 KB, and reads stdin", async () => {
    const noisy = await startLightHost({
      folder,
      files: ({ dir, head }) => ({
        sshd_config: `${head}ForceCommand sh ${dir}/login.sh\n`,
        "login.sh": `printf 'Welcome\\033[2J\\033]0;title\\007\\n'; head -c 100000 /dev/zero; printf '\\377\\0no newline'
          echo 'a warning' >&2; exec sh -c "$SSH_ORIGINAL_COMMAND"\n`,
      }),
    });
    const connector = sshConnector(targetOf(noisy));
    expect(await connector.run(say('record a "b\nc"'))).toEqual([{ name: "a", value: "b\nc" }]);
    await connector.close();
    await noisy.stop();
  });

  test("is not waited for when the script left something running that holds the output", async () => {
    const connector = sshConnector(target());
    const [pid] = await connector.run(say("sleep 300 &\nrecord pid $!"));
    // It still runs.
    process.kill(Number(pid?.value));
    await connector.close();
  });
});

describe("the shared connection", () => {
  let shared: Connector;
  beforeAll(() => {
    shared = sshConnector(target());
  });

  test("is one login for many runs, at once and after another, also from another connector", async () => {
    const count = await logins(host, async () => {
      await Promise.all([1, 2, 3, 4].map(() => shared.run(HELLO)));
      await shared.run(HELLO);
      await sshConnector(target({ name: "another name" })).run(HELLO);
    });
    expect(count).toBe(1);
  });

  test("is not used by a new login, which leaves nothing behind", async () => {
    let answers: readonly string[] = [];
    const count = await logins(host, async () => {
      const one = await shared.run(HELLO);
      const two = await shared.runInNewLogin(HELLO);
      const three = await shared.runInNewLogin(HELLO);
      answers = [one, two, three].map((answer) => answer[0]?.value ?? "");
    });
    expect(count).toBe(2);
    expect(new Set(answers).size).toBe(3);
  });

  test.each([
    ["checking", { hostKeyChecking: "off" as const }],
    ["an option", { sshOptions: { Compression: "yes" } }],
    ["the name of the host", { host: "localhost" }],
  ])("is not shared when %s differs", async (_, more) => {
    const other = sshConnector(target(more));
    expect(await logins(host, () => other.run(HELLO))).toBe(1);
    await other.close();
  });

  test("is closed by any process, and its socket is gone then", async () => {
    await shared.run(HELLO);
    const socket = controlPath(target(), process.env);
    const pid = masterPid(target());
    expect(existsSync(socket)).toBe(true);
    await sshConnector(target()).close();
    expect(existsSync(socket)).toBe(false);
    await until(() => !existsSync(`/proc/${pid}`), "the end of the master");
    await sshConnector(target()).close();
    expect(await logins(host, () => shared.run(HELLO))).toBe(1);
  });

  test("is released: who works over it is not disturbed, who comes later logs in, and it ends by itself", async () => {
    const [reached, gate] = [path.join(host.dir, "reached"), path.join(host.dir, "gate")];
    const working = shared.run(say(`: >${reached}; while ! [ -e ${gate} ]; do sleep 0.05; done; record a 1`));
    await until(() => existsSync(reached), "a command at work");
    const pid = masterPid(target());
    await sshConnector(target()).release();
    expect(await logins(host, () => sshConnector(target()).run(HELLO))).toBe(1);
    expect(existsSync(`/proc/${pid}`)).toBe(true);
    writeFileSync(gate, "");
    expect(await working).toEqual([{ name: "a", value: "1" }]);
    await until(() => !existsSync(`/proc/${pid}`), "the end of the connection that was released");
    await sshConnector(target()).close();
    await sshConnector(target()).release();
  });

  test("is made once more where someone has it end before the login that made it is on it", async () => {
    // Run between the two (ssh.c ssh_session2), and for each login.
    const gone = { PermitLocalCommand: "yes", LocalCommand: `find ${privateFolder()} -maxdepth 1 -type s -delete` };
    const other = sshConnector(target({ sshOptions: gone }));
    expect(await logins(host, () => other.run(HELLO))).toBe(2);
  });

  test.each([
    ["was killed", "SIGKILL"],
    ["hangs", "SIGSTOP"],
  ] as const)("is opened anew when its holder %s", async (_, signal) => {
    await sshConnector(target()).run(HELLO);
    const pid = masterPid(target());
    process.kill(pid, signal);
    expect(await logins(host, () => sshConnector(target()).run(HELLO))).toBe(1);
    if (signal === "SIGSTOP") process.kill(pid, "SIGKILL");
    await sshConnector(target()).close();
  });

  test("is opened anew, once, when the far end hangs before the script was sent", async () => {
    await sshConnector(target()).run(HELLO);
    const pid = masterPid(target());
    const peer = execFileSync("ps", ["-eo", "pid,args"]).toString();
    const sessions = peer.split("\n").filter((line) => /sshd: .*@notty|sshd: root/.test(line));
    const children = sessions
      .map((line) => Number(line.trim().split(" ")[0]))
      .filter((p) => isBelow(p, host.pid() ?? -1));
    expect(children.length).toBeGreaterThan(0);
    for (const child of children) process.kill(child, "SIGSTOP");
    try {
      expect(await logins(host, () => sshConnector(target()).run(HELLO))).toBe(1);
      expect(masterPid(target())).not.toBe(pid);
    } finally {
      for (const child of children) process.kill(child, "SIGKILL");
    }
    await sshConnector(target()).close();
  });

  test("gives way where the host allows one session only", async () => {
    const narrow = await startLightHost({ folder, extraLines: ["MaxSessions 1"] });
    const connector = sshConnector(targetOf(narrow));
    const gate = path.join(narrow.dir, "gate");
    const waiting = connector.run(say(`while ! [ -e ${gate} ]; do sleep 0.05; done; record a 1`));
    await until(async () => (await accepted(narrow)) === 1, "the first login");
    expect(await connector.run(HELLO)).toHaveLength(1);
    writeFileSync(gate, "");
    expect(await waiting).toEqual([{ name: "a", value: "1" }]);
    await connector.close();
    await narrow.stop();
  });
});

function isBelow(pid: number, ancestor: number): boolean {
  for (let at = pid; at > 1; ) {
    if (at === ancestor) return true;
    try {
      const fields = readFileSync(`/proc/${at}/stat`, "utf8");
      at = Number(fields.slice(fields.lastIndexOf(")") + 2).split(" ")[1]);
    } catch {
      return false;
    }
  }
  return false;
}

describe("host keys", () => {
  const wrong = (): string => {
    const key = path.join(folder.path, `wrong-${Date.now()}`);
    execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", key]);
    return readFileSync(`${key}.pub`, "utf8");
  };

  test("another one than hostKey is refused, and nothing runs", async () => {
    const hostKey = wrong();
    const count = await logins(host, async () => {
      const failure = await failureOf(sshConnector(target({ hostKey })).run(HELLO));
      expect(failure).toMatchObject({ code: "host-key", host: "web-1", step: "connect" });
      expect(failure.reason).toContain("not the one given in hostKey");
      expect(isRetryable(failure)).toBe(false);
    });
    expect(count).toBe(0);
  });

  test("hostKey may hold several lines, comments and a host field", async () => {
    const hostKey = `# keys\n${wrong()}web ${host.connection.hostKey} root@web\n`;
    const connector = sshConnector(target({ hostKey }));
    expect(await connector.runInNewLogin(HELLO)).toHaveLength(1);
  });

  test("an unknown one is refused when strict, kept when acceptNew, ignored when off", async () => {
    const { hostKey: _, ...unknown } = target();
    const known = path.join(folder.path, "known");
    const sshOptions = { UserKnownHostsFile: known, GlobalKnownHostsFile: "/dev/null" };
    const connect = (hostKeyChecking: SshTarget["hostKeyChecking"]) =>
      sshConnector({ ...unknown, hostKeyChecking, sshOptions }).runInNewLogin(HELLO);
    expect(await failureOf(connect("strict"))).toMatchObject({
      code: "host-key",
      reason: expect.stringContaining("not known"),
    });
    await connect("off");
    expect(existsSync(known)).toBe(false);
    await connect("acceptNew");
    expect(readFileSync(known, "utf8")).toContain("ssh-ed25519");
    await connect("strict");
    writeFileSync(
      known,
      readFileSync(known, "utf8").replace(/ssh-ed25519 \S+/, wrong().split(" ").slice(0, 2).join(" ")),
    );
    expect(await failureOf(connect("acceptNew"))).toMatchObject({
      code: "host-key",
      reason: expect.stringContaining("another one"),
    });
  });
});

describe("keys as text", () => {
  const encrypted = (): string => {
    const key = path.join(folder.path, "encrypted");
    if (!existsSync(key)) {
      writeFileSync(key, host.connection.privateKey, { mode: 0o600 });
      execFileSync("ssh-keygen", ["-q", "-p", "-P", "", "-N", PASS_PHRASE, "-f", key]);
    }
    return readFileSync(key, "utf8");
  };

  test.each([
    ["without its last line end", (key: string) => key.trimEnd()],
    ["with CRLF", (key: string) => key.replaceAll("\n", "\r\n")],
  ])("work %s", async (_, change) => {
    const privateKey = change(host.connection.privateKey);
    expect(await sshConnector(target({ privateKey })).runInNewLogin(HELLO)).toHaveLength(1);
  });

  test("work when encrypted, and each fault is named", async () => {
    const privateKey = encrypted();
    const connect = (more: Partial<SshTarget>) => sshConnector(target({ privateKey, ...more })).runInNewLogin(HELLO);
    expect(await connect({ privateKeyPassword: PASS_PHRASE })).toHaveLength(1);
    expect(await failureOf(connect({ privateKeyPassword: "wrong" }))).toMatchObject({
      code: "auth",
      reason: "privateKeyPassword does not open privateKey",
    });
    expect(await failureOf(connect({}))).toMatchObject({ code: "auth", remedy: "set privateKeyPassword" });
    const damaged = privateKey.replace(/\n[^\n]{20}/, "\n");
    expect(await failureOf(connect({ privateKey: damaged }))).toMatchObject({
      code: "auth",
      reason: expect.stringContaining("privateKey cannot be read"),
    });
  });

  test("that the host does not know are refused with what was tried", async () => {
    const key = path.join(folder.path, "stranger");
    execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", key]);
    const failure = await failureOf(sshConnector(target({ privateKey: readFileSync(key, "utf8") })).run(HELLO));
    expect(failure).toMatchObject({ code: "auth", step: "connect" });
    expect(failure.reason).toMatch(/tried privateKey, the host takes publickey/);
    expect(isRetryable(failure)).toBe(false);
  });

  test("are in no argument, environment or file while they are used", async () => {
    const privateKey = encrypted();
    const secrets = [host.connection.privateKey, privateKey].map((key) => key.split("\n")[2] ?? "");
    const gate = path.join(folder.path, "gate");
    const connector = sshConnector(target({ privateKey, privateKeyPassword: PASS_PHRASE }));
    let waiting = true;
    const run = connector.run(say(`while ! [ -e ${gate} ]; do sleep 0.02; done`)).finally(() => {
      waiting = false;
    });
    const seen: string[] = [];
    const before = await accepted(host);
    // From the start of the agent to the running script.
    while ((await accepted(host)) === before && waiting) seen.push(...leaks([...secrets, PASS_PHRASE]));
    seen.push(...leaks([...secrets, PASS_PHRASE]));
    writeFileSync(gate, "");
    await run;
    expect(seen).toEqual([]);
    await connector.close();
  });
});

/** Where any of `secrets` can be read: arguments and environments of all processes but this one, our private folder. */
function leaks(secrets: readonly string[]): readonly string[] {
  const places: string[] = [];
  const look = (file: string): void => {
    try {
      const text = readFileSync(file, "latin1");
      if (secrets.some((secret) => text.includes(secret))) places.push(file);
    } catch {
      // A process that is gone, a socket.
    }
  };
  for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)) {
    look(`/proc/${pid}/cmdline`);
    look(`/proc/${pid}/environ`);
  }
  const privateFolder = path.dirname(controlPath(target(), process.env));
  for (const entry of below(privateFolder)) look(path.join(privateFolder, entry));
  return places;
}

describe("a jump host", () => {
  let jump: LightHost;
  beforeAll(async () => {
    jump = await startLightHost({ folder, extraLines: ["LogLevel VERBOSE"] });
  });
  afterAll(() => jump.stop());

  test("is the way in, with a key and a host key of its own", async () => {
    const connector = sshConnector(target({ proxy: jump.connection }));
    const direct = await sshConnector(target()).runInNewLogin(HELLO);
    expect(await logins(jump, async () => expect(await connector.run(HELLO)).not.toEqual(direct))).toBe(1);
    expect(await logins(jump, () => connector.run(HELLO))).toBe(0);
    expect(await logins(jump, () => connector.runInNewLogin(HELLO))).toBe(1);
    await connector.close();
  });

  test("may have another name than the target", async () => {
    const proxy = { ...jump.connection, host: "localhost" };
    expect(await logins(jump, () => sshConnector(target({ proxy })).runInNewLogin(HELLO))).toBe(1);
  });

  test("with another host key is refused", async () => {
    const proxy = { ...jump.connection, hostKey: host.connection.hostKey };
    const failure = await failureOf(sshConnector(target({ proxy })).run(HELLO));
    expect(failure).toMatchObject({
      code: "host-key",
      reason: expect.stringMatching(/jump host, the host.s key is not the one/),
    });
  });

  test("that is down, or cannot reach the target, is named", async () => {
    const down = { ...jump.connection, port: 1 };
    expect(await failureOf(sshConnector(target({ proxy: down })).run(HELLO))).toMatchObject({
      code: "unreachable",
      reason: expect.stringMatching(/jump host, the connection was refused/),
      transient: true,
    });
    const beyond = target({ port: 1, proxy: jump.connection });
    expect(await failureOf(sshConnector(beyond).run(HELLO))).toMatchObject({
      code: "unreachable",
      reason: expect.stringMatching(/jump host, the host cannot be reached from there/),
    });
  });
});

test("become works over ssh: one password, one attempt, and not for another user's login", async () => {
  const sudo = await startLightHost({
    folder,
    files: ({ dir, head }) => ({
      sshd_config: `${head}ForceCommand PATH=${dir}/bin:$PATH; export PATH; exec sh -c "$SSH_ORIGINAL_COMMAND"\n`,
      // Called as: sudo -S -p PROMPT -H -u USER -- COMMAND…
      "bin/sudo": `#!/bin/sh
        for try in 1 2 3; do
          printf 'lecture\\n%s' "$3" >&2; IFS= read -r word || exit 1; echo "$word" >>${dir}/words
          [ "$word" != "right one" ] || { shift 7; exec "$@"; }
        done\n`,
    }),
  });
  execFileSync("chmod", ["755", path.join(sudo.dir, "bin/sudo")]);
  const as = (password: string) => sshConnector(targetOf(sudo, { become: { user: "someone", password } }));
  expect(await as("right one").run(HELLO)).toHaveLength(1);
  // The same connection: what is become on it is no part of its name.
  expect(await logins(sudo, async () => expect((await failureOf(as("wrong").run(HELLO))).code).toBe("sudo"))).toBe(0);
  expect(await sudo.read("words")).toBe("right one\nwrong\n");
  expect((await failureOf(as("right one").runInNewLogin(HELLO, { user: "nobody-there" }))).code).toBe("auth");
  expect(await sudo.read("words")).toBe("right one\nwrong\n");
  await as("right one").close();
  await sudo.stop();
});

test("a machine without ssh is told so", async () => {
  const failure = await failureOf(sshConnector(target(), { sshPath: "/nowhere/ssh" }).runInNewLogin(HELLO));
  expect(failure).toMatchObject({ code: "host-tools", remedy: expect.stringContaining("install OpenSSH") });
});

describe("a host that misbehaves", () => {
  const listen = (talk: (socket: import("node:net").Socket) => void): Promise<number> =>
    new Promise((resolve) => {
      const server = createServer((socket) => {
        socket.on("error", () => undefined);
        talk(socket);
      });
      servers.push(server);
      server.listen(0, "127.0.0.1", () => {
        const address = server.address();
        resolve(typeof address === "object" && address !== null ? address.port : 0);
      });
    });

  test("refuses the connection", async () => {
    const failure = await failureOf(sshConnector(target({ port: 1, dialErrorLimit: 1 })).run(HELLO));
    expect(failure).toMatchObject({ code: "unreachable", reason: expect.stringContaining("refused") });
    expect(isRetryable(failure)).toBe(true);
  });

  test("has no address", async () => {
    const failure = await failureOf(sshConnector(target({ host: "keepalive.invalid" })).run(HELLO));
    expect(failure.code).toBe("unreachable");
  });

  test("says nothing", async () => {
    const port = await listen((socket) => socket.resume());
    const failure = await failureOf(sshConnector(target({ port, perDialTimeout: 1 })).run(HELLO));
    expect(failure).toMatchObject({
      code: "unreachable",
      reason: expect.stringContaining("timed out"),
      transient: true,
    });
  });

  test("closes the connection in the middle of the key exchange, which ssh passes over in silence", async () => {
    const port = await listen((socket) => {
      socket.write("SSH-2.0-OpenSSH_9.2\r\n");
      socket.once("data", () => socket.end());
    });
    expect(await failureOf(sshConnector(target({ port })).runInNewLogin(HELLO))).toMatchObject({
      code: "unreachable",
      reason: "the connection was closed before the login was done",
      transient: true,
    });
  });

  test("answers something else", async () => {
    const port = await listen((socket) =>
      socket.end(`HTTP/1.1 400 Bad Request\r\n\u0001\u001b[31m${"x".repeat(9000)}\r\n`),
    );
    expect((await failureOf(sshConnector(target({ port })).run(HELLO))).code).toBe("unreachable");
  });

  test.each([
    ["sends 100 MB instead of a shell", "head -c 100000000 /dev/zero", 20_000, "protocol", "9 MiB"],
    ["echoes what it gets", "cat", 1_000, "timeout", "login did not come to a shell"],
    ["ends at once", "echo no; exit 3", 20_000, "protocol", "status 3"],
    ["refuses a shell", "echo 'This account is currently not available.'; exit 1", 20_000, "protocol", "status 1"],
  ] as const)("%s", async (_, force, timeout, code, reason) => {
    const bad = await startLightHost({
      folder,
      files: ({ dir, head }) => ({ sshd_config: `${head}ForceCommand sh ${dir}/force.sh\n`, "force.sh": `${force}\n` }),
    });
    const connector = sshConnector(targetOf(bad, { perDialTimeout: 10 }), { loginTimeoutMs: timeout });
    expect(await failureOf(connector.run(HELLO))).toMatchObject({ code, reason: expect.stringContaining(reason) });
    await connector.close();
    await bad.stop();
  });

  test.each([
    ["sends 100 MB to the script's reader", "head -c 100000000 /dev/zero", 60, "protocol", "9 MiB"],
    ["never ends the script", "sleep 60", 1, "timeout", "after 1 s"],
    ["ends in the middle", "record a b; exit 0", 60, "protocol", "ends after 1 records"],
    ["has a shell that does not take the script", "if", 60, "protocol", "no record"],
  ])("%s", async (_, text, seconds, code, reason) => {
    const connector = sshConnector(target());
    await connector.run(HELLO);
    const failure = await failureOf(connector.run(say(text, [], seconds * 1_000)));
    expect(failure).toMatchObject({ code, step: "observe", reason: expect.stringContaining(reason) });
    await connector.close();
  });

  test("never gets a script twice that had begun", async () => {
    const connector = sshConnector(target());
    await connector.run(HELLO);
    const count = path.join(folder.path, "count");
    await failureOf(connector.run(say(`echo x >>${count}; kill -9 $PPID; sleep 5`)));
    expect(readFileSync(count, "utf8")).toBe("x\n");
    await connector.close();
  });
});

test("a target that must not reach a command line is refused before anything is started", async () => {
  for (const more of [{ host: "-oProxyCommand=x" }, { user: "-l" }, { sshOptions: { ControlPath: "/x" } }]) {
    expect((await failureOf(sshConnector(target(more)).run(HELLO))).code).toBe("bad-input");
    expect((await failureOf(sshConnector(target(more)).close())).code).toBe("bad-input");
  }
});

describe("the end of the controller's process", () => {
  /** The sources as plain JavaScript, for a process of its own. */
  const compiled = (): string => {
    const out = path.join(folder.path, "js");
    if (existsSync(out)) return out;
    const source = path.join(projectRoot(), "provider");
    for (const file of ["errors.ts", ...readdirSync(path.join(source, "host")).map((name) => `host/${name}`)]) {
      const to = path.join(out, file.replace(/\.ts$/, ".js"));
      mkdirSync(path.dirname(to), { recursive: true });
      if (!file.endsWith(".ts")) {
        cpSync(path.join(source, file), to, { recursive: true });
        continue;
      }
      const options = { module: ts.ModuleKind.CommonJS, target: ts.ScriptTarget.ES2022, esModuleInterop: true };
      writeFileSync(
        to,
        ts.transpileModule(readFileSync(path.join(source, file), "utf8"), { compilerOptions: options }).outputText,
      );
    }
    return out;
  };

  test.each([["by itself"], ["SIGINT"], ["SIGTERM"], ["SIGKILL"]])(
    "(%s) takes agents and files along, not the shared connection",
    async (how) => {
      const program = `
      const { sshConnector } = require(${JSON.stringify(path.join(compiled(), "host"))});
      const { target, script, stay } = JSON.parse(require("fs").readFileSync(0, "utf8"));
      sshConnector(target).run(script).then(() => { console.log("done"); if (stay) setInterval(() => {}, 1000); });`;
      const mine = target({
        sshOptions: { Compression: how === "SIGINT" ? "yes" : "no", TCPKeepAlive: how === "SIGTERM" ? "no" : "yes" },
      });
      const child = spawn(process.execPath, ["-e", program], { env: process.env, stdio: ["pipe", "pipe", "inherit"] });
      child.stdin.end(JSON.stringify({ target: mine, script: HELLO, stay: how !== "by itself" }));
      const own = () =>
        readdirSync(path.dirname(controlPath(mine, process.env))).filter((name) => name.startsWith(`p${child.pid}-`));
      const ended = new Promise((resolve) => child.once("exit", resolve));
      await Promise.race([new Promise((resolve) => child.stdout.once("data", resolve)), ended]);
      if (how !== "by itself") {
        expect(own()).toHaveLength(1);
        child.kill(how as NodeJS.Signals);
      }
      await ended;
      await until(() => own().length === 0, "the end of the process's folder");
      const agents = () =>
        execFileSync("ps", ["-eo", "args"])
          .toString()
          .split("\n")
          .filter((line) => line.includes(`ssh-agent -a ${folder.path}/`) && line.includes(`/p${child.pid}-`));
      await until(() => agents().length === 0, "the end of the agents");
      expect(await logins(host, () => sshConnector(mine).run(HELLO))).toBe(0);
      await sshConnector(mine).close();
    },
  );
});

describe("passwords", () => {
  // An account of our own without touching this machine's: private copies of its files in a mount namespace.
  const why =
    process.getuid?.() !== 0
      ? "needs root"
      : spawnSync("unshare", ["-m", "true"]).status !== 0
        ? "needs a mount namespace"
        : undefined;
  if (why !== undefined) {
    test.skip(`of a real login: ${why}`, () => undefined);
    return;
  }
  let port = 0;
  let log = "";
  let hostKey = "";
  beforeAll(async () => {
    setupModule().ensurePrivsepFolder();
    const sshd = setupModule().findOpenSsh().sshd ?? "sshd";
    const dir = path.join(folder.path, "pw");
    mkdirSync(path.join(dir, "home"), { recursive: true });
    execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", path.join(dir, "host_key")]);
    hostKey = readFileSync(path.join(dir, "host_key.pub"), "utf8");
    writeFileSync(
      path.join(dir, "passwd"),
      `${readFileSync("/etc/passwd", "utf8")}ska:x:64242:64242::${dir}/home:/bin/sh\n`,
    );
    const hash = execFileSync("openssl", ["passwd", "-6", "-stdin"], { input: PASSWORD, encoding: "utf8" }).trim();
    writeFileSync(path.join(dir, "shadow"), `${readFileSync("/etc/shadow", "utf8")}ska:${hash}:19000::::::\n`, {
      mode: 0o600,
    });
    log = path.join(dir, "log");
    port = 20_000 + (process.pid % 10_000);
    for (let attempt = 0; attempt < 20; attempt++, port++) {
      const config = `Port ${port}\nListenAddress 127.0.0.1:${port}\nHostKey ${dir}/host_key\nPidFile ${dir}/pid\nUsePAM no\nPasswordAuthentication yes\nAuthorizedKeysFile none\nLogLevel VERBOSE\nKexAlgorithms curve25519-sha256\n`;
      writeFileSync(path.join(dir, "config"), config);
      const start =
        'mount --bind "$1/passwd" /etc/passwd && mount --bind "$1/shadow" /etc/shadow && exec "$2" -D -E "$1/log" -f "$1/config"';
      const daemon = spawn("unshare", ["-m", "sh", "-c", start, "sh", dir, sshd], { stdio: "ignore" });
      daemon.unref();
      await until(() => existsSync(path.join(dir, "pid")) || daemon.exitCode !== null, "the password host");
      if (daemon.exitCode === null) return;
    }
    throw new Error(readFileSync(log, "utf8"));
  });

  const connect = (password: string, more: Partial<SshTarget> = {}) =>
    sshConnector({
      name: "web-1",
      host: "127.0.0.1",
      port,
      user: "ska",
      password,
      hostKey,
      hostKeyChecking: "strict",
      ...more,
    });
  const lines = (pattern: RegExp) =>
    readFileSync(log, "utf8")
      .split("\n")
      .filter((line) => pattern.test(line)).length;
  /** How many there are once there are `least`: sshd answers before it writes that it refused. */
  const failed = async (least: number) => {
    await until(() => lines(/^Failed password/) >= least, "sshd's word on a refusal");
    return lines(/^Failed password/);
  };

  test("get in, once for the shared connection, and are nowhere to be read", async () => {
    const connector = connect(PASSWORD);
    let seen: readonly string[] = [];
    const run = connector.run(HELLO).then((answer) => answer.length);
    let done = false;
    const end = run.finally(() => {
      done = true;
    });
    while (!done) {
      seen = [...seen, ...leaks([PASSWORD])];
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(await end).toBe(1);
    await connector.run(HELLO);
    expect(lines(/^Accepted password/)).toBe(1);
    expect(seen).toEqual([]);
    await connector.close();
  });

  test("that are wrong are tried once", async () => {
    const failure = await failureOf(connect("wrong").run(HELLO));
    expect(failure.code).toBe("auth");
    expect(JSON.stringify(failure)).not.toContain("wrong");
    expect(await failed(1)).toBe(1);
  });

  test("of a jump host and of the target are not mixed up", async () => {
    const proxy = { host: "127.0.0.1", port, user: "ska", password: PASSWORD, hostKey };
    const connector = sshConnector(target({ proxy }));
    const before = lines(/^Failed password/);
    expect(await connector.runInNewLogin(HELLO)).toHaveLength(1);
    const badJump = target({ proxy: { ...proxy, password: "wrong" } });
    expect(await failureOf(sshConnector(badJump).run(HELLO))).toMatchObject({
      code: "auth",
      reason: expect.stringContaining("jump"),
    });
    expect(await failed(before + 1)).toBe(before + 1);
    // The same user and host at both ends: only who asks tells them apart.
    const both = connect("wrong", { proxy });
    expect((await failureOf(both.runInNewLogin(HELLO))).code).toBe("auth");
    expect(await failed(before + 2)).toBe(before + 2);
  });
});
