/** The host scripts' own functions, by every shell that is here: pure ones on made-up input, no host. */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import { stagedScript } from "../../provider/host";
import { libScript, observeScript, transactionScript } from "../../provider/host/scripts";
import { sumOf } from "../../provider/observe";
import { makeTempFolder, projectRoot } from "../support/tempFolder";

const folder = makeTempFolder();
afterAll(() => folder.remove());

const SHELLS: readonly (readonly string[])[] = [
  ["sh"],
  ["dash"],
  ["bash", "--posix"],
  ["busybox", "sh"],
  ["mksh"],
  ["yash"],
];
const here = SHELLS.filter(([program = ""]) => spawnSync("sh", ["-c", `command -v ${program}`]).status === 0);
for (const [program] of SHELLS.filter((shell) => !here.includes(shell))) {
  test.skip(`by ${program}: not installed here`, () => undefined);
}

/** Runs `commands` after the definitions of `script`, in a shell that stops at unset variables, as on hosts. */
function run(shell: readonly string[], script: string, commands: string, ...args: readonly string[]): string {
  const [program = "sh", ...flags] = shell;
  return execFileSync(
    program,
    [...flags, "-c", `set -u\nLC_ALL=C\nT=${folder.path}\nTXID=0\n${script}\n${commands}`, "sh", ...args],
    {
      encoding: "latin1",
    },
  );
}
const definitions = observeScript();
const transaction = transactionScript();

