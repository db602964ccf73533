/** Every way into a host that people use, each by preview, up and destroy against a real one. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { spawnCompanion } from "../../provider/host/spawn";
import type { Bag } from "../../provider/lifecycle";
import { describeLab } from "./support/available";
import { LAB_TIMEOUT, type Lab, type LabHost, startLab } from "./support/host";
import { ACCOUNTS } from "./support/images";
import { resource } from "./support/resource";
import { must, until } from "./support/run";

const MINUTES = 60_000;
const DROPIN = "/etc/ssh/sshd_config.d/50-before.conf";
const WAY = "/etc/ssh/sshd_config.d/10-way.conf";

/** What one way needs, and how it is used. */
interface WayIn {
  /** What a program says of the host, beside its address; may prepare things on the host first. */
  readonly host: Bag;
  /** Lines of sshd_config that leave this way open and the others shut. */
  readonly lines?: string;
  readonly become?: Bag;
  /** What the host's log says of a login by this way. */
  readonly logged: RegExp;
  readonly end?: () => void;
}

describeLab("a way in", () => {
  let lab: Lab;
  let host: LabHost;
  let jump: LabHost;
  let folder: string;

  beforeAll(async () => {
    lab = await startLab();
    folder = join(lab.folder.path, "ways");
    mkdirSync(folder, { mode: 0o700 });
    [host, jump] = await Promise.all([
      lab.host({ image: "trixie", name: "target", files: { [DROPIN]: "ClientAliveInterval 7\n" } }),
      lab.host({ image: "bookworm", name: "jump" }),
    ]);
  }, LAB_TIMEOUT);
  afterAll(() => lab?.end());

  const here = (name: string): string => join(folder, name);
  /** A new key pair here; resolves to the public key's line. */
  const newKey = async (name: string, passphrase = ""): Promise<string> => {
    await must("ssh-keygen", ["-q", "-t", "ed25519", "-N", passphrase, "-C", name, "-f", here(name)]);
    return (await must("cat", [here(`${name}.pub`)])).trim();
  };
  /** Lets a key in as root, beside the lab's own. */
  const authorize = (publicKey: string) => host.must(`printf '%s\\n' '${publicKey}' >>/root/.ssh/authorized_keys`);
  const bare = (): Bag => {
    const { privateKey: _, ...rest } = host.connection();
    return rest;
  };
  /** Without `hostKey`: what known_hosts says decides. */
  const byKnownHosts = (knownHosts: string): Bag => {
    const { hostKey: _, ...rest } = host.connection();
    return { ...rest, sshOptions: { UserKnownHostsFile: knownHosts, GlobalKnownHostsFile: "/dev/null" } };
  };

  const WAYS: Readonly<Record<string, () => Promise<WayIn>>> = {
    "a key in an agent": async () => {
      await authorize(await newKey("agent"));
      const socket = here("agent.sock");
      const agent = await spawnCompanion("ssh-agent", ["-D", "-a", socket], { ...process.env, LAB: folder }, 10_000);
      if (agent === undefined) throw new Error("no agent");
      await must("ssh-add", ["-q", here("agent")], { env: { ...process.env, SSH_AUTH_SOCK: socket } });
      return {
        host: { ...bare(), agentSocketPath: socket },
        logged: /Accepted publickey for root/,
        end: agent.end,
      };
    },
    "an encrypted key": async () => {
      await authorize(await newKey("encrypted", "a pass phrase"));
      const privateKey = await must("cat", [here("encrypted")]);
      return {
        host: { ...host.connection(), privateKey, privateKeyPassword: "a pass phrase" },
        logged: /Accepted publickey for root/,
      };
    },
    "a user certificate": async () => {
      const ca = await newKey("user-ca");
      await newKey("certified");
      await must("ssh-keygen", ["-q", "-s", here("user-ca"), "-I", "lab", "-n", "root", here("certified.pub")]);
      await host.write("/etc/ssh/user_ca.pub", `${ca}\n`);
      return {
        host: {
          ...bare(),
          sshOptions: {
            IdentityFile: here("certified"),
            CertificateFile: here("certified-cert.pub"),
            IdentitiesOnly: "yes",
          },
        },
        lines: "TrustedUserCAKeys /etc/ssh/user_ca.pub\nAuthorizedKeysFile none\n",
        logged: /Accepted publickey for root .*ED25519-CERT/,
      };
    },
    "a user certificate for a key given as text": async () => {
      const ca = await newKey("text-ca");
      await newKey("text");
      await must("ssh-keygen", ["-q", "-s", here("text-ca"), "-I", "lab", "-n", "root", here("text.pub")]);
      await host.write("/etc/ssh/user_ca.pub", `${ca}\n`);
      const privateKey = await must("cat", [here("text")]);
      return {
        host: { ...host.connection(), privateKey, sshOptions: { CertificateFile: here("text-cert.pub") } },
        lines: "TrustedUserCAKeys /etc/ssh/user_ca.pub\nAuthorizedKeysFile none\n",
        logged: /Accepted publickey for root .*ED25519-CERT/,
      };
    },
    "a password": async () => ({
      host: { ...bare(), user: "anna", password: ACCOUNTS.anna.password },
      lines: "PubkeyAuthentication no\nPasswordAuthentication yes\nKbdInteractiveAuthentication no\n",
      become: { password: ACCOUNTS.anna.password },
      logged: /Accepted password for anna/,
    }),
    "keyboard-interactive by PAM": async () => ({
      host: { ...bare(), user: "anna", password: ACCOUNTS.anna.password },
      lines: "PubkeyAuthentication no\nPasswordAuthentication no\nKbdInteractiveAuthentication yes\nUsePAM yes\n",
      become: { password: ACCOUNTS.anna.password },
      logged: /Accepted keyboard-interactive\/pam for anna/,
    }),
    "a jump host": async () => ({
      host: { ...host.connection(), proxy: jump.connection("bob") },
      logged: new RegExp(`Accepted publickey for root from ${jump.address.replaceAll(".", "\\.")}`),
    }),
    "a port of its own": async () => ({
      host: { ...host.connection(), port: 2222 },
      lines: "Port 2222\n",
      logged: /Accepted publickey for root/,
    }),
    IPv6: async () => ({
      host: { ...host.connection(), host: host.address6 },
      logged: /Accepted publickey for root from fd/,
    }),
    "IPv6 through a jump host": async () => ({
      host: { ...host.connection(), host: host.address6, proxy: { ...jump.connection("bob"), host: jump.address6 } },
      logged: new RegExp(`Accepted publickey for root from ${jump.address6}`),
    }),
    "another user with sudo": async () => ({
      host: { ...host.connection("deploy") },
      become: {},
      logged: /Accepted publickey for deploy/,
    }),
    "a hashed known_hosts": async () => {
      writeFileSync(here("hashed"), `${host.address} ${host.connection().hostKey}\n`);
      await must("ssh-keygen", ["-q", "-H", "-f", here("hashed")]);
      expect(await must("cat", [here("hashed")])).toMatch(/^\|1\|/);
      return { host: byKnownHosts(here("hashed")), logged: /Accepted publickey for root/ };
    },
    "a host certificate and @cert-authority": async () => {
      const ca = await newKey("host-ca");
      const key = "/etc/ssh/ssh_host_ed25519_key";
      writeFileSync(here("host.pub"), await host.read(`${key}.pub`));
      await must("ssh-keygen", ["-q", "-s", here("host-ca"), "-h", "-I", "lab", "-n", host.address, here("host.pub")]);
      await host.write(`${key}-cert.pub`, await must("cat", [here("host-cert.pub")]));
      writeFileSync(here("by-ca"), `@cert-authority 198.18.* ${ca}\n`);
      return {
        host: byKnownHosts(here("by-ca")),
        lines: `HostCertificate ${key}-cert.pub\n`,
        logged: /Accepted publickey for root/,
      };
    },
  };

  /** Has the daemon read its files, in a second of their own, and waits until it listens again. */
  const reload = async () => {
    await host.must("sleep 1.1; rm -f /run/sshd.pid; systemctl reload ssh");
    await until(async () => (await host.sh("[ -s /run/sshd.pid ]")).code === 0, "the reload");
  };

  test.each(Object.keys(WAYS))(
    "by %s",
    async (name) => {
      const way = await WAYS[name]?.();
      if (way === undefined) throw new Error(`no way ${name}`);
      const { host: connection, lines = "", become, logged, end } = way;
      await host.write(WAY, lines);
      await reload();
      const before = host.snapshot();
      const accepted = async () =>
        (await host.must("journalctl --no-pager -o cat | grep Accepted || :"))
          .split("\n")
          .slice(seen)
          .filter((l) => l !== "");
      let seen = 0;
      seen = (await accepted()).length;
      try {
        const fleet = resource({
          hosts: { h: { ...connection, perDialTimeout: 10 } },
          server: { clientAliveInterval: 60 },
          ...(become === undefined ? {} : { become }),
        });
        expect((await fleet.preview()).h?.[0]).toBe(`ClientAliveInterval 7, wanted 60 (set by ${DROPIN}:1)`);
        await fleet.upOrThrow();
        expect((await host.sshdT()).get("clientaliveinterval")).toBe("60");
        expect(await fleet.preview()).toEqual({});
        await fleet.destroy();
        // The look and what undoes it may share a login; a change is proven by one of its own.
        const logins = await accepted();
        expect(logins.length).toBeGreaterThanOrEqual(3);
        for (const login of logins) expect(login).toMatch(logged);
      } finally {
        end?.();
        await host.must(`rm ${WAY}`);
        await reload();
      }
      const { [WAY]: _, ...rest } = before;
      expect(host.snapshot()).toEqual(rest);
      expect(await host.leftovers()).toEqual([]);
    },
    15 * MINUTES,
  );
});
