/** Figures that a run of the lab prints: at once, or at the end of the whole run where tools/test.js collects them. */
import { appendFileSync } from "node:fs";

/** Prints a table: its title, its head and its rows, cells padded to equal width. */
export function printFigures(title: string, rows: readonly (readonly string[])[]): void {
  const widths = rows.reduce<readonly number[]>(
    (found, row) => row.map((cell, column) => Math.max(cell.length, found[column] ?? 0)),
    [],
  );
  const lines = rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join("  ")
      .trimEnd(),
  );
  const text = `\n${title}\n${lines.join("\n")}\n`;
  const { SSH_KEEPALIVE_FIGURES: file } = process.env;
  if (file === undefined || file === "") process.stdout.write(text);
  else appendFileSync(file, text);
}
