/** What is compared: this project, Ansible and pyinfra at the same work, and the two things nobody can go below. */
import { execFile } from "node:child_process";
import { cp, mkdir, rm, writeFile } from "node:fs/promises";
import { delimiter, dirname, join } from "node:path";
import { makeProject, type Project } from "../../tests/support/engine";
import type { LightHost } from "../../tests/support/lightHost";
import { setupModule, type TempFolder } from "../../tests/support/tempFolder";
import { WANTED } from "./fleet";
import type { Command } from "./meter";

/** Who can do the work. */
export type ContenderName = "pulumi" | "ansible" | "pyinfra";

/** Someone who can do the work. */
export interface Contender {
  readonly name: ContenderName;
  /** Name and version. */
  readonly label: string;
  /** Whether its connections outlive a run, so that the next one may begin warm. */
  readonly keepsConnections: boolean;
  /** Looks and changes nothing; exits with 0 where something is to be changed, too. */
  readonly preview: Command;
  readonly apply: Command;
  /** Forgets what it remembers of the hosts, as before its first run. */
  forget(): Promise<void>;
  /** Bytes of what it stores about the hosts. */
  storedBytes?(): Promise<number>;
}

/** How Ansible and pyinfra edit: each setting's line where it stands, or one block of both (less work, less finesse). */
export type PeerStyle = "line" | "block";

/** Seconds that shared connections stay, for this project and Ansible alike (provider/host/ssh.ts). */
const PERSIST_SECONDS = 90;

/** A key, known_hosts and the programs, as everyone but this project needs them. */
export interface Access {
  readonly ssh: string;
  readonly sshd: string;
  readonly keyFile: string;
  readonly knownHosts: string;
  /** Options for ssh that keep the user's own files out. */
  readonly options: readonly string[];
}

/** Writes what is needed to log in to the hosts. */
export async function makeAccess(folder: TempFolder, hosts: readonly LightHost[]): Promise<Access> {
  const { ssh, sshd } = setupModule().findOpenSsh();
  if (ssh === undefined || sshd === undefined) throw new Error("OpenSSH is incomplete: run `npm run setup`");
  const knownHosts = join(folder.path, "known_hosts");
  const lines = hosts.map(({ connection: { port, hostKey } }) => `[127.0.0.1]:${port} ${hostKey}\n`);
  await writeFile(knownHosts, lines.join(""));
  const keyFile = join(folder.path, "user_key");
  const settings = ["BatchMode=yes", "IdentitiesOnly=yes", "IdentityAgent=none", "StrictHostKeyChecking=yes"];
  settings.push(`UserKnownHostsFile=${knownHosts}`, "GlobalKnownHostsFile=/dev/null", `IdentityFile=${keyFile}`);
  return { ssh, sshd, keyFile, knownHosts, options: ["-F", "/dev/null", ...settings.flatMap((one) => ["-o", one])] };
}

/** `ssh` to every host, `width` at a time, one `sshd -T` each, nothing shared and nothing looked at. */
export async function floor(
  folder: TempFolder,
  hosts: readonly LightHost[],
  access: Access,
): Promise<(width: number) => Command> {
  const list = join(folder.path, "floor.txt");
  const lines = hosts.map(({ port, configPath }) => `-p ${port} 127.0.0.1 ${access.sshd} -T -f ${configPath}\n`);
  await writeFile(list, lines.join(""));
  const options = [...access.options, "-o", "ControlMaster=no", "-o", "ControlPath=none"];
  return (width) => ({
    argv: ["xargs", "-a", list, "-P", String(width), "-L", "1", access.ssh, ...options],
    cwd: folder.path,
    env: { PATH: process.env.PATH },
  });
}

/** A call of the engine in a project, without the tests' own time-keeping. */
function engineCommand(project: Project, args: readonly string[]): Command {
  const engine = setupModule().findEngine();
  if ("reason" in engine) throw new Error(`${engine.reason}: run \`npm run setup\``);
  return { argv: [engine.pulumi, "--non-interactive", ...args], cwd: project.dir, env: project.env };
}

const PREVIEW = ["preview"];
const UP = ["up", "--yes", "--skip-preview"];

/** A project with a stack, and a way back to that stack as it was before its first update. */
async function projectWithStack(
  folder: TempFolder,
  files: Readonly<Record<string, string>>,
): Promise<{ readonly project: Project; forget(): Promise<void> }> {
  // Control sockets would go to the user's own runtime folder.
  const project = await makeProject({ folder, name: "bench", program: files, env: { XDG_RUNTIME_DIR: undefined } });
  const made = await project.init();
  if (made.code !== 0) throw new Error(`the stack could not be made: ${made.stdout}${made.stderr}`);
  const [state, first] = [join(project.dir, ".state"), join(project.dir, ".first-state")];
  await cp(state, first, { recursive: true });
  return {
    project,
    forget: async () => {
      await rm(state, { recursive: true });
      await cp(first, state, { recursive: true });
    },
  };
}

