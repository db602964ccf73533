/** A firewall with address translation between one host and the others, which forgets idle connections. */
import type { IdleSession, Lab, LabHost } from "./host";
import { echoSession } from "./host";
import { must, run } from "./run";

/** A client behind a firewall, and servers in front of it. */
export interface Firewall {
  /** The server's address as the client sees it. */
  addressOf(server: LabHost): string;
  /** A session from the client through the firewall: over the client's own ssh and its configuration files. */
  session(server: LabHost): IdleSession;
}

/**
 * Puts a firewall that forgets an established connection after `seconds` of silence between client and servers. What it
 * has forgotten it drops without a word, as the firewalls do that people complain about.
 */
export async function firewall(
  lab: Lab,
  client: LabHost,
  servers: readonly LabHost[],
  seconds: number,
): Promise<Firewall> {
  const outside = `198.19.${lab.number}`;
  // Two nets of 126: servers and the firewall's outer leg from 1 on, the client's side from 129 on.
  await lab.namespace(`
    bridge=${lab.holder}
    client=${client.holder}
    ip link add out type veth peer name nat netns $bridge
    nsenter -t $bridge -n ip link set nat master br0 up
    ip addr add ${outside}.1/25 dev out
    ip link set out up
    ip link add in type veth peer name eth1 netns $client
    ip addr add ${outside}.129/25 dev in
    ip link set in up
    nsenter -t $client -n ip addr add ${outside}.130/25 dev eth1
    nsenter -t $client -n ip link set eth1 up
    nsenter -t $client -n ip route add ${outside}.0/25 via ${outside}.129
    echo 1 >/proc/sys/net/ipv4/ip_forward
    nft -f - <<END
    table ip nat {
      chain out { type nat hook postrouting priority 100; oifname "out" masquerade; }
      chain between {
        type filter hook forward priority 0; policy drop;
        ct state established accept
        iifname "in" ct state new tcp flags & (syn|ack) == syn accept
      }
    }
END
    echo ${seconds} >/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_established
    echo 0 >/proc/sys/net/netfilter/nf_conntrack_tcp_loose`);

  const addresses = new Map<LabHost, string>();
  const known: string[] = [];
  for (const [index, server] of servers.entries()) {
    const address = `${outside}.${index + 10}`;
    await must("nsenter", ["-t", String(server.holder), "-n", "ip", "addr", "add", `${address}/25`, "dev", "eth0"]);
    addresses.set(server, address);
    known.push(`${address} ${server.connection().hostKey}\n`);
  }
  await client.write("/etc/ssh/ssh_known_hosts", known.join(""));
  await client.write("/root/.ssh/id_ed25519", client.connection().privateKey);
  await client.must("chmod 600 /root/.ssh/id_ed25519");

  const addressOf = (server: LabHost): string => {
    const address = addresses.get(server);
    if (address === undefined) throw new Error(`${server.name} is not in front of the firewall`);
    return address;
  };
  return {
    addressOf,
    session: (server) => {
      const { file, args } = client.command(["ssh", `root@${addressOf(server)}`, "cat"]);
      return echoSession(file, args);
    },
  };
}

/** What a host's kernel knows of a connection. */
export interface Traffic {
  /** Bytes that the host has sent over it. */
  readonly sent: number;
  /** When it last sent some, on the clock of `performance.now()`, milliseconds. */
  readonly sentAt: number;
}

/** The established TCP connections of a host that fit a filter of `ss`, by their two addresses. */
export async function traffic(host: LabHost, filter: readonly string[]): Promise<ReadonlyMap<string, Traffic>> {
  const args = ["-t", String(host.holder), "-n", "ss", "-Htin", "state", "established", ...filter];
  const { stdout } = await run("nsenter", args);
  const now = performance.now();
  const found = new Map<string, Traffic>();
  let connection = "";
  for (const text of stdout.split("\n")) {
    const number = (name: string) => Number(new RegExp(`\\b${name}:(\\d+)`).exec(text)?.[1] ?? "0");
    if (/^\s/.test(text)) found.set(connection, { sent: number("bytes_sent"), sentAt: now - number("lastsnd") });
    else connection = text.trim().split(/\s+/).slice(2, 4).join(" ");
  }
  return found;
}
