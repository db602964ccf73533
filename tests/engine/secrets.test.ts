/** A unique secret in every secret field, searched for everywhere: output, state, arguments, environments, files. */
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { appendFileSync, lstatSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { below, bytesOf } from "../support/below";
import type { Outcome } from "../support/engine";
import { type LightHost, startLightHost } from "../support/lightHost";
import { type KeepaliveProject, keepaliveProject, said } from "../support/program";
import { makeTempFolder } from "../support/tempFolder";

const folder = makeTempFolder();
/** Holds the secrets, so that the program has them from somewhere: not searched. */
const vault = makeTempFolder();
/** What to search for → which field it was in. */
const secrets = new Map<string, string>();
let project: KeepaliveProject;
let host: LightHost;
let outputs: (readonly [call: string, outcome: Outcome])[];

function password(field: string): string {
  const value = `pw-${randomBytes(12).toString("hex")}`;
  secrets.set(value, field);
  return value;
}

/** A key of its own, encrypted; every line of its text is searched for. */
function key(field: string): { readonly privateKey: string; readonly privateKeyPassword: string } {
  const privateKeyPassword = password(`${field}Password`);
  const file = join(vault.path, `key-${secrets.size}`);
  execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-a", "1", "-N", privateKeyPassword, "-C", "", "-f", file]);
  const privateKey = readFileSync(file, "utf8");
  // The first line is the same for many keys.
  for (const line of privateKey.split("\n").slice(2, -2)) secrets.set(line, field);
  appendFileSync(join(vault.path, "public"), readFileSync(`${file}.pub`));
  return { privateKey, privateKeyPassword };
}

function everything(at: string): Record<string, unknown> {
  return {
    password: password(`${at}.password`),
    ...key(`${at}.privateKey`),
    proxy: {
      host: "127.0.0.1",
      port: host.port,
      hostKey: host.connection.hostKey,
      user: host.connection.user,
      password: password(`${at}.proxy.password`),
      ...key(`${at}.proxy.privateKey`),
    },
  };
}

/** Both as plain strings and as secrets; at the top level and at a host; on hosts that let us in and that do not. */
function declared(): Record<string, unknown> {
  const { port, user, hostKey } = host.connection;
  const server = { clientAliveInterval: 60 };
  const resources = ["plain", "sealed"].map((kind) => [
    kind,
    {
      hosts: {
        inherits: { host: "192.0.2.1", port: 1, user, perDialTimeout: 2 },
        own: {
          host: "127.0.0.1",
          port: 1,
          user,
          ...everything(`${kind}.hosts.own`),
          become: { password: password(`${kind}.hosts.own.become`) },
        },
      },
      connection: everything(`${kind}.connection`),
      become: { password: password(`${kind}.become`) },
      server,
    },
  ]);
  return {
    // First: the engine begins nothing new once a resource has failed.
    works: {
      hosts: { host: { host: "127.0.0.1", port, user, hostKey } },
      connection: key("works.connection.privateKey"),
      server,
    },
    ...Object.fromEntries(resources),
    refused: {
      hosts: { host: { host: "127.0.0.1", port, user: "nobody", hostKey } },
      connection: { password: password("refused.connection.password") },
      server,
    },
  };
}

const PROGRAM = (file: string) => `
const pulumi = require("@pulumi/pulumi");
const { SshKeepalive } = require("pulumi-ssh-keepalive");
const SECRET = ["password", "privateKey", "privateKeyPassword"];
const seal = (value) => typeof value !== "object" || value === null ? value : Object.fromEntries(
  Object.entries(value).map(([k, v]) => [k, SECRET.includes(k) ? pulumi.secret(v) : seal(v)]));
for (const [name, args] of Object.entries(JSON.parse(require("node:fs").readFileSync(${JSON.stringify(file)}, "utf8")))) {
  new SshKeepalive(name, name === "sealed" ? seal(args) : args);
}
`;

/** Notes every process's arguments and environment, several times a second, until told to stop. */
function watchProcesses(): () => string[] {
  const seen = new Set<string>();
  const look = () => {
    for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name) && name !== String(process.pid))) {
      for (const file of ["cmdline", "environ"]) {
        try {
          const text = readFileSync(`/proc/${pid}/${file}`, "latin1");
          for (const found of leaks(text)) seen.add(`${found} in the ${file} of ${text.slice(0, 40)}`);
        } catch {
          // It has just ended.
        }
      }
    }
  };
  const timer = setInterval(look, 40);
  return () => {
    clearInterval(timer);
    return [...seen];
  };
}

