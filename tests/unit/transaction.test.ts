/** What a transaction sends to a host: pure, nothing is sent. */
import type { Connector } from "../../provider/host";
import type { TransactionPlan } from "../../provider/plan";
import { transact } from "../../provider/transaction";

const plan: TransactionPlan = {
  side: "server",
  config: "/etc/ssh/sshd_config",
  exe: "/usr/sbin/sshd",
  daemon: {
    pid: "1",
    start: "2",
    identity: "3 4",
    manager: "none",
    unit: "",
    socket: "",
    pidfile: "",
    activation: "reload",
    args: ["-o", "Port=22"],
    argv: ["/usr/sbin/sshd"],
    config: "/etc/ssh/sshd_config",
    realConfig: "/etc/ssh/sshd_config",
  },
  changes: [{ path: "/etc/ssh/sshd_config", sum: "1 2", bytes: "x\n" }],
  seen: [["/etc/ssh/sshd_config", "1 2"]],
  matches: new Map([["/etc/ssh/*.conf", ["/etc/ssh/a.conf"]]]),
  managed: ["clientaliveinterval"],
  expect: ["clientaliveinterval 60"],
  specs: ["-"],
  record: null,
  allowNoBootGuard: false,
  stateFolder: "/state",
};
const SPLIT = "a\nexe /tmp/evil";

describe("what the host reads line by line", () => {
  const daemon = plan.daemon as NonNullable<TransactionPlan["daemon"]>;
  test.each<readonly [string, Partial<TransactionPlan>]>([
    ["the configuration's path", { config: SPLIT }],
    ["the program's path", { exe: SPLIT }],
    ["a changed file's path", { changes: [{ path: SPLIT, sum: "1 2", bytes: null }] }],
    ["the path of the file it is to be like", { changes: [{ path: "/x", sum: "1 2", bytes: "x\n", like: SPLIT }] }],
    ["a path of the Include chain", { seen: [[SPLIT, "1 2"]] }],
    ["an Include pattern", { matches: new Map([[SPLIT, []]]) }],
    ["what a pattern matched", { matches: new Map([["/x/*", [SPLIT]]]) }],
    ["a connection to judge for", { specs: [SPLIT] }],
    ["an argument of the daemon", { daemon: { ...daemon, args: [SPLIT] } }],
    ["the daemon's command line", { daemon: { ...daemon, argv: [SPLIT] } }],
    ["the unit's name", { daemon: { ...daemon, unit: SPLIT } }],
    ["the owner", { owner: SPLIT }],
    ["the way to reload", { reload: [SPLIT] }],
  ])("is sent only if it is one line: %s", async (_what, changed) => {
    const sent: string[] = [];
    const connector = {
      name: "h",
      kind: "ssh",
      run: ({ name }: { readonly name: string }) => {
        sent.push(name);
        return Promise.reject(new Error("sent"));
      },
    } as unknown as Connector;
    const options = { confirmSeconds: 60, verifyAs: [] };
    await expect(transact(connector, plan, options)).rejects.toThrow("sent");
    await expect(transact(connector, { ...plan, ...changed }, options)).rejects.toMatchObject({
      failure: { code: "config-not-understood", host: "h", step: "arm" },
    });
    expect(sent).toEqual(["transaction"]);
  });
});
