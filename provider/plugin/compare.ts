/**
 * What an update would do, path by path, as the engine wants it told: changed inputs at their own paths, and drift at
 * the path where the program says (or inherits) what is wanted.
 *
 * The engine renders a path's old value from the old outputs and its new value from the new inputs
 * (pkg/engine/detailedDiff.go). So read writes a drifted host's live value into the outputs at
 * `hosts["web-2"].server.clientAliveInterval`, and check writes the wanted one into the inputs there when the host
 * inherits it. Both say nothing new, and both are taken away again as soon as they are not needed.
 */
import { isDeepStrictEqual } from "node:util";
import { isRecord, type Path, pathText } from "../inputs/paths";
import type { Bag, Drift, DriftedOption } from "../lifecycle";
import { OPTIONS } from "../settings";
import { isSecretAt, type Properties, valueAt, withValueAt } from "./values";

/** One path of a detailed diff. */
export interface Change {
  readonly path: string;
  readonly kind: "add" | "delete" | "update";
  /** Whether the old value is to be taken from the old inputs; otherwise from the old outputs. */
  readonly inputDiff: boolean;
}

const pathOf = ({ host, side, input }: DriftedOption): Path => ["hosts", host, side, input];

/** Outputs with each drifted option's live value at its host's own path. What is wanted in secret is live in secret. */
export function withLiveValues(outputs: Properties, drift: Drift): Properties {
  const known = drift.options.filter((o) => isRecord(valueAt(outputs.values, ["hosts", o.host])));
  return {
    values: known.reduce((bag, option) => withValueAt(bag, pathOf(option), option.live), outputs.values),
    secrets: [...outputs.secrets, ...known.filter((o) => isSecretAt(outputs.secrets, [o.side, o.input])).map(pathOf)],
  };
}

/** Outputs of an earlier read without the live values in them: the program's own, as the inputs say them. */
export function withoutLiveValues(outputs: Bag, inputs: Bag): Bag {
  const names = isRecord(outputs.hosts) ? Object.keys(outputs.hosts) : [];
  const places = names.flatMap((host) => OPTIONS.map(({ side, input }) => ["hosts", host, side, input]));
  return places.reduce((bag, path) => {
    const [, , side = "", input = ""] = path;
    const own = valueAt(inputs, path);
    if (valueAt(bag, path) === undefined) return bag;
    if (own !== undefined) return withValueAt(bag, path, own);
    return valueAt(inputs, [side, input]) === undefined ? bag : withValueAt(bag, path, undefined);
  }, outputs);
}

/**
 * Inputs with each drifted option that a host inherits written out at the host, as it is wanted; and the paths that
 * were added. A secret stays one at the new path.
 */
export function withWantedValues(inputs: Properties, drift: Drift): Properties & { readonly added: readonly Path[] } {
  const added: Path[] = [];
  const secrets = [...inputs.secrets];
  let { values } = inputs;
  for (const option of drift.options) {
    const path = pathOf(option);
    const from: Path = [option.side, option.input];
    const wanted = valueAt(values, from);
    if (valueAt(values, path) !== undefined || wanted === undefined || !isRecord(valueAt(values, path.slice(0, 2)))) {
      continue;
    }
    if (isSecretAt(inputs.secrets, from) && !isSecretAt(secrets, path)) secrets.push(path);
    values = withValueAt(values, path, wanted);
    added.push(path);
  }
  return { values, secrets, added };
}

/** Paths of a host's options that say what the resource says for all hosts. */
function repeated(inputs: Bag): Path[] {
  const { hosts } = inputs;
  if (!isRecord(hosts)) return [];
  return Object.keys(hosts).flatMap((host) =>
    OPTIONS.flatMap(({ side, input }) => {
      const own = valueAt(hosts, [host, side, input]);
      return own !== undefined && own === valueAt(inputs, [side, input]) ? [["hosts", host, side, input]] : [];
    }),
  );
}

/** Old inputs without what {@link withWantedValues} left in them: options that outputs, which hold the program's own, lack. */
export function withoutLeftovers(inputs: Bag, outputs: Bag): Bag {
  return repeated(inputs)
    .filter((path) => valueAt(outputs, path) === undefined)
    .reduce((bag, path) => withValueAt(bag, path, undefined), inputs);
}

/** The detailed diff: inputs that differ, hosts that are still to be put back, drift. Empty: nothing to do. */
export function changesOf(oldInputs: Bag, oldOutputs: Bag, news: Bag, drift: Drift): readonly Change[] {
  const changes = new Map<string, Change>();
  const add = (path: Path, kind: Change["kind"], inputDiff: boolean): void => {
    const text = pathText(path);
    changes.set(text, { path: text, kind, inputDiff });
  };
  const plain = (bag: Bag): Bag => repeated(bag).reduce((b, path) => withValueAt(b, path, undefined), bag);
  for (const { path, kind } of differences(plain(oldInputs), plain(news))) {
    // A repetition that came or went with its neighbours says nothing new.
    if (!isDeepStrictEqual(valueAt(oldInputs, path), valueAt(news, path))) add(path, kind, true);
  }
  for (const name of Object.keys(isRecord(oldOutputs.hosts) ? oldOutputs.hosts : {})) {
    const path = ["hosts", name];
    const gone = isRecord(news.hosts) && news.hosts[name] === undefined && valueAt(oldInputs, path) === undefined;
    if (gone) add(path, "delete", false);
  }
  const inputs = [...changes.keys()];
  for (const option of drift.options) {
    const path = pathOf(option);
    if (valueAt(oldInputs, ["hosts", option.host]) === undefined) continue;
    // A host that is as it was said differs because something else is said now: the change of that input is enough.
    const inherited = pathText([option.side, option.input]);
    const changed = inputs.some((text) => inherited === text || inherited.startsWith(`${text}.`));
    if (!changed || valueAt(oldOutputs, path) !== undefined) add(path, "update", false);
  }
  // There is no value to show; what is the matter stands in the lines.
  for (const host of drift.others) add(["pendingChanges", host], "add", true);
  return [...changes.values()];
}

/** Where two bags differ, as deep as both are objects; lists are compared as a whole. */
export function differences(
  olds: unknown,
  news: unknown,
  at: Path = [],
): { readonly path: Path; readonly kind: Change["kind"] }[] {
  if (isRecord(olds) && isRecord(news)) {
    return [...new Set([...Object.keys(olds), ...Object.keys(news)])].flatMap((key) =>
      differences(olds[key] ?? undefined, news[key] ?? undefined, [...at, key]),
    );
  }
  if (isDeepStrictEqual(olds, news)) return [];
  return [{ path: at, kind: olds === undefined ? "add" : news === undefined ? "delete" : "update" }];
}
