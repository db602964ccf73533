/** From samples to medians, ratios and tables. */
import type { ContenderName } from "./contenders";
import type { Cost } from "./meter";

/** What a contender is asked for, in the order of a round. */
export const SCENARIOS = {
  firstPreview: "first preview, cold",
  applyAfterPreview: "apply to all, after that preview",
  previewCold: "preview without change, cold",
  previewWarm: "preview without change, warm",
  applyDrift: "apply with drift on one, cold",
  applyCold: "apply to all, cold",
} as const;

export type Scenario = keyof typeof SCENARIOS;

/** One measured run. */
export interface Sample extends Cost {
  /** Logins that the hosts accepted, per host. */
  readonly logins: number;
  /** Commands, shells and subsystems that the hosts started, per host. */
  readonly commands: number;
}

/** What was measured: `floor 8`, `engine preview`, `pulumi previewCold`, … */
export type Subject =
  | `floor ${number}`
  | `engine ${"preview" | "apply"}`
  | `${ContenderName} ${Scenario}`
  | `pulumi ${"healthy" | "mixed"} ${"preview" | "apply"}`;

/** Samples by subject, in the order they were taken. */
export type Samples = ReadonlyMap<Subject, readonly Sample[]>;

/** Medians, field by field; `runs` is how many samples they come from. */
export interface Median extends Sample {
  readonly runs: number;
}

/** Median of the numbers; of two in the middle their mean. NaN without any. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.slice((sorted.length - 1) >> 1, (sorted.length >> 1) + 1);
  return middle.reduce((sum, value) => sum + value, 0) / middle.length;
}

/** Medians of all subjects. */
export function medians(samples: Samples): ReadonlyMap<Subject, Median> {
  return new Map(
    [...samples].map(([subject, all]) => {
      const of = (field: keyof Sample): number => median(all.map((sample) => sample[field]));
      const fields = { seconds: of("seconds"), cpu: of("cpu"), peak: of("peak"), largest: of("largest") };
      return [subject, { runs: all.length, ...fields, logins: of("logins"), commands: of("commands") }] as const;
    }),
  );
}

/** A ratio and what it should be. */
export interface Ratio {
  /** For people: what is divided by what. */
  readonly what: string;
  readonly scenario: Scenario;
  readonly value: number;
  /** The same with processor seconds. */
  readonly cpu: number;
  /** What is aimed at: at most, for the distance to the floor; at least, against others. */
  readonly aim?: { readonly atMost: number } | { readonly atLeast: number };
  readonly reached?: boolean;
}

/** Floors beyond the engine's start that a run should take at most. */
const FLOORS: Readonly<Partial<Record<Scenario, number>>> = {
  previewCold: 1.25,
  previewWarm: 0.25,
  applyCold: 2.5,
  applyAfterPreview: 1.5,
};

/** How many times as long others should take at least, from so many hosts on; the largest number that applies counts. */
const OTHERS: readonly { readonly hosts: number; readonly atLeast: Readonly<Partial<Record<Scenario, number>>> }[] = [
  { hosts: 200, atLeast: { previewCold: 2.5, previewWarm: 8, applyCold: 1.8, applyAfterPreview: 2.7 } },
  { hosts: 50, atLeast: { previewCold: 2, previewWarm: 4, applyCold: 1.8, applyAfterPreview: 2.7 } },
];

const isApply = (scenario: Scenario): boolean => scenario.startsWith("apply");
const scenarios = Object.keys(SCENARIOS) as Scenario[];

/** The width at which the plain fan-out was fastest; undefined when it was not measured. */
export function bestWidth(found: ReadonlyMap<Subject, Median>): number | undefined {
  const floors = [...found].filter(([subject]) => subject.startsWith("floor "));
  const [best] = floors.sort(([, a], [, b]) => a.seconds - b.seconds);
  return best === undefined ? undefined : Number(best[0].slice("floor ".length));
}

