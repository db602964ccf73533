/** Reading: lines, Includes, scopes, problems. */
import { join } from "node:path";
import {
  candidateTree,
  differences,
  effective,
  includePatterns,
  PROBE_HOST,
  probeHosts,
  readChain,
  rewriteForCopy,
  significant,
  type Tree,
} from "../../../provider/config";
import { lexLine } from "../../../provider/config/lex";
import { matchesGlob, matchesHostLine, matchesList } from "../../../provider/config/patterns";
import { optionsOf, type Side } from "../../../provider/settings";
import { makeTempFolder, type TempFolder } from "../../support/tempFolder";
import * as oracle from "./oracle";

let temp: TempFolder;
let key: string;
beforeAll(() => {
  temp = makeTempFolder();
  key = oracle.makeHostKey(temp.path);
});
afterAll(() => temp.remove());

function tree(
  side: Side,
  files: Readonly<Record<string, string>>,
  globs: Readonly<Record<string, readonly string[]>> = {},
): Tree {
  const main = side === "server" ? "/etc/ssh/sshd_config" : "/etc/ssh/ssh_config";
  const all = Object.entries(files).map(([path, bytes]) => [path === "main" ? main : path, bytes] as const);
  return { side, main, files: new Map(all), globs: new Map(Object.entries(globs)), includeBase: "/etc/ssh" };
}

/** What the model says of a file that holds these bytes. */
function values(side: Side, bytes: string) {
  const chain = readChain(tree(side, { main: bytes }));
  return Object.fromEntries(optionsOf(side).map((o) => [o.name, effective(chain, o).value]));
}

describe("lines that OpenSSH accepts are read as OpenSSH reads them", () => {
  const server: readonly string[] = [
    "ClientAliveInterval 60",
    "  clientaliveinterval\t60  ",
    "CLIENTALIVEINTERVAL=60",
    "ClientAliveInterval = 60",
    "ClientAliveInterval =60\r",
    'ClientAliveInterval "60"',
    "ClientAliveInterval '60'",
    '"ClientAliveInterval" 60',
    "ClientAliveInterval 60 # a comment",
    "ClientAliveInterval 60\f",
    "ClientAliveInterval 1h30M",
    "ClientAliveInterval +60",
    'ClientAliveInterval " 60"',
    "ClientAliveCountMax 007",
    "TCPKeepAlive NO",
    "KeepAlive no",
    'Keepalive="No" # x',
    "#ClientAliveInterval 60",
    "# don't \"ClientAliveInterval 60",
    '"ClientAliveInterval 60',
    "ClientAliveInterval 60\n\n\nClientAliveInterval 70",
    "Match all\nClientAliveInterval 60\nTCPKeepAlive no",
    "ClientAliveInterval 10\nMatch all\nClientAliveInterval 60",
    "ClientAliveInterval 10\nMatch user bob\nClientAliveInterval 60\nMatch all",
    "TCPKeepAlive yes\nMatch all\nTCPKeepAlive no",
    "Match all # everyone\nClientAliveInterval 60",
    "Match all\n  ClientAliveCountMax 1\nMatch all\n  ClientAliveCountMax 2\n  ClientAliveInterval 5",
    "",
  ];
  const client: readonly string[] = [
    "ServerAliveInterval none\nServerAliveInterval 60",
    "Host *\n  ServerAliveInterval 60",
    "  Host=*\n\tServerAliveInterval = 5m",
    "Host !keepalive-probe.invalid *\nServerAliveInterval 60",
    "Host keepalive-prob?.invalid\nServerAliveInterval 60",
    "Host nobody *.invalid\nServerAliveInterval 60",
    "Host KEEPALIVE-PROBE.INVALID\nServerAliveInterval 60",
    "Match all\nServerAliveInterval 60",
    "Match !all\nServerAliveInterval 60",
    "Match final all\nServerAliveInterval 60",
    "Match final all\nServerAliveInterval 60\nHost *\nServerAliveInterval 70",
    "Match canonical\nServerAliveInterval 60",
    "Match host=*.INVALID\nServerAliveInterval 60",
    "Match !host other originalhost keepalive*\nTCPKeepAlive no",
    "HostName b.test\nMatch host b.test\nServerAliveInterval 60",
    "HostName b.test\nHost b.test\nServerAliveInterval 60\nMatch final all\nForwardAgent no",
    "TCPKeepAlive False\nServerAliveCountMax 9",
    "SetupTimeOut 60\nProtocolKeepAlives 70",
    'Host "*"\n KeepAlive "no"',
    "IgnoreUnknown ClientAlive*\nClientAliveInterval 5",
    "",
  ];
  const cases = [...server.map((t) => ["server", t] as const), ...client.map((t) => ["client", t] as const)];
  test.each(cases.map(([side, text], i) => [side, JSON.stringify(text), text, i] as const))(
    "%s %s",
    async (side, _, text, i) => {
      const main = join(temp.path, `line-${i}.conf`);
      oracle.writeFiles(temp.path, new Map([[main, text]]));
      const dump = side === "server" ? await oracle.sshdDump(main, key) : await oracle.sshDump(main, PROBE_HOST);
      expect({ ok: dump.ok, error: dump.ok ? "" : dump.error }).toEqual({ ok: true, error: "" });
      expect(values(side, text)).toEqual(dump.managed);
    },
  );
});

