import { readdirSync } from "node:fs";
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

function entriesOf(folder: string) {
  try {
    return readdirSync(folder, { withFileTypes: true });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT" || (error as NodeJS.ErrnoException).code === "ENOTDIR")
      return [];
    throw error;
  }
}
