/** A resource without the engine: the life-cycle functions that both faces call, with the state kept between calls. */
import type { ObservedHost } from "../../../provider/args";
import { forgetLooks } from "../../../provider/fleet";
import { type Bag, check, create, diff, type Reporter, read, remove, update } from "../../../provider/lifecycle";

/** A resource and its state. */
export interface Resource {
  /** What `pulumi preview` says: host → lines; empty when nothing is to be changed. Rejects with input failures. */
  preview(): Promise<Readonly<Record<string, readonly string[]>>>;
  /** What `pulumi up` does: create or update. Resolves to what went wrong, one line a cause. */
  up(): Promise<readonly string[]>;
  /** The same; rejects when anything went wrong. */
  upOrThrow(): Promise<void>;
  /** `pulumi refresh`. */
  refresh(): Promise<void>;
  /** `pulumi destroy`. Rejects when a host could not be put back. */
  destroy(): Promise<void>;
  /** Changes the program. */
  set(inputs: Bag): void;
  /** Output `observed`. */
  observed(): Readonly<Record<string, ObservedHost>>;
  /** The lines told to people since the last call. */
  said(): string;
}

/** A resource that does not exist yet. */
export function resource(program: Bag): Resource {
  let inputs = program;
  let state: { id: string; outputs: Bag } | undefined;
  let lines: string[] = [];
  const report: Reporter = { info: (text) => lines.push(text), warn: (text) => lines.push(text) };

  const checked = async (preview: boolean) => {
    // Each phase of the engine is a process of its own, which remembers nothing.
    forgetLooks();
    const { failures, pendingChanges = {} } = await check(inputs, preview, report);
    if (failures.length > 0) throw new Error(failures.map((f) => `${f.property}: ${f.reason}`).join("\n"));
    return pendingChanges;
  };
  const up = async () => {
    await checked(false);
    const before = state;
    if (before !== undefined && (await diff(before.id, before.outputs, inputs)).changes === false) return [];
    const { id, outputs, failures } =
      before === undefined ? await create(inputs, report) : await update(before.id, before.outputs, inputs, report);
    state = { id, outputs };
    return failures;
  };
  return {
    preview: () => checked(true),
    up,
    upOrThrow: async () => {
      const failures = await up();
      if (failures.length > 0) throw new Error(failures.join("\n"));
    },
    refresh: async () => {
      if (state !== undefined) state = { id: state.id, outputs: (await read(state.id, state.outputs)).outputs };
    },
    destroy: async () => {
      if (state === undefined) return;
      await remove(state.id, state.outputs, report);
      state = undefined;
    },
    set: (next) => {
      inputs = next;
    },
    observed: () => (state?.outputs.observed ?? {}) as Readonly<Record<string, ObservedHost>>,
    said: () => {
      const text = lines.join("\n");
      lines = [];
      return text;
    },
  };
}
