/** One part of a large fleet: each stack takes its hosts out of one inventory by a stable hash of their names. */
import * as pulumi from "@pulumi/pulumi";
import { SshKeepalive } from "pulumi-ssh-keepalive";
import { hostsOf, readInventory } from "./shard";

const config = new pulumi.Config();
const inventory = readInventory(config.require("inventory"));
const hosts = hostsOf(inventory, config.requireNumber("shard"), config.requireNumber("shards"));

// A part may have no hosts. A resource without any is refused.
const fleet =
  Object.keys(hosts).length === 0
    ? undefined
    : new SshKeepalive("fleet", {
        hosts,
        // No key: those of the ssh-agent in SSH_AUTH_SOCK, one for all stacks that run side by side.
        connection: { user: config.get("user") || undefined },
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
export const observed = fleet?.observed ?? {};
