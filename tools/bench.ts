/**
 * The benchmark, `npm run bench -- --hosts N`: the same work by this project, Ansible and pyinfra on the same light
 * hosts, beside what a plain `ssh` fan-out and the engine's start cost. docs/benchmark.md says what is measured and how.
 * Everything lives in one temporary folder and is gone afterwards, also after a failure or an interrupt.
 */
import { writeFileSync } from "node:fs";
import { availableParallelism, constants, loadavg, totalmem } from "node:os";
import { parseArgs } from "node:util";
import { makeTempFolder, type TempFolder } from "../tests/support/tempFolder";
import {
  type Access,
  type Contender,
  engineStart,
  entryOf,
  floor,
  keepalive,
  makeAccess,
  type PeerStyle,
  peers,
} from "./bench/contenders";
import { bestWidth, figureTable, medians, ratios, ratioTable, type Sample, type Subject } from "./bench/figures";
import { startBenchFleet } from "./bench/fleet";
import { startMeter } from "./bench/meter";
import { type MixtureResult, runMixture } from "./bench/mixture";
import { type Bench, measure, runContender } from "./bench/rounds";

const USAGE = `npm run bench -- [options]
  --hosts N        light hosts on loopback (default 50)
  --runs N         interleaved rounds, medians are taken (default 3)
  --no-peers       neither install nor run Ansible and pyinfra
  --peer-style S   how they edit: line (default), each setting where it stands, or block, both at once
  --bad            a tenth unreachable, a twentieth slow: shows what that adds to a run, and nothing else
  --kex LIST       KexAlgorithms of the hosts (default: what OpenSSH on this machine agrees on by itself)
  --minutes N      after so long of measuring, no further run is begun and what there is is shown (default 60)
  --json FILE      the result as JSON as well; - for standard output instead of the tables`;

/** Sessions at a time of the plain fan-out; the fastest is the floor. */
const WIDTHS = [4, 8, 16] as const;
/** Seconds for one command, and more for each host. */
const COMMAND_TIMEOUT = { base: 120, perHost: 3 } as const;

/** What was asked for. */
interface Options {
  readonly hosts: number;
  readonly runs: number;
  readonly peers: boolean;
  readonly style: PeerStyle;
  readonly bad: boolean;
  readonly kex?: string;
  readonly minutes: number;
  readonly json?: string;
}

/** A mistake on the command line. */
class UsageError extends Error {}

/** The time given on the command line is over: not a failure, the medians are of fewer runs. */
class TimeIsOver extends Error {}

function readOptions(args: readonly string[]): Options | "help" {
  const { values } = (() => {
    try {
      return parseArgs({
        args: [...args],
        options: {
          hosts: { type: "string", default: "50" },
          runs: { type: "string", default: "3" },
          "no-peers": { type: "boolean", default: false },
          "peer-style": { type: "string", default: "line" },
          bad: { type: "boolean", default: false },
          kex: { type: "string" },
          minutes: { type: "string", default: "60" },
          json: { type: "string" },
          help: { type: "boolean", short: "h", default: false },
        },
      });
    } catch (error) {
      throw new UsageError(error instanceof Error ? error.message : String(error));
    }
  })();
  if (values.help) return "help";
  const count = (name: "hosts" | "runs" | "minutes", most: number): number => {
    const value = Number(values[name]);
    if (!Number.isInteger(value) || value < 1 || value > most) {
      throw new UsageError(`--${name} takes a whole number from 1 to ${most}, not "${values[name]}"`);
    }
    return value;
  };
  const style = values["peer-style"];
  if (style !== "line" && style !== "block") throw new UsageError(`--peer-style takes line or block, not "${style}"`);
  if (values.kex !== undefined && !/^[A-Za-z0-9@.,+^-]+$/.test(values.kex)) {
    throw new UsageError("--kex takes names as in sshd_config(5), KexAlgorithms");
  }
  return {
    hosts: count("hosts", 2000),
    runs: count("runs", 99),
    peers: !values["no-peers"],
    style,
    bad: values.bad,
    ...(values.kex === undefined ? {} : { kex: values.kex }),
    minutes: count("minutes", 1440),
    ...(values.json === undefined ? {} : { json: values.json }),
  };
}

const say = (text: string): void => void process.stderr.write(`bench: ${text}\n`);

