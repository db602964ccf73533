/** Every edit of every real file, judged by OpenSSH. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import {
  candidateTree,
  type EditPlan,
  effective,
  PROBE_HOST,
  planEdit,
  planUndo,
  probeHosts,
  readChain,
  rewriteForCopy,
  type Tree,
} from "../../../provider/config";
import { optionsOf, type Side, type Values } from "../../../provider/settings";
import { makeTempFolder, type TempFolder } from "../../support/tempFolder";
import * as oracle from "./oracle";

const found = oracle.corpus();
const suite = "folder" in found ? describe : describe.skip;
const reason = "reason" in found ? ` (skipped: ${found.reason})` : "";
const root = "folder" in found ? found.folder : "";

let temp: TempFolder;
let key: string;
beforeAll(() => {
  temp = makeTempFolder();
  key = oracle.makeHostKey(temp.path);
});
afterAll(() => temp.remove());

/** Lines that are in one text and not in the other, by count. */
function changedLines(a: string, b: string): readonly string[] {
  const counts = new Map<string, number>();
  for (const l of a.split(/(?<=\n)/)) counts.set(l, (counts.get(l) ?? 0) + 1);
  for (const l of b.split(/(?<=\n)/)) counts.set(l, (counts.get(l) ?? 0) - 1);
  return [...counts].filter(([, n]) => n !== 0).map(([l]) => l);
}

/** Only lines of managed options, our comment, Host header and blank lines may differ. */
function expectOnlyOurLines(side: Side, tree: Tree, plan: EditPlan): void {
  const names = optionsOf(side)
    .flatMap((o) => [o.name, ...o.aliases])
    .join("|");
  const ours = new RegExp(`^\\s*(#.*Managed by pulumi.*|"?(?:${names})"?[\\s=].*|Host .*)?$`, "i");
  for (const [path, bytes] of plan.writes) {
    const before = tree.files.get(path) ?? "";
    const last = before.slice(before.lastIndexOf("\n") + 1); // may have got its missing newline
    for (const line of changedLines(before, bytes ?? "")) {
      if (line.trim() !== last.trim()) expect(line.trim()).toMatch(ours);
    }
  }
}

function expectSameTree(a: Tree, b: Tree): void {
  expect([...a.files]).toEqual([...b.files]);
}

