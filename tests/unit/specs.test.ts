/** Which connections a candidate is judged for: OpenSSH must find that each is one the Match block is for. */
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { readChain } from "../../provider/config";
import { connectionSpecs } from "../../provider/specs";
import { makeTempFolder, setupModule } from "../support/tempFolder";

const folder = makeTempFolder();
afterAll(() => folder.remove());
setupModule().ensurePrivsepFolder();
const key = path.join(folder.path, "key");
execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", key]);

const specsOf = (config: string): string[] =>
  connectionSpecs(
    readChain({
      side: "server",
      main: "/c",
      files: new Map([["/c", config]]),
      globs: new Map(),
      includeBase: "/etc/ssh",
    }),
  );

/** Whether `sshd -T` puts the block in force for the connection. */
function inForce(config: string, spec: string): boolean {
  const file = path.join(folder.path, "sshd_config");
  writeFileSync(file, `HostKey ${key}\n${config}`);
  const sshd = setupModule().findOpenSsh().sshd ?? "sshd";
  return /^maxsessions 3$/m.test(execFileSync(sshd, ["-T", "-f", file, "-C", spec], { encoding: "utf8" }));
}

test.each([
  ["Match User bob"],
  ["match user bob,alice"],
  ["Match User !eve,b*"],
  ["Match User de?loy"],
  ["Match Host *.example.com"],
  ["Match Address 192.0.2.0/24"],
  ["Match Address 2001:db8::/32"],
  ["Match LocalAddress 10.1.2.3"],
  ["Match LocalPort 2222"],
  ["Match User bob Address 10.0.0.0/8 LocalPort 2022"],
  ['Match User "bob"'],
])("%s is judged for a connection that it is for", (header) => {
  const config = `${header}\n  MaxSessions 3\n`;
  const specs = specsOf(config);
  expect(specs).toHaveLength(1);
  expect(inForce(config, specs[0] ?? "")).toBe(true);
});

test("a group stands for one of its members, whom the host finds", () => {
  expect(specsOf("Match Group wheel,!x\nMaxSessions 3\n")).toEqual([
    "group=wheel,host=keepalive.invalid,addr=240.0.0.254,laddr=240.0.0.253,lport=22",
  ]);
});

test("every attribute is named, because Match LocalPort makes sshd ask for all", () => {
  for (const spec of specsOf("Match User a\nMaxSessions 3\nMatch Address 1.2.3.4\nMaxSessions 3\n")) {
    expect(spec.split(",").map((part) => part.split("=")[0])).toEqual(["user", "host", "addr", "laddr", "lport"]);
  }
});

test.each([
  ["a value that is a list of its own", 'Match User "a b"\nMaxSessions 3\n'],
  ["a value that would end the argument", "Match User a=b;c\nMaxSessions 3\n"],
  ["nobody that could be named", "Match User !bob\nMaxSessions 3\n"],
  ["an attribute that -C does not have", "Match RDomain 5\nMaxSessions 3\n"],
])("%s makes no specification that could mean something else", (_what, config) => {
  for (const spec of specsOf(config)) expect(spec).toMatch(/^user=keepalive-nobody,|^user=[a-z]+,/);
});

test("there are never more than two dozen", () => {
  const config = Array.from({ length: 100 }, (_, i) => `Match User u${i}\nMaxSessions 3\n`).join("");
  expect(specsOf(config)).toHaveLength(24);
});
