/**
 * The demo, `npm run demo`: a small fleet on loopback under the real Pulumi engine, from the first preview to destroy.
 * Each step checks what it shows; the first check that does not hold ends the demo with exit status 1. Everything lives
 * in one temporary folder and is gone afterwards, also after a failure or an interrupt.
 */
import { existsSync } from "node:fs";
import { constants } from "node:os";
import type { Outcome } from "../tests/support/engine";
import type { LightHost } from "../tests/support/lightHost";
import { makeTempFolder, type TempFolder } from "../tests/support/tempFolder";
import { MACHINES } from "./demo/machines";
import { excerpt, makeScreen, type Row, type Screen } from "./demo/screen";
import {
  buildStage,
  changedLines,
  configurationOf,
  differing,
  endSharedConnections,
  hostNames,
  keepalivesOf,
  loadsOf,
  openSession,
  otherSettingsOf,
  processesOf,
  type Snapshot,
  type Stage,
  serverOf,
  snapshot,
  stamps,
  statusesIn,
  thisMachine,
} from "./demo/stage";

/** What the steps share. */
interface Play {
  readonly screen: Screen;
  readonly stage: Stage;
  /** As it was before the first `up`. */
  readonly start: {
    readonly files: Snapshot;
    readonly keepalives: Snapshot;
    readonly otherSettings: Snapshot;
  };
  /** All that Pulumi has printed so far. */
  readonly printed: string[];
}

interface Step {
  readonly step: string;
  /** Shows and checks; resolves to what is proven, for the closing table. */
  readonly show: (play: Play) => Promise<string>;
}

const STEPS: readonly Step[] = [
  { step: "Preview before anything exists", show: previewSaysWhatWillBeEdited },
  { step: "Up", show: upEditsAFewLinesAndKeepsSessions },
  { step: "Up again", show: secondUpChangesNothing },
  { step: "Preview after a change by hand", show: previewFindsTheChangeMadeByHand },
  { step: "Up heals it", show: upHealsIt },
  { step: "Preview and up, one host down", show: hostThatIsDownIsNamedAndTheOthersAreDone },
  { step: "Up when it is back", show: nextUpFinishesTheRest },
  { step: "Destroy", show: destroyPutsEveryByteBack },
];

/** The server that someone changes by hand, and the one that is down for a while. */
const CHANGED = "old-1";
const DOWN = "rhel-1";

async function previewSaysWhatWillBeEdited(play: Play): Promise<string> {
  const { screen, stage, start } = play;
  const preview = await pulumi(play, "preview", "--diff");
  const pending = excerpt(preview.stdout, /^ +pendingChanges: /, /^ +--outputs/);
  screen.quote(pending);
  succeeds(play, preview);
  for (const name of hostNames(stage)) {
    const lines = excerpt(pending.join("\n"), new RegExp(`^ +${name} *: \\[$`), /^ +\]$/);
    const wrong = lines.some((line) => /Alive\w+ \d+, wanted \d+ \(.+\)/.test(line));
    const edited = lines.some((line) => /will set \w+ \d+ in \/\S+:\d+ /.test(line));
    screen.check(`${name}: what is wrong is named, and what will be written in which line`, wrong && edited, () =>
      all(preview),
    );
  }
  const winner = /ClientAliveInterval 900, wanted 60 \(set by \S+\/cloud-1\/sshd_config\.d\/50-cloud-init\.conf:2\)/;
  says(play, preview, "cloud-1: its main file says 60; the drop-in that wins over it is named", winner);
  nothingDiffers(play, "no file was touched", start.files, configurationOf(stage));
  return "5 hosts: each edit by file and line; nothing touched";
}

