/** A shared connection that outlives its daemon must not make a dead host look alive, nor another file look like its. */
import { factsOf, planHost, wayTo } from "../../provider/fleet";
import { hostSettings } from "../../provider/inputs";
import { startLightHost } from "../support/lightHost";
import { makeTempFolder } from "../support/tempFolder";

test("a host whose daemon ended is unreachable although the shared connection lives, and fine once it is back", async () => {
  const folder = makeTempFolder();
  process.env.TMPDIR = folder.path;
  const host = await startLightHost({ folder });
  const [settings] = hostSettings({ hosts: { web: host.connection }, server: { clientAliveInterval: 60 } });
  if (settings === undefined) throw new Error("no settings");
  const way = wayTo(settings);
  try {
    const first = await factsOf(way, true);
    expect(first.server?.config).toBe(host.configPath);
    await host.stop({ keepSessions: true });
    const plan = await planHost(settings, undefined, "fresh");
    expect(plan).toMatchObject({ kind: "failed", failure: { code: "unreachable", host: "web", step: "connect" } });
    await host.start();
    const again = await factsOf(way, true);
    expect(again.server?.daemon?.pid).toBe(String(host.pid()));
  } finally {
    await way.connector.close();
    await host.stop();
    await folder.remove();
  }
});
