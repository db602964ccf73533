/** Bounds of a process: time, output, the whole group, and stdin that nobody reads. */
import { spawnSync } from "node:child_process";
import { spawnBounded, spawnCompanion } from "../../../provider/host/spawn";
import { until } from "../../support/until";

const sh = (script: string, more: Partial<Parameters<typeof spawnBounded>[0]> = {}) =>
  spawnBounded({ file: "sh", args: ["-c", script], timeoutMs: 20_000, ...more });

const gone = (pid: string): boolean =>
  spawnSync("sh", ["-c", 'case $(ps -o stat= -p "$1") in ""|Z*) exit 0 ;; esac; exit 1', "sh", pid.trim()]).status ===
  0;

test("brings back status, bytes and stderr", async () => {
  const result = await sh("cat; echo '\\0377' | tr -d '\\n' >/dev/null; echo oops >&2; exit 3", { input: "a\u0000b" });
  expect(result).toMatchObject({ code: 3, signal: null, timedOut: false, overflow: false });
  expect([result.stdout.toString(), result.stderr.toString()]).toEqual(["a\u0000b", "oops\n"]);
});

test("closes stdin when there is nothing to write", async () => {
  expect((await sh("cat; echo end")).stdout.toString()).toBe("end\n");
});

test("does not mind a process that reads nothing of a long input", async () => {
  expect(await sh("exec <&-; exit 4", { input: Buffer.alloc(5_000_000) })).toMatchObject({ code: 4 });
});

test("ends the whole group in time, also one that ignores SIGTERM", async () => {
  const result = await sh("trap '' TERM; sleep 300 & echo $!; wait; sleep 300", { timeoutMs: 3_000 });
  expect(result).toMatchObject({ timedOut: true, signal: "SIGKILL" });
  await until(() => gone(result.stdout.toString()), "the end of the group");
  expect(gone(result.stdout.toString())).toBe(true);
});

test("ends what prints too much, and keeps the end of a long stderr", async () => {
  const loud = await sh("cat /dev/zero", { maxStdout: 100_000 });
  expect(loud).toMatchObject({ overflow: true, timedOut: false });
  expect(loud.stdout.length).toBeLessThanOrEqual(100_000);
  const complaint = await sh("head -c 300000 /dev/zero >&2; echo last >&2", { maxStderr: 1000 });
  expect(complaint.stderr.length).toBe(1000);
  expect(complaint.stderr.toString().endsWith("last\n")).toBe(true);
});

test("reads all output also where the exit is learnt first and everything is late", async () => {
  const block = (ms: number) => void Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
  // The first one's output and end come in one turn of the event loop. While that is held up the second one ends too,
  // and its end is learnt with the first one's, before its output; then the next turn is late.
  const first = sh("echo", {
    onStdout: () => {
      block(1500);
      setImmediate(() => block(1000));
    },
  });
  const second = sh("sleep 1; echo answer");
  block(500);
  expect((await second).stdout.toString()).toBe("answer\n");
  await first;
});

test("does not wait for a grandchild that holds the output", async () => {
  const result = await sh("sleep 300 & echo $!");
  // It still runs.
  process.kill(Number(result.stdout.toString()));
});

test("leaves nothing behind that keeps this process alive", async () => {
  const set = jest.spyOn(globalThis, "setTimeout");
  const cleared = jest.spyOn(globalThis, "clearTimeout");
  try {
    await sh("echo");
    const done = cleared.mock.calls.map(([timer]) => timer);
    expect(set.mock.results.length).toBeGreaterThan(0);
    expect(set.mock.results.filter(({ value }) => !done.includes(value)).length).toBe(0);
  } finally {
    jest.restoreAllMocks();
  }
});

test("says that there is no such program", async () => {
  const result = await spawnBounded({ file: "/nowhere/ssh", args: [], timeoutMs: 1000 });
  expect(result).toMatchObject({ code: null, error: { code: "ENOENT" } });
});

test("has no terminal that something could ask the user on", async () => {
  expect((await sh("(: </dev/tty) 2>/dev/null && echo yes || echo no")).stdout.toString()).toBe("no\n");
});

describe("a companion", () => {
  test("says a line, stays, and ends when told", async () => {
    const companion = await spawnCompanion("sh", ["-c", "echo $$; cat"], process.env, 10_000);
    expect(companion?.line).toBe(String(companion?.pid));
    expect(gone(String(companion?.pid))).toBe(false);
    companion?.end();
    await until(() => gone(String(companion?.pid)), "its end");
    expect(gone(String(companion?.pid))).toBe(true);
  });

  test.each([
    ["cannot be started", "/nowhere/x", []],
    ["ends at once", "false", []],
    ["says nothing", "sleep", ["300"]],
  ])("that %s is none", async (_, file, args) => {
    expect(await spawnCompanion(file, args, process.env, 300)).toBeUndefined();
  });
});