async function upEditsAFewLinesAndKeepsSessions(play: Play): Promise<string> {
  const { screen, stage, start } = play;
  const session = await openSession(serverOf(stage, "web-1"));
  const pids = stage.servers.map((server) => server.pid());
  const up = await pulumi(play, "up");
  screen.quote(excerpt(up.stdout, /^Diagnostics:/, /^Duration:/));
  succeeds(play, up);

  const now = configurationOf(stage);
  const written = differing(start.files, now);
  const changes = written.map((path) => ({ path, lines: changedLines(start.files, now, path) }));
  screen.line("What is different in the files:");
  for (const { path, lines } of changes) screen.quote([path, ...lines.map((line) => `    ${line}`)]);
  const lost = changes.flatMap(({ lines }) => lines).filter((line) => line.startsWith("-"));
  const oneEach = hostNames(stage).every((name) => written.filter((path) => path.includes(`/${name}/`)).length === 1);
  screen.check("one file per host; no line was lost", oneEach && lost.length === 0, () =>
    [...written, ...lost].join("\n"),
  );
  await everyHostHas(play, "60 x 3");
  const others = await otherSettingsOf(stage);
  nothingDiffers(play, `all other settings of sshd -T (${others.size}) are as before`, start.otherSettings, others);
  const old = serverOf(stage, "old-1");
  const bytes = await old.read("sshd_config");
  screen.check("old-1: CRLF at the end of every line, the new one too", !/(^|[^\r])\n/.test(bytes), () => bytes);
  const backup = (await old.sshdT(["-C", "user=backup"])).get("clientaliveinterval");
  screen.check("old-1: Match User backup is left alone (1800)", backup === "1800", () => `it has ${backup}`);
  const same = stage.servers.map((server) => server.pid()).join() === pids.join();
  const lastWords = await session.end();
  screen.check("daemons were reloaded, not restarted", same);
  screen.check("a session opened before the up is still there", lastWords === "still here", () => lastWords);
  return "1 file a host, nothing else; an open session lives on";
}

async function secondUpChangesNothing(play: Play): Promise<string> {
  const { screen, stage } = play;
  const files = configurationOf(stage, stamps);
  const loads = await loadsOf(stage);
  const up = await pulumi(play, "up", "--expect-no-changes");
  screen.quote(excerpt(up.stdout, /^Resources:/, /^Duration:/));
  succeeds(play, up);
  nothingDiffers(play, "no file was written", files, configurationOf(stage, stamps));
  screen.check("no daemon was reloaded", (await loadsOf(stage)) === loads);
  return "no file written, no daemon reloaded";
}

async function previewFindsTheChangeMadeByHand(play: Play): Promise<string> {
  const { screen, stage } = play;
  const server = serverOf(stage, CHANGED);
  const line = await editByHand(server, "7200");
  screen.line(`Someone sets ClientAliveInterval to 7200 on ${CHANGED} and reloads its sshd.`);
  const preview = await pulumi(play, "preview", "--expect-no-changes");
  screen.quote([...excerpt(preview.stdout, /^Diagnostics:/), ...excerpt(preview.stderr, /^error:/)]);
  const drift = `${CHANGED}: ClientAliveInterval 7200, wanted 60 (set by ${server.configPath}:${line})`;
  says(play, preview, "host, option, value, wanted value, file and line are named", drift);
  says(play, preview, "the other four are as wanted", "5 hosts, 4 as wanted, 1 to change");
  screen.check(`--expect-no-changes fails (exit ${preview.code})`, preview.code > 0, () => all(preview));
  return `${CHANGED}: 7200, wanted 60, sshd_config:${line}; exit ${preview.code}`;
}

async function upHealsIt(play: Play): Promise<string> {
  const { screen } = play;
  const up = await pulumi(play, "up");
  screen.quote(excerpt(up.stdout, /^Diagnostics:/, /^Outputs:/));
  succeeds(play, up);
  says(play, up, `${CHANGED} was changed, the others were left alone`, "5 hosts: 1 changed, 4 unchanged");
  await everyHostHas(play, "60 x 3");
  return "1 host changed, 4 left alone, all as wanted";
}

async function hostThatIsDownIsNamedAndTheOthersAreDone(play: Play): Promise<string> {
  const { screen, stage } = play;
  await serverOf(stage, DOWN).stop();
  await stage.project.setConfig("interval", "45");
  screen.line(`${DOWN} goes down, and the program now wants 45 s everywhere.`);
  const reason = new RegExp(`${DOWN}: \\[unreachable\\] connect: .*refused`);

  const preview = await pulumi(play, "preview");
  screen.quote(excerpt(preview.stdout, /^Diagnostics:/, /^(Outputs|Resources):/));
  succeeds(play, preview);
  says(play, preview, `the preview goes on, and names ${DOWN} with the reason`, /4 to change, 1 not seen/, reason);

  const up = await pulumi(play, "up");
  screen.quote(excerpt(up.stdout, /^Diagnostics:/, /^(Outputs|Resources):/));
  screen.check(`the up fails (exit ${up.code})`, up.code > 0, () => all(up));
  says(play, up, `and names ${DOWN} with the reason`, "5 hosts: 4 changed, 1 failed", reason);
  await everyHostHas(play, "45 x 3", { [DOWN]: "60 x 3" });
  const statuses = statusesIn(await stage.project.exportState());
  const right = hostNames(stage).every((name) => statuses.get(name) === (name === DOWN ? "unreachable" : "inSync"));
  const states = [...statuses].map(([name, status]) => `${name} ${status}`).join(", ");
  screen.check(`the state tells them apart: ${states}`, right);
  return `${DOWN} named by both, the 4 others done and in state`;
}

