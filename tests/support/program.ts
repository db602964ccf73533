/** A Pulumi program that declares SshKeepalive resources out of a data file, and what hosts look like to a test. */
import { lstatSync, statSync } from "node:fs";
import { join } from "node:path";
import { below, bytesOf } from "./below";
import { makeProject, type Outcome, type PreviewDigest, type Project, type ProjectOptions } from "./engine";
import type { LightHost } from "./lightHost";
import type { TempFolder } from "./tempFolder";

/** One resource of the program: the arguments, and options as data (`deletedWith` names an earlier resource). */
export interface Declared {
  readonly args: Readonly<Record<string, unknown>>;
  readonly opts?: Readonly<Record<string, unknown>>;
}

/** Declares what resources.json says, in its order. */
export const PROGRAM = `
const { SshKeepalive } = require("pulumi-ssh-keepalive");
const made = {};
for (const [name, { args, opts = {} }] of Object.entries(require("./resources.json"))) {
  const { deletedWith, ...rest } = opts;
  made[name] = new SshKeepalive(name, args, { ...rest, ...(deletedWith && { deletedWith: made[deletedWith] }) });
}
`;

/** A project whose resources are data. */
export interface KeepaliveProject extends Project {
  /** Replaces all resources of the program. */
  declare(resources: Readonly<Record<string, Declared>>): Promise<void>;
}

/** Makes a project with a stack; it declares nothing yet. */
export async function keepaliveProject(
  folder: TempFolder,
  options: Partial<ProjectOptions> = {},
): Promise<KeepaliveProject> {
  const project = await makeProject({
    folder,
    program: { "index.js": PROGRAM, "resources.json": "{}" },
    ...options,
    env: { XDG_RUNTIME_DIR: undefined, ...options.env },
  });
  const made = await project.init();
  if (made.code !== 0) throw new Error(`stack init: ${said(made)}`);
  return { ...project, declare: (resources) => project.write({ "resources.json": JSON.stringify(resources) }) };
}

/** Both streams of a call. */
export const said = ({ stdout, stderr }: Outcome): string => `${stdout}\n${stderr}`;

/** How a host of the map is reached. */
export const entry = (host: LightHost, more: Readonly<Record<string, unknown>> = {}): Record<string, unknown> => ({
  ...host.connection,
  ...more,
});

/** `hosts` for light hosts under their own names. */
export const entries = (hosts: readonly LightHost[]): Record<string, Record<string, unknown>> =>
  Object.fromEntries(hosts.map((host) => [host.name, entry(host)]));

/** What a preview says would change: resource name → host → lines; resources without such lines are absent. */
export function pendingChanges(digest: PreviewDigest | undefined): Record<string, Record<string, string[]>> {
  const found: Record<string, Record<string, string[]>> = {};
  for (const step of digest?.steps ?? []) {
    const inputs = step.newState?.inputs as { pendingChanges?: Record<string, string[]> } | undefined;
    if (inputs?.pendingChanges !== undefined) found[nameOf(step.urn)] = inputs.pendingChanges;
  }
  return found;
}

/** The last part of a URN: the resource's name. */
export const nameOf = (urn: string): string => urn.slice(urn.lastIndexOf("::") + 2);

/** `observed` of each resource in the stack, by resource name. */
export async function observedIn(project: Project): Promise<Record<string, Record<string, Record<string, unknown>>>> {
  const { deployment } = await project.exportState();
  return Object.fromEntries(
    (deployment.resources ?? []).flatMap((resource) =>
      resource.outputs?.observed === undefined
        ? []
        : [[nameOf(resource.urn), resource.outputs.observed as Record<string, Record<string, unknown>>]],
    ),
  );
}

/** The configuration of a host: path → bytes (latin1), everything named `sshd_config` or below `sshd_config.d`. */
export function configOf(host: LightHost): Record<string, string> {
  return Object.fromEntries(
    configFiles(host).flatMap((path) => {
      const bytes = bytesOf(join(host.dir, path));
      return bytes === undefined ? [] : [[path, bytes]];
    }),
  );
}

/** Changes when a configuration file is written or replaced, when one comes or goes, and when sshd reads them again. */
export function footprint(host: LightHost): string {
  const stamp = (path: string): string => {
    const { ino, mtimeNs } = statSync(join(host.dir, path), { bigint: true });
    return `${path} ${ino} ${mtimeNs}`;
  };
  return [...configFiles(host), "sshd.pid"].map(stamp).join("\n");
}

function configFiles(host: LightHost): readonly string[] {
  return below(host.dir).filter(
    (path) =>
      /^sshd_config($|\.d\/)/.test(path) &&
      lstatSync(join(host.dir, path), { throwIfNoEntry: false })?.isFile() === true,
  );
}

/** Transactions that a host remembers (the newest five). */
export function transactionsOf(host: LightHost): number {
  return below(host.stateDir).filter((path) => /^[^/]+\/backups\/[^/]+$/.test(path)).length;
}

/** Whether the host remembers an owner. */
export function isManaged(host: LightHost): boolean {
  return below(host.stateDir).some((path) => path.endsWith("/record"));
}
