import { existsSync, writeFileSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
import { startLab } from "./support/host";

test("hold", async () => {
  const lab = await startLab();
  const names = (process.env.NAMES ?? "").split(",") as never[];
  const hosts = await Promise.all(
    names.map((image: string) => lab.host({ image: image as never, name: `x-${image}` })),
  );
  writeFileSync(
    "/tmp/labwork/hold",
    hosts.map((h) => `${h.name} ${h.leader()} ${h.address} ${lab.folder.path}/key\n`).join(""),
  );
  while (existsSync("/tmp/labwork/hold")) await pause(300);
  await lab.end();
}, 3600000);