async function nextUpFinishesTheRest(play: Play): Promise<string> {
  const { screen, stage } = play;
  await serverOf(stage, DOWN).start();
  const up = await pulumi(play, "up");
  screen.quote(excerpt(up.stdout, /^Diagnostics:/, /^Outputs:/));
  succeeds(play, up);
  says(play, up, `only ${DOWN} had to be changed`, "5 hosts: 1 changed, 4 unchanged");
  await everyHostHas(play, "45 x 3");
  const preview = await pulumi(play, "preview", "--expect-no-changes");
  succeeds(play, preview);
  return `only ${DOWN} changed; --expect-no-changes passes`;
}

async function destroyPutsEveryByteBack(play: Play): Promise<string> {
  const { screen, stage, start } = play;
  const destroy = await pulumi(play, "destroy");
  screen.quote(excerpt(destroy.stdout, /^Diagnostics:/, /^(Outputs|Resources):/));
  succeeds(play, destroy);
  const count = [...start.files.values()].filter((found) => found.startsWith("file")).length;
  const what = `all ${count} files are as at the start: bytes, owner and mode; none is left over`;
  nothingDiffers(play, what, start.files, configurationOf(stage));
  nothingDiffers(play, "and so is what OpenSSH makes of them", start.keepalives, await keepalivesOf(stage));
  // The body of the key; every version of the state is still in the backend's history, in the project's folder.
  const key = stage.privateKey.split("\n").filter((line) => line !== "" && !line.startsWith("-----"));
  const folders = [stage.project.dir, ...stage.servers.map(({ stateDir }) => stateDir)];
  const texts = [...play.printed, ...folders.flatMap((folder) => [...snapshot(folder).values()])];
  const found = texts.filter((text) => key.some((line) => text.includes(line)));
  screen.check("the private key is in nothing that was printed or stored", key.length > 0 && found.length === 0);
  return `${count} files identical; the key never printed nor stored`;
}

// ---------------------------------------------------------------------------------------------------------------------

const all = ({ stdout, stderr }: Outcome): string => `${stdout}${stderr}`;

/** What the project adds to a verb, so that nothing is asked. */
const ADDED = { preview: [], up: ["--yes", "--skip-preview"], destroy: ["--yes", "--skip-preview"] } as const;

/** Says what is run, runs it and keeps what it printed. */
async function pulumi(
  { screen, stage, printed }: Play,
  verb: keyof typeof ADDED,
  ...args: readonly string[]
): Promise<Outcome> {
  screen.line(["$ pulumi", verb, ...ADDED[verb], ...args].join(" "));
  const outcome = await stage.project[verb](args);
  printed.push(all(outcome));
  return outcome;
}

function succeeds({ screen }: Play, outcome: Outcome): void {
  screen.check("exit 0", outcome.code === 0, () => all(outcome));
}

function says({ screen }: Play, outcome: Outcome, what: string, ...expected: readonly (string | RegExp)[]): void {
  const text = all(outcome);
  const holds = expected.every((part) => (typeof part === "string" ? text.includes(part) : part.test(text)));
  screen.check(what, holds, () => text);
}

function nothingDiffers({ screen }: Play, what: string, before: Snapshot, after: Snapshot): void {
  const paths = differing(before, after);
  screen.check(what, paths.length === 0, () =>
    paths.map((path) => `${path}:\n${before.get(path)}\n  became\n${after.get(path)}`).join("\n"),
  );
}

/** Checks with OpenSSH what is in force on each host, `others` excepted. */
async function everyHostHas(
  { screen, stage }: Play,
  wanted: string,
  others: Readonly<Record<string, string>> = {},
): Promise<void> {
  const found = await keepalivesOf(stage);
  const right = [...found].every(([name, value]) => value === (others[name] ?? wanted));
  const exceptions = Object.entries(others).map(([name, value]) => `, still ${value} on ${name}`);
  screen.check(`sshd -T and ssh -G say ${wanted}${exceptions.join("")}`, right, () =>
    [...found].map(([name, value]) => `${name} ${value}`).join("\n"),
  );
}

