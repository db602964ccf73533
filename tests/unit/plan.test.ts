/** Decisions about one host from made-up facts: what is refused, and why; what is left alone; what an edit carries along. */
import { probeHosts, readChain } from "../../provider/config";
import type { ByteString } from "../../provider/config/types";
import { type DaemonFacts, type FileFacts, sumOf, type TargetFacts } from "../../provider/observe";
import { planRemoval, planTarget, type Wish } from "../../provider/plan";
import { fingerprint, readRecord, writeRecord } from "../../provider/record";

const MAIN = "/etc/ssh/sshd_config";
const OURS = "/etc/ssh/sshd_config.d/00-pulumi-ssh-keepalive.conf";
const GLOB = "/etc/ssh/sshd_config.d/*.conf";

const daemon: DaemonFacts = {
  pid: "7",
  start: "70",
  identity: "id-1",
  config: MAIN,
  realConfig: MAIN,
  argv: ["/usr/sbin/sshd", "-D"],
  args: [],
  pidfile: "/run/sshd.pid",
  manager: "none",
  unit: "",
  socket: "",
  activation: "reload",
  changedSince: [],
};

interface Seen {
  readonly files?: Readonly<Record<string, ByteString>>;
  readonly dump?: string;
  readonly more?: Partial<TargetFacts>;
  readonly file?: Partial<FileFacts>;
}

function facts({
  files = { [MAIN]: `Include ${GLOB}\nX11Forwarding no\n` },
  dump,
  more = {},
  file = {},
}: Seen = {}): TargetFacts {
  const dropIns = Object.keys(files).filter((path) => path !== MAIN);
  const chain = readChain({
    side: "server",
    main: MAIN,
    files: new Map(Object.entries(files)),
    globs: new Map([[GLOB, dropIns]]),
    includeBase: "/etc/ssh",
  });
  return {
    side: "server",
    config: MAIN,
    realConfig: MAIN,
    chain,
    files: new Map(
      Object.entries(files).map(([path, bytes]) => [
        path,
        { path, real: path, links: 1, folder: "writable", sum: sumOf(bytes), ...file } as FileFacts,
      ]),
    ),
    tooManyFiles: false,
    folders: new Map([[GLOB, "writable"]]),
    version: "OpenSSH_9.6p1",
    exe: "/usr/sbin/sshd",
    said: [{ probe: "", exit: 0, text: dump ?? "clientaliveinterval 0\nclientalivecountmax 3\ntcpkeepalive yes\n" }],
    daemon,
    daemonGone: false,
    stateFolder: "/var/lib/pulumi-ssh-keepalive/server-1-20",
    ...more,
  };
}

const wish: Wish = {
  side: "server",
  wanted: { ClientAliveInterval: "60" },
  placement: "auto",
  patterns: [],
  allowNoBootGuard: false,
};

const plan = (seen: Seen, owner: string | undefined = "me", more: Partial<Wish> = {}) =>
  planTarget("web-1", facts(seen), true, { ...wish, ...more }, owner);

const recordOf = (seen: Seen, owner: string, more: object = {}): ByteString =>
  writeRecord({
    version: 1,
    owner,
    generation: 3,
    config: MAIN,
    edits: [],
    loaded: fingerprint(facts(seen).chain),
    ...more,
  });

