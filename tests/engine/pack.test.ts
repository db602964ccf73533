/** The package as a user gets it: packed, installed by npm into an empty project, and linked. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { languagePath } from "../plugin/support/native";
import { type LightHost, startFleet } from "../support/lightHost";
import { configOf, entries, type KeepaliveProject, keepaliveProject, pendingChanges, said } from "../support/program";
import { makeTempFolder, projectRoot } from "../support/tempFolder";

const folder = makeTempFolder();
afterAll(() => folder.remove());

const npm = (args: readonly string[], cwd: string): string =>
  execFileSync("npm", args, { cwd, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });

/** Takes away what the test support put into node_modules, so that npm alone decides what is there. */
function emptied(project: KeepaliveProject): void {
  rmSync(join(project.dir, "node_modules"), { recursive: true });
}

test.each([
  ["the packed tarball, installed by npm", "tarball"],
  ["a link, as npm link and workspaces make it", "symlink"],
] as const)("%s works in an empty project", async (_, how) => {
  const { hosts } = await startFleet(1, { folder });
  const [host] = hosts;
  if (host === undefined) throw new Error("no host");
  const before = configOf(host);
  const project = await keepaliveProject(folder, how === "symlink" ? { link: "symlink" } : {});
  if (how === "tarball") {
    emptied(project);
    const packed = join(folder.path, "packed");
    mkdirSync(packed);
    npm(["pack", "--ignore-scripts", "--pack-destination", packed], projectRoot());
    const [tarball = ""] = readdirSync(packed);
    npm(["install", "--prefer-offline", "--no-audit", "--no-fund", join(packed, tarball)], project.dir);
    const root = join(project.dir, "node_modules/pulumi-ssh-keepalive");
    // What it needs and nothing of ours that it does not: no sources, tests or tools.
    expect(readdirSync(root).filter((name) => ["provider", "tests", "tools", "node_modules"].includes(name))).toEqual(
      [],
    );
    expect(
      ["dist/index.js", "dist/index.d.ts", "schema.json", "dist/host/scripts"].filter(
        (f) => !existsSync(join(root, f)),
      ),
    ).toEqual([]);
  }
  await project.declare({ fleet: { args: { hosts: entries([host]), server: { clientAliveInterval: 60 } } } });
  const preview = await project.previewJson();
  expect(pendingChanges(preview.digest).fleet?.[host.name]?.[0]).toContain("ClientAliveInterval 0, wanted 60");
  const up = await project.up();
  expect({ code: up.code, said: said(up) }).toMatchObject({ code: 0 });
  expect((await host.sshdT()).get("clientaliveinterval")).toBe("60");
  expect(await project.preview(["--expect-no-changes"])).toMatchObject({ code: 0 });
  expect(await project.destroy()).toMatchObject({ code: 0 });
  expect(configOf(host)).toEqual(before);
  if (how === "tarball") await nativeFace(project, host);
});

/** The same installed package, used by a YAML program as docs/plugin.md says. */
async function nativeFace(project: KeepaliveProject, host: LightHost): Promise<void> {
  const PATH = await languagePath();
  const before = configOf(host);
  await project.write({
    "Pulumi.yaml": `name: test
runtime: yaml
plugins:
  providers:
    - name: sshkeepalive
      path: node_modules/pulumi-ssh-keepalive/bin
resources:
  fleet:
    type: sshkeepalive:SshKeepalive
    properties: ${JSON.stringify({ hosts: entries([host]), server: { clientAliveInterval: 60 } })}
`,
  });
  const preview = await project.preview([], { env: { PATH } });
  expect({ code: preview.code, said: said(preview) }).toMatchObject({
    code: 0,
    said: expect.stringContaining("ClientAliveInterval 0, wanted 60"),
  });
  const up = await project.up([], { env: { PATH } });
  expect({ code: up.code, said: said(up) }).toMatchObject({ code: 0 });
  expect((await host.sshdT()).get("clientaliveinterval")).toBe("60");
  expect(await project.destroy([], { env: { PATH } })).toMatchObject({ code: 0 });
  expect(configOf(host)).toEqual(before);
}