/** Changes the line that sets ClientAliveInterval, as with an editor, and reloads sshd. Resolves to its number. */
async function editByHand(server: LightHost, seconds: string): Promise<number> {
  const lines = (await server.read(server.configPath)).split("\n");
  const at = lines.findIndex((line) => /^ClientAliveInterval\s/.test(line));
  lines[at] = `ClientAliveInterval ${seconds}${lines[at]?.endsWith("\r") === true ? "\r" : ""}`;
  await server.write(server.configPath, lines.join("\n"));
  await server.reload();
  return at + 1;
}

/** Starts the hosts and shows what they begin with. */
async function setTheStage(screen: Screen, folder: TempFolder): Promise<Play> {
  const stage = await buildStage(folder);
  const start = {
    files: configurationOf(stage),
    keepalives: await keepalivesOf(stage),
    otherSettings: await otherSettingsOf(stage),
  };
  const likes = new Map(MACHINES.map(({ name, like }) => [name, like]));
  for (const [name, value] of start.keepalives) {
    screen.line(`${name.padEnd(8)} ${value.padEnd(8)} ${likes.get(name) ?? "this machine, its client file"}`);
  }
  return { screen, stage, start, printed: [] };
}

/** Ends what outlives a call of Pulumi: connections kept for the next one, and the servers. */
async function endAll(stage: Stage): Promise<void> {
  await endSharedConnections(stage);
  await Promise.all(stage.servers.map((server) => server.stop()));
}

/** Ends all that was started, in order, and checks that nothing of it is left and nothing else was touched. */
async function clearTheStage({ screen, stage }: Play, folder: TempFolder, before: Snapshot): Promise<string> {
  await endAll(stage);
  const left = await processesOf(folder);
  screen.check("no process is left: engine, ssh, agent, supervisor or sshd", left.length === 0, () => left.join("\n"));
  await folder.remove();
  screen.check(`${folder.path} is gone`, !existsSync(folder.path));
  const touched = differing(before, thisMachine());
  const places = "/etc/ssh, ~/.ssh and /var/lib/pulumi-ssh-keepalive";
  screen.check(`${places} were not touched`, touched.length === 0, () => touched.join("\n"));
  return "no process or file left; this machine untouched";
}

/** The whole demo; `title` is told what is about to be shown. */
async function showEverything(screen: Screen, folder: TempFolder, title: (text: string) => void): Promise<void> {
  const began = performance.now();
  const before = thisMachine();
  const rows: Row[] = [];
  const timed = async <T>(text: string, work: () => Promise<T>): Promise<{ result: T; seconds: number }> => {
    title(text);
    screen.heading(text);
    const started = performance.now();
    const result = await work();
    return { result, seconds: (performance.now() - started) / 1000 };
  };

  const opening = "Four servers and this machine, as they were set up (seconds between probes x unanswered ones)";
  const { result: play, seconds } = await timed(opening, () => setTheStage(screen, folder));
  rows.push({ step: "start", proven: `${play.stage.servers.length} real sshd, a real Pulumi project`, seconds });
  try {
    for (const [index, { step, show }] of STEPS.entries()) {
      const shown = await timed(`${index + 1}. ${step}`, () => show(play));
      rows.push({ step: `${index + 1}. ${step}`, proven: shown.result, seconds: shown.seconds });
    }
  } catch (error) {
    await endAll(play.stage);
    throw error;
  }
  const end = await timed("Clean-up", () => clearTheStage(play, folder, before));
  rows.push({ step: "clean-up", proven: end.result, seconds: end.seconds });

  const total = ((performance.now() - began) / 1000).toFixed(0);
  screen.heading(`All ${screen.checks()} checks hold (${total} s)`);
  screen.table(rows);
}

/** Resolves when someone wants the demo to end. */
const interruption = (): Promise<NodeJS.Signals> =>
  new Promise((resolve) => {
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => resolve(signal));
  });

/** Resolves to the exit status: 0, 1 when a check did not hold, 128 and the signal's number after an interrupt. */
async function main(): Promise<number> {
  const screen = makeScreen();
  const folder = makeTempFolder();
  let during = "the beginning";
  const everything = showEverything(screen, folder, (text) => {
    during = text;
  });
  try {
    const signal = await Promise.race([everything, interruption()]);
    if (signal === undefined) return 0;
    screen.heading(`${signal} during "${during}": cleaning up`);
    return 128 + constants.signals[signal];
  } catch (error) {
    screen.failure(error, during);
    return 1;
  } finally {
    screen.silence();
    // Ends what is left in the folder, by process id: nothing after a demo that came to its end.
    await folder.remove();
    const left = await processesOf(folder);
    if (left.length > 0) console.error(`still there: ${left.join("\n")}`);
  }
}

main().then(
  (status) => process.exit(status),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
