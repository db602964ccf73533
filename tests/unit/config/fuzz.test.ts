/**
 * Random configurations from tricky pieces, judged by OpenSSH: several edits in a row, foreign changes in between, and
 * an undo at the end. Seed and number of cases: SSH_KEEPALIVE_FUZZ_SEED, SSH_KEEPALIVE_FUZZ_CASES.
 */
import { join } from "node:path";
import {
  type Chain,
  candidateTree,
  type Edit,
  type EditPlan,
  effective,
  type Placement,
  PROBE_HOST,
  planEdit,
  planUndo,
  readChain,
  rewriteForCopy,
  significant,
  type Tree,
} from "../../../provider/config";
import { optionsOf, type Side, type Values } from "../../../provider/settings";
import { pick, type Random, random } from "../../support/random";
import { makeTempFolder, type TempFolder } from "../../support/tempFolder";
import * as oracle from "./oracle";

const SEED = Number(process.env.SSH_KEEPALIVE_FUZZ_SEED ?? 20261123);
const CASES = Number(process.env.SSH_KEEPALIVE_FUZZ_CASES ?? 80);

const chance = (r: Random, p: number): boolean => r() < p;

/** A directive in one of the many ways to write it. */
function written(r: Random, keyword: string, value: string): string {
  const cased = pick(r, [keyword, keyword, keyword.toLowerCase(), keyword.toUpperCase()]);
  const separator = pick(r, [" ", " ", "\t", "  ", " = ", "=", "\t=\t"]);
  const quoted = chance(r, 0.15) && !value.includes(" ") ? `"${value}"` : value;
  const indent = pick(r, ["", "", "  ", "\t"]);
  return `${indent}${cased}${separator}${quoted}${pick(r, ["", "", "", " ", "\t", " # why", "\t#x"])}`;
}

const time = (r: Random) => pick(r, ["0", "5m", "30", "1H", "90s", "300", "+7", "0060"]);
const count = (r: Random) => pick(r, ["0", "3", "5", "007"]);
const flag = (r: Random) => pick(r, ["yes", "no", "YES", "No"]);

function serverLines(r: Random, folder: string, where: "global" | "some" | "all", depth: number): string[] {
  const lines: string[] = [];
  for (let n = Math.floor(r() * 7); n > 0; n--) {
    const pieces: (() => string)[] = [
      () => written(r, "ClientAliveInterval", time(r)),
      () => written(r, "ClientAliveCountMax", count(r)),
      () => written(r, "X11Forwarding", flag(r)),
      () => written(r, "MaxAuthTries", count(r)),
      () => written(r, "PermitTTY", flag(r)),
      () =>
        pick(r, ["", "   ", "# a comment", "\t# ClientAliveInterval 0", "#ClientAliveCountMax 3", "#TCPKeepAlive yes"]),
      () => `# don't "worry`,
    ];
    if (where !== "some") pieces.push(() => written(r, pick(r, ["TCPKeepAlive", "KeepAlive"]), flag(r)));
    if (depth < 2 && chance(r, 0.8)) {
      const pattern = pick(r, ["sshd_config.d/*.conf", "sshd_config.d/*.conf", "more/*", "none/*.conf", "more/one"]);
      const second = chance(r, 0.2) ? ` ${folder}/more/t*` : "";
      // TCPKeepAlive in what a Match block includes keeps sshd from loading: fine, such cases are only read.
      pieces.push(() => `${pick(r, ["Include", "include"])} ${folder}/${pattern}${second}`);
    }
    lines.push(pick(r, pieces)());
  }
  return lines;
}

function serverFile(r: Random, folder: string, depth: number): string {
  const lines = serverLines(r, folder, "global", depth);
  for (let n = Math.floor(r() * 3); n > 0; n--) {
    if (chance(r, 0.3)) lines.push("# leads to the block");
    const header = pick(r, [
      "User bob",
      "User bob",
      "Address 10.0.0.0/8",
      "all",
      "All",
      "User=b*,!x",
      '"Group" nobody',
      "host *.test",
    ]);
    lines.push(`${pick(r, ["", " "])}${pick(r, ["Match", "match"])} ${header}`);
    lines.push(...serverLines(r, folder, /all/i.test(header) ? "all" : "some", depth));
  }
  return ended(r, lines);
}

/** Joins with one or mixed line ends, with or without the last one. */
function ended(r: Random, lines: readonly string[]): string {
  const style = pick(r, ["\n", "\n", "\r\n", "mixed"]);
  const text = lines.map((l) => l + (style === "mixed" ? pick(r, ["\n", "\r\n"]) : style)).join("");
  return chance(r, 0.3) ? text.replace(/\r?\n$/, "") : text;
}

