/** The client's side: the system-wide file and a user's own, here and over ssh, created, changed, healed and undone. */
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import type { Bag } from "../../provider/lifecycle";
import { below } from "../support/below";
import { startLightHost } from "../support/lightHost";
import {
  created,
  ended,
  logged,
  logins,
  noNamespaces,
  preview,
  processesOn,
  refusedCreate,
  removed,
  startController,
  started,
  testFolder,
  until,
  updated,
} from "./hostCase";

const folder = testFolder();

const DEBIAN =
  "# This is the ssh client system-wide configuration file.\nInclude /nonexistent/ssh_config.d/*.conf\n\nHost *\n#   Port 22\n    SendEnv LANG LC_*\n    HashKnownHosts yes\n";

let count = 0;
/** A machine of our own for `local: true`: a client file and a state folder. */
function machine(text: string): {
  readonly file: string;
  readonly state: string;
  readonly news: (client?: Bag) => Bag;
} {
  const dir = path.join(folder.path, `machine-${++count}`);
  mkdirSync(dir);
  const file = path.join(dir, "ssh_config");
  writeFileSync(file, text, { mode: 0o644 });
  const state = path.join(dir, "state");
  process.env.PULUMI_SSH_KEEPALIVE_STATE_DIR = state;
  return {
    file,
    state,
    news: (client = {}) => ({
      hosts: { h: { local: true, client: {} } },
      client: { serverAliveInterval: 60, configPath: file, ...client },
    }),
  };
}

const sshG = (file: string, name: string) =>
  /^serveraliveinterval (.*)$/m.exec(execFileSync("ssh", ["-G", "-F", file, "--", name], { encoding: "utf8" }))?.[1];

const atRest = async (state: string) => {
  await until(() => processesOn(state).length === 0, "the end of the supervisor");
  expect(below(state).filter((name) => /\/lock|\/stale|\/over/.test(name))).toEqual([]);
  expect(below(path.dirname(state)).filter((name) => /\.pulumi-ssh-keepalive/.test(name))).toEqual([]);
};

describe("the system-wide file of this machine", () => {
  test("is changed, healed after an edit by hand, and put back to the byte", async () => {
    const { file, state, news } = machine(DEBIAN);
    expect(await preview(news())).toEqual([
      expect.stringMatching(/^ServerAliveInterval 0, wanted 60/),
      expect.stringMatching(/^will .*ssh_config/),
    ]);
    const applied = await created(news());
    expect(sshG(file, "anything")).toBe("60");
    expect(await preview(news())).toEqual([]);
    await atRest(state);
    const ours = readFileSync(file, "latin1");
    writeFileSync(file, ours.replace("ServerAliveInterval 60", "ServerAliveInterval 5"));
    expect(await preview(news())).toEqual([
      expect.stringMatching(/^ServerAliveInterval 5, wanted 60 \(set by .*ssh_config:\d+\)/),
      expect.stringMatching(/^will/),
    ]);
    await updated(applied, news());
    expect(readFileSync(file, "latin1")).toBe(ours);
    await removed(applied);
    expect(readFileSync(file, "latin1")).toBe(DEBIAN);
    expect(statSync(file).mode & 0o777).toBe(0o644);
    await atRest(state);
  });

  test("is changed for Host patterns alone", async () => {
    const { file, news } = machine(DEBIAN);
    const wish = news({ hosts: ["*.example.com", "db-?"] });
    const applied = await created(wish);
    expect(["a.example.com", "db-1", "other"].map((name) => sshG(file, name))).toEqual(["60", "60", "0"]);
    expect(await preview(wish)).toEqual([]);
    await removed(applied);
    expect(readFileSync(file, "latin1")).toBe(DEBIAN);
  });

  test("with Match exec is read without running the command", async () => {
    const marker = path.join(folder.path, "marker");
    const text = `Match exec "touch ${marker}"\n  Port 22\nHost *\n  ServerAliveInterval 5\n`;
    const { file, state, news } = machine(text);
    await preview(news());
    expect(existsSync(marker)).toBe(false);
    const applied = await created(news());
    expect(readFileSync(file, "latin1")).toContain("ServerAliveInterval 60");
    await removed(applied);
    expect(readFileSync(file, "latin1")).toBe(text);
    expect(existsSync(marker)).toBe(false);
    await atRest(state);
  });

  test("is put back when nobody confirms", async () => {
    // Killed as soon as it is armed; if its shell was told to confirm all the same, once more.
    for (let attempt = 1; ; attempt++) {
      const { file, state, news } = machine(DEBIAN);
      const controller = startController(folder, { ...news(), confirmTimeout: 10 });
      const armed = () => below(state).some((name) => /\/lock\/armed\./.test(name));
      while (!armed() && controller.child.exitCode === null) await new Promise((resolve) => setImmediate(resolve));
      controller.kill();
      await controller.ended;
      await until(
        () => processesOn(state).length === 0 && !below(state).some((name) => /\/lock$/.test(name)),
        "the end",
      );
      const now = readFileSync(file, "latin1");
      expect(now === DEBIAN || now.includes("ServerAliveInterval 60")).toBe(true);
      const [log] = below(state).filter((name) => /^[^/]+\/last$/.test(name));
      const installed = log !== undefined && /installed /.test(readFileSync(path.join(state, log), "utf8"));
      const applied = await created(news());
      expect(sshG(file, "x")).toBe("60");
      await removed(applied);
      expect(readFileSync(file, "latin1")).toBe(DEBIAN);
      await atRest(state);
      if (now === DEBIAN && installed) break;
      if (attempt === 10) throw new Error("never killed in time");
    }
  });

  test("that is missing, a folder or broken is refused by name", async () => {
    const { file, news } = machine("Nonsense yes\n");
    expect(await refusedCreate(news())).toMatch(/\[config-broken\] observe: .*Nonsense/i);
    expect(readFileSync(file, "latin1")).toBe("Nonsense yes\n");
    expect(await refusedCreate(news({ configPath: `${file}.not` }))).toMatch(
      /\[config-missing\] observe: .*does not exist/,
    );
    expect(await refusedCreate(news({ configPath: path.dirname(file) }))).toMatch(
      /\[config-missing\] observe: .*is a folder/,
    );
  });
});