test.each<[string, Seen, string, RegExp]>([
  [
    "a transaction under way",
    { more: { lock: { state: "live", who: "ana@laptop", leftSeconds: 9 } } },
    "locked",
    /ana@laptop.*9 s/,
  ],
  [
    "a transaction cut off",
    { more: { lock: { state: "stale", who: "ana@laptop", leftSeconds: 1 } } },
    "locked",
    /cut off/,
  ],
  ["no sshd", { more: { missingProgram: "/opt/sshd" } }, "host-tools", /\/opt\/sshd/],
  ["several daemons", { more: { severalDaemons: "7 8" } }, "daemon", /7 8/],
  [
    "another daemon's file",
    { more: { daemon: { ...daemon, config: "/x", realConfig: "/x" } } },
    "daemon",
    /reads \/x, not/,
  ],
  [
    "a broken configuration",
    { more: { said: [{ probe: "", exit: 255, text: "line 3: Bad option" }] } },
    "config-broken",
    /line 3: Bad option/,
  ],
  [
    "host keys that cannot be read",
    { more: { said: [{ probe: "", exit: 1, text: "no hostkeys available" }] } },
    "config-unreadable",
    /no hostkeys/,
  ],
  [
    "an option on the command line",
    { dump: "clientaliveinterval 7\n", more: { daemon: { ...daemon, args: ["-o", "ClientAliveInterval=7"] } } },
    "daemon",
    /-o ClientAliveInterval=7/,
  ],
  ["a value no line explains", { dump: "clientaliveinterval 9\n" }, "config-not-understood", /ClientAliveInterval 9/],
  [
    "a file waiting for a reload",
    { more: { daemon: { ...daemon, changedSince: [MAIN] } } },
    "foreign-edit",
    /sshd_config changed after/,
  ],
  ["a read-only folder", { more: { folders: new Map([[GLOB, "readonly"]]) } }, "not-writable", /folder of .*00-pulumi/],
  [
    "an immutable file",
    { files: { [MAIN]: "ClientAliveInterval 5\n" }, dump: "clientaliveinterval 5\n", file: { readonly: "immutable" } },
    "not-writable",
    /chattr/,
  ],
  [
    "a file of two names",
    { files: { [MAIN]: "ClientAliveInterval 5\n" }, dump: "clientaliveinterval 5\n", file: { links: 2 } },
    "not-writable",
    /2 names/,
  ],
  ["more files than a look reads", { more: { tooManyFiles: true } }, "config-unreadable", /more than 256 files/],
  ["a file that is too large", { file: { problem: "toobig" } }, "config-unreadable", /1 MiB/],
])("%s is refused, with reason and remedy", (_what, seen, code, reason) => {
  const decided = plan(seen);
  if (decided.kind !== "refused") throw new Error(`it is ${decided.kind}`);
  expect(decided.failure).toMatchObject({ code, host: "web-1", reason: expect.stringMatching(reason) });
  expect(decided.failure.remedy).not.toBe("");
});

test("a host under a transaction is never said to be as wanted, nor undone", () => {
  const lock = { state: "live" as const, who: "x", leftSeconds: 3 };
  const seen: Seen = {
    dump: "clientaliveinterval 60\n",
    files: { [MAIN]: "ClientAliveInterval 60\n" },
    more: { lock },
  };
  expect(plan(seen).kind).toBe("refused");
  const record = recordOf(seen, "me");
  const removal = planRemoval("web-1", facts({ ...seen, more: { lock, record } }), true, wish, "me");
  expect(removal).toMatchObject({ kind: "refused", failure: { code: "locked", retryAfterSeconds: 3 } });
});

