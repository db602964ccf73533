/** What may reach ssh's command line and files, and in which order it stands there. */
import { execFileSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { isKeepaliveError } from "../../../provider/errors";
import { checkTarget, hostKeys, RESERVED_OPTIONS, type SshTarget } from "../../../provider/host";
import { promptKind } from "../../../provider/host/askpass";
import { controlPath, privateFolder } from "../../../provider/host/controlFolder";
import { loginFailure } from "../../../provider/host/failure";
import type { Conversation } from "../../../provider/host/session";
import { jumpConfig, sshArguments } from "../../../provider/host/sshArguments";

const plain: SshTarget = { name: "web-1", host: "web-1.example.org", hostKeyChecking: "strict" };
const KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n";

const folder = mkdtempSync(path.join(tmpdir(), "tg-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe("a target", () => {
  test.each<[string, Partial<SshTarget>]>([
    ["an address", { host: "192.0.2.1" }],
    ["an IPv6 address with a zone", { host: "fe80::1%eth0" }],
    [
      "everything",
      { port: 22, user: "ana", privateKey: KEY, agentSocketPath: "/run/a b%c", perDialTimeout: 0, dialErrorLimit: -1 },
    ],
    ["a user of a domain", { user: "EXAMPLE\\ana" }],
    ["an option with blanks", { sshOptions: { ProxyCommand: "nc -x proxy %h %p" } }],
    ["a machine account to become", { become: { user: "web$" } }],
  ])("with %s is fine", (_, more) => {
    expect(checkTarget({ ...plain, ...more })).toEqual([]);
  });

  test.each<[string, Partial<SshTarget>]>([
    ["host", { host: "" }],
    ["host", { host: "-oProxyCommand=id" }],
    ["host", { host: "a b" }],
    ["host", { host: "a\nb" }],
    ["host", { host: "$(id)" }],
    ["host", { host: "ssh://a" }],
    ["host", { host: "*" }],
    ["port", { port: 0 }],
    ["port", { port: 65536 }],
    ["port", { port: 22.5 }],
    ["user", { user: "" }],
    ["user", { user: "-l" }],
    ["user", { user: "a b" }],
    ["user", { user: "a`id`" }],
    ["user", { user: "a\u0000b" }],
    ["password", { password: "a\nb" }],
    ["privateKey", { privateKey: "~/.ssh/id_ed25519" }],
    ["privateKeyPassword", { privateKeyPassword: "a\u0000b" }],
    ["agentSocketPath", { agentSocketPath: "" }],
    ["agentSocketPath", { agentSocketPath: "${HOME}/x" }],
    ["hostKey", { hostKey: "SHA256:abc" }],
    ["perDialTimeout", { perDialTimeout: -1 }],
    ["dialErrorLimit", { dialErrorLimit: -2 }],
    ["sshOptions.Proxy Command", { sshOptions: { "Proxy Command": "x" } }],
    ["sshOptions.User=x", { sshOptions: { "User=x": "x" } }],
    ["sshOptions.ProxyCommand", { sshOptions: { ProxyCommand: "a\nHost *" } }],
    ["proxy.host", { proxy: { host: "-J" } }],
    ["proxy.user", { proxy: { host: "b", user: "a\\b" } }],
    ["proxy.user", { proxy: { host: "b", user: "a%h" } }],
    ["become.user", { become: { user: "-u" } }],
    ["become.password", { become: { user: "root", password: "a\r" } }],
    ...RESERVED_OPTIONS.map((name): [string, Partial<SshTarget>] => [
      `sshOptions.${name.toUpperCase()}`,
      { sshOptions: { [name.toUpperCase()]: "x" } },
    ]),
  ])("with a bad %s is refused: %j", (property, more) => {
    const problems = checkTarget({ ...plain, ...more });
    expect(problems.map((problem) => problem.property)).toEqual([property]);
    const { password, privateKey } = more;
    for (const secret of [password, privateKey]) if (secret) expect(JSON.stringify(problems)).not.toContain(secret);
  });
});

test("host keys are read from all the forms people have them in", () => {
  const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA==";
  const text = `# c\n${key} ana@laptop\r\n\nweb,192.0.2.1 ${key}\n@cert-authority * ${key}\n[web]:22 ecdsa-sha2-nistp256 AAAAE2==\n`;
  expect(hostKeys(text)).toEqual([key, key, "ecdsa-sha2-nistp256 AAAAE2=="]);
});

describe("ssh's arguments", () => {
  const version = { major: 9, minor: 2 };
  const paths = { controlPath: "/t/s", persistSeconds: 90 };
  /** What ssh itself makes of them. */
  const settings = (target: SshTarget, more = {}): ReadonlyMap<string, string> => {
    const args = sshArguments(target, { ...paths, ...more }, version, "exec sh");
    const said = execFileSync("ssh", ["-F", "none", "-G", ...args.filter((arg) => arg !== "exec sh")]).toString();
    return new Map(said.split("\n").map((line) => [line.split(" ")[0] ?? "", line.slice(line.indexOf(" ") + 1)]));
  };

  test("are taken by ssh and mean what they should", () => {
    const all = settings({ ...plain, port: 2222, user: "ana" });
    const want = { port: "2222", user: "ana", hostname: plain.host, requesttty: "false", batchmode: "yes" };
    const more = { stricthostkeychecking: "true", controlmaster: "auto", controlpersist: "90", connecttimeout: "15" };
    expect(Object.fromEntries(all)).toMatchObject({ ...want, ...more, serveraliveinterval: "5", forwardagent: "no" });
  });

  test("let the user's options win over defaults and nothing else", () => {
    const target: SshTarget = {
      ...plain,
      hostKey: "ssh-ed25519 AAAA",
      sshOptions: { ConnectTimeout: "3", HostKeyAlias: "evil", UserKnownHostsFile: "/evil", LogLevel: "VERBOSE" },
    };
    const all = settings(target, { knownHosts: "/t/k" });
    expect(all.get("connecttimeout")).toBe("3");
    expect(all.get("loglevel")).toBe("VERBOSE");
    expect([all.get("hostkeyalias"), all.get("userknownhostsfile")]).toEqual([plain.host, "/t/k"]);
  });

  test("never hold a secret, and end with the host behind --", () => {
    const secret = { password: "s3cret-a", privateKey: `${KEY}s3cret-b`, privateKeyPassword: "s3cret-c" };
    const target: SshTarget = {
      ...plain,
      ...secret,
      become: { user: "root", password: "s3cret-d" },
      proxy: { host: "b", ...secret },
    };
    const args = sshArguments(target, { ...paths, agentSocket: "/t/a", jumpConfig: "/t/c" }, version, "exec sh");
    expect(JSON.stringify([args, jumpConfig(target, { agentSocket: "/t/a" }, version)])).not.toContain("s3cret");
    expect(args.slice(-3)).toEqual(["--", plain.host, "exec sh"]);
  });

  test("use no option that an old client does not know", () => {
    const old = sshArguments(
      { ...plain, hostKey: "ssh-rsa AAAA" },
      { ...paths, knownHosts: "/t/k" },
      { major: 7, minor: 6 },
      "x",
    );
    expect(old.join(" ")).not.toMatch(/SessionType|StdinNull|ForkAfter|KnownHostsCommand/);
  });

  test("name a jump host by its own name unless that would be ambiguous", () => {
    const config = (host: string) => jumpConfig({ ...plain, proxy: { host, port: 2200, user: "j" } }, {}, version);
    expect(config("bastion")).toMatch(/^Host bastion\n {2}Port 2200\n {2}User j\n/);
    for (const host of [plain.host, "2001:db8::1"]) {
      expect(config(host)).toMatch(`Host pulumi-ssh-keepalive-jump\n  HostName ${host}\n`);
    }
  });
});

describe("the private folder", () => {
  test("is made 0700, and refused when it is not ours alone", () => {
    const env = { TMPDIR: folder };
    const made = privateFolder(env);
    expect(made).toBe(path.join(folder, `psk-${process.getuid?.()}`));
    expect(statSync(made).mode & 0o777).toBe(0o700);
    const refused = () => {
      try {
        return privateFolder(env);
      } catch (error) {
        return isKeepaliveError(error) ? error.failure.reason : error;
      }
    };
    chmodSync(made, 0o755);
    expect(refused()).toMatch(/its mode is 755/);
    rmSync(made, { recursive: true });
    mkdirSync(path.join(folder, "elsewhere"), { mode: 0o700 });
    symlinkSync(path.join(folder, "elsewhere"), made);
    expect(refused()).toMatch(/not a folder/);
    rmSync(made);
  });

  test("is in XDG_RUNTIME_DIR where that is private", () => {
    const runtime = path.join(folder, "run");
    mkdirSync(runtime, { mode: 0o700 });
    expect(privateFolder({ TMPDIR: folder, XDG_RUNTIME_DIR: runtime })).toBe(path.join(runtime, "psk"));
    chmodSync(runtime, 0o755);
    expect(privateFolder({ TMPDIR: folder, XDG_RUNTIME_DIR: runtime })).not.toContain(runtime);
  });

  test("names a socket by every input of the connection, within the bound", () => {
    const env = { TMPDIR: folder };
    const base = controlPath(plain, env);
    expect(Buffer.byteLength(base) + 17).toBeLessThanOrEqual(103);
    expect(controlPath({ ...plain, name: "other", become: { user: "root" }, perDialTimeout: 3 }, env)).toBe(base);
    const others: Partial<SshTarget>[] = [
      { host: "b" },
      { port: 22 },
      { user: "a" },
      { password: "p" },
      { privateKey: KEY },
      { privateKeyPassword: "p" },
      { agentSocketPath: "/a" },
      { hostKey: "k" },
      { hostKeyChecking: "off" },
      { proxy: { host: "j" } },
      { proxy: { host: "j", password: "p" } },
      { sshOptions: { Compression: "yes" } },
    ];
    const names = others.map((more) => controlPath({ ...plain, ...more }, env));
    names.push(controlPath(plain, { ...env, SSH_AUTH_SOCK: "/a" }), controlPath(plain, { ...env, HOME: "/h" }), base);
    expect(new Set(names).size).toBe(others.length + 3);
    const key = path.join(path.dirname(base), "key");
    expect(statSync(key).mode & 0o777).toBe(0o600);
    // Another key, other names: they tell nothing about the secrets in them.
    writeFileSync(key, readFileSync(key).reverse());
    expect(controlPath(plain, env)).not.toBe(base);
  });
});

test.each([
  ["ana@web's password: ", "password"],
  ["(ana@web) Password: ", "password"],
  ["Enter passphrase for key '/home/ana/.ssh/id_rsa': ", "passphrase"],
  ["Enter passphrase for (stdin): ", "passphrase"],
  ["(ana@web) New password: ", "other"],
  ["(ana@web) Current password: ", "other"],
  ["Retype new password:", "other"],
  ["(ana@web) Verification code: ", "other"],
  ["Are you sure you want to continue connecting (yes/no/[fingerprint])? ", "other"],
])("the prompt %j asks for %s", (prompt, kind) => {
  expect(promptKind(prompt)).toBe(kind);
});

describe("ssh's last words", () => {
  const failed = (stderr: string, code = 255): Conversation => ({
    result: {
      code,
      signal: null,
      stdout: Buffer.alloc(0),
      stderr: Buffer.from(stderr),
      timedOut: false,
      overflow: false,
    },
    sent: false,
    sudoAsked: 0,
    nonce: "n",
  });
  test.each([
    ["ssh: connect to host a port 22: Connection refused", "unreachable", true],
    ["ssh: connect to host a port 22: Connection timed out", "unreachable", true],
    ["ssh: connect to host a port 22: No route to host", "unreachable", true],
    ["Connection timed out during banner exchange", "unreachable", true],
    ["kex_exchange_identification: read: Connection reset by peer", "unreachable", true],
    ["ssh: Could not resolve hostname a: Name or service not known", "unreachable", undefined],
    [
      "Unable to negotiate with 192.0.2.1 port 22: no matching host key type found. Their offer: ssh-rsa",
      "unreachable",
      undefined,
    ],
    ["kex_exchange_identification: banner line contains invalid characters", "unreachable", undefined],
    [
      "@@@@\n@  WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!  @\nHost key verification failed.",
      "host-key",
      undefined,
    ],
    [
      "No ED25519 host key is known for a and you have requested strict checking.\nHost key verification failed.",
      "host-key",
      undefined,
    ],
    ["ana@a: Permission denied (publickey,password).", "auth", undefined],
    ["Received disconnect from a: Too many authentication failures", "auth", undefined],
    ["kex_exchange_identification: read: Connection reset by peer\nNot allowed at this time", "auth", undefined],
    ["WARNING: Your password has expired.\nPassword change required but no TTY available.", "auth", undefined],
    ["/home/ana/.ssh/config: line 3: Bad configuration option: foo", "bad-input", undefined],
    ["something new \u001b[2J", "unreachable", undefined],
  ])("%j are %s, transient: %s", (stderr, code, transient) => {
    const failure = loginFailure(failed(stderr), plain);
    expect([failure.code, failure.transient]).toEqual([code, transient]);
    expect(failure).toMatchObject({ host: "web-1", step: "connect", remedy: expect.stringMatching(/[^.]$/) });
    expect(failure.reason).not.toMatch(/[\u0000-\u001f]|\.$/);
  });
});
