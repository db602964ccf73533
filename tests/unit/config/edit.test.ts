/** Edits over time: undoing, healing, others' changes, refusals. */
import {
  candidateTree,
  DROP_IN_NAME,
  type Edit,
  type EditInput,
  type EditPlan,
  HEADER_COMMENT,
  planEdit,
  planUndo,
  readChain,
  type Tree,
} from "../../../provider/config";
import type { Side, Values } from "../../../provider/settings";

const MAIN = "/etc/ssh/main";
const DROP_IN = `/etc/ssh/d/${DROP_IN_NAME}`;
const FOLDER = "/etc/ssh/d/*.conf";

/** A tree of a main file and drop-ins in /etc/ssh/d. */
function tree(side: Side, main: string | undefined, dropIns: Readonly<Record<string, string>> = {}): Tree {
  const files = new Map(Object.entries(dropIns).map(([name, bytes]) => [`/etc/ssh/d/${name}`, bytes]));
  const globs = new Map([[FOLDER, [...files.keys()].sort()]]);
  if (main !== undefined) files.set(MAIN, main);
  return { side, main: MAIN, files, globs, includeBase: "/etc/ssh" };
}

interface State {
  readonly tree: Tree;
  readonly edits: readonly Edit[];
}

function plan(state: State, wanted: Values, more: Partial<EditInput> = {}): EditPlan {
  const input = { placement: "auto" as const, newFileAllowed: true, previous: state.edits, wanted, ...more };
  return planEdit({ ...input, chain: readChain(state.tree) });
}

/** Plans and applies; fails on a refusal. */
function up(state: State, wanted: Values, more: Partial<EditInput> = {}): State {
  const made = plan(state, wanted, more);
  expect(made.refusal).toBeUndefined();
  return { tree: candidateTree(state.tree, made.writes), edits: made.edits };
}

const start = (t: Tree): State => ({ tree: t, edits: [] });
const text = (t: Tree, path = MAIN) => t.files.get(path);

/** Someone else changes a file. */
function tamper(state: State, from: string, to: string, path = MAIN): State {
  const bytes = text(state.tree, path) ?? "";
  expect(bytes).toContain(from);
  return { ...state, tree: candidateTree(state.tree, new Map([[path, bytes.replace(from, () => to)]])) };
}

function down(state: State): { readonly tree: Tree; readonly left: readonly string[] } {
  const undone = planUndo({ chain: readChain(state.tree), edits: state.edits });
  expect(undone.refusal).toBeUndefined();
  return { tree: candidateTree(state.tree, undone.writes), left: undone.left };
}

const BOTH = { ClientAliveInterval: "60", ClientAliveCountMax: "5" };

