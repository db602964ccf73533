/**
 * The dynamic face as the engine sees it: what the stored provider object calls. Turns the life-cycle's answers into
 * those of a dynamic provider; decides nothing.
 */
import type { EngineLog } from "./engineLog";
import { describeFailure, isKeepaliveError, printable } from "./errors";
import type { FleetControl } from "./fleet";
import type { Applied, Bag, Reporter } from "./lifecycle";
import * as lifecycle from "./lifecycle";
import { showProgress } from "./summary";

/** Lines under "Diagnostics", at the level of the stack: the only place a dynamic provider can speak to. */
const report: Reporter = {
  info: (text) => console.log(text),
  warn: (text) => console.log(`warning: ${text}`),
};

let engine: EngineLog | undefined;

/** Progress, in the Info column of the stack: a dynamic provider is not told which resource it works on. */
const control = (): FleetControl => ({
  progress: showProgress((text) => {
    // The engine's address is the process's last argument (@pulumi/pulumi, cmd/dynamic-provider).
    const address = process.argv.at(-1) ?? "";
    if (!/^[\w.[\]:-]+:\d+$/.test(address)) return;
    engine ??= (require("./engineLog") as typeof import("./engineLog")).engineLog(address);
    engine.show("", text);
  }),
});

const PROVIDER_KEY = "__provider";

/** Checks inputs, and in a preview looks at the hosts: what differs becomes the input `pendingChanges`. */
export async function check(
  olds: Bag,
  news: Bag,
): Promise<{ inputs: Bag; failures: { property: string; reason: string }[] }> {
  const { dry, [PROVIDER_KEY]: provider, observed: _, ...rest } = news;
  return guarded(async () => {
    const { failures, pendingChanges } = await lifecycle.check(rest, dry === true, report, olds);
    return {
      inputs: {
        ...lifecycle.inputsOf(rest),
        ...(pendingChanges === undefined ? {} : { pendingChanges }),
        [PROVIDER_KEY]: provider,
      },
      // An empty property: the engine prints the value of a named one, and secrets are among them.
      failures: failures.map((f) => ({ property: "", reason: lifecycle.describeCheckFailure(f) })),
    };
  });
}

/** Undefined `changes` makes the engine compare by itself, and name what differs. */
export async function diff(
  id: string,
  olds: Bag,
  news: Bag,
): Promise<{ changes?: boolean; deleteBeforeReplace: boolean }> {
  return guarded(async () => {
    const { changes } = await lifecycle.diff(id, olds, news);
    return { deleteBeforeReplace: true, ...(changes === "unsure" ? {} : { changes }) };
  });
}

/** Brings every host to what is wanted. A host that failed is reported, the others stay in state. */
export async function create(news: Bag): Promise<{ id: string; outs: Bag }> {
  return guarded(async () => {
    const applied = await lifecycle.create(news, report, control());
    return { id: applied.id, outs: settled(applied, news) };
  });
}

/** What the hosts are like now; the inputs stay as they were. */
export async function read(id: string, olds: Bag): Promise<{ id: string; props: Bag }> {
  return guarded(async () => ({ id, props: (await lifecycle.read(id, olds)).outputs }));
}

/** Brings every host to what is wanted, and puts back what is no longer managed. */
export async function update(id: string, olds: Bag, news: Bag): Promise<{ outs: Bag }> {
  return guarded(async () => ({ outs: settled(await lifecycle.update(id, olds, news, report, control()), news) }));
}

/** Undoes what is still ours on every host. */
export async function remove(id: string, olds: Bag): Promise<void> {
  return guarded(() => lifecycle.remove(id, olds, report, control()));
}

/** Outputs of a success; a partial failure is thrown in the shape that keeps them in state. */
function settled(applied: Applied, news: Bag): Bag {
  if (applied.failures.length === 0) return applied.outputs;
  const message = `not all hosts are as wanted:\n  ${applied.failures.join("\n  ")}`;
  throw plainError({
    message,
    id: applied.id,
    properties: { ...applied.outputs, [PROVIDER_KEY]: news[PROVIDER_KEY] },
    reasons: [...applied.failures],
  });
}

/** An error without a stack: what crosses this boundary is printed with whatever stack it has. */
function plainError(fields: { readonly message: string } & Bag): object {
  return { ...fields, details: fields.message, code: 2, stack: "", toString: () => fields.message };
}

async function guarded<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (typeof error === "object" && error !== null && "reasons" in error) throw error;
    const message = isKeepaliveError(error)
      ? describeFailure(error.failure)
      : `unexpected: ${printable(error instanceof Error ? error.message : String(error), 500)}. Please report this, it is a fault of the provider.`;
    throw plainError({ message });
  }
}
