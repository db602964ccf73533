/**
 * The reason for all of it: an idle session through a firewall that forgets dies without keepalives and lives with
 * them, on every release; and when the probes really go out and a session really ends.
 */
import { setTimeout as pause } from "node:timers/promises";
import type { Timing } from "../../provider/semantics";
import { parseVersion, timing } from "../../provider/semantics";
import type { Outcome } from "../support/engine";
import { keepaliveProject, pendingChanges, said } from "../support/program";
import { describeLab } from "./support/available";
import { printFigures } from "./support/figures";
import { type Firewall, firewall, traffic } from "./support/firewall";
import { echoSession, type IdleSession, LAB_TIMEOUT, type Lab, type LabHost, startLab } from "./support/host";
import { RELEASES } from "./support/images";
import { resource } from "./support/resource";
import { must, until } from "./support/run";

const MINUTES = 60_000;
const setting = (name: string, value: number): number => Number(process.env[`SSH_KEEPALIVE_LAB_${name}`] || value);
/** Seconds of silence after which the firewall forgets a connection. */
const FORGETS = setting("FORGETS", 8);
/** Seconds between probes of a server: in time, but not at twice the interval. */
const INTERVAL = setting("INTERVAL", Math.floor(FORGETS / 2) + 1);
/** Seconds between probes that are in time also at twice the interval. */
const SHORT = Math.ceil(FORGETS / 2) - 1;
/** Seconds between probes of a client, which never doubles them. */
const CLIENT_INTERVAL = setting("CLIENT_INTERVAL", Math.floor(FORGETS / 2));
/** How long sessions are left idle: more than twice what the firewall remembers. */
const IDLE = 2 * FORGETS + 1;
/** The settings whose first probe and end are measured. */
const MEASURED = { interval: setting("MEASURED_INTERVAL", 3), countMax: setting("MEASURED_COUNT", 2) };

/** Seconds that a busy machine may add to what is measured; less than one probe more or less would. */
const SLACK = MEASURED.interval - 0.2;

/** Debian 12's OpenSSH 9.2 probes at twice the interval. */
const DOUBLED = "bookworm";

