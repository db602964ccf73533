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
import { bytesSent, type Firewall, firewall } from "./support/firewall";
import { echoSession, type IdleSession, LAB_TIMEOUT, type Lab, type LabHost, startLab } from "./support/host";
import { RELEASES } from "./support/images";
import { resource } from "./support/resource";
import { until } from "./support/run";

const MINUTES = 60_000;
/** What the firewall forgets after. */
const FORGETS = 6;
/** How long sessions are left idle: more than twice that. */
const IDLE = 13;

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
  afterAll(() => lab?.end(), MINUTES);

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
      const late = resource({ hosts: hosts(), server: { clientAliveInterval: 4 }, idleTimeout: FORGETS });
      await expect(late.preview()).rejects.toThrow(
        /^(?=.*\bbookworm\b)(?!.*\n).*clientAliveInterval.*2 × 4 s = 8 s.*set ClientAliveInterval to 2 or less/,
      );

      // Without the limit nothing is refused, and 9.2 alone loses its session.
      const fleet = resource({ hosts: hosts(), server: { clientAliveInterval: 4 } });
      await fleet.upOrThrow();
      // (On a busy machine a late timer can carry one of 9.2's probes over a second's edge, and it is in time.)
      let alive = await survivors();
      for (let again = 0; again < 2 && alive.includes(DOUBLED); again++) alive = await survivors();
      expect(alive).toEqual(RELEASES.filter((release) => release !== DOUBLED));

      const perHost = Object.fromEntries(
        servers.map((server) => [
          server.name,
          { ...server.connection(), ...(server.name === DOUBLED ? { server: { clientAliveInterval: 2 } } : {}) },
        ]),
      );
      fleet.set({ hosts: perHost, server: { clientAliveInterval: 4 }, idleTimeout: FORGETS });
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
            /^ClientAliveInterval 0, wanted [24] \(set by \/etc\/ssh\/sshd_config\.d\/00-a-colleague\.conf:1\)$/,
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
    8 * MINUTES,
  );

  test(
    "lives after one `pulumi up` of the client side, whatever the servers do; and of both sides",
    async () => {
      const project = await keepaliveProject(lab.folder);
      const client_ = { serverAliveInterval: 3, hosts: [`198.19.${lab.number}.*`] };
      await project.declare({
        laptop: { args: { hosts: { laptop: client.connection() }, client: client_, idleTimeout: FORGETS } },
      });
      const first = await project.previewJson();
      expect(pendingChanges(first.digest).laptop?.laptop).toContainEqual(
        expect.stringContaining("ServerAliveInterval 0, wanted 3"),
      );
      const up = await project.up();
      succeeded(up);
      expect(await survivors()).toEqual([...RELEASES]);
      const again = await project.preview(["--expect-no-changes"]);
      succeeded(again);

      // Drift: named before it is healed, and deadly.
      await client.must(
        "sed -i 's/ServerAliveInterval 3/ServerAliveInterval 0/' /etc/ssh/ssh_config /etc/ssh/ssh_config.d/* || :",
      );
      const drifted = await project.previewJson();
      expect(pendingChanges(drifted.digest).laptop?.laptop?.[0]).toMatch(
        /^ServerAliveInterval 0, wanted 3 \(set by \/etc\/ssh\/ssh_config\S*:\d+\)$/,
      );
      expect((await project.preview(["--expect-no-changes"])).code).not.toBe(0);
      expect(await survivors()).toEqual([]);

      const both = { ...client.connection(), server: { clientAliveInterval: 2 }, client: client_ };
      const there = Object.fromEntries(
        servers.map((server) => [server.name, { ...server.connection(), server: { clientAliveInterval: 2 } }]),
      );
      await project.declare({ laptop: { args: { hosts: { laptop: both, ...there }, idleTimeout: FORGETS } } });
      const healed = await project.up();
      succeeded(healed);
      expect(await survivors()).toEqual([...RELEASES]);
      const gone = await project.destroy();
      succeeded(gone);
      expect(await survivors()).toEqual([]);
    },
    8 * MINUTES,
  );

  test(
    "is probed and ended when the arithmetic says so, on each release and either side",
    async () => {
      const interval = 3;
      const countMax = 2;
      const rows: string[] = [];
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
        const fromServer = await measured(
          () => echoSession(file, args),
          server,
          ["sport", "=", ":22", "and", "dst", client.address],
          (signal) => client.must(`pkill -${signal} -f '[s]sh -o StrictHostKeyChecking=no root@${server.address} cat'`),
        );
        expect(observed?.server).toMatchObject({
          firstProbeSeconds: timing("server", version, { interval, countMax }).firstProbeSeconds,
          disconnectSeconds: timing("server", version, { interval, countMax }).disconnectSeconds,
        });
        rows.push(row(server, "server", timing("server", version, { interval, countMax }), fromServer));
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
            async (signal) => {
              const pids = await client.must(`ss -Htnp state established src ${client.address} dst ${server.address}`);
              for (const [, pid] of pids.matchAll(/pid=(\d+)/g)) await client.must(`kill -${signal} ${pid}`);
            },
          );
          const version = parseVersion((await server.sh("ssh -V 2>&1")).stdout);
          const predicted = timing("client", version, { interval, countMax });
          rows.push(row(server, "client", predicted, real));
          return { server, predicted, real };
        }),
      );
      await fleet.destroy();
      process.stdout.write(
        `\nInterval ${interval} s, count ${countMax}: seconds of silence until the first probe and until the end\n` +
          `release    side    OpenSSH says (computed)    measured\n${rows.sort().join("\n")}\n`,
      );
      for (const { predicted, real } of [...results, ...clients]) {
        // Computed as "at the latest", in whole seconds; a busy machine adds its own. Where an interval counts twice
        // (9.2), a timer that is late over a second's edge makes it count once.
        expect(real.probe).toBeGreaterThan(interval - 1.2);
        expect(real.probe).toBeLessThan((predicted.firstProbeSeconds ?? 0) + 1.5);
        expect(real.end).toBeGreaterThan((predicted.disconnectSeconds ?? 0) - interval - 1.2);
        expect(real.end).toBeLessThan((predicted.disconnectSeconds ?? 0) + 2);
      }
    },
    4 * MINUTES,
  );
});

