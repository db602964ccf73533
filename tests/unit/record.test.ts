/** The record that hosts keep: what is read back, and what is not taken for one of ours. */
import { readChain } from "../../provider/config";
import type { Edit } from "../../provider/config/types";
import { fingerprint, type OwnershipRecord, readRecord, writeRecord } from "../../provider/record";

const edits: readonly Edit[] = [
  { kind: "created", file: "/etc/ssh/sshd_config.d/00-x.conf", lines: ["ClientAliveInterval 60\n"] },
  {
    kind: "spliced",
    file: "/etc/ssh/sshd_config",
    option: "TCPKeepAlive",
    at: 3,
    removed: ["\xfc no\r\n"],
    inserted: [],
  },
];
const record: OwnershipRecord = {
  version: 1,
  owner: "ssh-keepalive-1",
  generation: 4,
  config: "/etc/ssh/sshd_config",
  edits,
  loaded: "abc",
};

test("a record comes back as it was written, every byte of it", () => {
  const bytes = writeRecord(record);
  expect(readRecord(bytes, record.config)).toEqual(record);
  // A byte string: it travels and is stored one byte a character.
  expect([...bytes].every((c) => c.charCodeAt(0) <= 0xff)).toBe(true);
});

const changed = (more: object): string => `${JSON.stringify({ ...record, ...more })}\n`;

test.each([
  ["nothing", undefined],
  ["an empty file", ""],
  ["half of one (a disk that was full)", writeRecord(record).slice(0, 80)],
  ["something else", "null"],
  ["a list", "[]"],
  ["another version", changed({ version: 2 })],
  ["one for another file", changed({ config: "/etc/ssh/other" })],
  ["one without an owner", changed({ owner: 5 })],
  ["one whose edits are no list", changed({ edits: {} })],
  ["one with an edit of an unknown kind", changed({ edits: [{ kind: "deleted", file: "/x" }] })],
  ["one with an edit at no line", changed({ edits: [{ ...edits[1], at: 1.5 }] })],
  ["one whose lines are no texts", changed({ edits: [{ ...edits[0], lines: [1] }] })],
  ["one with an edit without a file", changed({ edits: [{ kind: "created", lines: [] }] })],
])("%s is no record", (_what, bytes) => {
  expect(readRecord(bytes, record.config)).toBeUndefined();
});

describe("a fingerprint", () => {
  const of = (text: string, dropIn?: string) =>
    fingerprint(
      readChain({
        side: "server",
        main: "/c",
        files: new Map([
          ["/c", `Include /d/*.conf\n${text}`],
          ...(dropIn === undefined ? [] : [["/d/a.conf", dropIn] as const]),
        ]),
        globs: new Map([["/d/*.conf", dropIn === undefined ? [] : ["/d/a.conf"]]]),
        includeBase: "/etc/ssh",
      }),
    );
  const base = of("X11Forwarding no\nMatch User bob\n  PermitTTY no\n");

  test.each([
    ["a managed option", "X11Forwarding no\nClientAliveInterval 5\nMatch User bob\n  PermitTTY no\n", undefined],
    ["a comment", "# hi\nX11Forwarding no\nMatch User bob\n  PermitTTY no\n", undefined],
    ["a drop-in of managed options", "X11Forwarding no\nMatch User bob\n  PermitTTY no\n", "TCPKeepAlive no\n"],
  ])("does not change with %s", (_what, text, dropIn) => {
    expect(of(text, dropIn)).toBe(base);
  });

  test.each([
    ["another value", "X11Forwarding yes\nMatch User bob\n  PermitTTY no\n", undefined],
    ["who may log in", "X11Forwarding no\nAllowUsers alice\nMatch User bob\n  PermitTTY no\n", undefined],
    ["for whom it holds", "X11Forwarding no\nMatch User eve\n  PermitTTY no\n", undefined],
    ["a drop-in", "X11Forwarding no\nMatch User bob\n  PermitTTY no\n", "AllowUsers alice\n"],
  ])("changes with %s", (_what, text, dropIn) => {
    expect(of(text, dropIn)).not.toBe(base);
  });
});