describeLab("an idle session through a firewall", () => {
  let lab: Lab;
  let client: LabHost;
  let servers: readonly LabHost[];
  let between: Firewall;

  beforeAll(async () => {
    lab = await startLab();
    [client, ...servers] = (await Promise.all([
      lab.host({ image: "bookworm", name: "client" }),
      ...RELEASES.map((release) => lab.host({ image: release, name: release })),
    ])) as [LabHost, ...LabHost[]];
    between = await firewall(lab, client, servers, FORGETS);
  }, LAB_TIMEOUT);
  afterAll(() => lab?.end());

  /** Which of the servers' sessions still answer after having been idle. */
  const survivors = async (): Promise<readonly string[]> => {
    const sessions = await Promise.all(
      servers.map(async (server) => {
        // On a busy machine the login itself can take longer than the firewall remembers.
        for (let attempt = 1; ; attempt++) {
          const session = between.session(server);
          try {
            await session.ready;
            return { server, session };
          } catch (error) {
            session.end();
            if (attempt === 3) throw error;
          }
        }
      }),
    );
    await pause(IDLE * 1000);
    const answers = await Promise.all(sessions.map(({ session }) => session.answers(4000)));
    for (const { session } of sessions) session.end();
    return sessions.flatMap(({ server }, index) => (answers[index] ? [server.name] : []));
  };
  const hosts = () => Object.fromEntries(servers.map((server) => [server.name, server.connection()]));

  test(
    "lives after an up of the server side, dies with drift that preview names, and lives after the next up",
    async () => {
      expect(await survivors()).toEqual([]);

      // The one release whose probes are late is refused, with a value that works.
      const late = resource({ hosts: hosts(), server: { clientAliveInterval: INTERVAL }, idleTimeout: FORGETS });
      await expect(late.preview()).rejects.toThrow(
        new RegExp(
          `^(?=.*\\b${DOUBLED}\\b)(?!.*\\n).*clientAliveInterval.*2 × ${INTERVAL} s = ${2 * INTERVAL} s` +
            `.*set ClientAliveInterval to ${SHORT} or less`,
        ),
      );

      // Without the limit nothing is refused, and 9.2 alone loses its session.
      const fleet = resource({ hosts: hosts(), server: { clientAliveInterval: INTERVAL } });
      await fleet.upOrThrow();
      // (On a busy machine a late timer can carry one of 9.2's probes over a second's edge, and it is in time.)
      let alive = await survivors();
      for (let again = 0; again < 2 && alive.includes(DOUBLED); again++) alive = await survivors();
      expect(alive).toEqual(RELEASES.filter((release) => release !== DOUBLED));

      const perHost = Object.fromEntries(
        servers.map((server) => [
          server.name,
          { ...server.connection(), ...(server.name === DOUBLED ? { server: { clientAliveInterval: SHORT } } : {}) },
        ]),
      );
      fleet.set({ hosts: perHost, server: { clientAliveInterval: INTERVAL }, idleTimeout: FORGETS });
      await fleet.upOrThrow();
      expect(await survivors()).toEqual([...RELEASES]);

      for (const server of servers) {
        await server.write("/etc/ssh/sshd_config.d/00-a-colleague.conf", "ClientAliveInterval 0\n");
        await server.must("systemctl reload ssh");
      }
      const pending = await fleet.preview();
      for (const server of servers) {
        expect(pending[server.name]).toContainEqual(
          expect.stringMatching(
            /^ClientAliveInterval 0, wanted \d+ \(set by \/etc\/ssh\/sshd_config\.d\/00-a-colleague\.conf:1\)$/,
          ),
        );
      }
      expect(await survivors()).toEqual([]);
      await fleet.upOrThrow();
      expect(await survivors()).toEqual([...RELEASES]);
      await fleet.destroy();
      for (const server of servers) {
        await server.must("rm /etc/ssh/sshd_config.d/00-a-colleague.conf && systemctl reload ssh");
      }
    },
    15 * MINUTES,
  );

  test(
    "lives after one `pulumi up` of the client side, whatever the servers do; and of both sides",
    async () => {
      const project = await keepaliveProject(lab.folder);
      const client_ = { serverAliveInterval: CLIENT_INTERVAL, hosts: [`198.19.${lab.number}.*`] };
      await project.declare({
        laptop: { args: { hosts: { laptop: client.connection() }, client: client_, idleTimeout: FORGETS } },
      });
      const first = await project.previewJson();
      expect(pendingChanges(first.digest).laptop?.laptop).toContainEqual(
        expect.stringContaining(`ServerAliveInterval 0, wanted ${CLIENT_INTERVAL}`),
      );
      const up = await project.up();
      succeeded(up);
      expect(await survivors()).toEqual([...RELEASES]);
      const again = await project.preview(["--expect-no-changes"]);
      succeeded(again);

      // Drift: named before it is healed, and deadly.
      await client.must(
        `sed -i 's/ServerAliveInterval ${CLIENT_INTERVAL}/ServerAliveInterval 0/' /etc/ssh/ssh_config /etc/ssh/ssh_config.d/* || :`,
      );
      const drifted = await project.previewJson();
      expect(pendingChanges(drifted.digest).laptop?.laptop?.[0]).toMatch(
        /^ServerAliveInterval 0, wanted \d+ \(set by \/etc\/ssh\/ssh_config\S*:\d+\)$/,
      );
      expect((await project.preview(["--expect-no-changes"])).code).not.toBe(0);
      expect(await survivors()).toEqual([]);

      const both = { ...client.connection(), server: { clientAliveInterval: SHORT }, client: client_ };
      const there = Object.fromEntries(
        servers.map((server) => [server.name, { ...server.connection(), server: { clientAliveInterval: SHORT } }]),
      );
      await project.declare({ laptop: { args: { hosts: { laptop: both, ...there }, idleTimeout: FORGETS } } });
      const healed = await project.up();
      succeeded(healed);
      expect(await survivors()).toEqual([...RELEASES]);
      const gone = await project.destroy();
      succeeded(gone);
      expect(await survivors()).toEqual([]);
    },
    15 * MINUTES,
  );

  test(
    "is probed and ended when the arithmetic says so, on each release and either side",
    async () => {
      const { interval, countMax } = MEASURED;
      const rows: (readonly string[])[] = [];
      const fleet = resource({
        hosts: { ...hosts(), client: client.connection() },
        server: { clientAliveInterval: interval, clientAliveCountMax: countMax },
      });
      await fleet.upOrThrow();

      const measure = async (server: LabHost) => {
        const observed = fleet.observed()[server.name];
        const version = parseVersion(observed?.openssh ?? "");
        // Server side: the client's process stands still, so its kernel acknowledges and nobody answers. Not through the
        // firewall, which would end the session itself.
        const login = ["ssh", "-o", "StrictHostKeyChecking=no", `root@${server.address}`, "cat"];
        const { file, args } = client.command(login);
        const peer = ["dst", server.address, "and", "dport", "=", ":22"];
        const fromServer = await measured(
          () => echoSession(file, args),
          server,
          ["sport", "=", ":22", "and", "dst", client.address],
          (signal) => signalOwners(client, peer, signal),
        );
        expect(observed?.server).toMatchObject({
          firstProbeSeconds: timing("server", version, { interval, countMax }).firstProbeSeconds,
          disconnectSeconds: timing("server", version, { interval, countMax }).disconnectSeconds,
        });
        rows.push(
          row(server, observed?.openssh ?? "", "server", timing("server", version, { interval, countMax }), fromServer),
        );
        return { server, predicted: timing("server", version, { interval, countMax }), real: fromServer };
      };
      const results = await Promise.all(servers.map(measure));

      // Client side: each release's ssh, to a server whose session process stands still.
      for (const server of servers) await server.write("/root/lab_key", client.connection().privateKey);
      const clients = await Promise.all(
        servers.map(async (server) => {
          await server.must("chmod 600 /root/lab_key");
          const options = [
            `ServerAliveInterval=${interval}`,
            `ServerAliveCountMax=${countMax}`,
            "StrictHostKeyChecking=no",
          ];
          const words = [
            "ssh",
            "-i",
            "/root/lab_key",
            ...options.flatMap((o) => ["-o", o]),
            `bob@${client.address}`,
            "cat",
          ];
          const { file, args } = server.command(words);
          const real = await measured(
            () => echoSession(file, args),
            server,
            ["dport", "=", ":22"],
            (signal) => signalOwners(client, ["src", client.address, "and", "dst", server.address], signal),
          );
          const openssh = (await server.sh("ssh -V 2>&1")).stdout;
          const version = parseVersion(openssh);
          const predicted = timing("client", version, { interval, countMax });
          rows.push(row(server, openssh, "client", predicted, real));
          return { server, predicted, real };
        }),
      );
      await fleet.destroy();
      printFigures(
        `Idle sessions, interval ${interval} s, count ${countMax}: seconds of silence until first probe and end`,
        [["release", "OpenSSH", "side", "computed", "measured"], ...rows.sort()],
      );
      for (const { predicted, real } of [...results, ...clients]) {
        // Computed as "at the latest", in whole seconds; a busy machine adds its own. Where an interval counts twice
        // (9.2), a timer that is late over a second's edge makes it count once.
        expect(real.probe).toBeGreaterThan(interval - 1.2);
        expect(real.probe).toBeLessThan((predicted.firstProbeSeconds ?? 0) + SLACK);
        expect(real.end).toBeGreaterThan((predicted.disconnectSeconds ?? 0) - interval - 1.2);
        expect(real.end).toBeLessThan((predicted.disconnectSeconds ?? 0) + SLACK);
      }
    },
    15 * MINUTES,
  );
});