function clientLines(r: Random, folder: string, depth: number): string[] {
  const lines: string[] = [];
  for (let n = Math.floor(r() * 5); n > 0; n--) {
    const pieces: (() => string)[] = [
      () =>
        written(r, pick(r, ["ServerAliveInterval", "ServerAliveInterval", "SetupTimeOut"]), pick(r, [time(r), "none"])),
      () => written(r, "ServerAliveCountMax", count(r)),
      () => written(r, pick(r, ["TCPKeepAlive", "KeepAlive"]), pick(r, [flag(r), "true", "False"])),
      () => written(r, "ForwardAgent", flag(r)),
      () => written(r, "User", "ana"),
      () => written(r, "HostName", pick(r, ["%h", "a.test", "x.%h", "b.example"])),
      () => pick(r, ["", "# a comment", "#   ServerAliveInterval 0", "   # Host x"]),
    ];
    if (depth < 2 && chance(r, 0.4))
      pieces.push(() => `Include ${folder}/${pick(r, ["more/*", "more/one", "none/*"])}`);
    lines.push(pick(r, pieces)());
  }
  return lines;
}

function clientFile(r: Random, folder: string, depth: number): string {
  const lines = chance(r, 0.5) ? clientLines(r, folder, depth) : [];
  for (let n = Math.floor(r() * 4); n > 0; n--) {
    lines.push(
      pick(r, [
        ...["Host *", "Host *", "host=*", "Host a.test", "Host a.test b.*", "Host *.test !b.test", "Host * !a.test"],
        ...[
          "Match all",
          "Match host a.test",
          "Match originalhost *.test,!b.*",
          "Match !host a.test",
          "Match final all",
        ],
        ...["Match canonical", "Match host *", 'Host "a.test"', "Match final host x.*"],
      ]),
    );
    lines.push(...clientLines(r, folder, depth));
  }
  return ended(r, lines);
}

let temp: TempFolder;
let key: string;
beforeAll(() => {
  temp = makeTempFolder();
  key = oracle.makeHostKey(temp.path);
});
afterAll(() => temp.remove());

const HOSTS = [PROBE_HOST, "a.test", "b.test"];
const CONNECTIONS = [
  "user=bob,host=h.test,addr=10.1.2.3,laddr=10.0.0.1,lport=22",
  "user=eve,host=z,addr=192.0.2.1,laddr=10.0.0.1,lport=22",
];

/** For everyone first, then for some. */
async function dumps(side: Side, main: string): Promise<readonly oracle.Dump[]> {
  if (side === "client") return Promise.all(HOSTS.map((h) => oracle.sshDump(main, h)));
  return Promise.all([undefined, ...CONNECTIONS].map((c) => oracle.sshdDump(main, key, c)));
}

function wantedValues(r: Random, side: Side): Values {
  const wanted: Record<string, string> = {};
  for (const o of optionsOf(side)) {
    if (chance(r, 0.3)) continue;
    wanted[o.name] =
      o.kind === "time"
        ? pick(r, ["61", "300", "0"])
        : o.kind === "count"
          ? pick(r, ["3", "4"])
          : pick(r, ["yes", "no"]);
  }
  return wanted;
}

/** Puts a comment line somewhere, as someone else might. */
function meddle(r: Random, tree: Tree, mark: string): Tree {
  const path = pick(r, [...tree.files.keys()]);
  const lines = (tree.files.get(path) ?? "").split(/(?<=\n)/);
  const at = Math.floor(r() * Math.max(1, lines.length - 1));
  return candidateTree(tree, new Map([[path, [...lines.slice(0, at), mark, ...lines.slice(at)].join("")]]));
}

/** Whether a block for some decides an option for the host, and not for everyone. */
function decidedForSome(chain: Chain, name: string, host: string | undefined): boolean {
  const option = optionsOf("client").find((o) => o.name === name);
  const [here, everywhere] = [host, PROBE_HOST].map((h) => option && effective(chain, option, h).origin);
  const by = chain.statements.find((s) => s.file === here?.file && s.line === here.line);
  return by?.scope.kind === "some" && !(here?.file === everywhere?.file && here?.line === everywhere?.line);
}

interface Tally {
  loaded: number;
  planned: number;
  refused: Map<string, number>;
}