/** The engine's start: the same engine and SDK with a program that declares nothing. */
export async function engineStart(folder: TempFolder): Promise<Pick<Contender, "preview" | "apply">> {
  const { project } = await projectWithStack(folder, { "index.js": 'require("@pulumi/pulumi");\n' });
  // Once before anything is timed, so that its files are in memory; asking for the others' version has read theirs.
  await project.pulumi(["preview"]);
  return { preview: engineCommand(project, PREVIEW), apply: engineCommand(project, UP) };
}

/** How a host is named in the program. */
export type HostEntry = Readonly<Record<string, unknown>>;

/** Where a light host is, without the key, which all share. */
export const entryOf = ({ connection: { host, port, hostKey } }: LightHost): HostEntry => ({ host, port, hostKey });

/** This project: one dynamic resource for all hosts, its defaults and nothing tuned. */
export async function keepalive(
  folder: TempFolder,
  hosts: Readonly<Record<string, HostEntry>>,
  login: { readonly user: string; readonly privateKey: string },
  more: Readonly<Record<string, unknown>> = {},
): Promise<Contender> {
  const server = { clientAliveInterval: WANTED.ClientAliveInterval, clientAliveCountMax: WANTED.ClientAliveCountMax };
  const { user, privateKey } = login;
  const { project, forget } = await projectWithStack(folder, {
    "index.js": `const { SshKeepalive } = require("pulumi-ssh-keepalive");
new SshKeepalive("fleet", require("./fleet.json"));
`,
    "fleet.json": JSON.stringify({ hosts, connection: { user, privateKey }, server, ...more }),
  });
  const version = await project.pulumi(["version"]);
  return {
    name: "pulumi",
    label: `this project, Pulumi ${version.stdout.trim()}`,
    keepsConnections: true,
    preview: engineCommand(project, PREVIEW),
    apply: engineCommand(project, UP),
    forget,
    storedBytes: async () => {
      const { stdout } = await project.pulumi(["stack", "export"]);
      return Buffer.byteLength(stdout);
    },
  };
}

/** Installs Ansible and pyinfra into the folder and writes what they need. Rejects with pip's words. */
export async function peers(
  folder: TempFolder,
  hosts: readonly LightHost[],
  access: Access,
  style: PeerStyle,
): Promise<readonly Contender[]> {
  const dir = join(folder.path, "peers");
  const venv = join(dir, "venv");
  await mkdir(join(dir, "home"), { recursive: true });
  // The interpreter itself, not a version switcher's wrapper: on the hosts, each of Ansible's modules starts it.
  const python = (await output("python3", ["-c", "import sys, os; print(os.path.realpath(sys.executable))"])).trim();
  await output(python, ["-m", "venv", venv]);
  const pip = ["-m", "pip", "install", "--quiet", "--no-cache-dir", "--disable-pip-version-check"];
  await output(join(venv, "bin", "python"), [...pip, "ansible-core", "pyinfra"]);
  const env: NodeJS.ProcessEnv = {
    PATH: [join(venv, "bin"), dirname(access.ssh), process.env.PATH ?? ""].join(delimiter),
    HOME: join(dir, "home"),
    TMPDIR: folder.path,
    LC_ALL: "C.UTF-8",
  };
  return Promise.all([ansible(dir, env, hosts, access, style, python), pyinfra(dir, env, hosts, access, style)]);
}

const user = (hosts: readonly LightHost[]): string => hosts[0]?.connection.user ?? "root";

