/** One server: sessions to it stay alive behind a firewall that forgets idle ones after 350 seconds. */
import * as pulumi from "@pulumi/pulumi";
import { SshKeepalive } from "pulumi-ssh-keepalive";

const config = new pulumi.Config();

const keepalive = new SshKeepalive("keepalive", {
  hosts: {
    server: {
      host: config.require("host"),
      port: config.requireNumber("port"),
      // What is left out is what `ssh HOST` would use: user, keys, known_hosts, jump host. An optional secret cannot be
      // declared in Pulumi.yaml: `pulumi config set --secret privateKey < FILE`.
      privateKey: config.getSecret("privateKey"),
      hostKey: config.get("hostKey") || undefined,
    },
  },
  become: config.requireBoolean("sudo") ? { user: "root" } : undefined,
  server: { clientAliveInterval: 60, clientAliveCountMax: 3 },
  idleTimeout: "350s",
});

/** What sshd on the server really does, with the file and line that sets it. */
export const observed = keepalive.observed;
