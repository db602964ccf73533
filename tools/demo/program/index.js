/**
 * The program of the demo, as a user would write it: some servers and this machine. hosts.json says where the servers
 * are; how often they probe an idle session, and the key to log in with, come from the stack's configuration.
 */
const pulumi = require("@pulumi/pulumi");
const { SshKeepalive } = require("pulumi-ssh-keepalive");
const { servers, clientConfigPath, user } = require("./hosts.json");

const config = new pulumi.Config();
const interval = config.requireNumber("interval");
const server = { clientAliveInterval: interval, clientAliveCountMax: 3, tcpKeepAlive: true };
const client = { serverAliveInterval: interval, serverAliveCountMax: 3, configPath: clientConfigPath };

const hosts = Object.fromEntries(Object.entries(servers).map(([name, where]) => [name, { ...where, server }]));

const fleet = new SshKeepalive("fleet", {
  // Beside the servers and not at the top level: what stands there is meant for all hosts, this machine among them.
  hosts: { ...hosts, laptop: { local: true, client } },
  connection: { user, privateKey: config.requireSecret("deployKey") },
  idleTimeout: "350s",
});

exports.status = fleet.observed.apply((observed) =>
  Object.fromEntries(Object.entries(observed ?? {}).map(([name, host]) => [name, host.status])),
);