describe.each(here.map((shell) => [shell.join(" "), shell] as const))("by %s", (_name, shell) => {
  test.each([
    ["-D", "", []],
    ["-f /etc/x", "/etc/x", []],
    ["-f/etc/x", "/etc/x", []],
    ["-Df /etc/x", "/etc/x", []],
    ["-4Dof Port=1 -f /b", "/b", ["-o f"]],
    ["-D -o ClientAliveInterval=7 -p 22", "", ["-o ClientAliveInterval=7", "-p 22"]],
    ["-oFoo=-f -E /log -u0 -f /c", "/c", ["-o Foo=-f"]],
    ["-C user=x -b 5 -c cert -h key -f /a", "/a", ["-c cert", "-h key"]],
  ])("the daemon's arguments %s are read as getopt reads them", (line, config, words) => {
    const out = run(
      shell,
      definitions,
      'ARGS=$1; daemon_options; printf "%s|%s" "$DAEMON_CONFIG" "$DAEMON_WORDS"',
      ["/usr/sbin/sshd", ...line.split(" ")].join("\n"),
    );
    const [got = "", rest = ""] = out.split("|");
    const pairs = rest.split("\n").filter((word) => word !== "");
    expect(got).toBe(config);
    expect(pairs.flatMap((_, i) => (i % 2 === 0 ? [`${pairs[i]} ${pairs[i + 1]}`] : []))).toEqual(words);
  });

  test("Include lines are found as sshd finds them", () => {
    const file = path.join(folder.path, "includes");
    writeFileSync(
      file,
      'Include /a/*.conf "/b c/*.conf"\r\n\tinclude=d\n"Include" e # no f\nIncludes /x\n#Include /y\n Include\t= g\nInclude "unclosed\n',
    );
    expect(run(shell, definitions, 'include_patterns "$1"', file).trim().split("\n")).toEqual([
      ...["/a/*.conf", "/b c/*.conf", "d", "e", "g"],
    ]);
  });

  test("links are followed to their end, dangling and circular ones refused", () => {
    const dir = path.join(folder.path, "links");
    rmSync(dir, { recursive: true, force: true });
    mkdirSync(path.join(dir, "sub dir"), { recursive: true });
    writeFileSync(path.join(dir, "sub dir/file"), "x");
    symlinkSync("sub dir/file", path.join(dir, "one"));
    symlinkSync(path.join(dir, "one"), path.join(dir, "two"));
    symlinkSync("nowhere", path.join(dir, "dangling"));
    symlinkSync("round", path.join(dir, "round"));
    const real = (name: string) =>
      run(shell, definitions, 'if resolve "$1"; then printf %s "$REAL"; else printf no; fi', path.join(dir, name));
    expect(["two", "dangling", "round", "not-there"].map(real)).toEqual([
      path.join(dir, "sub dir/file"),
      "no",
      "no",
      "no",
    ]);
  });

  test("checksums are those of the controller, and time goes on", () => {
    const bytes = "\u0000ClientAliveInterval \u00fc\r\n";
    const file = path.join(folder.path, "bytes");
    writeFileSync(file, bytes, "latin1");
    expect(run(shell, definitions, 'sum_of "$1"; printf %s "$SUM"', file)).toBe(sumOf(bytes));
    expect(run(shell, definitions, 'sum_of "$1"; printf %s "$SUM"', `${file}.not`)).toBe("absent");
    expect(run(shell, definitions, "now; a=$NOW; sleep 1; now; echo $((NOW - a))")).toMatch(/^(9\d|\d{3})\n$/);
  });

  test("a user name is never taken for something else", () => {
    for (const name of ["$(touch /tmp/x)", "a b", "-x", "../root", "a;b", ""]) {
      const out = run(
        shell,
        definitions,
        'if [ -n "$1" ] && client_place "$1" ""; then printf yes; else printf no; fi',
        name,
      );
      expect([name, out]).toEqual([name, "no"]);
    }
    expect(run(shell, definitions, 'client_place root ""; printf %s "$CLIENT_CONFIG"')).toMatch(/\/\.ssh\/config$/);
  });

  test.each([
    ["nothing", "a 1\nclientaliveinterval 60\n", "a 1\nclientaliveinterval 0\n", ""],
    ["more", "a 1\nclientaliveinterval 60\n", "a 2\nclientaliveinterval 0\n", "< a 1\n> a 2"],
    ["a line less", "a 1\nb 2\n", "a 1\n", "< b 2"],
    [
      "a name that only begins alike",
      "clientaliveintervalx 1\n",
      "clientaliveintervalx 2\n",
      "< clientaliveintervalx 1\n> clientaliveintervalx 2",
    ],
  ])("dumps that differ in %s beside the managed options are told apart", (_what, live, candidate, difference) => {
    writeFileSync(path.join(folder.path, "x"), live);
    writeFileSync(path.join(folder.path, "y"), candidate);
    const out = run(
      shell,
      transaction,
      'MANAGED="^(clientaliveinterval|tcpkeepalive) "; if differ "$1/x" "$1/y"; then printf %s "$DIFFERENCE"; fi',
      folder.path,
    );
    expect(out).toBe(difference);
  });

  test("a lock is live, stale or new by its holder's name", () => {
    const target = path.join(folder.path, "target");
    const states = (name: string | undefined, ...more: readonly string[]) => {
      rmSync(target, { recursive: true, force: true });
      mkdirSync(path.join(target, "lock"), { recursive: true });
      for (const file of [...(name === undefined ? [] : [name]), ...more])
        writeFileSync(path.join(target, "lock", file), "");
      return run(shell, definitions, 'TARGET=$1; lock_state; printf %s "$LOCK"', target);
    };
    const boot = run(shell, definitions, 'boot_id; printf %s "$BOOT"');
    expect([
      states(undefined),
      states(`held.${boot}.1.1.0.aa`),
      states(`held.${boot}.99999999999.1.0.aa`),
      states(`held.${boot}.99999999999.1.0.aa`, "armed.aa"),
      states(`held.${boot}.1.1.0.aa`, "armed.aa"),
      states("held.other.99999999999.1.0.aa", "armed.aa"),
      states("held.x", "armed.aa"),
      states(`held.${boot}.1.1.0.aa`, "confirmed.aa", "by.1.0"),
    ]).toEqual(["new", "stale", "stale", "live", "stale", "stale", "stale", "stale"]);
    // What an armed one says of its time counts; a login that confirms keeps it.
    const held = `held.${boot}.1.1.0.aa`;
    const saying = (name: string, text: string) =>
      run(
        shell,
        definitions,
        'TARGET=$1; rm -f "$1"/lock/*; : >"$1/lock/$2"; echo "$4" >"$1/lock/$3"; lock_state; printf %s "$LOCK"',
        ...[target, held, name, text],
      );
    expect(saying("armed.aa", "99999999999")).toBe("live");
    expect(saying("armed.aa", "12")).toBe("stale");
    expect(
      run(
        shell,
        definitions,
        'TARGET=$1; process $$; : >"$1/lock/by.$$.$START"; lock_state; printf %s "$LOCK"',
        target,
      ),
    ).toBe("live");
    rmSync(target, { recursive: true, force: true });
  });

  test("what is to be loaded is what was judged, and is judged again when that is long ago", () => {
    const lock = path.join(folder.path, "activate");
    rmSync(lock, { recursive: true, force: true });
    mkdirSync(lock);
    const ours = path.join(lock, "dropin.conf");
    const conf = `exe ${lock}/sshd\nconfig /x\nside server\npidstart x\npath ${ours}\nreal ${ours}\nsum absent\nnewsum ${sumOf("new\n")}\n`;
    const seen = `absent - ${ours}\n`;
    for (const [name, text] of Object.entries({ conf, seen, sshd: "#!/bin/sh\necho bad\nexit 1\n" }))
      writeFileSync(path.join(lock, name), text, { mode: 0o700 });
    const why = (bytes: string, secondsAgo: string) => {
      writeFileSync(ours, bytes);
      return run(
        shell,
        transaction,
        'load "$1"; PID=$$; now; JUDGED_AT=$2; [ -z "$2" ] || JUDGED_AT=$((NOW - $2 * 100)); activate; printf %s "$WHY"',
        ...[lock, secondsAgo],
      );
    };
    expect(why("other\n", "1")).toContain(`changed meanwhile, and a reload would put that in force too: ${ours}`);
    expect(why("new\n", "1")).toContain("the daemon is not the one that was seen");
    expect(why("new\n", "11")).toBe("sshd refuses the installed files: bad");
    expect(why("new\n", "")).toBe("sshd refuses the installed files: bad");
  });

  test("what is judged twice counts as it came out last", () => {
    const commands = `
      SIDE=server SPECS="-$NL" SSHD_ARGS="" EXE=sshd
      sshd_says() { SAID=dump RC=$fails; }
      for fails in 1 0; do judge "$1" /x; exit_of "$1.0"; echo "$LINE"; done`;
    expect(run(shell, transaction, commands, path.join(folder.path, "live"))).toBe("1\n0\n");
  });

  test("a link to a name with a newline in it adds nothing to what is to be done", () => {
    const home = path.join(folder.path, "split");
    rmSync(home, { recursive: true, force: true });
    const real = path.join(home, "file\nside server\nexe ", home, "evil");
    mkdirSync(path.dirname(real), { recursive: true });
    mkdirSync(path.join(home, "lock"));
    writeFileSync(real, "Host *\n");
    symlinkSync(real, path.join(home, "config"));
    const data = [
      `w0.path ${home}/config`,
      `w0.sum ${sumOf("Host *\n")}`,
      `w0.newsum ${sumOf("new\n")}`,
      "w0.bytes new\\0012",
      "seen absent - /none\\0012",
      "conf exe ssh\\0012",
    ];
    const out = run(
      shell,
      `${libScript()}\n${transaction}`,
      'T=$1/lock SIDE=client SECONDS_=60 CONFIG=$1/config SESSION="" SESSION_START="" frame_data=$2; stage; printf "%s|%s|%s|" "$?" "$CODE" "$WHY"; cat "$T/conf"',
      ...[home, `${data.join("\n")}\n`],
    );
    expect(out).toBe(`1|config-not-understood|a name has a newline in it: ${real}|exe ssh\n`);
  });

  test("the staged script is whole and runs nothing by itself", () => {
    const file = path.join(folder.path, "run.sh");
    writeFileSync(file, stagedScript());
    const [program = "sh", ...flags] = shell;
    expect(execFileSync(program, [...flags, file, "echo", "verb"], { encoding: "utf8" })).toBe("verb\n");
  });

  test("the script that stages it has it byte for byte, and says so where there is no room for it", () => {
    const commands = 'staged >"$1"; echo "$?"; staged >/dev/full || echo no';
    const file = path.join(folder.path, "staged.sh");
    expect(run(shell, transaction, `{ ${commands}; } 2>/dev/null`, file)).toBe("0\nno\n");
    expect(readFileSync(file, "latin1")).toBe(stagedScript());
  });
});

const shellcheck = spawnSync("shellcheck", ["--version"]).status === 0;
(shellcheck ? test : test.skip)(
  `shellcheck has nothing to say${shellcheck ? "" : ": it is not installed here"}`,
  () => {
    const scripts = path.join(projectRoot(), "provider/host/scripts");
    for (const name of readdirSync(scripts)) {
      // Unused and unknown variables are other parts' (SC2034, SC2154); quoted ~ is compared, not expanded (SC2088).
      const { stdout } = spawnSync(
        "shellcheck",
        ["-s", "sh", "-S", "warning", "-e", "SC2034,SC2154,SC2088,SC2120,SC2209", path.join(scripts, name)],
        { encoding: "utf8" },
      );
      expect(`${name}\n${stdout}`).toBe(`${name}\n`);
    }
  },
);