/** All that was found; the ratios come first. */
interface Result {
  readonly ratios: ReturnType<typeof ratios>;
  readonly mixture?: MixtureResult;
  readonly medians: Readonly<Record<string, Sample & { readonly runs: number }>>;
  readonly samples: Readonly<Record<string, readonly Sample[]>>;
  readonly hosts: number;
  readonly bestWidth?: number;
  /** Bytes of stored state per host, after an apply. */
  readonly stateBytesPerHost?: number;
  readonly contenders: Readonly<Record<string, string>>;
  readonly options: Options;
  /** Whether the time was over before all rounds were. */
  readonly cutShort: boolean;
  readonly machine: {
    readonly cpus: number;
    readonly memoryMiB: number;
    /** Load averages of one minute, before and after: above the number of processors, seconds mean little. */
    readonly load: readonly [number, number];
    readonly node: string;
  };
}

/** Sets up, measures, and resolves to what was found. */
async function bench(folder: TempFolder, options: Options): Promise<Result> {
  const load = loadavg()[0] ?? 0;
  if (load > availableParallelism()) say(`the machine is busy (load ${load.toFixed(1)}): trust only the ratios`);
  const samples = new Map<Subject, Sample[]>();
  let until = Number.POSITIVE_INFINITY;
  say(`starting ${options.hosts} hosts`);
  const fleet = await startBenchFleet(folder, options.hosts, options.kex);
  try {
    const { hosts } = fleet;
    const meter = startMeter(folder);
    const measuring: Bench = {
      fleet,
      meter,
      commandTimeout: COMMAND_TIMEOUT.base + COMMAND_TIMEOUT.perHost * hosts.length,
      record: (subject, sample) => {
        const known = samples.get(subject);
        if (known === undefined) samples.set(subject, [sample]);
        else known.push(sample);
        say(`${subject}: ${sample.seconds.toFixed(2)} s, processor ${sample.cpu.toFixed(2)} s`);
        if (performance.now() > until) throw new TimeIsOver();
      },
    };
    let cutShort = false;
    // What is set up and installed before does not count.
    const inTime = async <T>(work: () => Promise<T>): Promise<T | undefined> => {
      until = performance.now() + options.minutes * 60_000;
      try {
        return await work();
      } catch (error) {
        if (!(error instanceof TimeIsOver)) throw error;
        cutShort = true;
        return undefined;
      }
    };
    let mixture: MixtureResult | undefined;
    const contenders: Contender[] = [];
    if (options.bad) mixture = await inTime(() => runMixture(measuring, folder, options.runs, samples));
    else {
      const access = await makeAccess(folder, hosts);
      contenders.push(...(await makeContenders(folder, options, measuring, access)));
      const plain = await floor(folder, hosts, access);
      const start = await engineStart(folder);
      await inTime(() => rounds(measuring, options.runs, contenders, plain, start));
    }
    const found = medians(samples);
    const width = bestWidth(found);
    const own = contenders.find(({ name }) => name === "pulumi");
    // A round ends with an apply; in the middle of one there may be no state.
    const state = cutShort ? undefined : await own?.storedBytes?.();
    return {
      ratios: ratios(found, hosts.length),
      ...(mixture === undefined ? {} : { mixture }),
      medians: Object.fromEntries(found),
      samples: Object.fromEntries(samples),
      hosts: hosts.length,
      ...(width === undefined ? {} : { bestWidth: width }),
      ...(state === undefined ? {} : { stateBytesPerHost: Math.round(state / hosts.length) }),
      contenders: Object.fromEntries(contenders.map(({ name, label }) => [name, label])),
      options,
      cutShort,
      machine: {
        cpus: availableParallelism(),
        memoryMiB: Math.round(totalmem() / 2 ** 20),
        load: [load, loadavg()[0] ?? 0],
        node: process.version,
      },
    };
  } finally {
    await fleet.stop();
  }
}

async function makeContenders(
  folder: TempFolder,
  options: Options,
  { fleet }: Bench,
  access: Access,
): Promise<readonly Contender[]> {
  const { hosts } = fleet;
  const [first] = hosts;
  if (first === undefined) throw new Error("there are no hosts");
  const { user, privateKey } = first.connection;
  const entries = Object.fromEntries(hosts.map((host) => [host.name, entryOf(host)]));
  const own = await keepalive(folder, entries, { user, privateKey });
  if (!options.peers) return [own];
  say("installing Ansible and pyinfra");
  return [own, ...(await peers(folder, hosts, access, options.style))];
}

