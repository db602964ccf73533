/** What the demo prints: headings, excerpts, check marks and a table. Colours on a terminal only. */
import { styleText } from "node:util";

/** A check that did not hold; `evidence` is what the machines said instead. */
export class CheckFailed extends Error {
  readonly evidence: string;
  constructor(what: string, evidence: string) {
    super(what);
    this.name = "CheckFailed";
    this.evidence = evidence;
  }
}

/** A line of the closing table. */
export interface Row {
  readonly step: string;
  readonly proven: string;
  readonly seconds: number;
}

/** How lines get to whoever watches. */
export interface Screen {
  heading(text: string): void;
  /** A plain line, indented. */
  line(text: string): void;
  /** Lines as a program printed them. */
  quote(lines: readonly string[]): void;
  /** Prints a check mark; throws {@link CheckFailed} when `holds` is false. `evidence` is asked for only then. */
  check(what: string, holds: boolean, evidence?: () => string): void;
  /** What failed, and while what was being shown. */
  failure(error: unknown, during: string): void;
  table(rows: readonly Row[]): void;
  /** From now on nothing is printed: a step that was interrupted may still be on its way. */
  silence(): void;
  /** Check marks so far. */
  readonly checks: () => number;
}

/** A screen on standard output. `NO_COLOR` is respected (no-color.org). */
export function makeScreen(): Screen {
  const colours = process.stdout.isTTY === true && !process.env.NO_COLOR;
  const paint = (style: "bold" | "gray" | "green" | "red", text: string): string =>
    colours ? styleText(style, text) : text;
  let silent = false;
  let checks = 0;
  const print = (text: string): void => {
    if (!silent) process.stdout.write(`${text}\n`);
  };
  const quote = (lines: readonly string[]): void => {
    for (const line of lines) print(paint("gray", `  │ ${line}`));
  };
  return {
    quote,
    heading: (text) => print(`\n${paint("bold", text)}`),
    line: (text) => print(`  ${text}`),
    check: (what, holds, evidence = () => "") => {
      if (!holds) throw new CheckFailed(what, evidence());
      checks += 1;
      print(`  ${paint("green", "✓")} ${what}`);
    },
    failure: (error, during) => {
      if (error instanceof CheckFailed) {
        print(`  ${paint("red", "✗")} ${error.message}`);
        quote(error.evidence.trimEnd().split("\n"));
        print(paint("red", `\nFAILED: ${during}: this does not hold: ${error.message}`));
      } else {
        const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
        print(paint("red", `\nFAILED: ${during}: ${text}`));
      }
    },
    table: (rows) => {
      const step = Math.max(...rows.map((row) => row.step.length));
      const proven = Math.max(...rows.map((row) => row.proven.length));
      for (const row of rows) {
        const seconds = row.seconds.toFixed(1).padStart(5);
        print(`  ${paint("green", "✓")} ${row.step.padEnd(step)}   ${row.proven.padEnd(proven)} ${seconds} s`);
      }
    },
    silence: () => {
      silent = true;
    },
    checks: () => checks,
  };
}

/**
 * The lines of `text` from the first that matches `first` up to, and without, the next that matches `end`; blank ones
 * left out, common indentation taken away.
 */
export function excerpt(text: string, first: RegExp, end?: RegExp): readonly string[] {
  const lines = text.split("\n").map((line) => line.trimEnd());
  const from = lines.findIndex((line) => first.test(line));
  if (from < 0) return [];
  const to = end === undefined ? -1 : lines.findIndex((line, at) => at > from && end.test(line));
  const kept = lines.slice(from, to < 0 ? undefined : to).filter((line) => line !== "");
  const indentation = Math.min(...kept.map((line) => line.search(/\S/)));
  return kept.map((line) => line.slice(indentation));
}