/** Throws with everything that a failed call of the engine said. */
function succeeded(outcome: Outcome): void {
  if (outcome.code !== 0) throw new Error(`exit ${outcome.code}:\n${said(outcome)}`);
}

/** Signals the processes of a host that have the connections open which fit a filter of `ss`. */
async function signalOwners(host: LabHost, filter: readonly string[], signal: "STOP" | "CONT"): Promise<void> {
  const { file, args } = host.command(["ss", "-Htnp", "state", "established", ...filter]);
  const owners = [...(await must(file, args)).matchAll(/pid=(\d+)/g)].map(([, pid]) => pid ?? "");
  // The client's own session may be among them, gone by now.
  await host.sh(`kill -${signal} ${owners.join(" ")}`);
}

interface Measured {
  readonly probe: number;
  readonly end: number;
}

const row = (host: LabHost, openssh: string, side: string, predicted: Timing, real: Measured): readonly string[] => [
  host.name,
  /OpenSSH_[\w.]+/.exec(openssh)?.[0] ?? openssh,
  side,
  `${predicted.firstProbeSeconds} and ${predicted.disconnectSeconds}`,
  `${real.probe.toFixed(1)} and ${real.end.toFixed(1)}`,
];

/**
 * Seconds from the last word of a session until its prober sends something, and until it gives up. `signal` stops
 * (STOP) and resumes (CONT) the process at the other end. By what the prober's kernel knows of the connection: when it
 * sent something does not depend on when this process gets round to ask.
 */
async function measured(
  open: () => IdleSession,
  prober: LabHost,
  filter: readonly string[],
  signal: (name: "STOP" | "CONT") => Promise<unknown>,
): Promise<Measured> {
  // Sessions that the firewall has forgotten may linger on a server: only what is new is meant.
  const others = new Set((await traffic(prober, filter)).keys());
  for (let attempt = 1; ; attempt++) {
    const session = open();
    await session.ready;
    await session.answers();
    const answered = performance.now();
    const found = [...(await traffic(prober, filter))].find(([name]) => !others.has(name));
    if (found === undefined) throw new Error(`${prober.name} has no new connection`);
    const [connection, { sent, sentAt: start }] = found;
    const now = async () => (await traffic(prober, filter)).get(connection);
    await signal("STOP");
    try {
      // On a busy machine the first probe can have gone out, and been answered, before the other end stood still.
      if (start > answered + 50 || (await now())?.sent !== sent) {
        if (attempt === 5) throw new Error(`${prober.name} probes sooner than its peer can be stopped`);
        others.add(connection);
        continue;
      }
      let probed = start;
      await until(
        async () => {
          const { sent: sentNow = sent, sentAt = start } = (await now()) ?? {};
          if (sentNow > sent && probed === start) probed = sentAt;
          return probed > start;
        },
        "a probe",
        60_000,
      );
      await until(async () => (await now()) === undefined, "the end of the session", 60_000);
      return { probe: (probed - start) / 1000, end: (performance.now() - start) / 1000 };
    } finally {
      await signal("CONT").catch(() => {});
      session.end();
    }
  }
}
