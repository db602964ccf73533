/** The local connector, and sudo in all its moods: a fake one, early on PATH, plays them; a real one where it can. */
import { spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { isKeepaliveError } from "../../../provider/errors";
import { localConnector, type Script } from "../../../provider/host";
import { until } from "../../support/until";

const folder = mkdtempSync(path.join(tmpdir(), "local-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const script = (text: string, timeoutMs = 20_000): Script => ({
  name: "observe",
  step: "observe",
  text: `main() { ${text}\nfinish; }`,
  data: [],
  timeoutMs,
});
const HELLO = script('record user "$(id -un)"; record stdin "$(cat)"');

async function failureOf(work: Promise<unknown>) {
  const error: unknown = await work.then(
    () => new Error("it worked"),
    (e: unknown) => e,
  );
  if (!isKeepaliveError(error)) throw error;
  return error.failure;
}

/** A sudo that takes the arguments ours gets and then does as `mood` says. */
function fakeSudo(mood: string): NodeJS.ProcessEnv {
  const bin = mkdtempSync(path.join(folder, "bin-"));
  const file = path.join(bin, "sudo");
  writeFileSync(
    file,
    `#!/bin/sh
ask= prompt= user=
while [ $# -gt 0 ]; do
  case $1 in
    -n) ask=no ;; -S) ask=yes ;; -H) ;;
    -p) prompt=$2; shift ;; -u) user=$2; shift ;;
    --) shift; break ;;
    *) echo "sudo: unexpected $1" >&2; exit 1 ;;
  esac
  shift
done
echo "$ask $user" >>${bin}/calls
password() { printf '%s' "$prompt" >&2; IFS= read -r word || exit 1; echo "$word" >>${bin}/words; }
${mood}
`,
  );
  chmodSync(file, 0o755);
  return { PATH: `${bin}:${process.env.PATH}`, BIN: bin, HOME: "/", SECRET: "leaked" };
}
const said = (env: NodeJS.ProcessEnv, file: string): string => {
  const name = path.join(env.BIN ?? "", file);
  return existsSync(name) ? readFileSync(name, "utf8") : "";
};
const LECTURE = "printf 'We trust you have received the usual lecture.\\n\\n' >&2; echo 'a banner';";

test("runs a script here, with a small environment", async () => {
  const connector = localConnector("laptop", { env: { ...process.env, PULUMI_CONFIG_PASSPHRASE: "secret" } });
  expect(await connector.run(script('record x "${PULUMI_CONFIG_PASSPHRASE-none} $(cat)"'))).toEqual([
    { name: "x", value: "none " },
  ]);
  expect(await connector.runInNewLogin(HELLO)).toHaveLength(2);
  expect(connector).toMatchObject({ name: "laptop", kind: "local" });
  await connector.close();
});

describe("become", () => {
  const other = { user: "nobody", password: "s3cret $(id)" };

  test.each([
    ["asks and takes the password", `${LECTURE} password; exec "$@"`, "s3cret $(id)\n"],
    ["does not ask (NOPASSWD, or asked lately)", `${LECTURE} exec "$@"`, ""],
  ])("works where sudo %s", async (_, mood, words) => {
    const env = fakeSudo(mood);
    const answer = await localConnector("laptop", { become: other, env }).run(HELLO);
    expect(answer.map(({ name }) => name)).toEqual(["user", "stdin"]);
    expect(answer[1]?.value).toBe("");
    expect(said(env, "words")).toBe(words);
    expect(said(env, "calls")).toBe("yes nobody\n");
  });

  test("goes without sudo when it is that user already", async () => {
    const me = spawnSync("id", ["-un"]).stdout.toString().trim();
    const env = fakeSudo("exit 1");
    for (const user of [me, `#${process.getuid?.()}`]) {
      expect(await localConnector("laptop", { become: { user }, env }).run(HELLO)).toHaveLength(2);
    }
    expect(said(env, "calls")).toBe("");
  });

  test("tells a wrong password, after one attempt", async () => {
    const env = fakeSudo("password; echo 'Sorry, try again.' >&2; password; password; exit 1");
    const failure = await failureOf(localConnector("laptop", { become: other, env }).run(HELLO));
    expect(failure).toMatchObject({ code: "sudo", host: "laptop", step: "connect", remedy: "correct become.password" });
    expect(said(env, "words")).toBe("s3cret $(id)\n");
    expect(JSON.stringify(failure)).not.toContain("s3cret");
  });

  test.each([
    ["sudo: a password is required", "set become.password"],
    [
      "sudo: a terminal is required to read the password; either use the -S option to read from standard input",
      "set become.password",
    ],
    ["sudo: sorry, you must have a tty to run sudo", "requiretty"],
    ["ana is not in the sudoers file.", "sudoers"],
    ["Sorry, user ana is not allowed to execute '/bin/sh' as nobody on web-1.", "sudoers"],
    ["sudo: Account or password is expired, reset your password and try again", "change the password"],
    ["sudo: unknown user nobody", "become.user"],
    ["sudo: something new", "sudoers rule"],
  ])("tells what to do about: %s", async (message, remedy) => {
    const env = fakeSudo(`${LECTURE} echo "${message}" >&2; exit 1`);
    const failure = await failureOf(localConnector("laptop", { become: { user: "nobody" }, env }).run(HELLO));
    expect(failure).toMatchObject({ code: "sudo", remedy: expect.stringContaining(remedy) });
    expect(said(env, "calls")).toBe("no nobody\n");
  });

  test("tells that there is no sudo", async () => {
    const env = fakeSudo("");
    rmSync(path.join(env.BIN ?? "", "sudo"));
    for (const tool of ["sh", "id"]) {
      const where = spawnSync("sh", ["-c", `command -v ${tool}`])
        .stdout.toString()
        .trim();
      writeFileSync(path.join(env.BIN ?? "", tool), `#!/bin/sh\nexec ${where} "$@"\n`, { mode: 0o755 });
    }
    const only = { ...env, PATH: env.BIN };
    const failure = await failureOf(localConnector("laptop", { become: { user: "nobody" }, env: only }).run(HELLO));
    expect(failure).toMatchObject({ code: "sudo", reason: "the host has no sudo" });
  });

  test("refuses a user name that is none", async () => {
    for (const user of ["-u", "a b", "a'b", "$(id)", "", "root;id"]) {
      expect((await failureOf(localConnector("laptop", { become: { user } }).run(HELLO))).code).toBe("bad-input");
    }
  });

  const real = process.getuid?.() === 0 && spawnSync("sudo", ["-n", "-u", "nobody", "true"]).status === 0;
  (real ? test : test.skip)(
    real ? "works with the real sudo" : "works with the real sudo (skipped: needs root and a sudo that lets it)",
    async () => {
      for (const become of [{ user: "nobody" }, other]) {
        expect((await localConnector("laptop", { become }).run(HELLO))[0]).toEqual({ name: "user", value: "nobody" });
      }
    },
  );
});

describe("bounds", () => {
  test("a script that never ends is ended, with what it started", async () => {
    const mark = path.join(folder, "child");
    const failure = await failureOf(localConnector("laptop").run(script(`sleep 300 & echo $! >${mark}; wait`, 3_000)));
    expect(failure).toMatchObject({ code: "timeout", step: "observe" });
    const pid = readFileSync(mark, "utf8").trim();
    const gone = () =>
      spawnSync("sh", ["-c", `case $(cut -d' ' -f3 /proc/${pid}/stat 2>/dev/null) in ""|Z) exit 0 ;; esac; exit 1`])
        .status === 0;
    await until(gone, "the end of what it started");
    expect(gone()).toBe(true);
  });

  test("more than 9 MiB is refused", async () => {
    expect((await failureOf(localConnector("laptop").run(script("cat /dev/zero")))).code).toBe("protocol");
  });

  test("what a host says in an error is escaped and short", async () => {
    const text = `printf '\\033[2J%02000d' 1 >&2; exit 1`;
    const failure = await failureOf(localConnector("laptop").run(script(text)));
    expect(failure.reason).not.toContain("\u001b");
    expect(failure.reason.length).toBeLessThan(600);
  });
});
