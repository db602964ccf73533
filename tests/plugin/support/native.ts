/** Programs that use the native plugin under the real engine, and what the calls between the two said. */
import { readFileSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import { makeProject, type Project, type ProjectOptions } from "../../support/engine";
import type { LightHost } from "../../support/lightHost";
import { said } from "../../support/program";
import { projectRoot, type TempFolder } from "../../support/tempFolder";

/** What tools/setup.js offers beside what tests/support knows of. */
interface Setup {
  setup(options: { readonly languages: readonly string[] }): Promise<{ readonly pathEntries: readonly string[] }>;
}

let languages: Promise<string> | undefined;

/** PATH with the language hosts for YAML and Python first; builds those that are missing, once per machine. */
export function languagePath(): Promise<string> {
  languages ??= (require(join(projectRoot(), "tools/setup.js")) as Setup)
    .setup({ languages: ["yaml", "python"] })
    .then(({ pathEntries }) => [...pathEntries, process.env.PATH ?? ""].join(delimiter));
  return languages;
}

/** One gRPC call with the plugin, as the engine logged it (PULUMI_DEBUG_GRPC). */
export interface Call {
  /** `Check`, `Diff`, `Update`, … */
  readonly method: string;
  readonly request: Readonly<Record<string, unknown>>;
  readonly response: Readonly<Record<string, unknown>> | undefined;
}

/** A project whose plugin is the one under test, copied as npm would install it. */
export interface NativeProject extends Project {
  /** Calls of the resource provider since the last time, oldest first. */
  calls(): readonly Call[];
}

/** Makes a project with a stack. `Pulumi.yaml` of the program gets the plugin's place. */
export async function nativeProject(
  folder: TempFolder,
  files: Readonly<Record<string, string>>,
  options: Partial<ProjectOptions> & { readonly path?: string } = {},
): Promise<NativeProject> {
  const log = "grpc.json";
  const path = [...(options.path === undefined ? [] : [options.path]), await languagePath(), dirname(process.execPath)];
  // The project's folder is not known yet: the engine writes its log where it is started.
  const project = await makeProject({
    folder,
    program: { ...files, "Pulumi.yaml": withPlugin(files["Pulumi.yaml"] ?? "") },
    ...options,
    env: { XDG_RUNTIME_DIR: undefined, PATH: path.join(delimiter), PULUMI_DEBUG_GRPC: log, ...options.env },
  });
  const made = await project.init();
  if (made.code !== 0) throw new Error(`stack init: ${said(made)}`);
  let read = 0;
  return {
    ...project,
    calls: () => {
      const text = readFileSync(join(project.dir, log), "utf8");
      const fresh = text.slice(read);
      read = text.length;
      return (
        fresh
          .split("\n")
          .filter((line) => line !== "")
          .map((line) => JSON.parse(line) as { method: string; request: Call["request"]; response?: Call["request"] })
          // Each call has a line when it begins and one when it has ended.
          .filter((call) => "response" in call && call.method.startsWith("/pulumirpc.ResourceProvider/"))
          .map(({ method, request, response }) => ({ method: method.split("/")[2] ?? "", request, response }))
      );
    },
  };
}

/** A project file with the place of the plugin under test. */
export const withPlugin = (project: string): string =>
  `${project}plugins:\n  providers:\n    - name: sshkeepalive\n      path: node_modules/pulumi-ssh-keepalive/bin\n`;

/** What a host has logged of its visitors (LogLevel VERBOSE): logins, and commands run over them. */
export async function visitsTo(host: LightHost): Promise<{ readonly logins: number; readonly commands: number }> {
  const lines = (await host.log()).split("\n");
  const count = (text: string): number => lines.filter((line) => line.includes(text)).length;
  return { logins: count("Accepted publickey"), commands: count("Starting session: command") };
}

const SIGNATURE = "4dabf18193072939515e22adb298388d";

/** The places of `secret` in a message outside any secret's envelope. */
export function inClear(message: unknown, secret: string, at = ""): string[] {
  if (typeof message === "string") return message.includes(secret) ? [at] : [];
  if (typeof message !== "object" || message === null || SIGNATURE in message) return [];
  return Object.entries(message).flatMap(([key, value]) => inClear(value, secret, `${at}.${key}`));
}

/** YAML of a value, which JSON is as well. */
export const yaml = (value: unknown): string => JSON.stringify(value);