test("the system-wide file of a host is changed over one login, and its sshd is left alone", async () => {
  const host = await startLightHost({ folder });
  await host.write("ssh_config", DEBIAN);
  const news = {
    hosts: { h: { ...host.connection } },
    client: { serverAliveInterval: "2m", configPath: `${host.dir}/ssh_config` },
  };
  const applied = await created(news);
  expect(sshG(`${host.dir}/ssh_config`, "x")).toBe("120");
  expect([await logins(host), await logged(host, "Received SIGHUP")]).toEqual([1, 0]);
  await removed(applied);
  expect(await host.read("ssh_config")).toBe(DEBIAN);
  await atRest(host.stateDir);
});

const why = noNamespaces();
describe("a user's own file", () => {
  if (why !== undefined) {
    test.skip(`${why}`, () => undefined);
    return;
  }

  /** A host with a user `ska` and, if wanted, a system-wide file of its own. */
  async function hostWithUser(system = "", as?: readonly string[]) {
    chmodSync(folder.path, 0o711);
    const host = await startLightHost({
      folder,
      files: ({ dir, head }) => ({
        sshd_config: head,
        passwd: `${readFileSync("/etc/passwd", "utf8")}ska:x:12345:12345::${dir}/home:/bin/sh\n`,
        ssh_config: system,
        "home/.profile": "",
      }),
    });
    const home = path.join(host.dir, "home");
    execFileSync("chown", ["-R", "12345:12345", home]);
    await host.stop();
    if (as !== undefined) execFileSync("chown", ["-R", "12345:12345", host.dir]);
    const inNamespace = `mount --bind ${host.dir}/passwd /etc/passwd; mount --bind ${host.dir}/ssh_config /etc/ssh/ssh_config`;
    const daemon = await started(host, { inNamespace, ...(as === undefined ? {} : { as }) });
    const user = as === undefined ? host.connection.user : "ska";
    const news: Bag = {
      hosts: { h: { ...host.connection, user } },
      client: { serverAliveInterval: 60, user: "ska" },
    };
    return { host, home, daemon, news, stop: () => ended(daemon) };
  }
  const facts = (file: string) => {
    const { mode, uid, gid } = lstatSync(file);
    return [(mode & 0o777).toString(8), uid, gid];
  };
  const ROUTES = [
    ["by root", undefined],
    ["by that user, without mount namespaces", ["setpriv", "--reuid", "12345", "--regid", "12345", "--clear-groups"]],
  ] as const;

  test.each(ROUTES)("is created private when missing, and goes with its folder (%s)", async (_by, as) => {
    const { home, host, news, stop } = await hostWithUser(DEBIAN, as);
    expect((await preview(news)).join("\n")).toMatch(/ServerAliveInterval 0, wanted 60/);
    const applied = await created(news);
    expect(facts(path.join(home, ".ssh"))).toEqual(["700", 12345, 12345]);
    expect(facts(path.join(home, ".ssh/config"))).toEqual(["600", 12345, 12345]);
    expect(readFileSync(path.join(home, ".ssh/config"), "latin1")).toContain("ServerAliveInterval 60");
    expect(await preview(news)).toEqual([]);
    await removed(applied);
    expect(existsSync(path.join(home, ".ssh"))).toBe(false);
    await atRest(host.stateDir);
    await stop();
  });

  test.each(ROUTES)(
    "that says nothing wins over the system-wide one, and is put back to the byte (%s)",
    async (_by, as) => {
      const { home, host, news, stop } = await hostWithUser(
        "Host *\n  ServerAliveInterval 300\n  Compression yes\n",
        as,
      );
      const file = path.join(home, ".ssh/config");
      mkdirSync(path.dirname(file), { mode: 0o700 });
      writeFileSync(file, "Host bastion\n\tUser ana\n", { mode: 0o640 });
      execFileSync("chown", ["-R", "12345:12345", path.dirname(file)]);
      expect((await preview(news))[0]).toMatch(/^ServerAliveInterval 300, wanted 60 \(set by the system's file/);
      const applied = await created(news);
      expect(readFileSync(file, "latin1")).toContain("ServerAliveInterval 60");
      expect(facts(file)).toEqual(["640", 12345, 12345]);
      expect(await preview(news)).toEqual([]);
      await removed(applied);
      expect(readFileSync(file, "latin1")).toBe("Host bastion\n\tUser ana\n");
      await atRest(host.stateDir);
      await stop();
    },
  );

  test("that is a link to what the user may not write or read is no way to it for root", async () => {
    const { home, host, news, stop } = await hostWithUser();
    const ssh = path.join(home, ".ssh");
    mkdirSync(ssh, { mode: 0o700 });
    const roots = path.join(host.dir, "roots");
    writeFileSync(roots, "Host x\n  Port 22\n", { mode: 0o644 });
    symlinkSync(roots, path.join(ssh, "config"));
    execFileSync("chown", ["-hR", "12345:12345", ssh]);
    expect(await refusedCreate(news)).toMatch(/\[not-writable\] plan: /);
    chmodSync(roots, 0o600);
    expect(await refusedCreate(news)).toMatch(/\[config-unreadable\] observe: /);
    expect(readFileSync(roots, "latin1")).toBe("Host x\n  Port 22\n");
    await atRest(host.stateDir);
    await stop();
  });

  test("that is a link to a name with a newline in it is refused", async () => {
    const { home, host, news, stop } = await hostWithUser();
    const ssh = path.join(home, ".ssh");
    const real = path.join(home, "file\nside server\nexe ", host.dir, "evil");
    mkdirSync(ssh, { mode: 0o700 });
    mkdirSync(path.dirname(real), { recursive: true });
    writeFileSync(real, "Host x\n  Port 22\n");
    symlinkSync(real, path.join(ssh, "config"));
    execFileSync("chown", ["-hR", "12345:12345", home]);
    expect(await refusedCreate(news)).toMatch(/\[config-not-understood\] arm: a name has a newline in it: /);
    expect(readFileSync(real, "latin1")).toBe("Host x\n  Port 22\n");
    await atRest(host.stateDir);
    await stop();
  });

  test("of a user who is not there is refused", async () => {
    const host = await startLightHost({ folder });
    const news = {
      hosts: { h: { ...host.connection } },
      client: { serverAliveInterval: 60, user: "no-such-user" },
    };
    expect(await refusedCreate(news)).toMatch(/\[config-missing\] observe: there is no user no-such-user/);
    await host.stop();
  });
});