/** All secrets in one pattern, made when the last of them is known: a search for each would be slow. */
let anySecret: RegExp | undefined;

/** The fields whose secrets are in a text. */
function leaks(text: string): string[] {
  anySecret ??= new RegExp([...secrets.keys()].map((value) => value.replaceAll(/[+/=]/g, "\\$&")).join("|"), "g");
  return [...new Set([...text.matchAll(anySecret)].map(([value]) => secrets.get(value) ?? ""))];
}

beforeAll(async () => {
  // A password is asked for only where the host offers it.
  host = await startLightHost({ folder, extraLines: ["PasswordAuthentication yes", "MaxStartups 200"] });
  const file = join(vault.path, "args.json");
  writeFileSync(file, JSON.stringify(declared()));
  appendFileSync(join(host.dir, "authorized_keys"), readFileSync(join(vault.path, "public")));
  project = await keepaliveProject(folder, { program: PROGRAM(file) });
});
afterAll(async () => {
  await folder.remove();
  await vault.remove();
});

const onLinux = process.platform === "linux" ? test : test.skip;
onLinux("no secret is in any process's arguments or environment while preview and up run (needs /proc)", async () => {
  const stop = watchProcesses();
  outputs = [
    ["preview --diff", await project.preview(["--diff"])],
    ["preview --json", await project.previewJson()],
    ["up", await project.up()],
    ["preview, drift", await project.preview(["--diff", "--refresh"])],
  ];
  expect(stop()).toEqual([]);
  const text = outputs.map(([, outcome]) => said(outcome)).join("\n");
  // It went as far as it was meant to: one host done, one login refused, jump hosts tried.
  expect((await host.sshdT()).get("clientaliveinterval")).toBe("60");
  expect(text).toMatch(/\[auth\] connect: /);
});

test("no secret is in the output of preview and up, as text, with --diff or as JSON", () => {
  for (const [call, outcome] of outputs) expect([call, leaks(said(outcome))]).toEqual([call, []]);
});

test("no secret is in clear in the state", async () => {
  const { stdout } = await project.pulumi(["stack", "export"]);
  expect(stdout).toContain("ciphertext");
  expect(leaks(stdout)).toEqual([]);
  // They are in it, though, for the next run: encrypted.
  const shown = await project.pulumi(["stack", "export", "--show-secrets"]);
  expect(leaks(shown.stdout)).toContain("works.connection.privateKey");
});

test("a verbose log holds no secret but where Pulumi itself writes inputs, which it does from -v=3 on", async () => {
  const verbose = await project.preview(["--logtostderr", "-v=3"]);
  const lines = said(verbose)
    .split("\n")
    .filter((line) => leaks(line).length > 0);
  expect(
    lines.filter((line) => !line.includes('"msg":"RegisterResource RPC finished')).map((l) => l.slice(0, 80)),
  ).toEqual([]);
});

test("no secret is in any file that the engine, the provider or the host left", () => {
  const found = below(folder.path).flatMap((path) => {
    const file = join(folder.path, path);
    if (path.includes("node_modules/") || lstatSync(file, { throwIfNoEntry: false })?.isFile() !== true) return [];
    return leaks(bytesOf(file) ?? "").map((field) => `${field} in ${path}`);
  });
  expect(found).toEqual([]);
});

test("destroy puts the host back and says no secret either", async () => {
  const destroy = await project.destroy(["--target", "**works"]);
  expect({ code: destroy.code, leaks: leaks(said(destroy)) }).toEqual({ code: 0, leaks: [] });
  expect((await host.sshdT()).get("clientaliveinterval")).toBe("0");
});
