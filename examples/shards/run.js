/**
 * Runs all parts of the fleet: node run.js preview|up|destroy --shards N --side-by-side K [--inventory FILE]
 *
 * Stacks `shard-0` to `shard-(N-1)` are made where they are missing. Another N than before moves hosts between stacks. A
 * host remembers the stack that took it last, and a stack that drops it then leaves it alone. So whoever takes a host
 * goes first, and a stack that drops hosts waits until all that take them have succeeded; see docs/fleet.md.
 */
const path = require("node:path");
const { parseArgs } = require("node:util");
const { LocalWorkspace, Stack } = require("@pulumi/pulumi/automation");
const { readInventory, shardOf } = require("./shard");

const KEEPALIVE = "pulumi-nodejs:dynamic/sshkeepalive:SshKeepalive";
const WORDS = { preview: "to change", up: "changed", destroy: "put back" };

/** @typedef {keyof typeof WORDS} Verb */
/** @typedef {{ status: string, reason?: string, backup?: string }} Observed */

/**
 * One stack: the hosts that its state has, and those that the inventory gives it.
 * @typedef {{ shard: number, held: Map<string, Observed | undefined>, wanted: Set<string>, parallel?: number }} Part
 */

/**
 * What became of one stack; `problems` are for people.
 * @typedef {{ hosts: number, changed: number, failed: number, ok: boolean, seconds: number, problems: string[] }} Outcome
 */

/** @param {number} shard */
const nameOf = (shard) => `shard-${shard}`;

/** @returns {{ verb: Verb, shards: number, sideBySide: number, inventory: string }} */
function readArguments() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      shards: { type: "string" },
      "side-by-side": { type: "string", default: "2" },
      inventory: { type: "string", default: "inventory.json" },
    },
  });
  const [verb = "", ...more] = positionals;
  const [shards, sideBySide] = [Number(values.shards), Number(values["side-by-side"])];
  const counts = [shards, sideBySide].every((n) => Number.isInteger(n) && n > 0);
  if (!Object.hasOwn(WORDS, verb) || more.length > 0 || !counts) {
    throw new Error("usage: node run.js preview|up|destroy --shards N [--side-by-side K] [--inventory FILE]");
  }
  return { verb: /** @type {Verb} */ (verb), shards, sideBySide, inventory: values.inventory };
}

/**
 * What a stack's state has of the fleet: a failed up's hosts too, which its outputs would not tell.
 * @param {Stack} stack
 * @returns {Promise<Pick<Part, "held" | "parallel">>}
 */
async function stateOf(stack) {
  const { deployment } = await stack.exportStack();
  const resources = /** @type {any[]} */ (deployment?.resources ?? []).filter((r) => r.type === KEEPALIVE);
  const held = new Map();
  for (const { inputs, outputs } of resources) {
    for (const name of Object.keys({ ...inputs?.hosts, ...outputs?.hosts })) held.set(name, outputs?.observed?.[name]);
  }
  const parallel = resources[0]?.inputs?.rollout?.parallel;
  return { held, ...(typeof parallel === "number" ? { parallel } : {}) };
}

/**
 * The other stacks that are to have hosts which this one drops.
 * @param {Part} part
 * @param {readonly Part[]} all
 */
const takersOf = (part, all) =>
  all.filter((other) => other !== part && [...part.held.keys()].some((n) => other.wanted.has(n)));

/**
 * @param {LocalWorkspace} workspace
 * @param {Part} part
 * @param {ReturnType<typeof readArguments>} run
 * @param {boolean} takesOver whether another stack has hosts of this one in its state
 * @returns {Promise<Outcome>}
 */