describe("undoing gives back the exact bytes", () => {
  const mains: readonly (readonly [string, string])[] = [
    ["an empty file", ""],
    ["no final newline", "Port 22"],
    ["no final newline, last line wins", "Port 22\nClientAliveInterval 5"],
    ["CRLF", "Port 22\r\n#ClientAliveCountMax 3\r\nUsePAM yes\r\n"],
    ["CRLF, no final newline", "Port 22\r\nUsePAM yes"],
    ["blank lines and a Match block at the end", "\n\nPort 22\n\n  # bob\n  Match User bob\n\tX11Forwarding no"],
    ["a comment without newline", "#ClientAliveInterval 0"],
  ];
  const orders: readonly (readonly Values[])[] = [
    [BOTH],
    [BOTH, { ClientAliveInterval: "60" }],
    [BOTH, { ClientAliveCountMax: "5" }],
    [{ ClientAliveCountMax: "5" }, BOTH, { ...BOTH, TCPKeepAlive: "no" }, { TCPKeepAlive: "no" }],
    [BOTH, { ClientAliveInterval: "90", ClientAliveCountMax: "4" }],
  ];
  test.each(mains)("%s", (_, main) => {
    for (const order of orders) {
      let state = start(tree("server", main));
      for (const wanted of order) {
        state = up(state, wanted);
        expect(plan(state, wanted).writes.size).toBe(0);
      }
      expect(text(down(state).tree)).toBe(main);
      expect(text(up(state, {}).tree)).toBe(main); // no option wanted any more
    }
  });

  test("new lines take the file's own line ends", () => {
    const crlf = up(start(tree("server", "Port 22\r\nUsePAM yes")), BOTH);
    expect(text(crlf.tree)).toBe("Port 22\r\nUsePAM yes\r\nClientAliveInterval 60\r\nClientAliveCountMax 5\r\n");
  });

  test("what others changed elsewhere stays", () => {
    let state = up(start(tree("server", "Port 22\nClientAliveInterval 5\nUsePAM yes\n")), BOTH);
    state = tamper(state, "Port 22\n", "Port 23\n# mine\n\n");
    expect(down(state)).toMatchObject({ left: [] });
    expect(text(down(state).tree)).toBe("Port 23\n# mine\n\nClientAliveInterval 5\nUsePAM yes\n");
  });

  test("a line of ours that someone changed is left and named", () => {
    const state = tamper(up(start(tree("server", "ClientAliveInterval 5\n")), BOTH), "Interval 60", "Interval 99");
    const { tree: after, left } = down(state);
    expect(text(after)).toBe("ClientAliveInterval 99\n");
    expect(left).toEqual([expect.stringContaining("ClientAliveInterval")]);
  });

  test("the same text in a Match block is not taken for ours", () => {
    let state = up(start(tree("server", "ClientAliveInterval 5\nMatch User bob\n")), { ClientAliveInterval: "60" });
    state = tamper(state, "ClientAliveInterval 60\nMatch User bob\n", "Match User bob\nClientAliveInterval 60\n");
    expect(text(down(state).tree)).toBe("Match User bob\nClientAliveInterval 60\n");
  });
});

describe("healing after tampering undoes to what stood there before us", () => {
  test.each([
    ["changed value", "Port 22\nClientAliveInterval 300 # old\nUsePAM yes\n", "Interval 60", "Interval 999"],
    [
      "changed spelling and value",
      "Port 22\nClientAliveInterval 300\n",
      "ClientAliveInterval 60",
      "clientaliveinterval 7",
    ],
    ["changed line that we had added", "Port 22\nUsePAM yes\n", "Interval 60", "Interval 999"],
    ["deleted line that we had added", "Port 22\nUsePAM yes\n", "ClientAliveInterval 60\n", ""],
    [
      "deleted line that we had changed",
      "#ClientAliveInterval 0\nClientAliveInterval 300\n",
      "ClientAliveInterval 60\n",
      "",
    ],
  ])("%s", (_, main, from, to) => {
    const wanted = { ClientAliveInterval: "60" };
    const healed = up(tamper(up(start(tree("server", main)), wanted), from, to), wanted);
    expect(plan(healed, wanted).writes.size).toBe(0);
    expect(down(healed).left).toEqual([]);
    expect(text(down(healed).tree)).toBe(main);
  });
});