async function ansible(
  dir: string,
  common: NodeJS.ProcessEnv,
  hosts: readonly LightHost[],
  access: Access,
  style: PeerStyle,
  python: string,
): Promise<Contender> {
  const validate = `${access.sshd} -t -f %s`;
  const lines = Object.entries(WANTED).map(([name, value]) => ({
    "ansible.builtin.lineinfile": {
      path: "{{ config }}",
      regexp: `^#?${name}\\s`,
      line: `${name} ${value}`,
      validate,
    },
    notify: "reload",
  }));
  const text = Object.entries(WANTED).map(([name, value]) => `${name} ${value}`);
  const block = [
    { "ansible.builtin.blockinfile": { path: "{{ config }}", block: text.join("\n"), validate }, notify: "reload" },
  ];
  const play = {
    hosts: "all",
    gather_facts: false,
    tasks: style === "line" ? lines : block,
    handlers: [{ name: "reload", "ansible.builtin.shell": "kill -HUP $(cat {{ pidfile }})" }],
  };
  const inventory = {
    all: {
      vars: {
        ansible_host: "127.0.0.1",
        ansible_user: user(hosts),
        ansible_python_interpreter: python,
        ansible_ssh_executable: access.ssh,
      },
      hosts: Object.fromEntries(
        hosts.map(({ name, port, configPath, dir: home }) => [
          name,
          { ansible_port: port, config: configPath, pidfile: join(home, "sshd.pid") },
        ]),
      ),
    },
  };
  // JSON is YAML.
  await writeFile(join(dir, "playbook.yml"), JSON.stringify([play], undefined, 1));
  await writeFile(join(dir, "inventory.yml"), JSON.stringify(inventory, undefined, 1));
  await writeFile(join(dir, "ansible.cfg"), "[defaults]\n");
  const shared = ["-o", "ControlMaster=auto", "-o", `ControlPersist=${PERSIST_SECONDS}`];
  const env = {
    ...common,
    // Empty: the variables below say all, and no other file is looked for.
    ANSIBLE_CONFIG: join(dir, "ansible.cfg"),
    ANSIBLE_HOME: join(dir, "ansible"),
    ANSIBLE_LOCAL_TEMP: join(dir, "ansible", "tmp"),
    // The hosts are this machine: not the user's own ~/.ansible there either.
    ANSIBLE_REMOTE_TMP: join(dir, "remote"),
    ANSIBLE_PIPELINING: "True",
    ANSIBLE_FORKS: String(Math.min(hosts.length, 50)),
    ANSIBLE_SSH_ARGS: [...access.options, ...shared].join(" "),
    // Short: a socket's path may have 104 bytes.
    ANSIBLE_SSH_CONTROL_PATH_DIR: join(dir, "cp"),
    ANSIBLE_NOCOLOR: "1",
  };
  const version = await output(join(dir, "venv", "bin", "ansible"), ["--version"], env);
  const command = (...more: readonly string[]): Command => ({
    argv: [join(dir, "venv", "bin", "ansible-playbook"), "-i", "inventory.yml", ...more, "playbook.yml"],
    cwd: dir,
    env,
  });
  return {
    name: "ansible",
    label: `Ansible ${/core ([\d.]+)/.exec(version)?.[1] ?? "?"} (pipelining, ${env.ANSIBLE_FORKS} forks)`,
    keepsConnections: true,
    preview: command("--check"),
    apply: command(),
    forget: async () => {},
  };
}

async function pyinfra(
  dir: string,
  env: NodeJS.ProcessEnv,
  hosts: readonly LightHost[],
  access: Access,
  style: PeerStyle,
): Promise<Contender> {
  const data = Object.fromEntries(
    hosts.map(({ name, port, configPath, dir: home }) => [
      name,
      { ssh_port: port, config: configPath, pidfile: join(home, "sshd.pid") },
    ]),
  );
  const all = {
    ssh_hostname: "127.0.0.1",
    ssh_user: user(hosts),
    ssh_key: access.keyFile,
    ssh_allow_agent: false,
    ssh_look_for_keys: false,
    ssh_known_hosts_file: access.knownHosts,
    ssh_strict_host_key_checking: "yes",
  };
  await writeFile(join(dir, "hosts.json"), JSON.stringify({ data, all }));
  await writeFile(
    join(dir, "inventory.py"),
    `import json
from pathlib import Path
given = json.loads(Path("hosts.json").read_text())
fleet = [(name, {**given["all"], **data}) for name, data in given["data"].items()]
`,
  );
  const wanted = Object.entries(WANTED);
  const edits =
    style === "line"
      ? wanted.map(
          ([name, value]) =>
            `files.line(path=config, line=r"^#?${name} .*$", replace="${name} ${value}", extended_regex=True)`,
        )
      : [`files.block(path=config, content=${JSON.stringify(wanted.map(([name, value]) => `${name} ${value}`))})`];
  await writeFile(
    join(dir, "deploy.py"),
    `from pyinfra import host
from pyinfra.operations import files, server
config = host.data.config
edits = [
${edits.map((edit) => `    ${edit},\n`).join("")}]
server.shell(
    commands=[f"${access.sshd} -t -f {config}", f"kill -HUP $(cat {host.data.pidfile})"],
    _if=lambda: any(edit.did_change() for edit in edits),
)
`,
  );
  const executable = join(dir, "venv", "bin", "pyinfra");
  const version = await output(executable, ["--version"], env);
  const command = (how: string): Command => ({
    argv: [executable, how, "inventory.py", "deploy.py"],
    cwd: dir,
    env,
  });
  return {
    name: "pyinfra",
    label: `pyinfra ${/\d[\d.]*/.exec(version)?.[0] ?? "?"}`,
    keepsConnections: false,
    preview: command("--dry"),
    apply: command("--yes"),
    forget: async () => {},
  };
}

/** What a program prints; rejects with the end of its words when it fails. */
function output(file: string, args: readonly string[], env: NodeJS.ProcessEnv = process.env): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile(file, [...args], { env, timeout: 300_000, maxBuffer: 16 * 1024 * 1024 }, (error, stdout, stderr) => {
      if (error === null) resolve(stdout);
      else reject(new Error(`${[file, ...args].join(" ")}:\n${`${stdout}${stderr}`.trim().slice(-2000)}`));
    });
  });
}
