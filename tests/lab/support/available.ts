/** Whether real hosts can run on this machine, decided once and before any test is defined. */
import { spawnSync } from "node:child_process";
import { accessSync, constants, existsSync } from "node:fs";
import { delimiter, join } from "node:path";

/** Programs the lab needs, and Debian's packages that bring them. */
const TOOLS: Readonly<Record<string, string>> = {
  debootstrap: "debootstrap",
  "systemd-nspawn": "systemd-container",
  nft: "nftables",
  ip: "iproute2",
  unshare: "util-linux",
  nsenter: "util-linux",
  flock: "util-linux",
  ssh: "openssh-client",
  "ssh-keygen": "openssh-client",
};

const SYSTEM_PATH = ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/bin", "/bin"];

function found(program: string): boolean {
  const folders = [...(process.env.PATH ?? "").split(delimiter), ...SYSTEM_PATH];
  return folders.some((folder) => {
    try {
      accessSync(join(folder, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

const missing = (): string[] => Object.keys(TOOLS).filter((tool) => !found(tool));

/** Gets missing tools from Debian's or Ubuntu's own packages; what is then still missing decides. */
function installMissing(): void {
  if (!existsSync("/etc/debian_version") || !found("apt-get")) return;
  const packages = [...new Set(missing().map((tool) => TOOLS[tool] ?? tool))];
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  const options = { env, stdio: "ignore" as const, timeout: 900_000 };
  // Two test processes at once wait for each other here: an update that finds another one under way fails.
  const apt = ["/var/lib/apt/lists", "apt-get", "-q", "-y", "-o", "DPkg::Lock::Timeout=120"];
  spawnSync("flock", [...apt, "update"], options);
  spawnSync("flock", [...apt, "--no-install-recommends", "install", ...packages], options);
}

/** Why there can be no lab here; undefined when there can. Never throws. */
function whyNot(): string | undefined {
  if (process.platform !== "linux") return "the lab needs Linux";
  if (process.getuid?.() !== 0) return "the lab needs root";
  if (missing().length > 0) installMissing();
  const absent = missing();
  return absent.length === 0 ? undefined : `the lab needs ${absent.join(", ")}`;
}

/**
 * `describe` for tests on real hosts: where there can be none, one skipped test says why, or a failed one when
 * SSH_KEEPALIVE_LAB=require (CI). SSH_KEEPALIVE_LAB=off leaves them out.
 */
export function describeLab(name: string, tests: () => void): void {
  const reason = process.env.SSH_KEEPALIVE_LAB === "off" ? "SSH_KEEPALIVE_LAB is off" : whyNot();
  if (reason === undefined) {
    for (const folder of SYSTEM_PATH) {
      if (!(process.env.PATH ?? "").split(delimiter).includes(folder)) process.env.PATH += delimiter + folder;
    }
    describe(name, tests);
  } else if (process.env.SSH_KEEPALIVE_LAB === "require") {
    test(`${name}: real hosts`, () => {
      throw new Error(reason);
    });
  } else {
    test.skip(`${name}: ${reason}`, () => {});
  }
}
