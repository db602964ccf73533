/** The frame against real shells: data in, records out, and nothing at all for a stream that is cut off. */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import type { Script } from "../../../provider/host/connector";
import {
  BEGIN,
  bootstrapArgv,
  bootstrapCommand,
  cksum,
  encodeDatum,
  frameInput,
  newNonce,
  parseAnswer,
  READY,
} from "../../../provider/host/frame";
import { libScript } from "../../../provider/host/scripts";

const folder = mkdtempSync(path.join(tmpdir(), "frame-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const found = (argv: readonly string[]): boolean =>
  spawnSync(argv[0] ?? "", [...argv.slice(1), "-c", ":"], { stdio: "ignore" }).status === 0;

const SHELLS: readonly (readonly string[])[] = [["dash"], ["bash", "--posix"], ["bash"], ["busybox", "sh"]];
const shells = SHELLS.filter(found);
for (const missing of SHELLS.filter((shell) => !found(shell))) {
  test.skip(`${missing.join(" ")} is not installed on this machine`, () => undefined);
}

const everyByte = String.fromCharCode(...Array.from({ length: 256 }, (_, i) => i));

interface Run {
  readonly stdout: Buffer;
  readonly stderr: string;
  readonly nonce: string;
}

/** What the host's shell does once the remote command has become it. */
function feed(shell: readonly string[], script: Script, change: (input: Buffer) => Buffer = (input) => input): Run {
  const nonce = newNonce();
  const input = change(frameInput(script, libScript(), nonce).subarray(BEGIN.length + 1));
  const { stdout, stderr } = spawnSync(shell[0] ?? "", shell.slice(1), { input, cwd: folder, maxBuffer: 1 << 26 });
  return { stdout, stderr: stderr.toString(), nonce };
}

const script = (text: string, data: Script["data"] = []): Script => ({ name: "test", text, data });

function answer(shell: readonly string[], text: string, data: Script["data"] = []): readonly (readonly string[])[] {
  const { stdout, stderr, nonce } = feed(shell, script(text, data));
  const parsed = parseAnswer(stdout, nonce);
  if (!("answer" in parsed)) throw new Error(`${parsed.problem}: ${stderr}`);
  return parsed.answer.map(({ name, value }) => [name, value]);
}

describe.each(shells.map((shell) => [shell.join(" "), shell] as const))("lib.sh under %s", (_, shell) => {
  test("get brings every byte but NUL back, trailing newlines too", () => {
    const value = `${everyByte.slice(1)} -n %s $(id) \`id\` ' " \\ !\n\n`;
    expect(answer(shell, 'main() { get x; record x "$value"; finish; }', [["x", value]])).toEqual([["x", value]]);
  });

  test("get takes the first of a name, an empty one too, and says when there is none", () => {
    const text = `main() {
      get a; record a "[$value]"
      get empty; record empty "[$value]"
      get b || record none yes
      finish
    }`;
    const data = [
      ["aa", "no"],
      ["a", "one"],
      ["a", "two"],
      ["empty", ""],
    ] as const;
    expect(answer(shell, text, data)).toEqual([
      ["a", "[one]"],
      ["empty", "[]"],
      ["none", "yes"],
    ]);
  });

  test("a file of every byte and 300 KB goes there and back", () => {
    const value = everyByte.repeat(1200);
    const target = path.join(folder, "every byte");
    const text = `main() {
      get p; p=$value
      get_file content "$p" || record failed 1
      record_files back command "$(cksum "$p")"
      get_file absent "$p.2" || record absent 1
      get_file content /nowhere/x 2>/dev/null || record unwritable 1
      record_files missing command "$(cksum /nowhere/x 2>/dev/null)"
      finish
    }`;
    const records = answer(shell, text, [
      ["p", target],
      ["content", value],
    ]);
    expect(readFileSync(target, "latin1") === value).toBe(true);
    expect(records.map(([name]) => name)).toEqual(["back.sums", "back", "absent", "unwritable"]);
    expect(records[0]?.[1]).toBe(`${cksum(Buffer.from(value, "latin1"))} ${value.length} ${target}\n`);
    expect(records[1]?.[1] === value).toBe(true);
  });

  test("long texts keep their place, and every escape its meaning", () => {
    const texts = ["\n", "a\\012b\nc\td", "x\n".repeat(3000), "*".repeat(1500), "", "\t1", "y\n\n", "\\"];
    const text = `one() { decode "$1"; record a "$value"; }
      main() { each a one; has a || record a none; has b && record b yes; has c && record c yes; finish; }`;
    const data = [...texts.map((value) => ["a", value] as const), ["b", "z".repeat(2000)] as const];
    expect(answer(shell, text, data)).toEqual([...texts.map((value) => ["a", value]), ["b", "yes"]]);
  });

  test("each calls for every datum of the name, may be nested, and ignores what the function returns", () => {
    const text = `inner() { decode "$1"; record inner "$outer$value"; }
      one() { decode "$1"; outer=$value; each b inner; false; }
      main() { each a one; each none one; finish; }`;
    const data = [
      ["a", "1 *"],
      ["b", "x\n"],
      ["a", "2"],
      ["b", ""],
    ] as const;
    expect(answer(shell, text, data)).toEqual([
      ["inner", "1 *x\n"],
      ["inner", "1 *"],
      ["inner", "2x\n"],
      ["inner", "2"],
    ]);
  });

  test("files follow one another, and one over 1 MiB is named, not sent", () => {
    const file = (name: string, content: string): string => {
      writeFileSync(path.join(folder, name), content);
      return path.join(folder, name);
    };
    const files = [
      file("a b", "one\n"),
      file("big", "x".repeat(1024 * 1024 + 1)),
      file("empty", ""),
      file("fits", "y".repeat(1024 * 1024)),
    ];
    const text = `main() {
      add() { decode "$1"; sums="$sums$(cksum "$value")$frame_newline"; }
      sums=
      each p add
      record_files all command "$sums"
      finish
    }`;
    const records = answer(
      shell,
      text,
      files.map((name) => ["p", name] as const),
    );
    expect(records.map(([name]) => name)).toEqual(["all.toobig", "all.sums", "all"]);
    expect(records[0]?.[1]).toBe(files[1]);
    expect(records[1]?.[1]?.split("\n").map((line) => line.split(" ").slice(1).join(" "))).toEqual([
      `4 ${files[0]}`,
      `0 ${files[2]}`,
      `${1024 * 1024} ${files[3]}`,
      "",
    ]);
    expect(records[2]?.[1] === `one\n${"y".repeat(1024 * 1024)}`).toBe(true);
  });

  test("scripts run with a known environment, and their commands read nothing", () => {
    const text = `main() { record stdin "$(cat)"; record env "$LC_ALL $(umask) $-"; record path "$PATH"; finish; }`;
    const records = answer(shell, text, [["a", "left over"]]);
    expect(records[0]).toEqual(["stdin", ""]);
    expect(records[1]?.[1]).toMatch(/^C 0?077 [a-z]*u[a-z]*$/i);
    expect(records[1]?.[1]).not.toMatch(/ [a-z]*f[a-z]*$/);
    expect(records[2]?.[1]).toMatch(/:\/usr\/sbin:\/sbin:\/usr\/local\/sbin$/);
  });

  // What is long is read otherwise.
  test.each([10, 3000])("a stream that is cut off anywhere runs nothing, with data of %i bytes", (size) => {
    const mark = path.join(folder, "ran");
    const whole = script(`main() {\n  get p\n  : >"$value"\n  record ran yes\n  finish\n}`, [
      ["pad", "x".repeat(size)],
      ["endless", "a name that begins like the end"],
      ["p", mark],
    ]);
    const length = frameInput(whole, libScript(), newNonce()).length - BEGIN.length - 1;
    // Every byte of the end, where the call and the data are; a sample of what comes before.
    const lengths = Array.from({ length }, (_, i) => i).filter((i) => i > length - 200 || i % (97 + size) === 0);
    const complete = length - "\n".length - 32 - "\n".length;
    for (const cut of lengths.filter((i) => i < complete)) {
      const { stdout, nonce } = feed(shell, whole, (input) => input.subarray(0, cut));
      expect([cut, stdout.includes(`${nonce} `), spawnSync("test", ["-e", mark]).status]).toEqual([cut, false, 1]);
    }
    expect(feed(shell, whole).stdout.toString()).toContain(" ran 3 -");
    rmSync(mark);
  });

  test("the remote command drops what comes before the script, and runs nothing without it", () => {
    const nonce = newNonce();
    const run = (input: Buffer | string) =>
      spawnSync(shell[0] ?? "", [...shell.slice(1), "-c", bootstrapCommand()], { input });
    const early = Buffer.from(`echo leaked\nsecret $(echo leaked)\n`);
    const whole = frameInput(script("main() { record a b; finish; }"), libScript(), nonce);
    const good = run(Buffer.concat([early, whole]));
    expect(good.stdout.toString()).toBe(`\n${READY}\n${nonce} a 1 -\nb\n${nonce} end 1 -\n`);
    expect(run(early)).toMatchObject({ status: 97, stdout: Buffer.from(`\n${READY}\n`) });
  });
});

describe("the remote command", () => {
  test("is one line that every login shell reads alike", () => {
    for (const become of [undefined, { user: "root", withPassword: true }, { user: "#0", withPassword: false }]) {
      const line = bootstrapCommand(become);
      expect(line).not.toMatch(/[\n!\\]/);
      const words = execFileSync("sh", ["-c", `set -- ${line}; printf '%s\\0' "$@"`])
        .toString()
        .split("\0")
        .slice(0, -1);
      expect(words).toEqual(["exec", ...bootstrapArgv(become)]);
    }
  });
  test("refuses a user name that would need another quoting", () => {
    expect(() => bootstrapCommand({ user: "a'b", withPassword: false })).toThrow();
  });
});

describe("the answer", () => {
  const nonce = "0123456789abcdef0123456789abcdef";
  const parse = (text: string | Buffer) =>
    parseAnswer(Buffer.isBuffer(text) ? text : Buffer.from(text, "latin1"), nonce);
  const good = `${nonce} a 3 -\nx\ny\n${nonce} f 4 ${cksum(Buffer.from("data"))}\ndata\n${nonce} end 2 -\n`;
  const records = [
    { name: "a", value: "x\ny" },
    { name: "f", value: "data" },
  ];

  test.each([
    ["plain", good],
    ["after text", `Welcome!\nLast login\n${good}`],
    ["after bytes and escape sequences", `\u0000\u00ff\u001b[2J${"\u0007".repeat(100_000)}\n${good}`],
    ["after an echo of what was sent", `frame_nonce=${nonce}\nframe_main <<'${nonce}'\n${nonce}\n${good}`],
    ["with something after it", `${good}bye\n`],
  ])("is read %s", (_, text) => {
    expect(parse(text)).toEqual({ answer: records });
  });

  test.each([
    ["nothing", "", /no record/],
    ["only noise", "x".repeat(1000), /no record/],
    ["a frame with another nonce", good.replaceAll(nonce, newNonce()), /no record/],
    ["a wrong size", good.replace("a 3", "a 2"), /longer than it says/],
    ["a size past the end", good.replace("f 4", "f 4000"), /ends inside record 2/],
    ["a wrong checksum", good.replace("data", "dat4"), /checksum of record "f"/],
    ["a wrong count", good.replace("end 2", "end 3"), /should have 3/],
    ["text between records", good.replace(`${nonce} f`, `oops\n${nonce} f`), /after record 1/],
    ["a hostile name", good.replace(" f ", " f$(x) "), /after record 1/],
    ["a hostile size", good.replace("f 4 ", "f 99999999999 "), /after record 1/],
  ])("with %s is refused", (_, text, problem) => {
    expect(parse(text)).toMatchObject({ problem: expect.stringMatching(problem) });
  });

  test("cut off at any byte is incomplete, never shorter", () => {
    for (let length = 0; length < good.length - 1; length++) {
      expect(parse(good.slice(0, length))).toMatchObject({ cutOff: true });
    }
  });
});

test("cksum is POSIX's", () => {
  for (const text of ["", "a", everyByte.repeat(300)]) {
    const [sum] = execFileSync("cksum", { input: Buffer.from(text, "latin1") })
      .toString()
      .split(" ");
    expect(String(cksum(Buffer.from(text, "latin1")))).toBe(sum);
  }
});

test("only byte strings and plain names can be data", () => {
  expect(() => encodeDatum("€")).toThrow(RangeError);
  expect(() => frameInput(script("", [["a b", ""]]), "", "n")).toThrow(RangeError);
  expect(encodeDatum("a b\\\n\u00e9%")).toBe("a b\\0134\\0012\\0351%");
  // A byte's escape is never parted, wherever the pieces end, and digits beside it are no part of it.
  for (const text of ["\n", "a\n", "ab\n", "\\0", "\\01", "\\012", "\n0123"]) {
    const pieces = encodeDatum(text.repeat(5000)).split("\t");
    expect(pieces.filter((piece) => piece.length > 3500 || !/^(?:[^\\]|\\0[0-7]{3})+$/.test(piece))).toEqual([]);
    expect(pieces.join("")).toBe(encodeDatum(text).repeat(5000));
  }
});
