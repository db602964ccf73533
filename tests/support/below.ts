import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";

/**
 * Every path below a folder, relative to it, sorted; empty where there is none. What goes away in between is left out: a
 * host, and the shared connections, work on their folders while a test looks.
 */
export function below(folder: string): readonly string[] {
  const found: string[] = [];
  const waiting = [""];
  for (let inner = waiting.pop(); inner !== undefined; inner = waiting.pop()) {
    for (const entry of entriesOf(path.join(folder, inner))) {
      const name = path.join(inner, entry.name);
      found.push(name);
      if (entry.isDirectory()) waiting.push(name);
    }
  }
  return found.sort();
}

/** A file's bytes (latin1); undefined where it is gone, or gives way to something else, in between. */
export const bytesOf = (file: string): string | undefined => unlessGone(() => readFileSync(file, "latin1"));

const entriesOf = (folder: string) => unlessGone(() => readdirSync(folder, { withFileTypes: true })) ?? [];

function unlessGone<T>(look: () => T): T | undefined {
  try {
    return look();
  } catch (error) {
    if (["ENOENT", "ENOTDIR"].includes((error as NodeJS.ErrnoException).code ?? "")) return undefined;
    throw error;
  }
}