/** Throws with everything that a failed call of the engine said. */
function succeeded(outcome: Outcome): void {
  if (outcome.code !== 0) throw new Error(`exit ${outcome.code}:\n${said(outcome)}`);
}

interface Measured {
  readonly probe: number;
  readonly end: number;
}

const row = (host: LabHost, side: string, predicted: Timing, real: Measured): string =>
  [
    host.name.padEnd(10),
    side.padEnd(7),
    `${predicted.firstProbeSeconds} and ${predicted.disconnectSeconds}`.padEnd(26),
    `${real.probe.toFixed(1)} and ${real.end.toFixed(1)}`,
  ].join(" ");

/**
 * Seconds from the last word of a session until its prober sends something, and until it gives up. `signal` stops
 * (STOP) and resumes (CONT) the process at the other end. Found by what the kernel says was sent: nothing is asked.
 */
async function measured(
  open: () => IdleSession,
  prober: LabHost,
  filter: readonly string[],
  signal: (name: "STOP" | "CONT") => Promise<unknown>,
): Promise<Measured> {
  // Sessions that the firewall has forgotten may linger on a server: only what is new is meant.
  const others = new Set((await bytesSent(prober, filter)).keys());
  const session = open();
  await session.ready;
  await session.answers();
  const start = performance.now();
  const seconds = () => (performance.now() - start) / 1000;
  await signal("STOP");
  const sent = async () => [...(await bytesSent(prober, filter))].filter(([connection]) => !others.has(connection));
  const [first] = await sent();
  if (first === undefined) throw new Error(`${prober.name} has no new connection`);
  const [connection, before] = first;
  const now = async () => (await sent()).find(([name]) => name === connection)?.[1];
  await until(async () => ((await now()) ?? 0) > before, "a probe", 60_000);
  const probe = seconds();
  await until(async () => (await now()) === undefined, "the end of the session", 60_000);
  const end = seconds();
  await signal("CONT").catch(() => {});
  session.end();
  return { probe, end };
}
