/** A fleet with one stack for each environment: hosts, intervals and rollout come from Pulumi.STACK.yaml. */
import * as pulumi from "@pulumi/pulumi";
import { type HostArgs, SshKeepalive } from "pulumi-ssh-keepalive";

const config = new pulumi.Config();

const fleet = new SshKeepalive("fleet", {
  hosts: config.requireObject<Record<string, HostArgs>>("hosts"),
  connection: {
    user: config.get("user") || undefined,
    // Without it the keys that `ssh HOST` would offer. An optional secret cannot be declared in Pulumi.yaml:
    // `pulumi config set --secret deployKey < FILE`.
    privateKey: config.getSecret("deployKey"),
  },
  become: config.requireBoolean("sudo") ? { user: "root" } : undefined,
  server: {
    clientAliveInterval: config.require("clientAliveInterval"),
    clientAliveCountMax: config.requireNumber("clientAliveCountMax"),
  },
  idleTimeout: config.require("idleTimeout"),
  rollout: {
    parallel: config.requireNumber("parallel"),
    canary: config.get("canary") || undefined,
    maxFailures: config.requireNumber("maxFailures"),
  },
});

/** What sshd on each host really does, with the file and line that sets it. */
export const observed = fleet.observed;