describe("our own drop-in", () => {
  const main = `Include ${FOLDER}\nClientAliveInterval 0\n`;

  test("is created, rewritten, reduced and removed", () => {
    let state = up(start(tree("server", main)), BOTH);
    expect(text(state.tree, DROP_IN)).toBe(`${HEADER_COMMENT}ClientAliveInterval 60\nClientAliveCountMax 5\n`);
    expect(text(state.tree)).toBe(main);
    state = up(state, { ...BOTH, ClientAliveInterval: "90" });
    expect(text(state.tree, DROP_IN)).toBe(`${HEADER_COMMENT}ClientAliveInterval 90\nClientAliveCountMax 5\n`);
    state = up(state, { ClientAliveCountMax: "5" });
    expect(text(state.tree, DROP_IN)).toBe(`${HEADER_COMMENT}ClientAliveCountMax 5\n`);
    expect(plan(state, {}).notes).toEqual(["undo our ClientAliveCountMax", `remove ${DROP_IN}`]);
    expect(up(state, {}).tree.files.has(DROP_IN)).toBe(false);
    expect(down(state).tree.files.has(DROP_IN)).toBe(false);
  });

  test("tampered with: healed, and still removed as a whole", () => {
    const state = tamper(up(start(tree("server", main)), BOTH), "Interval 60", "Interval 999", DROP_IN);
    const healed = up(state, BOTH);
    expect(text(healed.tree, DROP_IN)).toBe(`${HEADER_COMMENT}ClientAliveInterval 60\nClientAliveCountMax 5\n`);
    expect(down(healed).tree.files.has(DROP_IN)).toBe(false);
  });

  test("deleted by someone: created again; undone after that without complaint", () => {
    const state = up(start(tree("server", main)), BOTH);
    const gone = { ...state, tree: candidateTree(state.tree, new Map([[DROP_IN, null]])) };
    expect(down(gone).left).toEqual([`${DROP_IN}: no longer there`]);
    expect(down(up(gone, BOTH)).tree.files.has(DROP_IN)).toBe(false);
  });

  test("others' lines in it stay", () => {
    let state = tamper(
      up(start(tree("server", main)), BOTH),
      "CountMax 5\n",
      "CountMax 5\nX11Forwarding no\n",
      DROP_IN,
    );
    state = up(state, { ...BOTH, TCPKeepAlive: "no" });
    expect(text(down(state).tree, DROP_IN)).toBe("X11Forwarding no\n");
  });

  test("one that stood there before us keeps its other bytes", () => {
    const there = "# mine\r\nX11Forwarding no\r\nclientalivecountmax 9\r\nMatch User bob\r\n";
    const state = up(start(tree("server", main, { [DROP_IN_NAME]: there })), BOTH);
    expect(text(state.tree, DROP_IN)).toBe(
      "# mine\r\nX11Forwarding no\r\nclientalivecountmax 5\r\nClientAliveInterval 60\r\nMatch User bob\r\n",
    );
    expect(text(down(state).tree, DROP_IN)).toBe(there);
  });

  test("not where a new file is not allowed, nor where it would land in a Match block as well", () => {
    const state = up(start(tree("server", main)), { ClientAliveInterval: "60" }, { newFileAllowed: false });
    expect(text(state.tree)).toBe(main.replace("Interval 0", "Interval 60"));
    const twice = tree("server", `${main}Match User bob\nInclude ${FOLDER}\n`);
    expect(up(start(twice), { ClientAliveInterval: "60" }).tree.files.has(DROP_IN)).toBe(false);
  });

  test("a changed placement moves what has to change", () => {
    const inMain = up(start(tree("server", main)), { ClientAliveInterval: "60" }, { placement: "main" });
    expect(text(inMain.tree)).toBe(main.replace("Interval 0", "Interval 60"));
    const moved = up(inMain, { ClientAliveInterval: "90" }, { placement: "dropIn" });
    expect([text(moved.tree), text(moved.tree, DROP_IN)]).toEqual([main, `${HEADER_COMMENT}ClientAliveInterval 90\n`]);
    const back = up(moved, { ClientAliveInterval: "30" }, { placement: "main" });
    expect([text(back.tree), text(back.tree, DROP_IN)]).toEqual([main.replace("Interval 0", "Interval 30"), undefined]);
  });
});

describe("clients", () => {
  const wanted = { ServerAliveInterval: "60", ServerAliveCountMax: "5" };

  test("a block we began stays when others' lines are in it, and is named", () => {
    let state = up(start(tree("client", "Host a\n  User ana\n")), wanted);
    state = tamper(state, "CountMax 5\n", "CountMax 5\n    ForwardAgent no\n");
    const { tree: after, left } = down(state);
    expect(text(after)).toBe("Host a\n  User ana\n\nHost *\n    ForwardAgent no\n");
    expect(left).toHaveLength(1);
  });

  test("a created file goes, or keeps others' lines under their header", () => {
    let state = up(start(tree("client", undefined)), wanted, { isUsersFile: true });
    expect(text(state.tree)).toBe("Host *\n    ServerAliveInterval 60\n    ServerAliveCountMax 5\n");
    expect(down(state).tree.files.has(MAIN)).toBe(false);
    state = tamper(state, "CountMax 5\n", "CountMax 5\n    ForwardAgent no\n");
    expect(text(down(state).tree)).toBe("Host *\n    ForwardAgent no\n");
    expect(plan(start(tree("client", undefined)), wanted, { newFileAllowed: false }).refusal).toBeDefined();
  });

  test("changed hosts move our block", () => {
    const main = "Host a\n  User ana\n";
    const one = up(start(tree("client", main)), wanted, { hosts: ["b"] });
    const two = up(one, wanted, { hosts: ["c", "d"] });
    expect(text(two.tree)).toBe(`${main}\nHost c d\n    ServerAliveInterval 60\n    ServerAliveCountMax 5\n`);
    expect(text(down(two).tree)).toBe(main);
  });

  test("a value that a block for some gives its hosts is never shadowed", () => {
    const main = "Host *\n  ForwardAgent no\nHost build\n  ServerAliveInterval 15\n";
    const state = up(start(tree("client", main)), { ServerAliveInterval: "60" });
    expect(text(state.tree)).toBe(`${main}\nHost *\n    ServerAliveInterval 60\n`);
  });

  test("lines outside any block never fall into a block of ours", () => {
    const main = `Include ${FOLDER}\nForwardAgent no\n`;
    const blocks = { "a.conf": "Host * !x\n  ServerAliveInterval 5\n" };
    const state = up(start(tree("client", main, blocks)), { ServerAliveInterval: "60" });
    expect(text(state.tree)).toBe(`ServerAliveInterval 60\n${main}`);
    expect(text(down(state).tree)).toBe(main);
  });
});