describe("what OpenSSH refuses is a problem, not a value", () => {
  test.each([
    ["server", "ClientAliveInterval", "syntax"],
    ["server", "ClientAliveInterval 1.5", "syntax"],
    ["server", "ClientAliveInterval 60 70", "syntax"],
    ["server", "ClientAliveInterval 60#x", "syntax"],
    ["server", 'ClientAliveInterval "60', "syntax"],
    ["server", "ClientAliveInterval 99999999999", "syntax"],
    ["server", "Match user bob\nTCPKeepAlive no", "syntax"],
    ["server", "ServerAliveInterval 60", "wrong-side"],
    ["server", "\xef\xbb\xbfPort 22", "bom"],
    ["server", "Port 22\0\n", "nul"],
    ["server", "Include", "syntax"],
    ["client", "ClientAliveInterval 60", "wrong-side"],
    ["client", "TCPKeepAlive maybe", "syntax"],
    ["client", "Host", "syntax"],
    ["client", 'Host ""', "syntax"],
  ] as const)("%s %j: %s", async (side, text, kind) => {
    const main = join(temp.path, "bad.conf");
    oracle.writeFiles(temp.path, new Map([[main, text]]));
    const dump = side === "server" ? await oracle.sshdDump(main, key) : await oracle.sshDump(main, PROBE_HOST);
    if (kind !== "nul") expect(dump.ok).toBe(false);
    expect(readChain(tree(side, { main: text })).problems.map((p) => p.kind)).toContain(kind);
  });

  test("the mix-up of sides says which option was meant and where", () => {
    const [problem] = readChain(tree("server", { main: "Port 22\nServerAliveCountMax 3\n" })).problems;
    expect(problem).toMatchObject({ line: 2, message: expect.stringContaining("ClientAliveCountMax was meant") });
  });

  test("a line that two readers read differently is not edited around", () => {
    const chain = readChain(tree("server", { main: "=ClientAliveInterval 5\n" }));
    expect(chain.problems.map((p) => p.kind)).toEqual(["syntax"]);
  });

  test("a missing main file, an unread Include and an endless one", () => {
    expect(readChain(tree("server", {})).problems.map((p) => p.kind)).toEqual(["missing"]);
    expect(readChain(tree("server", { main: "Include x\n" })).problems.map((p) => p.kind)).toEqual([
      "include-not-read",
    ]);
    const self = tree(
      "server",
      { main: "Include *_config *_config\n" },
      { "/etc/ssh/*_config": ["/etc/ssh/sshd_config"] },
    );
    const started = process.cpuUsage();
    expect(readChain(self).problems.map((p) => p.kind)).toEqual(["include-depth"]);
    expect(process.cpuUsage(started).user).toBeLessThan(5_000_000);
  });
});

