/** Base images of the lab's hosts: Debian releases and init systems, built once per machine and shared by all runs. */
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, utimesSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import pLimit from "p-limit";

/** What an image is made from. */
interface Recipe {
  /** Debian's name of the release. */
  readonly suite: string;
  /** The image to start from instead of an empty folder. */
  readonly base?: ImageName;
  /** Packages beside minbase; of a recipe without a base. */
  readonly packages: readonly string[];
  /** POSIX sh, run inside the image as root. */
  readonly script: string;
}

/** The accounts that all images have. Every one may log in with the lab's key. */
export const ACCOUNTS = {
  /** Becomes root without being asked. */
  deploy: { sudo: "without password" },
  /** Becomes root with her password. */
  anna: { sudo: "with password", password: "lab-anna" },
  /** May not become root. */
  bob: { sudo: "not at all" },
} as const;

const SYSTEMD = ["openssh-server", "openssh-client", "systemd", "systemd-sysv", "dbus", "libpam-systemd"];
const BASE = ["sudo", "iproute2", "procps", "busybox"];

/** Accounts, an empty machine identity, and nothing that starts by itself but sshd. */
const COMMON = `
for user in deploy anna bob; do useradd -m -s /bin/sh $user; done
echo 'anna:${ACCOUNTS.anna.password}' | chpasswd
echo 'deploy ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/deploy
echo 'anna ALL=(ALL) ALL' >/etc/sudoers.d/anna
chmod 440 /etc/sudoers.d/*
: >/etc/machine-id
rm -f /etc/resolv.conf /var/lib/dbus/machine-id
`;

const QUIET_SYSTEMD = `
for unit in console-getty.service getty@tty1.service apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer \\
  e2scrub_all.timer fstrim.timer systemd-timesyncd.service systemd-resolved.service; do
  ln -sf /dev/null /etc/systemd/system/$unit
done
`;

/** Changes to sysvinit's /sbin/init; \`$1\`: further packages. */
const withoutSystemd = (extra: string): string => `
apt-get update -q
apt-get install -q -y --no-install-recommends --allow-remove-essential \\
  sysvinit-core ${extra} systemd- systemd-sysv- libpam-systemd-
sed -i '/getty/s/^/#/' /etc/inittab
`;

const RECIPES = {
  /** OpenSSH 8.4, systemd 247; ssh.socket is Accept=yes. */
  bullseye: { suite: "bullseye", packages: [...SYSTEMD, ...BASE], script: COMMON + QUIET_SYSTEMD },
  /** OpenSSH 9.2, systemd 252; ssh.socket is Accept=no. Idle probes come after twice the interval. */
  bookworm: { suite: "bookworm", packages: [...SYSTEMD, ...BASE], script: COMMON + QUIET_SYSTEMD },
  /** OpenSSH 10.0, systemd 257; PerSourcePenalties. */
  trixie: { suite: "trixie", packages: [...SYSTEMD, ...BASE], script: COMMON + QUIET_SYSTEMD },
  /** The newest that is served; made anew each month. */
  sid: {
    suite: "sid",
    packages: [...SYSTEMD, ...BASE],
    script: `${COMMON + QUIET_SYSTEMD}: ${new Date().toISOString().slice(0, 7)}\n`,
  },
  sysvinit: { suite: "bookworm", base: "bookworm", packages: [], script: withoutSystemd("sysv-rc") },
  openrc: { suite: "bookworm", base: "bookworm", packages: [], script: withoutSystemd("openrc") },
  /** sysvinit, with busybox as the shell and in front of every utility it has. */
  busybox: {
    suite: "bookworm",
    base: "sysvinit",
    packages: [],
    script: `
for applet in $(busybox --list); do
  case $applet in
    init | linuxrc | login | su | sulogin | passwd | adduser | addgroup | deluser | delgroup | start-stop-daemon | \\
      reboot | poweroff | halt | run-init | switch_root | dpkg | dpkg-deb | ip) ;;
    *) ln -s /bin/busybox /usr/local/bin/$applet ;;
  esac
done
ln -sf busybox /bin/sh
`,
  },
  /** Login shells that are not POSIX: bob's is fish, anna's is csh. */
  shells: {
    suite: "bookworm",
    base: "bookworm",
    packages: [],
    script: `
apt-get update -q
apt-get install -q -y --no-install-recommends fish csh
chsh -s /usr/bin/fish deploy
chsh -s /bin/csh anna
`,
  },
} as const satisfies Readonly<Record<string, RecipeOf>>;

type RecipeOf = Omit<Recipe, "base"> & { readonly base?: "bookworm" | "sysvinit" };

/** One of the images. */
export type ImageName = keyof typeof RECIPES;

/** The releases whose OpenSSH differ, oldest first. */
export const RELEASES = ["bullseye", "bookworm", "trixie", "sid"] as const satisfies readonly ImageName[];

const SCRIPT = join(__dirname, "image.sh");

/** Changes whenever the image would. */
function recipeHash(name: ImageName): string {
  const recipe: Recipe = RECIPES[name];
  const base = recipe.base === undefined ? "" : recipeHash(recipe.base);
  return createHash("sha256")
    .update(JSON.stringify([recipe, base, readFileSync(SCRIPT, "utf8")]))
    .digest("hex")
    .slice(0, 12);
}

/** Folder that holds the images, under the user's cache. */
export function imagesFolder(): string {
  return join(process.env.XDG_CACHE_HOME || join(homedir(), ".cache"), "pulumi-ssh-keepalive", "lab");
}

/** Days after which an image that no run has used is taken away. */
const UNUSED_DAYS = 14;

const building = pLimit(2);
const made = new Map<ImageName, Promise<string>>();

/**
 * The folder of an image, built when it is missing: two at a time in one run, one builder per image over all runs.
 * Nobody writes into it: hosts run on an overlay. Rejects with the end of the build's output.
 */
export function image(name: ImageName): Promise<string> {
  let folder = made.get(name);
  if (folder === undefined) {
    folder = make(name);
    made.set(name, folder);
  }
  return folder;
}

async function make(name: ImageName): Promise<string> {
  const recipe: Recipe = RECIPES[name];
  const base = recipe.base === undefined ? "" : await image(recipe.base);
  const folder = imagesFolder();
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const target = join(folder, `${name}-${recipeHash(name)}`);
  const args = [target, recipe.suite, recipe.packages.join(","), base, recipe.script];
  await building(
    () =>
      new Promise<void>((resolve, reject) => {
        const builder = spawn("flock", [`${target}.lock`, "sh", SCRIPT, ...args], {
          stdio: ["ignore", "pipe", "pipe"],
        });
        let said = "";
        for (const stream of [builder.stdout, builder.stderr]) {
          stream.setEncoding("utf8").on("data", (text: string) => {
            said = (said + text).slice(-4000);
          });
        }
        builder.once("error", reject);
        builder.once("close", (code) =>
          code === 0 ? resolve() : reject(new Error(`building the image ${name} exited with ${code}:\n${said}`)),
        );
      }),
  );
  const now = new Date();
  utimesSync(target, now, now);
  // What an earlier recipe made, unless another checkout still uses it.
  for (const entry of readdirSync(folder)) {
    const path = join(folder, entry);
    const old = entry.startsWith(`${name}-`) && path !== target && statSync(path).isDirectory();
    if (old && now.getTime() - statSync(path).mtimeMs > UNUSED_DAYS * 86_400_000) rmSync(path, { recursive: true });
  }
  return target;
}