async function judge(
  side: Side,
  name: string,
  folder: string,
  sets: readonly { wanted: Values; hosts?: readonly string[] }[],
) {
  const main = join(folder, "main.conf");
  const text = readFileSync(join(root, name), "latin1").replaceAll("/etc/ssh/sshd_config.d", `${folder}/sshd_config.d`);
  oracle.writeFiles(
    folder,
    new Map([
      [main, text],
      [`${folder}/sshd_config.d/50-other.txt`, ""],
    ]),
  );
  const tree = oracle.treeFromDisk(main, side);
  const chain = readChain(tree);
  const dumps = (hosts: readonly string[]) =>
    Promise.all(hosts.map((h) => (side === "server" ? oracle.sshdDump(main, key) : oracle.sshDump(main, h))));

  /** What Match blocks give to the users and from the addresses they name. */
  const users = [...text.matchAll(/^\s*Match\s+.*\bUser\s+([a-z_][\w.-]*)/gim)].map((m) => m[1] ?? "");
  const hasMatch = side === "server" && /^\s*match\s/im.test(text);
  const connections = hasMatch ? ["nobody", ...users.slice(0, 2)] : [];
  const forSome = () =>
    Promise.all(
      connections.map((user) =>
        oracle.sshdDump(main, key, `user=${user},host=h.test,addr=10.1.2.3,laddr=10.0.0.1,lport=22`),
      ),
    );

  const [before] = await dumps([PROBE_HOST]);
  expect({ name, problems: chain.problems, ok: before?.ok }).toEqual({ name, problems: [], ok: true });
  const batch = side === "client" && before?.others.includes("batchmode yes");
  for (const option of optionsOf(side)) {
    const { value, origin } = effective(chain, option);
    const expected = before?.managed[option.name];
    if (batch === true && origin === undefined && option.kind === "time") continue; // Debian's 300
    expect(`${name} ${option.name} ${value}`).toBe(`${name} ${option.name} ${expected}`);
  }

  const copy = rewriteForCopy(tree, join(folder, "copy"));
  oracle.writeFiles(folder, copy.files);
  const copied =
    side === "server" ? await oracle.sshdDump(copy.main, key) : await oracle.sshDump(copy.main, PROBE_HOST);
  expect(copied.others).toEqual(before?.others);
  expect(copied.managed).toEqual(before?.managed);

  let refused = 0;
  for (const { wanted, hosts = ["*"] } of sets) {
    const samples = side === "client" ? probeHosts(hosts) : [PROBE_HOST];
    const old = await dumps(samples);
    const oldForSome = await forSome();
    const input = { wanted, hosts, placement: "auto" as const, newFileAllowed: true };
    const now = old[0]?.managed ?? {};
    const plan = planEdit({ ...input, chain, effectiveNow: now, previous: [] });
    if (plan.refusal !== undefined) {
      refused++;
      expect(plan.writes.size).toBe(0);
      expect(side === "client" || plan.refusal).toBe(true);
      continue;
    }
    expectOnlyOurLines(side, tree, plan);
    const after = candidateTree(tree, plan.writes);
    oracle.writeFiles(folder, plan.writes);
    expectSameTree(oracle.treeFromDisk(main, side), after);
    for (const [i, dumped] of (await dumps(samples)).entries()) {
      expect({ name, ok: dumped.ok, error: dumped.ok ? "" : dumped.error }).toEqual({ name, ok: true, error: "" });
      expect({ name, ...dumped.managed }).toEqual({ name, ...old[i]?.managed, ...wanted });
      expect(dumped.others).toEqual(old[i]?.others);
    }
    for (const [i, dumped] of (await forSome()).entries()) {
      expect({ name, others: dumped.others }).toEqual({ name, others: oldForSome[i]?.others });
      for (const [option, value] of Object.entries(oldForSome[i]?.managed ?? {})) {
        const mayChange = value === old[0]?.managed[option];
        expect({ name, option, value: dumped.managed[option] }).toEqual({
          ...{ name, option, value: mayChange ? (wanted[option] ?? value) : value },
        });
      }
    }
    const again = planEdit({ ...input, chain: readChain(after), previous: plan.edits });
    expect({ name, again: [...again.writes], refusal: again.refusal, edits: again.edits }).toEqual({
      ...{ name, again: [], refusal: undefined, edits: plan.edits },
    });
    const back = planUndo({ chain: readChain(after), edits: plan.edits });
    expect({ name, left: back.left, refusal: back.refusal }).toEqual({ name, left: [], refusal: undefined });
    expectSameTree(candidateTree(after, back.writes), tree);
    oracle.writeFiles(folder, back.writes);
    expect(readFileSync(main, "latin1")).toBe(text);
  }
  return refused;
}

suite(`real configuration files${reason}`, () => {
  test("sshd: reading agrees with sshd -T; edits are effective, minimal, idempotent and can be undone", async () => {
    const sets = [
      { wanted: { ClientAliveInterval: "61", ClientAliveCountMax: "4", TCPKeepAlive: "no" } },
      { wanted: { ClientAliveInterval: "300", TCPKeepAlive: "yes" } },
      { wanted: { ClientAliveCountMax: "7" } },
    ];
    const files = oracle.corpusFiles(root, "server").filter((f) => f.loads);
    expect(files.length).toBeGreaterThan(100);
    await oracle.inParallel(files, async ({ name }, i) => {
      await judge("server", name, join(temp.path, `s${i}`), sets);
    });
  });

  test("ssh: reading agrees with ssh -G; edits are effective, minimal, idempotent and can be undone", async () => {
    const sets = [
      { wanted: { ServerAliveInterval: "61", ServerAliveCountMax: "4", TCPKeepAlive: "no" } },
      { wanted: { ServerAliveInterval: "300" } },
      { wanted: { ServerAliveInterval: "62", ServerAliveCountMax: "5" }, hosts: ["*.corp.test", "bastion?"] },
    ];
    let refused = 0;
    const files = oracle.corpusFiles(root, "client").filter((f) => f.loads);
    expect(files.length).toBeGreaterThan(60);
    await oracle.inParallel(files, async ({ name }, i) => {
      refused += await judge("client", name, join(temp.path, `c${i}`), sets);
    });
    // What stands for every host before any Host block cannot be overridden for some.
    expect(refused).toBeLessThan(files.length / 4);
  });

  test("files that do not load are read without throwing", () => {
    for (const side of ["server", "client"] as const) {
      for (const { name, loads } of oracle.corpusFiles(root, side)) {
        if (loads) continue;
        const files = new Map([["/m", readFileSync(join(root, name), "latin1")]]);
        const tree: Tree = { side, main: "/m", files, globs: new Map(), includeBase: "/etc/ssh" };
        expect(() => readChain(tree)).not.toThrow();
      }
    }
  });
});