async function doPart(workspace, part, run, takesOver) {
  const began = performance.now();
  const stack = await Stack.select(nameOf(part.shard), workspace);
  const surplus = part.shard >= run.shards;
  /** @type {string[]} */
  const problems = [];
  let pending = 0;
  /** @param {import("@pulumi/pulumi/automation").EngineEvent} event */
  const onEvent = ({ diagnosticEvent, resourcePreEvent }) => {
    if (diagnosticEvent?.severity === "error") problems.push(diagnosticEvent.message.trim());
    const { old, new: wanted } = resourcePreEvent?.metadata ?? {};
    if (wanted?.type === KEEPALIVE) pending = Object.keys(wanted.inputs?.pendingChanges ?? {}).length;
    else if (old?.type === KEEPALIVE) pending = Object.keys(old.inputs?.hosts ?? {}).length;
  };
  let ok = true;
  try {
    if (run.verb === "destroy" || (surplus && run.verb === "up")) {
      await stack.destroy({ onEvent });
    } else if (!surplus) {
      const settings = await workspace.stackSettings(stack.name);
      /** @type {Record<string, string>} */
      const own = { shard: String(part.shard), shards: String(run.shards), inventory: run.inventory };
      // What a host remembers of its owner is written by a create or an update, and an update needs a difference.
      if (takesOver && part.parallel !== undefined) own.parallel = String(part.parallel ^ 1 || 2);
      const config = Object.fromEntries(
        Object.entries(own).map(([key, value]) => [`ssh-keepalive-shards:${key}`, value]),
      );
      await workspace.saveStackSettings(stack.name, { ...settings, config: { ...settings.config, ...config } });
      if (run.verb === "up") await stack.up({ onEvent });
      else {
        await stack.preview({ onEvent });
        // By hand it must go on with what it has: it might drop hosts that nobody has taken yet.
        if (part.held.size > 0) await workspace.saveStackSettings(stack.name, settings);
      }
    }
  } catch (error) {
    ok = false;
    if (problems.length === 0) problems.push(error instanceof Error ? error.message : String(error));
  }
  const seconds = (performance.now() - began) / 1000;
  if (run.verb === "preview") {
    return { hosts: part.wanted.size, changed: pending, failed: ok ? 0 : part.wanted.size, ok, seconds, problems };
  }
  const { held } = await stateOf(stack);
  if (ok && (run.verb === "destroy" || surplus)) await workspace.removeStack(stack.name);
  if (run.verb === "destroy") {
    return { hosts: part.held.size, changed: part.held.size - held.size, failed: held.size, ok, seconds, problems };
  }
  const states = [...held].map(([name, now]) => ({ now, before: part.held.get(name) }));
  return {
    hosts: part.wanted.size,
    // Each change leaves a backup of its own on the host.
    changed: states.filter(({ now, before }) => now?.backup !== undefined && now.backup !== before?.backup).length,
    failed: states.filter(({ now }) => now?.status !== "inSync").length,
    ok,
    seconds,
    problems,
  };
}

async function main() {
  const run = readArguments();
  const workspace = await LocalWorkspace.create({ workDir: __dirname });
  const inventory = Object.keys(readInventory(path.resolve(__dirname, run.inventory)));
  const known = (await workspace.listStacks()).flatMap(({ name }) => /^shard-(\d+)$/.exec(name)?.[1] ?? []).map(Number);

  // One after the other: selecting a stack writes a file that all of them share.
  /** @type {Part[]} */
  const parts = [];
  const count = run.verb === "destroy" ? 0 : run.shards;
  for (let shard = 0; shard < Math.max(count, ...known.map((n) => n + 1)); shard++) {
    if (shard >= count && !known.includes(shard)) continue;
    const stack = await Stack.createOrSelect(nameOf(shard), workspace);
    const wanted = new Set(inventory.filter((name) => count > 0 && shardOf(name, count) === shard));
    parts.push({ shard, ...(await stateOf(stack)), wanted });
  }

  /** @type {Map<Part, Outcome>} */
  const done = new Map();
  /** @param {Part} part @param {Outcome} outcome */
  const finish = (part, outcome) => {
    done.set(part, outcome);
    const { hosts, changed, failed, seconds, problems } = outcome;
    console.log(
      `${nameOf(part.shard)}: ${hosts} hosts, ${changed} ${WORDS[run.verb]}, ${failed} failed, ${seconds.toFixed(1)} s`,
    );
    for (const problem of problems) console.log(problem.replaceAll(/^/gm, "    "));
  };
  let waiting = parts;
  while (waiting.length > 0) {
    // A preview changes nothing: there is nothing to wait for.
    const isReady = (/** @type {Part} */ part) =>
      run.verb === "preview" || takersOf(part, parts).every((taker) => done.has(taker));
    let ready = waiting.filter(isReady);
    waiting = waiting.filter((part) => !ready.includes(part));
    if (ready.length === 0) [ready, waiting] = [waiting, []];
    const queue = ready.values();
    const work = async () => {
      for (const part of queue) {
        const missing = takersOf(part, parts).filter((taker) => run.verb === "up" && done.get(taker)?.ok !== true);
        const takesOver = parts.some(
          (o) => o !== part && [...part.wanted].some((n) => part.held.has(n) && o.held.has(n)),
        );
        if (missing.length === 0) finish(part, await doPart(workspace, part, run, takesOver));
        else {
          const names = missing.map((taker) => nameOf(taker.shard)).join(", ");
          const problems = [`held back: ${names} must take hosts from it first. Run again`];
          finish(part, { hosts: part.wanted.size, changed: 0, failed: 0, ok: false, seconds: 0, problems });
        }
      }
    };
    await Promise.all(Array.from({ length: run.sideBySide }, work));
  }

  const outcomes = [...done.values()];
  /** @param {"hosts" | "changed" | "failed"} what */
  const sum = (what) => outcomes.reduce((total, outcome) => total + outcome[what], 0);
  const bad = outcomes.filter((outcome) => !outcome.ok).length;
  console.log(
    `${outcomes.length} shards, ${bad} failed: ${sum("hosts")} hosts, ${sum("changed")} ${WORDS[run.verb]}, ${sum("failed")} failed`,
  );
  if (bad > 0) process.exitCode = 1;
}

main().catch((error) => {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
});
