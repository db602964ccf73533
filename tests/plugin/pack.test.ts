/** The plugin as a folder and as an archive, each used from where nothing of this checkout is (tests/engine/pack: npm). */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import path from "node:path";
import { type LightHost, startLightHost } from "../support/lightHost";
import { configOf, entry, said } from "../support/program";
import { makeTempFolder, projectRoot } from "../support/tempFolder";
import { languagePath, nativeProject, yaml } from "./support/native";

const root = projectRoot();
const folder = makeTempFolder();
let host: LightHost;

beforeAll(async () => {
  // Compiles dist/ where it is out of date.
  await languagePath();
  host = await startLightHost({ folder });
});
afterAll(() => folder.remove());

const program = (): string =>
  `name: test\nruntime: yaml\nresources:\n  fleet:\n    type: sshkeepalive:SshKeepalive\n    properties: ${yaml({
    hosts: { h: entry(host) },
    server: { clientAliveInterval: 60 },
  })}\n`;

test.each(["archive", "folder"] as const)(
  "`pulumi plugin install --file` takes the plugin's %s, which needs nothing else",
  async (form) => {
    const { buildPlugin } = require(path.join(root, "tools/plugin.js")) as {
      buildPlugin(target: string): { readonly folder: string; readonly archive: string; readonly version: string };
    };
    const built = buildPlugin(path.join(folder.path, form));
    const project = await nativeProject(folder, { "Pulumi.yaml": program() });
    const text = readFileSync(path.join(project.dir, "Pulumi.yaml"), "utf8");
    await project.write({ "Pulumi.yaml": text.replace(/plugins:[\s\S]*/, "") });
    const installed = await project.pulumi([
      "plugin",
      "install",
      "resource",
      "sshkeepalive",
      built.version,
      "--file",
      built[form],
    ]);
    expect({ code: installed.code, said: said(installed) }).toMatchObject({ code: 0 });
    const fresh = configOf(host);
    const up = await project.up();
    expect({ code: up.code, said: said(up) }).toMatchObject({ code: 0 });
    expect((await host.sshdT()).get("clientaliveinterval")).toBe("60");
    expect(await project.destroy()).toMatchObject({ code: 0 });
    expect(configOf(host)).toEqual(fresh);
  },
);

test("a program of the dynamic face loads nothing of the plugin", () => {
  const loaded = execFileSync(
    process.execPath,
    [
      "-e",
      'require("./dist/index.js"); console.log(Object.keys(require.cache).filter((f) => /dist.(plugin|engineLog)/.test(f)).length)',
    ],
    { cwd: root, encoding: "utf8" },
  );
  expect(loaded.trim()).toBe("0");
});
