/** The machines of the demo: what stands in their configuration files before anybody manages them. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { HostFiles, HostSetting } from "../../tests/support/lightHost";

/** A server of the demo. */
export interface Machine {
  readonly name: string;
  /** What is special about its files, for people. */
  readonly like: string;
  readonly files: (setting: HostSetting) => HostFiles;
}

/** Four servers whose files began differently. */
export const MACHINES: readonly Machine[] = [
  {
    name: "web-1",
    like: "Debian as installed, Include first",
    files: ({ dir, head }) => {
      mkdirSync(join(dir, "sshd_config.d"), { recursive: true, mode: 0o755 });
      return { sshd_config: debian(dir, head) };
    },
  },
  {
    name: "cloud-1",
    like: "Ubuntu cloud image, a drop-in wins",
    files: ({ dir, head }) => ({
      // The main file looks as wanted and is not what counts.
      sshd_config: `${debian(dir, head)}\nClientAliveInterval 60\n`,
      "sshd_config.d/50-cloud-init.conf": "PasswordAuthentication no\nClientAliveInterval 900\nClientAliveCountMax 2\n",
    }),
  },
  {
    name: "old-1",
    like: "grown for years: CRLF, tabs, Match",
    files: ({ head }) => ({ sshd_config: crlf(`${head}${OLD}`) }),
  },
  {
    name: "rhel-1",
    like: "minimal RHEL, 50-redhat.conf",
    files: ({ dir, head }) => ({
      sshd_config: `${head}# To change settings, create a *.conf file in the folder that is included here.
Include ${dir}/sshd_config.d/*.conf

ClientAliveInterval 600
ClientAliveCountMax 1
`,
      "sshd_config.d/50-redhat.conf":
        "SyslogFacility AUTHPRIV\nGSSAPIAuthentication no\nX11Forwarding no\nPrintMotd no\n",
    }),
  },
];

/** This machine's client file. */
export const CLIENT_FILE = `# jump through the bastion at work
Host bastion
    HostName bastion.example.org
    ServerAliveInterval 15

Host *
    HashKnownHosts yes
    SendEnv LANG LC_*
`;

function debian(dir: string, head: string): string {
  return `# This is the sshd server system-wide configuration file.  See
# sshd_config(5) for more information.

Include ${dir}/sshd_config.d/*.conf

${head}
#LoginGraceTime 2m
#MaxAuthTries 6
KbdInteractiveAuthentication no

X11Forwarding yes
PrintMotd no
#TCPKeepAlive yes
#ClientAliveInterval 0
#ClientAliveCountMax 3

# Allow client to pass locale environment variables
AcceptEnv LANG LC_*
`;
}

const OLD = `
# Package generated configuration file
#\tSee the sshd_config(5) manpage for details

LoginGraceTime\t\t120
StrictModes\t\tno
TCPKeepAlive\t\tyes
#ClientAliveInterval\t0\t# was 300 until the new firewall came
#ClientAliveCountMax\t3
#MaxStartups\t\t10:30:60
X11Forwarding\t\tno

# the backup job may idle
Match User backup
\tClientAliveInterval\t1800
\tX11Forwarding\t\tno
`;

const crlf = (text: string): string => text.replaceAll("\n", "\r\n");