describe("Includes and scopes", () => {
  const files = {
    main: "Include a/* b\nMatch User bob\n  Include c\n  ClientAliveInterval 3\n",
    "/etc/ssh/a/1": "ClientAliveInterval 1\nMatch User eve\n  ClientAliveCountMax 8\n",
    "/etc/ssh/b": "ClientAliveCountMax 4\nMatch all\n  ClientAliveCountMax 5\n",
    "/etc/ssh/c": "ClientAliveInterval 2\nMatch all\n  MaxAuthTries 2\n",
  };
  const globs = { "/etc/ssh/a/*": ["/etc/ssh/a/1"], "/etc/ssh/b": ["/etc/ssh/b"], "/etc/ssh/c": ["/etc/ssh/c"] };
  const chain = readChain(tree("server", files, globs));

  test("statements come in reading order with the block they stand under", () => {
    const told = chain.statements.map((s) => [
      s.file.slice(9),
      s.line,
      s.args[0],
      s.scope.kind === "some" ? s.scope.header : s.scope.via,
    ]);
    expect(told).toEqual([
      ["a/1", 1, "1", "global"],
      ["a/1", 3, "8", "Match User eve"],
      ["b", 1, "4", "global"],
      ["b", 3, "5", "Match all"],
      ["c", 1, "2", "Match User bob"],
      ["c", 3, "2", "Match User bob"],
      ["sshd_config", 4, "3", "Match User bob"],
    ]);
    expect(chain.problems).toEqual([]);
  });

  test("blocks for some that differ are reported once per block", () => {
    expect(differences(chain, { ClientAliveInterval: "1", ClientAliveCountMax: "8" })).toEqual([
      { option: "ClientAliveInterval", value: "2", header: "Match User bob", file: "/etc/ssh/c", line: 1 },
    ]);
  });

  test("the significant text forgets comments, blanks, case and managed options, and nothing else", () => {
    const a = readChain(
      tree("server", { main: "port 22\n# x\nClientAliveInterval 5\nMatch User bob\n  X11Forwarding no\n" }),
    );
    const b = readChain(tree("server", { main: "Port=22\n\nMatch  User bob # him\nX11forwarding\tno\n" }));
    const c = readChain(tree("server", { main: "Port 22\nX11Forwarding no\nMatch User bob\n" }));
    expect(significant(a)).toBe(significant(b));
    expect(significant(a)).not.toBe(significant(c));
  });

  test("a new file joins every pattern it matches, in the C locale; a removed one leaves", () => {
    const before = tree(
      "server",
      { main: "" },
      { "/d/*.conf": ["/d/9.conf", "/d/a.conf"], "/d/*": ["/d/9.conf", "/d/a.conf"], "/e/*.conf": [] },
    );
    const added = candidateTree(before, new Map([["/d/Z.conf", ""]]));
    expect(added.globs.get("/d/*.conf")).toEqual(["/d/9.conf", "/d/Z.conf", "/d/a.conf"]);
    expect(added.globs.get("/e/*.conf")).toEqual([]);
    const gone = candidateTree(added, new Map([["/d/Z.conf", null]]));
    expect(gone.globs.get("/d/*")).toEqual(["/d/9.conf", "/d/a.conf"]);
    expect([...gone.files.keys()]).toEqual([...before.files.keys()]);
  });

  test("a copy names its files explicitly and keeps everything else", () => {
    const copy = rewriteForCopy(
      tree(
        "server",
        { main: "Port 22\r\n  Include  a/* none/* # why\r\n", "/etc/ssh/a/1": "x y\n" },
        { "/etc/ssh/a/*": ["/etc/ssh/a/1"], "/etc/ssh/none/*": [] },
      ),
      "/tmp/p",
    );
    expect(copy.files.get(copy.main)).toBe(
      "Port 22\r\n  Include  /tmp/p/copy-1.conf /tmp/p/nothing-matched.conf # why\r\n",
    );
    expect(copy.files.get("/tmp/p/copy-1.conf")).toBe("x y\n");
  });

  test("patterns of Include lines are listed as written", () => {
    expect(includePatterns('Include a "b c" # d\n#Include e\nMatch all\n  INCLUDE=f', "server")).toEqual([
      "a",
      "b c",
      "f",
    ]);
  });
});

describe("patterns", () => {
  test.each([
    ["/d/x.conf", "/d/*.conf", true],
    ["/d/.x.conf", "/d/*.conf", false],
    ["/d/e/x.conf", "/d/*.conf", false],
    ["/d/x.conf~", "/d/*.conf", false],
    ["/d/x1", "/d/x[0-9]", true],
    ["/d/x1", "/d/x[!0-9]", false],
    ["/d/*", "/d/\\*", true],
    ["/d/x", "/d/\\*", false],
  ])("file %s against %s: %s", (path, pattern, expected) => {
    expect(matchesGlob(path, pattern)).toBe(expected);
  });

  test("host lists, negation, and names that stand for a pattern", () => {
    expect(matchesHostLine("a.test", ["*", "!a.*"])).toBe(false);
    expect(matchesHostLine("", ["?"])).toBe(false);
    expect(matchesList("A.test", "!b.test,*.TEST")).toBe(true);
    expect(probeHosts(["*", "!x", "*.corp", "db?"])).toEqual([PROBE_HOST, "keepalive-probe.corp", "dbx"]);
    const slow = `${"*a".repeat(40)}b`;
    expect(matchesHostLine("a".repeat(60), [slow])).toBe(false);
  });

  test("the place of a value is exact, quotes included", () => {
    const line = '\tClientAliveInterval =  "60" # x\r\n';
    const lexed = lexLine(line, "server");
    expect(lexed.kind === "directive" && lexed.spans.map(([a, b]) => line.slice(a, b))).toEqual(['"60"']);
  });
});
