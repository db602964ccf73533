/** The transaction on real sshd processes: what it changes, what it refuses before anything, what it puts back. */
import { execFileSync, spawnSync } from "node:child_process";
import {
  chmodSync,
  chownSync,
  copyFileSync,
  cpSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import { create, read, remove } from "../../provider/lifecycle";
import { below, bytesOf } from "../support/below";
import { type HostFiles, type HostSetting, type LightHost, startLightHost } from "../support/lightHost";
import {
  configuration,
  created,
  ended,
  expectSound,
  failure,
  listener,
  logged,
  logins,
  noNamespaces,
  preview,
  refusedCreate,
  refusedRemove,
  removed,
  restarted,
  serverOn,
  startController,
  started,
  stateFolder,
  testFolder,
  until,
  updated,
} from "./hostCase";

const folder = testFolder();

/** A main file that begins with its drop-in folder, as Debian's, and ends with more of its own. */
const debian =
  (more = "", dropIns: Readonly<Record<string, string>> = { "50-cloud-init.conf": "ClientAliveInterval 0\n" }) =>
  ({ dir, head }: HostSetting): HostFiles => ({
    sshd_config: `${head}Include ${dir}/sshd_config.d/*.conf\n\nX11Forwarding no\n${more}`,
    ...Object.fromEntries(Object.entries(dropIns).map(([name, text]) => [`sshd_config.d/${name}`, text])),
  });

const DROP_IN = "sshd_config.d/00-pulumi-ssh-keepalive.conf";

async function newHost(files = debian(), extraLines: readonly string[] = []): Promise<LightHost> {
  return startLightHost({ folder, files, extraLines });
}

/** `sshd -T` of a host without the managed options, which may differ. */
async function otherwise(host: LightHost): Promise<readonly string[]> {
  const dump = await host.sshdT();
  return [...dump].filter(([key]) => !/^(clientalive|tcpkeepalive)/.test(key)).map(([key, value]) => `${key} ${value}`);
}

async function effective(host: LightHost): Promise<string> {
  const dump = await host.sshdT();
  return `${dump.get("clientaliveinterval")} ${dump.get("clientalivecountmax")} ${dump.get("tcpkeepalive")}`;
}

/** A host on which `create` must refuse before anything; checks that nothing of the configuration changed. */
async function refuses(host: LightHost, ...words: readonly (string | RegExp)[]): Promise<string> {
  const before = configuration(host);
  const hups = await logged(host, "Received SIGHUP");
  const message = await refusedCreate(serverOn(host));
  expect(message).toMatch(/^h: \[[a-z-]+\] (observe|plan|validate|arm|install): .+\. .+\.$/);
  for (const word of words) expect(message).toMatch(word);
  expect(configuration(host)).toEqual(before);
  expect(await logged(host, "Received SIGHUP")).toBe(hups);
  return message;
}

describe("one host", () => {
  test("is previewed and changed with two logins in all and one reload, and undone to the byte", async () => {
    const host = await newHost();
    const before = configuration(host);
    const others = await otherwise(host);
    expect(await preview(serverOn(host))).toEqual([
      expect.stringMatching(/^ClientAliveInterval 0, wanted 60 \(set by .*\/50-cloud-init\.conf:1\)$/),
      expect.stringMatching(/^will .*00-pulumi-ssh-keepalive\.conf/),
    ]);
    const begun = performance.now();
    const applied = await created(serverOn(host));
    const seconds = (performance.now() - begun) / 1000;
    // One more for each that came before the daemon had read its files: that depends on the machine.
    expect(await logins(host)).toBeGreaterThanOrEqual(2);
    expect(await logins(host)).toBeLessThanOrEqual(4);
    expect(await logged(host, "Received SIGHUP")).toBe(1);
    // Nothing waited for the end of its time.
    expect(seconds).toBeLessThan(55);
    await expectSound(host);
    expect(await effective(host)).toBe("60 3 yes");
    expect(await otherwise(host)).toEqual(others);
    expect(Object.keys(configuration(host))).toEqual([...Object.keys(before), DROP_IN].sort());

    const seen = await logins(host);
    const times = () =>
      below(host.dir)
        .filter((name) => name !== "sshd.log")
        .map((name) => `${name} ${statSync(path.join(host.dir, name)).ctimeMs}`);
    const files = times();
    expect(await preview(serverOn(host))).toEqual([]);
    await updated(applied, serverOn(host));
    expect(await logins(host)).toBe(seen + 1);
    expect(await logged(host, "Received SIGHUP")).toBe(1);
    expect(times()).toEqual(files);

    expect(await removed(applied)).toEqual([expect.stringMatching(/^h: removed .*00-pulumi/)]);
    await expectSound(host);
    expect(configuration(host)).toEqual(before);
    expect(existsSync(path.join(stateFolder(host.stateDir), "record"))).toBe(false);
  });

  test("that was never got into can be deleted, one that was changed and is down cannot", async () => {
    const never = await startLightHost({ folder });
    const strange = { ...serverOn(never), hosts: { h: { ...never.connection, user: "nobody-of-that-name" } } };
    const failed = await create(strange, listener());
    expect(failed.failures).toEqual([expect.stringMatching(/^h: \[auth\] connect: /)]);
    expect(await removed(failed)).toEqual([
      expect.stringMatching(/^h: \[auth\] connect: .*\. .*Nothing was ever changed there\.$/),
    ]);
    await never.stop();

    const changed = await startLightHost({ folder });
    const applied = await created(serverOn(changed));
    await changed.stop();
    // A refresh while it is down: what the state says of it is not what decides.
    const { outputs } = await read(applied.id, applied.outputs);
    expect(outputs.observed).toMatchObject({ h: { status: "unreachable" } });
    expect(await refusedRemove({ ...applied, outputs })).toMatch(/h: \[unreachable\] connect: /);
    await changed.start();
    await removed({ ...applied, outputs });
    await changed.stop();
  });

  test("that another resource took over without an edit is undone by that one, in the same process too", async () => {
    const host = await newHost();
    const before = configuration(host);
    const first = await created(serverOn(host));
    const changed = configuration(host);
    const second = await created(serverOn(host));
    // No new look is asked for in between.
    await remove(second.id, second.outputs, listener());
    expect(configuration(host)).toEqual(before);
    const third = await created(serverOn(host));
    const report = listener();
    await remove(first.id, first.outputs, report);
    expect(report.lines).toEqual([expect.stringMatching(/^h: server: nothing was touched, another resource manages/)]);
    expect(configuration(host)).toEqual(changed);
    await remove(third.id, third.outputs, listener());
    expect(configuration(host)).toEqual(before);
    await expectSound(host);
  });

  test("keeps the newest five backups, 0600", async () => {
    const host = await newHost();
    let applied = await created(serverOn(host));
    const seen: string[] = [];
    for (let interval = 61; interval <= 66; interval++) {
      const before = configuration(host)[DROP_IN] ?? "";
      applied = await updated(applied, serverOn(host, { server: { clientAliveInterval: interval } }));
      const backup = (applied.outputs.observed as Record<string, { backup?: string }>).h?.backup ?? "";
      expect(readFileSync(path.join(backup, "0.old"), "latin1")).toBe(before);
      expect(statSync(path.join(backup, "0.old")).mode & 0o777).toBe(0o600);
      seen.push(path.basename(backup));
    }
    expect(readdirSync(path.join(stateFolder(host.stateDir), "backups")).sort()).toEqual(seen.slice(-5).sort());
    await expectSound(host);
  });

  test("whose login prints banners and noise is changed all the same", async () => {
    const host = await startLightHost({
      folder,
      files: ({ dir, head }) => ({
        sshd_config: `${head}Banner ${dir}/banner\nForceCommand sh ${dir}/login.sh\n`,
        banner: "\u001b[2J WELCOME armed 0000 \n",
        "login.sh": `printf 'Hello\\033[2J\\n\\n'; echo "last login" >&2; exec sh -c "$SSH_ORIGINAL_COMMAND"\n`,
      }),
    });
    const before = configuration(host);
    const applied = await created(serverOn(host));
    expect(await effective(host)).toBe("60 3 yes");
    await removed(applied);
    expect(configuration(host)).toEqual(before);
  });

  test("with Match blocks for users, groups, addresses and ports stays as it was for all of them", async () => {
    const host = await newHost(({ dir, head }) => ({
      sshd_config:
        `${head}Include ${dir}/sshd_config.d/*.conf\nMatch User alice\n  X11Forwarding yes\n  ClientAliveInterval 5\n` +
        "Match Group root,wheel\n\tAllowTcpForwarding no\nMatch Address 192.0.2.0/24,!192.0.2.7\nBanner none\n" +
        " ClientAliveInterval 90\nMatch LocalPort 2222\n ClientAliveCountMax 9\nMatch User root Address 127.0.0.0/8\n AllowAgentForwarding no\n",
      "sshd_config.d/10-a.conf": "MaxSessions 7\nMatch User bob\n  PermitTTY no\n",
    }));
    const specs = [
      "alice,host=x,addr=10.1.1.1,laddr=1.1.1.1,lport=22",
      "bob,host=x,addr=192.0.2.9,laddr=1.1.1.1,lport=2222",
    ];
    const dumps = () => Promise.all(specs.map((spec) => host.sshdT(["-C", `user=${spec}`])));
    const before = await dumps();
    const applied = await created(serverOn(host));
    expect(await effective(host)).toBe("60 3 yes");
    const after = await dumps();
    expect(after[0]?.get("clientaliveinterval")).toBe("5");
    for (const [i, dump] of after.entries()) {
      expect([...dump].filter(([k]) => !k.startsWith("clientalive"))).toEqual(
        [...(before[i] ?? [])].filter(([k]) => !k.startsWith("clientalive")),
      );
    }
    await removed(applied);
  });

  test("with old option names, which make sshd warn and name lines, is changed", async () => {
    const host = await newHost(({ head }) => ({
      sshd_config: `${head}UsePrivilegeSeparation yes\nKeyRegenerationInterval 3600\nMatch User bob\n  RSAAuthentication yes\n`,
    }));
    await created(serverOn(host));
    expect(await effective(host)).toBe("60 3 yes");
    await expectSound(host);
  });
});

describe("the daemon", () => {
  test("with -o ClientAliveInterval on its command line is refused, and told why", async () => {
    const host = await newHost();
    const daemon = await restarted(host, { args: ["-o", "ClientAliveInterval=7"] });
    await refuses(host, /\[daemon\]/, /-o ClientAliveInterval=7/, /SSHD_OPTS/);
    expect(await preview(serverOn(host))).toEqual([
      expect.stringContaining("ClientAliveInterval 7, wanted 60 (set on sshd's command line)"),
      expect.stringContaining("[daemon]"),
    ]);
    await ended(daemon);
  });

  test.each([
    ["an option with a blank that does not matter", ["-o", "X11Forwarding yes"]],
    ["flags in one word", ["-4o", "MaxAuthTries=4"]],
    ["none of them separate", ["-oMaxAuthTries=5", "-oLoginGraceTime=100"]],
  ])("with %s is changed", async (_what, args) => {
    const host = await newHost(debian(), ["LogLevel VERBOSE"]);
    const daemon = await restarted(host, { args });
    const applied = await created(serverOn(host));
    expect(await effective(host)).toBe("60 3 yes");
    await removed(applied);
    await expectSound(host);
    await ended(daemon);
  });

  test("without a PidFile is changed, and once it is managed, edits by hand are told apart", async () => {
    const host = await newHost();
    await host.stop();
    await host.write("sshd_config", (await host.read("sshd_config")).replace(/^PidFile .*$/m, "PidFile none"));
    // Older than the daemon, beyond the whole seconds in which its start is known.
    await new Promise((resolve) => setTimeout(resolve, 1100));
    const daemon = await started(host);
    const applied = await created(serverOn(host));
    expect(await effective(host)).toBe("60 3 yes");
    await host.write(DROP_IN, "ClientAliveInterval 5\n");
    await updated(applied, serverOn(host));
    expect(await effective(host)).toBe("60 3 yes");
    await host.write("sshd_config.d/70-more.conf", "AllowUsers alice\n");
    await host.write(DROP_IN, "ClientAliveInterval 5\n");
    await refuses(host, /\[foreign-edit\]/);
    rmSync(path.join(host.dir, "sshd_config.d/70-more.conf"));
    await updated(applied, serverOn(host));
    await expectSound(host);
    await ended(daemon);
  });

  test("with blanks in its configuration's path is found and changed", async () => {
    const host = await newHost();
    await host.stop();
    const config = path.join(host.dir, "a folder  of", "sshd config");
    mkdirSync(path.dirname(config));
    cpSync(host.configPath, config);
    const daemon = await started(host, { config });
    const before = readFileSync(config, "latin1");
    const applied = await created(serverOn(host));
    expect(configuration(host)[DROP_IN]).toContain("ClientAliveInterval 60");
    await removed(applied);
    expect(readFileSync(config, "latin1")).toBe(before);
    await ended(daemon);
  });

  test("that serves the login must be the one whose file is meant", async () => {
    const host = await newHost();
    await host.write("other_config", await host.read("sshd_config"));
    const message = await refusedCreate(
      serverOn(host, { server: { clientAliveInterval: 60, configPath: `${host.dir}/other_config` } }),
    );
    expect(message).toMatch(/\[daemon\] observe: .* reads .*\/sshd_config, not .*\/other_config/);
  });

  test("that ends instead of reading its files is started again on the old ones", async () => {
    const host = await newHost();
    const before = configuration(host);
    const news = serverOn(host, {
      server: { clientAliveInterval: 60, reload: ["sh", "-c", `kill "$(cat ${host.dir}/sshd.pid)"`] },
    });
    const message = await refusedCreate(news);
    expect(message).toMatch(/h: \[activate\] activate: the daemon ended instead of reading its files again/);
    expect(message).toMatch(/old settings are back/);
    expect(configuration(host)).toEqual(before);
    await expectSound(host);
    const pid = Number(readFileSync(path.join(host.dir, "sshd.pid"), "utf8"));
    // The next run finds nothing foreign in what the revert left.
    await created(serverOn(host));
    await expectSound(host);
    process.kill(pid, "SIGTERM");
  });

  test("that does not read its files again is found out, and the files are put back", async () => {
    const host = await newHost();
    const before = configuration(host);
    const message = await refusedCreate(serverOn(host, { server: { clientAliveInterval: 60, reload: ["true"] } }));
    expect(message).toMatch(/\[activate\] activate: the daemon did not read its files again.*old settings are back/);
    expect(configuration(host)).toEqual(before);
    await expectSound(host);
    await created(serverOn(host));
  });
});

describe("edits by others", () => {
  const AFTER_LOAD = [
    [
      "a new drop-in",
      (h: LightHost) => h.write("sshd_config.d/70-more.conf", "AllowUsers alice\n"),
      /70-more\.conf|sshd_config\.d/,
    ],
    [
      "a line in the main file",
      async (h: LightHost) => h.write("sshd_config", `${await h.read("sshd_config")}AllowUsers alice\n`),
      /sshd_config/,
    ],
    [
      "an older file moved into place",
      async (h: LightHost) => {
        await h.write("new", `${await h.read("sshd_config")}AllowUsers alice\n`);
        utimesSync(path.join(h.dir, "new"), new Date(2020, 1), new Date(2020, 1));
        renameSync(path.join(h.dir, "new"), h.configPath);
      },
      /sshd_config/,
    ],
  ] as const;

  test.each(AFTER_LOAD)(
    "that wait for a reload (%s) are not put in force at first contact",
    async (_what, edit, name) => {
      const host = await newHost();
      await edit(host);
      const message = await refuses(host, /\[foreign-edit\]/, name);
      expect(message).toMatch(/reload sshd yourself/);
      await expectSound(host);
      // Loaded by its owner, and the owner of this test gets in: then it is nobody's business.
      const user = host.connection.user;
      for (const file of ["sshd_config", "sshd_config.d/70-more.conf"]) {
        if (existsSync(path.join(host.dir, file)))
          await host.write(file, (await host.read(file)).replace("alice", user));
      }
      await host.reload();
      await created(serverOn(host));
      expect(await effective(host)).toBe("60 3 yes");
    },
  );

  test.each(AFTER_LOAD)(
    "that wait for a reload (%s) are not put in force after an earlier transaction",
    async (_what, edit, name) => {
      const host = await newHost();
      await created(serverOn(host));
      await edit(host);
      await host.write(DROP_IN, "ClientAliveInterval 5\n");
      await refuses(host, /\[foreign-edit\]/, name);
      await expectSound(host);
    },
  );

  test("of a managed option heal without a reload", async () => {
    const host = await newHost();
    const applied = await created(serverOn(host));
    await host.write(DROP_IN, "ClientAliveInterval 5\n");
    expect(await preview(serverOn(host))).toEqual([
      expect.stringMatching(/^ClientAliveInterval 5, wanted 60 \(set by .*00-pulumi.*:1\)/),
      expect.stringMatching(/^will/),
    ]);
    await updated(applied, serverOn(host));
    expect(await effective(host)).toBe("60 3 yes");
    await expectSound(host);
  });

  test("between the look and the edit are seen, and the new state is what is worked on", async () => {
    const host = await newHost();
    const news = serverOn(host);
    await preview(news);
    // The look is remembered; a comment and a reload by someone else come in between.
    await host.write("sshd_config", `# someone was here\n${await host.read("sshd_config")}`);
    await host.reload();
    const { create } = await import("../../provider/lifecycle");
    const applied = await create(news, { info: () => {}, warn: () => {} });
    expect(applied.failures).toEqual([]);
    expect(await effective(host)).toBe("60 3 yes");
    expect(await host.read("sshd_config")).toMatch(/^# someone was here/);
    await expectSound(host);
  });

  /**
   * Stops the controller while it is armed, so that what `edit` does comes between judging and installing; `late`: it
   * came after, since on a busy machine this process may have been looked past.
   */
  async function meanwhile(
    host: LightHost,
    edit: () => Promise<void>,
  ): Promise<{ readonly failures: readonly string[]; readonly late: boolean }> {
    const before = configuration(host);
    const controller = startController(folder, serverOn(host));
    const found = (name: RegExp) => below(host.stateDir).find((entry) => name.test(entry));
    await until(() => found(/\/armed\./) !== undefined || controller.child.exitCode !== null, "armed");
    controller.child.kill("SIGSTOP");
    const asBefore = JSON.stringify(configuration(host)) === JSON.stringify(before);
    await edit();
    const status = found(/\/lock\/status$/);
    const said = status === undefined ? undefined : bytesOf(path.join(host.stateDir, status));
    controller.child.kill("SIGCONT");
    const failures = (await controller.ended).applied?.failures ?? ["no answer"];
    return { failures, late: !asBefore || said === undefined || /^installed/m.test(said) };
  }

  test.each([
    ["breaks the whole file", "NoSuchOption yes\n"],
    ["is valid and would lock us out", "AllowUsers alice\n"],
  ])("between judging and installing, in a drop-in that %s, do not reach the daemon", async (_what, text) => {
    const host = await newHost();
    const before = configuration(host);
    const { failures } = await meanwhile(host, () => host.write("sshd_config.d/70-more.conf", text));
    // Either the supervisor had not yet gone on and saw it, or it had, and then it did not matter.
    if (failures.length > 0) {
      expect(failures[0]).toMatch(/70-more\.conf|sshd_config\.d/);
      expect(configuration(host)).toEqual({ ...before, "sshd_config.d/70-more.conf": text });
      expect(await logged(host, "Received SIGHUP")).toBe(0);
    }
    await expectSound(host);
  });

  test("of the very file, between judging and installing, stay", async () => {
    for (let attempt = 1; ; attempt++) {
      const host = await newHost(({ head }) => ({ sshd_config: `${head}ClientAliveInterval 5\n` }));
      const theirs = `# theirs\n${await host.read("sshd_config")}`;
      const { failures, late } = await meanwhile(host, () => host.write("sshd_config", theirs));
      if (late && attempt < 10) continue;
      expect(failures).toEqual([
        expect.stringMatching(/\[install\] install: .*sshd_config changed after it was looked at/),
      ]);
      expect(await host.read("sshd_config")).toBe(theirs);
      await expectSound(host);
      break;
    }
  });

  test("after a transaction are left alone by its undoing, and reported", async () => {
    const host = await newHost(({ head }) => ({ sshd_config: `${head}ClientAliveInterval 5\n` }));
    const applied = await created(serverOn(host));
    await host.write("sshd_config", (await host.read("sshd_config")).replace("Interval 60", "Interval 77"));
    await host.reload();
    const said = await removed(applied);
    expect(said.join("\n")).toMatch(/sshd_config/);
    expect(await host.read("sshd_config")).toContain("ClientAliveInterval 77");
  });
});

describe("the files", () => {
  const main = ({ head }: HostSetting): HostFiles => ({ sshd_config: `${head}ClientAliveInterval 5\n` });

  test("keep mode and owner", async () => {
    const host = await newHost(main);
    chmodSync(host.configPath, 0o600);
    if (process.getuid?.() === 0) chownSync(host.configPath, 0, 4242);
    await host.reload();
    await created(serverOn(host));
    const { mode, uid, gid } = statSync(host.configPath);
    expect([mode & 0o7777, uid, gid]).toEqual([0o600, process.getuid?.(), process.getuid?.() === 0 ? 4242 : gid]);
    await expectSound(host);
  });

  test("behind links are changed there, and the links stay", async () => {
    const host = await newHost(main);
    await host.stop();
    mkdirSync(path.join(host.dir, "real"));
    renameSync(host.configPath, path.join(host.dir, "real/config"));
    symlinkSync("real/config", host.configPath);
    await host.start();
    const before = await host.read("real/config");
    const applied = await created(serverOn(host));
    expect(lstatSync(host.configPath).isSymbolicLink()).toBe(true);
    expect(await host.read("real/config")).toContain("ClientAliveInterval 60");
    await removed(applied);
    expect(lstatSync(host.configPath).isSymbolicLink()).toBe(true);
    expect(await host.read("real/config")).toBe(before);
    await expectSound(host);
  });

  test("in a folder that is a link get their drop-in there, and the link stays", async () => {
    const host = await newHost(debian("", { "../elsewhere/50-theirs.conf": "ClientAliveInterval 5\n" }));
    await host.stop();
    symlinkSync("elsewhere", path.join(host.dir, "sshd_config.d"));
    await host.start();
    const applied = await created(serverOn(host));
    expect(await effective(host)).toBe("60 3 yes");
    expect(readdirSync(path.join(host.dir, "elsewhere"))).toEqual([path.basename(DROP_IN), "50-theirs.conf"]);
    await removed(applied);
    expect(readdirSync(path.join(host.dir, "elsewhere"))).toEqual(["50-theirs.conf"]);
    expect(lstatSync(path.join(host.dir, "sshd_config.d")).isSymbolicLink()).toBe(true);
    await expectSound(host);
  });

  test("with several names are refused", async () => {
    const host = await newHost(main);
    linkSync(host.configPath, path.join(host.dir, "second name"));
    await host.reload();
    await refuses(host, /\[not-writable\]/, /2 names/);
  });

  const aclTool = ["setfacl", "python3"].find((tool) => spawnSync(tool, ["--version"]).status === 0);
  const acl = (file: string): void => {
    if (aclTool === "setfacl") execFileSync("setfacl", ["-m", "u:4242:r", file]);
    // user::rw- user:4242:r-- group::r-- mask::r-- other::r--, as linux/posix_acl_xattr.h lays it out
    const entries = "[(1,6,-1),(2,4,4242),(4,4,-1),(16,4,-1),(32,4,-1)]";
    const program = `import os,struct,sys; os.setxattr(sys.argv[1],'system.posix_acl_access',struct.pack('<I',2)+b''.join(struct.pack('<HHi',*e) for e in ${entries}))`;
    if (aclTool === "python3") execFileSync("python3", ["-c", program, file]);
  };
  const aclFits = (() => {
    if (aclTool === undefined) return "needs setfacl or python3";
    const probe = path.join(folder.path, "acl");
    writeFileSync(probe, "");
    try {
      acl(probe);
      return undefined;
    } catch {
      return "this file system has no ACLs";
    }
  })();
  (aclFits === undefined ? test : test.skip)(
    `keep their ACL${aclFits === undefined ? "" : `: ${aclFits}`}`,
    async () => {
      const host = await newHost(main);
      acl(host.configPath);
      await host.reload();
      const mode = () => execFileSync("ls", ["-ln", host.configPath], { encoding: "utf8" }).slice(0, 11);
      expect(mode()).toBe("-rw-r--r--+");
      await created(serverOn(host));
      expect(mode()).toBe("-rw-r--r--+");
      await expectSound(host);
    },
  );

  const immutableFits = (() => {
    const probe = path.join(folder.path, "immutable");
    writeFileSync(probe, "");
    const can = spawnSync("chattr", ["+i", probe]).status === 0;
    if (can) execFileSync("chattr", ["-i", probe]);
    return can ? undefined : "chattr +i does not work here";
  })();
  const immutableTest = immutableFits === undefined ? test : test.skip;
  const suffix = immutableFits === undefined ? "" : `: ${immutableFits}`;
  immutableTest.each(["the file", "its folder"])(
    `that are immutable (%s) are refused before anything${suffix}`,
    async (what) => {
      const host = await newHost(what === "the file" ? main : debian());
      const stuck = what === "the file" ? host.configPath : path.join(host.dir, "sshd_config.d");
      execFileSync("chattr", ["+i", stuck]);
      try {
        await host.reload();
        await refuses(host, /\[not-writable\]/);
      } finally {
        execFileSync("chattr", ["-i", stuck]);
      }
    },
  );
});

describe("the judgement", () => {
  test("refuses a candidate that changes more than the managed options", async () => {
    const host = await newHost();
    // An sshd that sees more in our drop-in than stands there.
    const sshd = path.join(host.dir, "lying-sshd");
    await host.write(
      "lying-sshd",
      `#!/bin/sh\n/usr/sbin/sshd "$@" || exit\ncase " $* " in *' -T '*) [ ! -e ${host.dir}/${DROP_IN} ] || echo 'permitrootlogin forced';; esac\n`,
    );
    chmodSync(sshd, 0o755);
    const before = configuration(host);
    const message = await refusedCreate(serverOn(host, { server: { clientAliveInterval: 60, sshdPath: sshd } }));
    expect(message).toMatch(
      /\[validate\] validate: the candidate changes more than the managed options: .*permitrootlogin forced/,
    );
    expect(configuration(host)).toEqual(before);
    expect(await logged(host, "Received SIGHUP")).toBe(0);
    await expectSound(host);
  });

  test("asks a managed host's sshd for its version once, and again when the program has changed", async () => {
    const host = await newHost();
    const [program, asked] = [path.join(host.dir, "counting-sshd"), path.join(host.dir, "asked")];
    await host.write(
      "counting-sshd",
      `#!/bin/sh\ncase " $* " in *' -V '*) echo x >>${asked} ;; esac\nexec /usr/sbin/sshd "$@"\n`,
    );
    chmodSync(program, 0o755);
    const count = (): number => readFileSync(asked, "utf8").length / 2;
    const inputs = serverOn(host, { server: { clientAliveInterval: 60, sshdPath: program } });
    const applied = await created(inputs);
    const before = count();
    const observed = async () => (await read(applied.id, applied.outputs)).outputs.observed;
    const known = await observed();
    expect(known).toMatchObject({ h: { openssh: expect.stringMatching(/^OpenSSH_\d+\.\d+/) } });
    expect(await observed()).toEqual(known);
    expect(count()).toBe(before);
    // Another file under the same name, with the old one's dates.
    copyFileSync(program, `${program}.new`);
    const { atime, mtime } = statSync(program);
    utimesSync(`${program}.new`, atime, mtime);
    renameSync(`${program}.new`, program);
    expect(await observed()).toEqual(known);
    expect(count()).toBe(before + 1);
    await removed(applied);
    await expectSound(host);
  });

  test("refuses a candidate that sshd refuses or that does not lead to the wanted value", async () => {
    for (const [lie, words] of [
      ["echo 'bad configuration' >&2; exit 1", /OpenSSH refuses the candidate: .*bad configuration/],
      [
        "/usr/sbin/sshd \"$@\" | sed 's/^clientaliveinterval .*/clientaliveinterval 59/'; exit 0",
        /would not have "clientaliveinterval 60"/,
      ],
    ] as const) {
      const host = await newHost();
      await host.write(
        "lying-sshd",
        `#!/bin/sh\ncase " $* " in *' -T '*) [ ! -e ${host.dir}/${DROP_IN} ] || { ${lie}; };; esac\nexec /usr/sbin/sshd "$@"\n`,
      );
      chmodSync(path.join(host.dir, "lying-sshd"), 0o755);
      const message = await refusedCreate(
        serverOn(host, { server: { clientAliveInterval: 60, sshdPath: `${host.dir}/lying-sshd` } }),
      );
      expect(message).toMatch(/\[validate\] validate: /);
      expect(message).toMatch(words);
      await expectSound(host);
    }
  });
});

describe("the new login", () => {
  /** A reload, and what is to be so by the time the daemon has read its files. */
  const hup = (host: LightHost, first: string) => ["sh", "-c", `${first}; kill -HUP "$(cat ${host.dir}/sshd.pid)"`];

  test("that sees other values reverts at once", async () => {
    const host = await newHost();
    const before = configuration(host);
    await host.write(
      "lying-sshd",
      `#!/bin/sh\n[ ! -e ${host.dir}/lie ] || { /usr/sbin/sshd "$@" | sed 's/^clientaliveinterval .*/clientaliveinterval 59/'; exit 0; }\nexec /usr/sbin/sshd "$@"\n`,
    );
    chmodSync(path.join(host.dir, "lying-sshd"), 0o755);
    const begun = performance.now();
    const message = await refusedCreate(
      serverOn(host, {
        confirmTimeout: 240,
        server: {
          clientAliveInterval: 60,
          sshdPath: `${host.dir}/lying-sshd`,
          reload: hup(host, `: > ${host.dir}/lie`),
        },
      }),
    );
    expect(message).toMatch(/\[verify\] verify: OpenSSH does not have "clientaliveinterval 60".*old settings are back/);
    expect(performance.now() - begun).toBeLessThan(200_000);
    expect(configuration(host)).toEqual(before);
    await expectSound(host);
  });

  test("that is refused leads back to the old state, and the error says so", async () => {
    const host = await newHost();
    const before = configuration(host);
    const keys = path.join(host.dir, "authorized_keys");
    const kept = readFileSync(keys);
    // The first time only: the second is the revert's, and what is given back below is to stay.
    const emptied = path.join(host.dir, "emptied");
    const reload = hup(host, `[ -e ${emptied} ] || { : > ${emptied}; : > ${keys}; }`);
    const work = refusedCreate(serverOn(host, { confirmTimeout: 20, server: { clientAliveInterval: 60, reload } }));
    await until(async () => (await logged(host, "Received SIGHUP")) === 2, "the revert");
    writeFileSync(keys, kept);
    const message = await work;
    expect(message).toMatch(/^h: \[auth\] verify: the new login did not work: /);
    expect(configuration(host)).toEqual(before);
    await expectSound(host);
  });

  test("of a further user who cannot get in reverts at once", async () => {
    const host = await newHost();
    const before = configuration(host);
    const message = await refusedCreate(serverOn(host, { verifyAs: ["nobody"] }));
    expect(message).toMatch(/verify: as nobody: .*old settings are back/);
    expect(configuration(host)).toEqual(before);
    await expectSound(host);
  });
});

describe("this machine", () => {
  test("(local: true) has its daemon found by the file it reads", async () => {
    const host = await newHost();
    const before = configuration(host);
    process.env.PULUMI_SSH_KEEPALIVE_STATE_DIR = host.stateDir;
    try {
      const news = {
        hosts: { h: { local: true, server: {} } },
        server: { clientAliveInterval: 60, configPath: host.configPath },
      };
      const applied = await created(news);
      expect(await logged(host, "Received SIGHUP")).toBe(1);
      expect(await effective(host)).toBe("60 3 yes");
      await expectSound(host);
      await removed(applied);
      expect(configuration(host)).toEqual(before);
      await expectSound(host);
    } finally {
      delete process.env.PULUMI_SSH_KEEPALIVE_STATE_DIR;
    }
  });
});

const why = noNamespaces();
describe("a host of its own kind", () => {
  if (why !== undefined) {
    test.skip(`${why}`, () => undefined);
    return;
  }

  test("whose configuration's file system is read-only is refused before anything", async () => {
    const host = await newHost();
    const daemon = await restarted(host, {
      inNamespace: `mount --bind ${host.dir}/sshd_config.d ${host.dir}/sshd_config.d; mount -o remount,bind,ro ${host.dir}/sshd_config.d`,
    });
    await refuses(host, /\[not-writable\]/, /cannot be written/);
    await ended(daemon);
  });

  test("whose state folder is full is refused before anything", async () => {
    const host = await newHost();
    const daemon = await restarted(host, {
      inNamespace: `mount -t tmpfs -o size=64k,mode=700 tmpfs ${host.stateDir}; head -c 57344 /dev/zero > ${host.stateDir}/ballast`,
    });
    await refuses(host, /\[not-writable\]/);
    await ended(daemon);
  });

  test("whose configuration's file system is full keeps the old bytes, and the next run works", async () => {
    const host = await newHost();
    const conf = `${host.dir}/sshd_config.d`;
    const before = configuration(host);
    const daemon = await restarted(host, {
      inNamespace: `cp -r ${conf} ${host.dir}/kept; mount -t tmpfs -o size=16k,nr_inodes=40,mode=755 tmpfs ${conf}; cp ${host.dir}/kept/* ${conf}/; head -c 12288 /dev/zero > ${conf}/ballast || :; touch ${host.dir}/sshd_config`,
    });
    const look = () => host.ssh(`ls -A ${conf}; cat ${conf}/*.conf`);
    const was = await look();
    const message = await refusedCreate(serverOn(host));
    expect(message).toMatch(/\[(install|validate|not-writable)\] .*(full|space|write)/i);
    expect((await look()).stdout).toBe(was.stdout);
    expect(configuration(host)).toEqual(before);
    const listened = await logged(host, "Server listening");
    expect((await host.ssh(`rm ${conf}/ballast; kill -HUP $(cat ${host.dir}/sshd.pid)`)).code).toBe(0);
    await until(async () => (await logged(host, "Server listening")) > listened, "the reload");
    await created(serverOn(host));
    expect((await look()).stdout).toContain("ClientAliveInterval 60");
    await ended(daemon);
  });

  test("without root and without mount namespaces is judged by copies with rewritten Includes", async () => {
    chmodSync(folder.path, 0o711);
    const host = await newHost(({ dir, head }) => ({
      sshd_config: `${head}Include ${dir}/sshd_config.d/*.conf\nMatch User bob\n  Include ${dir}/for-bob/*.conf\n`,
      "sshd_config.d/50-a.conf": "ClientAliveInterval 0\nMaxSessions 7\n",
      "for-bob/b.conf": "X11Forwarding yes\n",
      passwd: `${readFileSync("/etc/passwd", "utf8")}ska:x:12345:12345::${dir}/home:/bin/sh\n`,
      "home/.profile": "",
    }));
    await host.stop();
    execFileSync("chown", ["-R", "12345:12345", host.dir]);
    const daemon = await started(host, {
      inNamespace: `mount --bind ${host.dir}/passwd /etc/passwd`,
      as: ["setpriv", "--reuid", "12345", "--regid", "12345", "--clear-groups"],
    });
    const before = configuration(host);
    const news = serverOn(host, { hosts: { h: { ...host.connection, user: "ska" } } });
    const applied = await created(news);
    expect(configuration(host)[DROP_IN]).toContain("ClientAliveInterval 60");
    expect(statSync(path.join(host.dir, DROP_IN)).uid).toBe(12345);
    expect(await logged(host, "Received SIGHUP")).toBe(1);
    await removed(applied);
    expect(configuration(host)).toEqual(before);
    await ended(daemon);
  });

  test.each([
    ["dash", "dash"],
    ["bash --posix", "bash --posix"],
    ["busybox sh", "busybox sh"],
  ])("whose sh is %s is changed and put back", async (_name, shell) => {
    const [program = ""] = shell.split(" ");
    const found = spawnSync("sh", ["-c", `command -v ${program}`], { encoding: "utf8" }).stdout.trim();
    if (found === "") throw new Error(`${program} is not installed here`);
    const host = await newHost();
    // A real shell under the name sh: bash is then in its POSIX mode, busybox needs its applet's name.
    const daemon = await restarted(host, {
      inNamespace: `mount --bind "$(readlink -f ${found})" "$(readlink -f /bin/sh)"`,
    });
    const said = await host.ssh("exec sh -c 'cksum </proc/$$/exe'");
    expect(said.stdout).toBe(execFileSync("sh", ["-c", 'cksum <"$1"', "sh", found], { encoding: "utf8" }));
    const before = configuration(host);
    const applied = await created(serverOn(host));
    expect(await effective(host)).toBe("60 3 yes");
    await removed(applied);
    expect(configuration(host)).toEqual(before);
    await expectSound(host);
    await ended(daemon);
  });
});

test("an error names host, step, reason and remedy", async () => {
  const host = await newHost();
  await host.write("sshd_config", `${await host.read("sshd_config")}Nonsense yes\n`);
  const { code, step, reason, remedy } = await failure(
    import("../../provider/fleet").then(async ({ planHost, forgetLooks }) => {
      forgetLooks();
      const { hostSettings } = await import("../../provider/inputs");
      const [settings] = hostSettings(serverOn(host) as never);
      if (settings === undefined) throw new Error("no settings");
      const plan = await planHost(settings, undefined, "whole");
      if (plan.kind !== "looked" || plan.targets[0]?.kind !== "refused") throw new Error("not refused");
      const { KeepaliveError } = await import("../../provider/errors");
      throw new KeepaliveError(plan.targets[0].failure);
    }),
  );
  expect({ code, step }).toEqual({ code: "config-broken", step: "observe" });
  expect(reason).toMatch(/Nonsense/);
  expect(remedy).toMatch(/by hand/);
});