/** All ratios that the medians allow: this project against the floor, then the others against this project. */
export function ratios(found: ReadonlyMap<Subject, Median>, hosts: number): readonly Ratio[] {
  const width = bestWidth(found);
  const floor = width === undefined ? undefined : found.get(`floor ${width}`);
  const own = scenarios.flatMap((scenario): Ratio[] => {
    const ours = found.get(`pulumi ${scenario}`);
    const engine = found.get(`engine ${isApply(scenario) ? "apply" : "preview"}`);
    if (ours === undefined || engine === undefined || floor === undefined) return [];
    const of = (field: "seconds" | "cpu"): number => (ours[field] - engine[field]) / floor[field];
    const whole = (field: "seconds" | "cpu"): number => ours[field] / (floor[field] + engine[field]);
    const limit = FLOORS[scenario];
    return [
      { what: "this project / (floor + engine start)", scenario, value: whole("seconds"), cpu: whole("cpu") },
      {
        what: "(this project - engine start) / floor",
        scenario,
        value: of("seconds"),
        cpu: of("cpu"),
        ...(limit === undefined ? {} : { aim: { atMost: limit }, reached: of("seconds") <= limit }),
      },
    ];
  });
  const atLeast = OTHERS.find((entry) => hosts >= entry.hosts)?.atLeast ?? {};
  const others = (["ansible", "pyinfra"] as const).flatMap((name) =>
    scenarios.flatMap((scenario): Ratio[] => {
      const [theirs, ours] = [found.get(`${name} ${scenario}`), found.get(`pulumi ${scenario}`)];
      if (theirs === undefined || ours === undefined) return [];
      const value = theirs.seconds / ours.seconds;
      const least = atLeast[scenario];
      return [
        {
          what: `${name} / this project`,
          scenario,
          value,
          cpu: theirs.cpu / ours.cpu,
          ...(least === undefined ? {} : { aim: { atLeast: least }, reached: value >= least }),
        },
      ];
    }),
  );
  const order = (ratio: Ratio): number =>
    Number(ratio.what.startsWith("(")) + 2 * Number(ratio.what.includes("/ this"));
  return [...own, ...others].sort((a, b) => order(a) - order(b));
}

/** Columns beside each other: text to the left, numbers to the right. */
export function table(head: readonly string[], rows: readonly (readonly (string | number)[])[]): string {
  const text = rows.map((row) => row.map((cell) => (typeof cell === "number" ? shown(cell) : cell)));
  const widths = head.map((title, i) => Math.max(title.length, ...text.map((row) => row[i]?.length ?? 0)));
  const line = (cells: readonly string[], numbers: readonly boolean[]): string =>
    cells
      .map((cell, i) => (numbers[i] === true ? cell.padStart(widths[i] ?? 0) : cell.padEnd(widths[i] ?? 0)))
      .join("  ")
      .trimEnd();
  const isNumber = head.map((_, i) => rows.some((row) => typeof row[i] === "number"));
  return [line(head, isNumber), ...text.map((row) => line(row, isNumber))].join("\n");
}

const shown = (value: number): string => (Number.isInteger(value) ? String(value) : value.toFixed(2));

/** The ratios for people. */
export function ratioTable(all: readonly Ratio[]): string {
  const aim = (ratio: Ratio): string => {
    if (ratio.aim === undefined) return "";
    const text = "atMost" in ratio.aim ? `<= ${ratio.aim.atMost}` : `>= ${ratio.aim.atLeast}`;
    return `${text} ${ratio.reached === true ? "reached" : "not reached"}`;
  };
  return table(
    ["ratio", "", "time", "processor", "aim (time)"],
    all.map((ratio) => [ratio.what, SCENARIOS[ratio.scenario], ratio.value, ratio.cpu, aim(ratio)]),
  );
}

/** The figures behind the ratios for people. */
export function figureTable(found: ReadonlyMap<Subject, Median>): string {
  return table(
    ["", "", "seconds", "processor s", "peak MiB", "largest MiB", "logins/host", "commands/host", "runs"],
    [...found].map(([subject, m]) => {
      const [who = "", ...rest] = subject.split(" ");
      const what = rest.join(" ");
      const title = what in SCENARIOS ? SCENARIOS[what as Scenario] : who === "floor" ? `${what} at a time` : what;
      return [who, title, m.seconds, m.cpu, Math.round(m.peak), Math.round(m.largest), m.logins, m.commands, m.runs];
    }),
  );
}
