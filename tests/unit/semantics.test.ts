/** What settings mean on an OpenSSH version: worked out, and measured on the OpenSSH of this machine. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import path from "node:path";
import {
  checkIdle,
  IDLE_MARGIN_SECONDS,
  lateProbeWarning,
  ON_TIME,
  type OpenSshVersion,
  parseVersion,
  timing,
} from "../../provider/semantics";
import { type LightHost, startLightHost } from "../support/lightHost";
import { makeTempFolder } from "../support/tempFolder";

const version = (major: number, minor: number): OpenSshVersion => ({
  major,
  minor,
  patch: 1,
  text: `OpenSSH_${major}.${minor}p1`,
});

describe("parseVersion", () => {
  test.each<[string, number, number, number, string]>([
    ["OpenSSH_9.2p1 Debian-2+deb12u6, OpenSSL 3.0.15 3 Sep 2024", 9, 2, 1, "OpenSSH_9.2p1 Debian-2+deb12u6"],
    ["SSH-2.0-OpenSSH_10.0p2 Debian-7\r\n", 10, 0, 2, "OpenSSH_10.0p2 Debian-7"],
    ["OpenSSH_for_Windows_9.5p1, LibreSSL 3.8.2", 9, 5, 1, "OpenSSH_for_Windows_9.5p1"],
    ["OpenSSH_9.7p1, LibreSSL 3.9.0 FreeBSD", 9, 7, 1, "OpenSSH_9.7p1"],
    ["SSH-2.0-OpenSSH_9.6 FreeBSD-20240701", 9, 6, 0, "OpenSSH_9.6 FreeBSD-20240701"],
    ["OpenSSH_9.9, LibreSSL 4.0.0", 9, 9, 0, "OpenSSH_9.9"],
    ["OpenSSH_3.8.1p1, SSH protocols 1.5/2.0", 3, 8, 1, "OpenSSH_3.8.1p1"],
    [
      "unknown option -- V\nOpenSSH_8.4p1 Debian-5+deb11u3, OpenSSL 1.1.1w  11 Sep 2023\nusage: sshd [-46DdeiqTt]",
      8,
      4,
      1,
      "OpenSSH_8.4p1 Debian-5+deb11u3",
    ],
    ["OpenSSH_9.2p1 \u001b[31mred", 9, 2, 1, "OpenSSH_9.2p1 \\x1b[31mred"],
  ])("reads %j", (output, major, minor, patch, text) => {
    expect(parseVersion(output)).toEqual({ major, minor, patch, text });
  });

  test.each(["", "SSH-2.0-dropbear_2022.83", "OpenSSH", "OpenSSH_x.y"])("%j is no OpenSSH", (output) => {
    expect(parseVersion(output)).toBeUndefined();
  });
});

describe("timing", () => {
  const unread = undefined;
  test.each<[string, "server" | "client", OpenSshVersion | undefined, number, number, number | null, number | null]>([
    ["sshd 7.4 is on time", "server", version(7, 4), 60, 3, 60, 240],
    ["sshd 9.1 is on time", "server", version(9, 1), 60, 3, 60, 240],
    ["sshd 9.2 waits twice the interval", "server", version(9, 2), 60, 3, 120, 480],
    ["sshd 9.4 waits twice the interval", "server", version(9, 4), 180, 3, 360, 1440],
    ["sshd 9.5 is on time again", "server", version(9, 5), 60, 3, 60, 240],
    ["sshd 10.0 is newer than 9.5", "server", version(10, 0), 60, 3, 60, 240],
    ["an sshd of unknown version is taken for the slow one", "server", unread, 60, 3, 120, 480],
    ["ssh 9.2 is on time", "client", version(9, 2), 60, 3, 60, 240],
    ["an ssh of unknown version is on time", "client", unread, 3, 1, 3, 6],
    ["interval 0 never probes", "server", version(9, 2), 0, 3, null, null],
    ["interval 0 never probes from a client", "client", version(9, 2), 0, 3, null, null],
    ["sshd 8.2 never ends a session at count 0", "server", version(8, 2), 60, 0, 60, null],
    ["sshd 9.2 never ends a session at count 0", "server", version(9, 2), 60, 0, 120, null],
    ["sshd 8.1 ends a healthy session at count 0", "server", version(8, 1), 60, 0, null, 60],
    ["ssh ends a healthy session at count 0", "client", version(9, 2), 60, 0, null, 60],
  ])("%s", (_name, side, v, interval, countMax, firstProbeSeconds, disconnectSeconds) => {
    expect(timing(side, v, { interval, countMax })).toMatchObject({ firstProbeSeconds, disconnectSeconds });
  });

  test("says the arithmetic", () => {
    const { why } = timing("server", parseVersion("OpenSSH_9.2p1 Debian-2"), { interval: 180, countMax: 3 });
    expect(why).toBe(
      "first probe after 2 × 180 s = 360 s, end after 2 × 180 s × (3 + 1) = 1440 s (OpenSSH_9.2p1 Debian-2 waits twice the interval; sshd from 9.5 on does not)",
    );
  });
});

describe("checkIdle", () => {
  test.each<[string, number, "server" | "client", OpenSshVersion, number, number | undefined]>([
    ["180 s on 9.2 misses AWS's 350 s", 350, "server", version(9, 2), 180, 174],
    ["174 s on 9.2 just fits 350 s", 350, "server", version(9, 2), 174, undefined],
    ["175 s on 9.2 does not", 350, "server", version(9, 2), 175, 174],
    ["180 s on 10.0 fits 350 s", 350, "server", version(10, 0), 180, undefined],
    ["180 s on 9.2 as a client fits 350 s", 350, "client", version(9, 2), 180, undefined],
    ["180 s on 9.2 misses Azure's 240 s", 240, "server", version(9, 2), 180, 119],
    ["STIG's 600 s does not survive 600 s", 600, "server", version(8, 7), 600, 598],
    ["4 s on 8.4 fits the 6 s firewall", 6, "server", version(8, 4), 4, undefined],
    ["4 s on 9.2 does not", 6, "server", version(9, 2), 4, 2],
    ["no probes at all", 350, "client", version(9, 2), 0, 348],
  ])("%s", (_name, idle, side, v, interval, working) => {
    const problem = checkIdle(idle, side, v, { interval, countMax: 3 });
    expect(problem?.workingInterval).toBe(working);
    if (problem !== undefined) expect(problem.reason).toContain(`to ${working} or less`);
  });

  test("every interval it names works, and one more does not", () => {
    for (const v of [version(8, 4), version(9, 2), ON_TIME]) {
      for (let idle = IDLE_MARGIN_SECONDS + 2; idle < 700; idle++) {
        const named = checkIdle(idle, "server", v, { interval: 100_000, countMax: 3 })?.workingInterval ?? 0;
        expect(named).toBeGreaterThan(0);
        expect(checkIdle(idle, "server", v, { interval: named, countMax: 3 })).toBeUndefined();
        expect(checkIdle(idle, "server", v, { interval: named + 1, countMax: 3 })).toBeDefined();
      }
    }
  });

  test("names no interval where none works", () => {
    const problem = checkIdle(3, "server", version(9, 2), { interval: 1, countMax: 3 });
    expect(problem).toBeDefined();
    expect(problem?.workingInterval).toBeUndefined();
    expect(problem?.reason).toContain("no interval of whole seconds works on OpenSSH_9.2p1");
  });

  test("asks for a count where a count of 0 keeps probes away", () => {
    expect(checkIdle(350, "client", version(9, 2), { interval: 60, countMax: 0 })?.reason).toContain(
      "set ServerAliveCountMax to 1 or more",
    );
  });
});

describe("lateProbeWarning", () => {
  test.each<[OpenSshVersion, number, boolean]>([
    [version(9, 5), 300, false],
    [version(9, 5), 301, true],
    [version(9, 2), 150, false],
    [version(9, 2), 151, true],
    [version(9, 2), 0, false],
  ])("%j with %i s: %s", (v, interval, warned) => {
    expect(lateProbeWarning("server", v, { interval, countMax: 3 }) !== undefined).toBe(warned);
  });
});

// A relay between ssh and sshd that stops passing anything on once a session is quiet, as a firewall does that has
// forgotten it, and notes when each side sends (a probe) and closes (gives up).

interface Silence {
  readonly banner: string;
  readonly firstProbeSeconds: number;
  readonly disconnectSeconds: number;
}

const QUIET_MS = 500;

/** `pause`: seconds between what the client says last and what the server says last. */
async function measure(
  host: LightHost,
  keyFile: string,
  clientOptions: readonly string[],
  pause: number,
): Promise<[Silence, Silence]> {
  let cut = false;
  let last = performance.now();
  const observed = { server: watch(), client: watch() };

  function watch() {
    return { banner: "", probe: undefined as number | undefined, end: undefined as number | undefined };
  }
  function pass(from: Socket, to: Socket, side: keyof typeof observed): void {
    const seen = observed[side];
    from.on("data", (chunk) => {
      const now = performance.now();
      if (seen.banner === "") seen.banner = chunk.toString("latin1").split("\r\n")[0] ?? "";
      if (cut) seen.probe ??= now;
      else {
        last = now;
        to.write(chunk);
      }
    });
    from.on("error", () => {});
    from.on("close", () => {
      seen.end ??= performance.now();
    });
  }

  const relay = createServer({ allowHalfOpen: true }, (fromClient) => {
    const fromServer = connect({ host: "127.0.0.1", port: host.port, allowHalfOpen: true });
    fromClient.setNoDelay();
    fromServer.setNoDelay();
    pass(fromClient, fromServer, "client");
    pass(fromServer, fromClient, "server");
    // Each end is let go by itself: closing the other would end what is measured there.
    fromClient.on("end", () => fromClient.end());
    fromServer.on("end", () => fromServer.end());
  });
  relay.listen(0, "127.0.0.1");
  await once(relay, "listening");

  const settings = [
    "BatchMode=yes",
    "IdentitiesOnly=yes",
    "IdentityAgent=none",
    `UserKnownHostsFile=${path.join(host.dir, "known_hosts")}`,
    `HostKeyAlias=[127.0.0.1]:${host.port}`,
    ...clientOptions,
  ].flatMap((o) => ["-o", o]);
  const { port } = relay.address() as AddressInfo;
  const ssh = spawn(
    "ssh",
    [
      "-F",
      "/dev/null",
      "-i",
      keyFile,
      "-p",
      String(port),
      ...settings,
      "127.0.0.1",
      `echo ready; read -r line; sleep ${pause}; echo "$line"; exec cat`,
    ],
    { stdio: ["pipe", "pipe", "pipe"] },
  );
  try {
    let stderr = "";
    ssh.stderr.on("data", (chunk) => {
      stderr += chunk;
    });
    const ended = once(ssh, "close").then(() => Promise.reject(new Error(`ssh ended: ${stderr}`)));
    ended.catch(() => {});
    const hear = async () => String((await Promise.race([once(ssh.stdout, "data"), ended]))[0]);
    expect(await hear()).toBe("ready\n");
    ssh.stdin.write("last\n");
    expect(await hear()).toBe("last\n");
    await until(() => performance.now() - last > QUIET_MS, 10_000);
    cut = true;
    const [server, client] = [observed.server, observed.client];
    await until(() => server.end !== undefined && client.end !== undefined, 60_000);
    const silence = (seen: typeof server): Silence => ({
      banner: seen.banner,
      firstProbeSeconds: ((seen.probe ?? Number.NaN) - last) / 1000,
      disconnectSeconds: ((seen.end ?? Number.NaN) - last) / 1000,
    });
    return [silence(server), silence(client)];
  } finally {
    ssh.kill("SIGKILL");
    relay.close();
  }
}

