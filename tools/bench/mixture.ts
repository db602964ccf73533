/** A fleet as it is in life: some hosts refuse, some say nothing, some are slow. Their timeouts must not add up. */
import { createConnection, createServer, type Server, type Socket } from "node:net";
import type { TempFolder } from "../../tests/support/tempFolder";
import { entryOf, type HostEntry, keepalive } from "./contenders";
import { median, type Samples } from "./figures";
import { type Bench, measure } from "./rounds";

/** What the mixture was and what came of it. */
export interface MixtureResult {
  readonly hosts: number;
  /** Ports nobody listens on. */
  readonly refused: number;
  /** Ports where someone accepts and never says a word. */
  readonly silent: number;
  /** Hosts behind a relay. */
  readonly slow: number;
  /** Seconds that the relay holds everything back, in each direction. */
  readonly delay: number;
  /** Seconds that a silent host is waited for. */
  readonly timeout: number;
  /** Hosts at a time. */
  readonly parallel: number;
  readonly runs: readonly {
    readonly how: "preview" | "apply";
    /** Median seconds of the same run with all hosts well, and with the mixture. */
    readonly healthy: number;
    readonly mixed: number;
    /** What the mixture may add: the timeouts that follow one another, and one slow host's round trips. */
    readonly allowance: number;
    /** All timeouts one after the other; not above the allowance where the hosts are too few to tell them apart. */
    readonly sum: number;
    readonly bounded: boolean;
  }[];
}

const PARALLEL = 16;
const TIMEOUT_SECONDS = 10;
const DELAY_SECONDS = 0.1;
/** Round trips of a login and a script, of two for an apply, generously. */
const ROUND_TRIPS = { preview: 15, apply: 40 } as const;

/** Measures previews and applies with all hosts well and with the mixture, interleaved. */
export async function runMixture(
  bench: Bench,
  folder: TempFolder,
  runs: number,
  samples: Samples,
): Promise<MixtureResult> {
  const { fleet, meter } = bench;
  const { hosts } = fleet;
  const share = (part: number, least: number): number => Math.max(least, Math.round(hosts.length * part));
  // Two silent ones at least: of one, the sum is no more than the bound.
  const [refused, silent, slow] = [share(0.05, 1), share(0.05, 2), share(0.05, 1)];
  if (hosts.length < refused + silent + slow + 1) throw new Error("--bad needs 5 hosts or more");
  const [first] = hosts;
  if (first === undefined) throw new Error("there are no hosts");

  const open: Listener[] = [];
  const healthy: Record<string, HostEntry> = Object.fromEntries(hosts.map((host) => [host.name, entryOf(host)]));
  const mixed: Record<string, HostEntry> = { ...healthy };
  const unreachable: string[] = [];
  try {
    for (const [index, host] of hosts.slice(0, refused + silent + slow).entries()) {
      const kind = index < refused ? "refused" : index < refused + silent ? "silent" : "slow";
      const listener = await listen((socket) => {
        if (kind === "slow") relay(socket, host.port, DELAY_SECONDS * 1000);
      });
      if (kind === "refused") await listener.close();
      else open.push(listener);
      if (kind !== "slow") unreachable.push(host.name);
      mixed[host.name] = { ...entryOf(host), port: listener.port };
    }
    const more = { rollout: { parallel: PARALLEL, maxFailures: hosts.length } };
    const made = async (entries: Record<string, HostEntry>) => {
      const { user, privateKey } = first.connection;
      const timed = Object.entries(entries).map(([name, e]) => [name, { ...e, perDialTimeout: TIMEOUT_SECONDS }]);
      return keepalive(folder, Object.fromEntries(timed), { user, privateKey }, more);
    };
    const fleets = { healthy: await made(healthy), mixed: await made(mixed) } as const;
    for (let run = 0; run < runs; run++) {
      for (const how of ["preview", "apply"] as const) {
        for (const which of ["healthy", "mixed"] as const) {
          await meter.clear();
          await fleet.reset();
          await fleets[which].forget();
          const fails = which === "mixed" && how === "apply";
          const subject = `pulumi ${which} ${how}` as const;
          const { output } = await measure(bench, subject, fleets[which][how], fails ? "failure" : "success");
          const left = how === "apply" ? await fleet.notAsWanted() : [];
          const expected = fails ? unreachable : [];
          if (left.join() !== expected.join()) {
            throw new Error(`${subject}: left are ${left.join()}, not ${expected.join()}\n${output.slice(-3000)}`);
          }
        }
      }
    }
  } finally {
    await Promise.all(open.map((listener) => listener.close()));
  }
  const seconds = (which: "healthy" | "mixed", how: "preview" | "apply"): number =>
    median((samples.get(`pulumi ${which} ${how}`) ?? []).map((sample) => sample.seconds));
  return {
    hosts: hosts.length,
    refused,
    silent,
    slow,
    delay: DELAY_SECONDS,
    timeout: TIMEOUT_SECONDS,
    parallel: PARALLEL,
    runs: (["preview", "apply"] as const).map((how) => {
      const waits = Math.ceil(silent / PARALLEL) * TIMEOUT_SECONDS;
      const allowance = waits + ROUND_TRIPS[how] * 2 * DELAY_SECONDS;
      const [well, ill] = [seconds("healthy", how), seconds("mixed", how)];
      const sum = silent * TIMEOUT_SECONDS;
      return { how, healthy: well, mixed: ill, allowance, sum, bounded: ill <= well + allowance };
    }),
  };
}

interface Listener {
  readonly port: number;
  close(): Promise<void>;
}

async function listen(accept: (socket: Socket) => void): Promise<Listener> {
  const sockets = new Set<Socket>();
  const server: Server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {}).once("close", () => sockets.delete(socket));
    accept(socket);
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject).listen(0, "127.0.0.1", resolve);
  });
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  return {
    port,
    close: async () => {
      for (const socket of sockets) socket.destroy();
      if (server.listening) await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** A host that is far or busy: joins an accepted connection to a port on this machine; every piece arrives `delayMs` later, in order. */
function relay(near: Socket, port: number, delayMs: number): void {
  const far = createConnection({ host: "127.0.0.1", port });
  far.on("error", () => near.destroy());
  near.on("error", () => far.destroy());
  late(near, far, delayMs);
  late(far, near, delayMs);
}

/** Timers of equal length run in the order in which they were set (Node.js, timers). */
function late(from: Socket, to: Socket, delayMs: number): void {
  const after = (work: () => void): void => void setTimeout(() => to.destroyed || work(), delayMs);
  from.setNoDelay(true);
  from.on("data", (piece: Buffer) => after(() => void to.write(piece)));
  from.once("end", () => after(() => void to.end()));
  from.once("close", () => after(() => void to.destroy()));
}