/** Everyone after the other in each round, and each round begins with another, so that none always has the quiet time. */
async function rounds(
  bench: Bench,
  runs: number,
  contenders: readonly Contender[],
  plain: Awaited<ReturnType<typeof floor>>,
  start: Awaited<ReturnType<typeof engineStart>>,
): Promise<void> {
  await bench.fleet.reset();
  for (let run = 0; run < runs; run++) {
    say(`round ${run + 1} of ${runs}`);
    const works = [
      async () => {
        for (const width of WIDTHS) await measure(bench, `floor ${width}`, plain(width));
        await measure(bench, "engine preview", start.preview);
        await measure(bench, "engine apply", start.apply);
      },
      ...contenders.map((contender) => () => runContender(bench, contender)),
    ];
    const from = run % works.length;
    for (const work of [...works.slice(from), ...works.slice(0, from)]) await work();
  }
}

/** The result for people. */
function show(result: Result): string {
  const { machine, mixture } = result;
  const parts = [
    `${result.hosts} hosts, ${result.options.runs} rounds${result.cutShort ? " (cut short by --minutes)" : ""}; ` +
      `${machine.cpus} processors, load ${machine.load.map((value) => value.toFixed(1)).join(" to ")}`,
    ...Object.values(result.contenders),
  ];
  if (result.ratios.length > 0) parts.push("", ratioTable(result.ratios));
  if (mixture !== undefined) parts.push("", mixtureText(mixture));
  parts.push("", figureTable(medians(new Map(Object.entries(result.samples) as [Subject, readonly Sample[]][]))));
  if (result.stateBytesPerHost !== undefined) parts.push("", `stored state: ${result.stateBytesPerHost} bytes a host`);
  return parts.join("\n");
}

function mixtureText({ refused, silent, slow, delay, timeout, parallel, runs }: MixtureResult): string {
  const what = `${refused} refuse, ${silent} accept and say nothing, ${slow} answer ${delay} s late each way`;
  const lines = runs.map(({ how, healthy, mixed, allowance, sum, bounded }) => {
    const added = `${(mixed - healthy).toFixed(1)} s more than the ${healthy.toFixed(1)} s with all hosts well`;
    const telling = sum > allowance ? "not by their sum" : "which so few hosts cannot tell from their sum";
    const verdict = bounded ? `bounded by the timeouts, ${telling}` : "NOT bounded by the timeouts";
    return `${how}: ${added}; may be ${allowance.toFixed(1)} (all timeouts in a row: ${sum}): ${verdict}`;
  });
  return [`${what}; ${timeout} s for a dial, ${parallel} hosts at a time`, ...lines].join("\n");
}

/** Resolves when someone wants it to end. */
const interruption = (): Promise<NodeJS.Signals> =>
  new Promise((resolve) => {
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => resolve(signal));
  });

/** Resolves to the exit status: 0 when all was measured and did what was asked, 1 otherwise, 2 for a wrong call. */
async function main(): Promise<number> {
  const options = readOptions(process.argv.slice(2));
  if (options === "help") {
    console.log(USAGE);
    return 0;
  }
  if (process.platform !== "linux") throw new UsageError("the benchmark reads /proc: it needs Linux");
  const folder = makeTempFolder();
  try {
    const result = await Promise.race([bench(folder, options), interruption()]);
    if (typeof result === "string") return 128 + constants.signals[result];
    const json = `${JSON.stringify(result, undefined, 2)}\n`;
    if (options.json === "-") process.stdout.write(json);
    else {
      console.log(show(result));
      if (options.json !== undefined) writeFileSync(options.json, json);
    }
    return result.mixture?.runs.some(({ bounded }) => !bounded) === true ? 1 : 0;
  } finally {
    await folder.remove();
  }
}

main().then(
  (status) => process.exit(status),
  (error) => {
    console.error(error instanceof UsageError ? `${error.message}\n\n${USAGE}` : error);
    process.exit(error instanceof UsageError ? 2 : 1);
  },
);