async function until(condition: () => boolean, timeoutMs: number): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`not within ${timeoutMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** What sshd (2 s × 1) and ssh (3 s × 1) do in some sessions at once. */
async function measureSessions(count: number, pause: number): Promise<readonly [Silence, Silence][]> {
  const folder = makeTempFolder();
  try {
    const host = await startLightHost({ folder, extraLines: ["ClientAliveInterval 2", "ClientAliveCountMax 1"] });
    const keyFile = path.join(folder.path, "timing_key");
    writeFileSync(keyFile, host.connection.privateKey, { mode: 0o600 });
    // Longer than the pause and than sshd's: the client must not speak in between.
    const options = ["ServerAliveInterval=3", "ServerAliveCountMax=1"];
    return await Promise.all(Array.from({ length: count }, () => measure(host, keyFile, options, pause)));
  } finally {
    await folder.remove();
  }
}

describe("this machine's sshd and ssh", () => {
  // Times are measured here to less than a second: where this process was held up meanwhile, once more.
  jest.retryTimes(3);

  const VALUES = { server: { interval: 2, countMax: 1 }, client: { interval: 3, countMax: 1 } };

  test("probe and end a cut-off session when timing() says", async () => {
    // Several at once: sshd 9.2 is early where a second begins between the last word of each side, but not every time.
    const sessions = await measureSessions(5, 0);
    for (const side of ["server", "client"] as const) {
      const seen = sessions.map(([server, client]) => (side === "server" ? server : client));
      const expected = timing(side, parseVersion(seen[0]?.banner ?? ""), VALUES[side]);
      const first = Math.max(...seen.map((s) => s.firstProbeSeconds));
      const end = Math.max(...seen.map((s) => s.disconnectSeconds));
      // OpenSSH counts whole seconds: each of the two waits may be a second short. The machine may be slow: 3 s.
      expect(first).toBeGreaterThan((expected.firstProbeSeconds ?? 0) - 1.2);
      expect(first).toBeLessThan((expected.firstProbeSeconds ?? 0) + 3);
      expect(end).toBeGreaterThan((expected.disconnectSeconds ?? 0) - 2.2);
      expect(end).toBeLessThan((expected.disconnectSeconds ?? 0) + 3);
    }
  });

  test("probe after one interval, whatever the version, where the server had the last word", async () => {
    for (const [server] of await measureSessions(2, 1.5)) {
      expect(server.firstProbeSeconds).toBeGreaterThan(VALUES.server.interval - 1.2);
      expect(server.firstProbeSeconds).toBeLessThan(VALUES.server.interval + 1.5);
    }
  });
});