describe("refusals", () => {
  test.each<[string, Tree, Values, Partial<EditInput>, RegExp]>([
    ["a broken file", tree("server", "ServerAliveInterval 5\n"), BOTH, {}, /main:1: .*ClientAliveInterval was meant/],
    ["no main file", tree("server", undefined), BOTH, {}, /does not exist/],
    [
      "OpenSSH reads the line differently",
      tree("server", "ClientAliveInterval 5\n"),
      BOTH,
      { effectiveNow: { ClientAliveInterval: "7" } },
      /OpenSSH says ClientAliveInterval 7, but .*main:1 reads as 5/,
    ],
    [
      "a condition only the client knows",
      tree("client", "Match localuser ana\n ServerAliveInterval 5\n"),
      { ServerAliveInterval: "60" },
      { effectiveNow: { ServerAliveInterval: "5" } },
      /localuser ana/,
    ],
    [
      "a value that would smuggle a line in",
      tree("server", ""),
      { ClientAliveInterval: "60\nPermitRootLogin yes" },
      {},
      /is not a value/,
    ],
    [
      "a pattern that would smuggle a line in",
      tree("client", ""),
      { ServerAliveInterval: "60" },
      { hosts: ["a\nProxyCommand x"] },
      /not a Host pattern/,
    ],
    ["a drop-in name with a path", tree("server", ""), BOTH, { dropInName: "../x.conf" }, /name is not plain/],
    [
      "a drop-in after the line that wins",
      tree("server", `ClientAliveInterval 5\nInclude ${FOLDER}\n`),
      BOTH,
      { placement: "dropIn" },
      /before the Include/,
    ],
  ])("%s", (_, t, wanted, more, reason) => {
    const made = plan(start(t), wanted, more);
    expect(made.refusal).toMatch(reason);
    expect(made.writes.size).toBe(0);
  });

  test("large files are planned in bounded time", () => {
    const main = Array.from({ length: 300 }, (_, i) => `Host h${i}\n  HostName x\n  ServerAliveInterval 5\n`).join("");
    const huge = Array.from({ length: 30_000 }, (_, i) => `Host h${i}\nServerAliveInterval 5\n`).join("");
    const started = process.cpuUsage();
    expect(plan(start(tree("client", main)), { ServerAliveInterval: "60" }).writes.size).toBe(1);
    expect(plan(start(tree("client", huge)), { ServerAliveInterval: "60" }).refusal).toMatch(/too many/);
    expect(process.cpuUsage(started).user).toBeLessThan(30_000_000);
  });

  test("what OpenSSH says counts where no line decides", () => {
    const batch = start(tree("client", "BatchMode yes\n"));
    const now = { ServerAliveInterval: "300" }; // Debian's default under BatchMode
    expect(plan(batch, { ServerAliveInterval: "300" }, { effectiveNow: now }).writes.size).toBe(0);
    expect(plan(batch, { ServerAliveInterval: "0" }, { effectiveNow: now }).writes.size).toBe(1);
  });
});
