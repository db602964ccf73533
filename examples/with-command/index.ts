/** Beside @pulumi/command: one connection object for both resources. */
import { remote, type types } from "@pulumi/command";
import * as pulumi from "@pulumi/pulumi";
import { SshKeepalive } from "pulumi-ssh-keepalive";

const config = new pulumi.Config();

const connection: types.input.remote.ConnectionArgs = {
  host: config.require("host"),
  user: config.require("user"),
  privateKey: config.requireSecret("deployKey"),
  hostKey: config.require("hostKey"),
};

const keepalive = new SshKeepalive("keepalive", {
  hosts: { server: {} }, // its address is the connection's
  connection,
  become: { user: "root" },
  server: { clientAliveInterval: 60, clientAliveCountMax: 3 },
});

// A long, silent command: its session is the one that a firewall would forget.
const backup = new remote.Command(
  "backup",
  {
    connection,
    create: "sudo -n tar -C / -czf /var/backups/etc.tar.gz etc",
    delete: "sudo -n rm -f /var/backups/etc.tar.gz",
  },
  { dependsOn: keepalive },
);

export const observed = keepalive.observed;
export const said = backup.stderr;
