/** A whole transaction through a real sudo, with and without a password, by an account that may do nothing itself. */
import { execFileSync, spawnSync } from "node:child_process";
import { chmodSync, existsSync, readFileSync } from "node:fs";
import path from "node:path";
import type { Bag } from "../../provider/lifecycle";
import { startLightHost } from "../support/lightHost";
import {
  configuration,
  created,
  ended,
  expectSound,
  logged,
  noNamespaces,
  refusedCreate,
  removed,
  started,
  testFolder,
} from "./hostCase";

const folder = testFolder();

const PASSWORD = "correct horse";
const why = noNamespaces() ?? (spawnSync("sudo", ["-V"]).status === 0 ? undefined : "sudo is not installed");

describe("sudo", () => {
  if (why !== undefined) {
    test.skip(`runs a transaction: ${why}`, () => undefined);
    return;
  }

  /** A host whose account `ska` has a way to root, all in a private view of /etc. */
  async function hostWithSudo(rule: string) {
    chmodSync(folder.path, 0o711);
    const hash = execFileSync("openssl", ["passwd", "-6", "-stdin"], { input: PASSWORD, encoding: "utf8" }).trim();
    const host = await startLightHost({
      folder,
      files: ({ dir, head }) => ({
        sshd_config: `${head}Include ${dir}/sshd_config.d/*.conf\n`,
        "sshd_config.d/50-cloud-init.conf": "ClientAliveInterval 0\n",
        passwd: `${readFileSync("/etc/passwd", "utf8")}ska:x:12345:12345::${dir}/home:/bin/sh\n`,
        shadow: `${readFileSync("/etc/shadow", "utf8")}ska:${hash}:19000::::::\n`,
        sudoers: `Defaults env_keep += "PULUMI_SSH_KEEPALIVE_STATE_DIR"\nDefaults lecture=always\nroot ALL=(ALL) ALL\n${rule}\n`,
        pam: "auth required pam_unix.so\naccount required pam_unix.so\nsession required pam_permit.so\n",
        "home/.profile": "echo welcome\n",
      }),
    });
    await host.stop();
    for (const file of ["sudoers", "shadow"]) chmodSync(path.join(host.dir, file), 0o440);
    // sshd reads it with the rights of who logs in.
    chmodSync(path.join(host.dir, "authorized_keys"), 0o644);
    const daemon = await started(host, {
      inNamespace: ["passwd:passwd", "shadow:shadow", "sudoers:sudoers", "pam:pam.d/sudo"]
        .map((pair) => pair.split(":"))
        .map(([own, etc]) => `mount --bind ${host.dir}/${own} /etc/${etc}`)
        .join("\n"),
    });
    const news = (become?: Bag): Bag => ({
      hosts: { h: { ...host.connection, user: "ska" } },
      ...(become === undefined ? {} : { become }),
      server: { clientAliveInterval: 60 },
      confirmTimeout: 60,
    });
    return { host, news, stop: () => ended(daemon) };
  }

  test.each([
    ["without a password", "ska ALL=(root) NOPASSWD: ALL", { user: "root" }],
    ["without a password, though one is given", "ska ALL=(root) NOPASSWD: ALL", { user: "root", password: PASSWORD }],
    ["with a password", "ska ALL=(root) ALL", { user: "root", password: PASSWORD }],
  ])("%s leads a whole transaction and its undoing", async (_how, rule, become) => {
    const { host, news, stop } = await hostWithSudo(rule);
    const before = configuration(host);
    const applied = await created(news(become));
    expect((await host.sshdT()).get("clientaliveinterval")).toBe("60");
    expect(await logged(host, "Received SIGHUP")).toBe(1);
    // Root's login, which the invariants use, is not what was confirmed: the account's own was.
    // Two where the machine keeps up; a login that came before the daemon had read its files is made once more.
    expect((await host.log()).match(/^Accepted publickey for ska /gm)?.length).toBeGreaterThanOrEqual(2);
    await removed(applied);
    expect(configuration(host)).toEqual(before);
    await expectSound(host);
    await stop();
  });

  test.each([
    ["with a wrong password", "ska ALL=(root) ALL", { user: "root", password: "battery staple" }],
    ["without the password it asks for", "ska ALL=(root) ALL", { user: "root" }],
    ["that is not allowed", "", { user: "root", password: PASSWORD }],
    ["that wants a terminal", "Defaults:ska requiretty\nska ALL=(root) NOPASSWD: ALL", { user: "root" }],
  ])("%s touches nothing, and the error says what is missing", async (_how, rule, become) => {
    const { host, news, stop } = await hostWithSudo(rule);
    const before = configuration(host);
    const message = await refusedCreate(news(become));
    expect(message).toMatch(/^h: \[sudo\] connect: /);
    expect(message).not.toMatch(/correct horse|battery staple/);
    expect(configuration(host)).toEqual(before);
    expect(existsSync(host.stateDir)).toBe(true);
    await expectSound(host);
    await stop();
  });

  test("that is not used leaves an account without rights refused, with become as the remedy", async () => {
    const { host, news, stop } = await hostWithSudo("");
    const before = configuration(host);
    expect(await refusedCreate(news())).toMatch(/\[(config-unreadable|not-writable)\] (observe|plan): .*become/);
    expect(configuration(host)).toEqual(before);
    await stop();
  });
});