async function oneCase(side: Side, seed: number, tally: Tally): Promise<void> {
  const r = random(seed);
  const folder = join(temp.path, `${side}-${seed}`);
  const main = join(folder, "main.conf");
  const make = side === "server" ? serverFile : clientFile;
  const initial = new Map<string, string>([[main, make(r, folder, 0)]]);
  const names = [
    "sshd_config.d/00-a.conf",
    "sshd_config.d/50-cloud.conf",
    "sshd_config.d/no.txt",
    "more/one",
    "more/two",
  ];
  for (const name of names)
    if (chance(r, 0.6)) initial.set(join(folder, name), make(r, folder, name.startsWith("more") ? 2 : 1));
  initial.set(join(folder, "sshd_config.d/.keep"), "");
  oracle.writeFiles(folder, initial);
  const original = oracle.treeFromDisk(main, side);
  const show = () =>
    `seed ${seed}\n${[...original.files].map(([p, b]) => `--- ${p}\n${JSON.stringify(b)}`).join("\n")}`;

  const before = await dumps(side, main);
  const chain = readChain(original);
  if (before.some((d) => !d.ok)) {
    expect({
      show: show(),
      writes: planEdit({ chain, wanted: {}, placement: "auto", previous: [], newFileAllowed: true }).writes.size,
    }).toEqual({ show: show(), writes: 0 });
    return;
  }
  tally.loaded++;
  for (const [i, dump] of before.entries()) {
    if (side === "server" && i > 0) continue;
    const model = Object.fromEntries(optionsOf(side).map((o) => [o.name, effective(chain, o, HOSTS[i]).value]));
    expect({ show: show(), host: HOSTS[i], model }).toEqual({ show: show(), host: HOSTS[i], model: dump.managed });
  }
  const copy = rewriteForCopy(original, join(folder, "copy"));
  oracle.writeFiles(folder, copy.files);
  expect(await dumps(side, copy.main)).toEqual(before);

  let tree = original;
  let edits: readonly Edit[] = [];
  let meddled = false;
  for (let step = 0; step < 3; step++) {
    const wanted = wantedValues(r, side);
    const placement = pick<Placement>(r, ["auto", "auto", "auto", "main", "dropIn"]);
    const input = { wanted, placement, newFileAllowed: chance(r, 0.8) };
    const at = `${show()}\nstep ${step} ${JSON.stringify(input)}\nedits ${JSON.stringify(edits)}\nnow ${JSON.stringify([...tree.files])}`;
    const plan: EditPlan = planEdit({ ...input, chain: readChain(tree), previous: edits });
    if (plan.refusal !== undefined) {
      if (process.env.SSH_KEEPALIVE_FUZZ_SHOW !== undefined) console.log(plan.refusal, at);
      const why = plan.refusal.replace(/\/\S+/g, "PATH").replace(/\d+/g, "N");
      tally.refused.set(why, (tally.refused.get(why) ?? 0) + 1);
      expect({ at, writes: plan.writes.size }).toEqual({ at, writes: 0 });
      continue;
    }
    tally.planned++;
    const previous = tree;
    tree = candidateTree(tree, plan.writes);
    edits = plan.edits;
    oracle.writeFiles(folder, plan.writes);
    const after = await dumps(side, main);
    const everyone = after[0];
    expect({ at, ok: everyone?.ok, error: everyone?.ok === true ? "" : everyone?.error }).toEqual({
      at,
      ok: true,
      error: "",
    });
    for (const [name, value] of Object.entries(wanted))
      expect({ at, name, value: everyone?.managed[name] }).toEqual({ at, name, value });
    expect({ at, text: significant(readChain(tree)) }).toEqual({ at, text: significant(readChain(previous)) });
    for (const [i, dump] of after.entries()) {
      expect({ at, others: dump.others }).toEqual({ at, others: before[i]?.others });
      for (const [name, value] of Object.entries(before[i]?.managed ?? {})) {
        // Where a block for some decides, and not the one that decides for everyone, it must go on doing so.
        const own = side === "server" ? value !== before[0]?.managed[name] : decidedForSome(chain, name, HOSTS[i]);
        if (own) expect({ at, i, name, value: dump.managed[name] }).toEqual({ at, i, name, value });
      }
    }
    const again = planEdit({ ...input, chain: readChain(tree), previous: edits });
    expect({ at, again: [...again.writes], edits: again.edits, refusal: again.refusal }).toEqual({
      at,
      again: [],
      edits,
      refusal: undefined,
    });
    if (chance(r, 0.3)) {
      tree = meddle(r, tree, "# meddled\n");
      meddled = true;
    }
  }
  const undone = planUndo({ chain: readChain(tree), edits });
  const last = candidateTree(tree, undone.writes);
  // A line that someone put after a last line without newline keeps the newline it needs.
  const comparable = (files: Tree["files"]) =>
    [...files]
      .map(([p, b]) => [p, meddled ? b.replaceAll("# meddled\n", "").replace(/\r?\n$/, "") : b])
      .filter(([, b]) => !meddled || b !== "");
  const context = `${show()}\nedits ${JSON.stringify(edits)}\nnow ${JSON.stringify([...tree.files])}`;
  expect({ context, left: undone.left, refusal: undone.refusal }).toEqual({ context, left: [], refusal: undefined });
  expect({ context, files: comparable(last.files) }).toEqual({ context, files: comparable(original.files) });
}

describe(`random configurations (seed ${SEED}, ${CASES} cases a side)`, () => {
  for (const side of ["server", "client"] as const) {
    test(`${side}: OpenSSH agrees with every reading, edit and undo`, async () => {
      const tally: Tally = { loaded: 0, planned: 0, refused: new Map() };
      const seeds = Array.from({ length: CASES }, (_, i) => SEED + i);
      await oracle.inParallel(seeds, (seed) => oneCase(side, seed, tally));
      if (process.env.SSH_KEEPALIVE_FUZZ_TALLY !== undefined) console.log(side, tally);
      expect(tally.loaded).toBeGreaterThan(CASES / 3);
      expect(tally.planned).toBeGreaterThan(CASES / 2);
    });
  }
});
