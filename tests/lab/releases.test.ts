/** The whole life of a resource on each release's real OpenSSH and systemd, by each way to become root. */
import { describeLab } from "./support/available";
import { printFigures } from "./support/figures";
import { LAB_TIMEOUT, type Lab, type LabHost, startLab } from "./support/host";
import { ACCOUNTS, RELEASES } from "./support/images";
import { resource } from "./support/resource";
import { defineStories } from "./support/stories";

const WAYS = [
  { way: "as root", user: "root", become: {} },
  { way: "by sudo without a password", user: "deploy", become: { become: {} } },
  { way: "by sudo with a password", user: "anna", become: { become: { password: ACCOUNTS.anna.password } } },
] as const;

/** Seconds that each act took, by release. */
const figures: string[][] = [];

async function wholeLife(host: LabHost, { user, become }: (typeof WAYS)[number]): Promise<void> {
  const release = host.name;
  const before = host.snapshot();
  const fleet = resource({
    hosts: { [release]: host.connection(user) },
    ...become,
    server: { clientAliveInterval: 60, clientAliveCountMax: 2, tcpKeepAlive: false },
  });

  const seconds: string[] = [];
  const timed = async <T>(work: Promise<T>): Promise<T> => {
    const start = performance.now();
    const result = await work;
    seconds.push(((performance.now() - start) / 1000).toFixed(1));
    return result;
  };

  // Ours, before there is anything: what is wrong, where it comes from.
  expect((await timed(fleet.preview()))[release]).toEqual(
    expect.arrayContaining([
      expect.stringContaining("ClientAliveInterval 0, wanted 60 (set by /etc/ssh/sshd_config.d/50-cloud-init.conf:2)"),
    ]),
  );
  expect(host.snapshot()).toEqual(before);

  const identity = () => host.must("cksum </proc/$(cat /run/sshd.pid)/auxv; cat /run/sshd.pid");
  const [oldAuxv, oldPid] = (await identity()).split("\n");
  await timed(fleet.upOrThrow());
  const [newAuxv, newPid] = (await identity()).split("\n");
  expect(newPid).toBe(oldPid);
  expect(newAuxv).not.toBe(oldAuxv);
  expect(await host.leftovers()).toEqual([]);
  expect((await host.sshdT()).get("clientaliveinterval")).toBe("60");
  expect((await host.sshdT()).get("clientalivecountmax")).toBe("2");
  // 10.6 says `false` in its dump.
  expect((await host.sshdT()).get("tcpkeepalive")).toMatch(/^(no|false)$/);
  expect(fleet.observed()[release]).toMatchObject({
    status: "inSync",
    openssh: expect.stringContaining("OpenSSH_"),
  });
  expect(await timed(fleet.preview())).toEqual({});

  // Drift by hand, loaded by the daemon.
  const drifted = "/etc/ssh/sshd_config.d/00-a-colleague.conf";
  await host.write(drifted, "ClientAliveInterval 7\n");
  await host.must("systemctl reload ssh");
  expect((await fleet.preview())[release]).toEqual(
    expect.arrayContaining([expect.stringContaining(`ClientAliveInterval 7, wanted 60 (set by ${drifted}:1)`)]),
  );
  await fleet.upOrThrow();
  expect((await host.sshdT()).get("clientaliveinterval")).toBe("60");
  expect(await fleet.preview()).toEqual({});

  const openssh = fleet.observed()[release]?.openssh ?? "";
  await timed(fleet.destroy());
  if (user === "root") {
    const systemd = /^systemd (\d+)/.exec(await host.must("systemctl --version"))?.[1] ?? "";
    figures.push([release, /OpenSSH_[\w.]+/.exec(openssh)?.[0] ?? openssh, systemd, ...seconds]);
  }
  await host.must(`rm ${drifted} && systemctl reload ssh`);
  expect(host.snapshot()).toEqual(before);
  expect(await host.leftovers()).toEqual([]);
  const login = await host.ssh("true", { user });
  const log = login.code === 0 ? "" : (await host.sh("systemctl status ssh; journalctl -o short-precise -n 60")).stdout;
  expect(`${login.stderr}${log}`).toBe("");
  expect(login.code).toBe(0);
}

describeLab("each release", () => {
  let lab: Lab;
  beforeAll(async () => {
    lab = await startLab();
  }, LAB_TIMEOUT);
  afterAll(async () => {
    const head = ["release", "OpenSSH", "systemd", "preview", "up", "preview again", "destroy"];
    printFigures("One host of each release: seconds", [head, ...figures.sort()]);
    await lab?.end();
  });

  const cloudInit = "PasswordAuthentication no\nClientAliveInterval 0\n";
  defineStories(
    RELEASES.map((release) => ({
      name: release,
      start: () =>
        lab.host({
          image: release,
          name: release,
          files: { "/etc/ssh/sshd_config.d/50-cloud-init.conf": cloudInit },
        }),
      steps: WAYS.map((way) => ({
        name: `is changed, healed and put back ${way.way}`,
        run: (host: LabHost) => wholeLife(host, way),
      })),
    })),
    4,
  );
});