describe("an edit", () => {
  test("carries what was seen along, so that the host can tell what changed meanwhile", () => {
    const decided = plan({
      files: { [MAIN]: `Include ${GLOB}\n`, "/etc/ssh/sshd_config.d/50-a.conf": "MaxSessions 3\n" },
    });
    if (decided.kind !== "edit") throw new Error(`it is ${decided.kind}`);
    const { transaction } = decided;
    expect(transaction.changes).toEqual([expect.objectContaining({ path: OURS, sum: "absent", like: MAIN })]);
    expect(transaction.seen.map(([path]) => path)).toEqual([
      MAIN,
      "/etc/ssh/sshd_config.d/50-a.conf",
      OURS,
      "/var/lib/pulumi-ssh-keepalive/server-1-20/record",
    ]);
    expect(transaction.seen.slice(-2).map(([, sum]) => sum)).toEqual(["absent -", "absent -"]);
    expect([...transaction.matches]).toEqual([[GLOB, ["/etc/ssh/sshd_config.d/50-a.conf"]]]);
    expect(transaction.expect).toEqual(["clientaliveinterval 60"]);
    expect(transaction.managed).toEqual(["clientaliveinterval"]);
    const record = readRecord(transaction.record ?? "", MAIN);
    expect(record).toMatchObject({ owner: "me", generation: 1 });
    expect(record?.edits).not.toEqual([]);
  });

  test("brings copies with rewritten Includes where there are no mount namespaces", () => {
    const decided = planTarget("web-1", facts(), false, wish, "me");
    if (decided.kind !== "edit") throw new Error(`it is ${decided.kind}`);
    const { main, files } = decided.transaction.copies?.("/state/lock/copy", "candidate") ?? {
      main: "",
      files: new Map(),
    };
    expect(main).toMatch(/^\/state\/lock\/copy\//);
    expect([...files.values()].join("")).toContain("ClientAliveInterval 60");
    expect(files.get(main)).toMatch(/^Include \/state\/lock\/copy\//);
  });
});

describe("what a daemon has loaded", () => {
  const files = { [MAIN]: `Include ${GLOB}\nX11Forwarding no\n` };
  const since = (record: ByteString, identity = "id-1"): Partial<TargetFacts> => ({
    record,
    loadedIdentity: identity,
    daemon: { ...daemon, changedSince: [MAIN] },
  });

  test("is known after our own transaction: an edit of managed options alone is healed", () => {
    expect(plan({ files, more: since(recordOf({ files }, "me")) }).kind).toBe("edit");
  });

  test("is known after our own transaction: an edit of others waits for its owner", () => {
    const edited = { [MAIN]: `${files[MAIN]}AllowUsers alice\n` };
    expect(plan({ files: edited, more: since(recordOf({ files }, "me")) })).toMatchObject({
      kind: "refused",
      failure: { code: "foreign-edit" },
    });
  });

  test("is not known from our record once someone else had it read its files", () => {
    expect(plan({ files, more: since(recordOf({ files }, "me"), "id-0") })).toMatchObject({
      kind: "refused",
      failure: { code: "foreign-edit" },
    });
  });
});

describe("ownership", () => {
  const files = { [MAIN]: "ClientAliveInterval 60\n" };
  const dump = "clientaliveinterval 60\nclientalivecountmax 3\ntcpkeepalive yes\n";

  test("of a host that is as wanted is taken by a record alone, of the host's own only once", () => {
    const first = plan({ files, dump });
    if (first.kind !== "inSync" || first.own?.record == null) throw new Error("no record");
    expect(first.own).toMatchObject({ before: "absent", identity: "id-1" });
    expect(readRecord(first.own.record, MAIN)).toMatchObject({ owner: "me", edits: [] });
    expect(plan({ files, dump, more: { record: first.own.record } })).not.toHaveProperty("own");
    expect(planTarget("web-1", facts({ files, dump }), true, wish, undefined)).not.toHaveProperty("own");
  });

  test("passes to who manages the host now, and the one before undoes nothing", () => {
    const record = recordOf({ files }, "other");
    const taken = plan({ files, dump, more: { record } });
    if (taken.kind !== "inSync" || taken.own?.record == null) throw new Error("no record");
    expect(readRecord(taken.own.record, MAIN)).toMatchObject({ owner: "me", generation: 4 });
    const late = planRemoval("web-1", facts({ files, dump, more: { record: taken.own.record } }), true, wish, "other");
    expect(late).toMatchObject({ kind: "notOurs" });
  });
});

describe("a user's own file that leaves an option open", () => {
  const file = "/home/ana/.ssh/config";
  const { daemon: _, ...noDaemon } = facts();
  const client = (text: string, interval: string): TargetFacts => ({
    ...noDaemon,
    side: "client",
    config: file,
    realConfig: file,
    chain: readChain({
      side: "client",
      main: file,
      files: new Map([[file, text]]),
      globs: new Map(),
      includeBase: "/home/ana/.ssh",
    }),
    files: new Map([[file, { path: file, real: file, links: 1, folder: "writable", sum: sumOf(text) }]]),
    said: probeHosts(["*"]).map((probe) => ({ probe, exit: 0, text: `serveraliveinterval ${interval}\n` })),
  });
  const mine: Wish = { ...wish, side: "client", wanted: { ServerAliveInterval: "60" }, patterns: ["*"], user: "ana" };

  test("has the system's value, which an edit here overrides", () => {
    const seen = client("Host b\n  User x\n", "300");
    const decided = planTarget("h", seen, true, mine, "me");
    expect(decided).toMatchObject({
      kind: "edit",
      drift: [expect.stringMatching(/300, wanted 60 \(set by the system's file/)],
    });
  });
});
