/** What the input checks refuse, with which words, and what the inputs mean per host. */
import type { ConnectionInputs, HostInputs, SshKeepaliveInputs } from "../../provider/args";
import {
  checkInputs,
  describeCheckFailure,
  hostSettings,
  inputWarnings,
  rolloutSettings,
  UNKNOWN,
  unknownInputs,
} from "../../provider/inputs";

const blob = (type: string): string => {
  const name = Buffer.from(type);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(name.length);
  return Buffer.concat([length, name, Buffer.from([0, 0, 0, 32]), Buffer.alloc(32, 7)]).toString("base64");
};
const HOST_KEY = `ssh-ed25519 ${blob("ssh-ed25519")}`;
const PRIVATE_KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaA==\n-----END OPENSSH PRIVATE KEY-----\n";

/** Every input there is, so that each can be made unknown, wrong or secret in turn. */
const FULL: SshKeepaliveInputs = {
  hosts: {
    "web-1": {
      host: "192.0.2.11",
      port: 2222,
      user: "deploy",
      password: "pw-host",
      privateKey: PRIVATE_KEY,
      privateKeyPassword: "pass-host",
      agentSocketPath: "/run/agent",
      hostKey: HOST_KEY,
      dialErrorLimit: -1,
      perDialTimeout: 0,
      proxy: { host: "192.0.2.1", user: "jump", password: "pw-jump", privateKey: PRIVATE_KEY, privateKeyPassword: "p" },
      sshOptions: { IdentitiesOnly: "yes" },
      hostKeyChecking: "acceptNew",
      become: { user: "admin", password: "pw-sudo-host" },
      server: {
        clientAliveInterval: "2m",
        clientAliveCountMax: 4,
        tcpKeepAlive: false,
        configPath: "/opt/sshd_config",
        sshdPath: "/opt/sshd",
        reload: ["/usr/sbin/service", "sshd", "reload"],
        placement: "main",
      },
      client: {
        serverAliveInterval: 30,
        serverAliveCountMax: 2,
        tcpKeepAlive: true,
        user: "ana",
        hosts: ["*.example.com", "!db.example.com"],
        configPath: "/home/ana/.ssh/other",
      },
      idleTimeout: "10m",
      verifyAs: ["ana"],
      allowNoBootGuard: true,
    },
    "web-2": { host: "192.0.2.12" },
    here: { local: true, client: { user: "ana" } },
  },
  connection: {
    user: "deploy",
    port: 22,
    privateKey: PRIVATE_KEY,
    password: "pw-top",
    sshOptions: { ProxyJump: "bastion" },
    proxy: {
      host: "192.0.2.2",
      port: 22,
      agentSocketPath: "/run/a",
      hostKey: HOST_KEY,
      dialErrorLimit: 1,
      perDialTimeout: 5,
    },
  },
  become: { user: "root", password: "pw-sudo" },
  server: { clientAliveInterval: 60, clientAliveCountMax: 3, tcpKeepAlive: true },
  client: { serverAliveInterval: 60 },
  idleTimeout: "350s",
  rollout: { parallel: 8, canary: "10%", maxFailures: 1 },
  confirmTimeout: "2m",
  verifyAs: ["root"],
  allowNoBootGuard: false,
};

const host = (fields: object): object => ({
  hosts: { a: { host: "192.0.2.1", server: { tcpKeepAlive: true }, ...fields } },
});
const top = (fields: object): object => ({
  hosts: { a: { host: "192.0.2.1" } },
  server: { clientAliveInterval: 60 },
  ...fields,
});
const server = (fields: object): object => top({ server: fields });
const client = (fields: object): object => top({ client: fields });

/** The one failure of inputs that have exactly one. */
function only(inputs: unknown): { property: string; reason: string } {
  const { failures } = checkInputs(inputs);
  expect(failures).toHaveLength(1);
  return failures[0] ?? { property: "", reason: "" };
}

/** Every path to a leaf, list or object of a value. */
function paths(value: unknown, at: readonly string[] = []): (readonly string[])[] {
  const inside =
    typeof value === "object" && value !== null && !Array.isArray(value)
      ? Object.entries(value).flatMap(([key, v]) => paths(v, [...at, key]))
      : [];
  return at.length === 0 ? inside : [at, ...inside];
}

function replaced(value: unknown, at: readonly string[], by: unknown): unknown {
  const [key, ...rest] = at;
  if (key === undefined) return by;
  const part = value as Record<string, unknown>;
  return { ...part, [key]: replaced(part[key], rest, by) };
}

test("finds nothing wrong with every input there is", () => {
  expect(checkInputs(FULL)).toEqual({ failures: [] });
});

test("a mistake at every one of many hosts is told for as many as people read, and how many more there are", () => {
  const hosts = Object.fromEntries(
    Array.from({ length: 500 }, (_, i) => [`web-${i}`, { host: `h${i}`, port: 70_000 }]),
  );
  const { failures } = checkInputs({ hosts, server: { clientAliveInterval: 60 } });
  expect(failures).toHaveLength(20);
  expect(failures[0]?.property).toBe('hosts["web-0"].port');
  expect(failures[19]).toEqual({ property: "", reason: "… and 481 more inputs are refused. Mend these first." });
});

describe("refuses what has the wrong shape", () => {
  test.each<[string, unknown, string, RegExp]>([
    ["no inputs", undefined, "", /must be an object/],
    ["no hosts", { server: { tcpKeepAlive: true } }, "hosts", /^Is missing\. Give a map/],
    ["hosts as a list", top({ hosts: ["a"] }), "hosts", /Must be a map of your names to hosts, not a list/],
    ["a host as text", top({ hosts: { a: "192.0.2.1" } }), 'hosts["a"]', /Must be an object, not a text: \{ host:/],
    ["a host with nothing", top({ hosts: { a: null } }), 'hosts["a"]', /not nothing: \{ host:/],
    [
      "a boolean for a time",
      server({ clientAliveInterval: true }),
      "server.clientAliveInterval",
      /whole number of seconds or an OpenSSH time such as "5m", not a boolean/,
    ],
    ["a fraction", server({ clientAliveInterval: 1.5 }), "server.clientAliveInterval", /not a fraction/],
    [
      "NaN",
      server({ clientAliveInterval: Number.NaN }),
      "server.clientAliveInterval",
      /not NaN: this is what a failed conversion gives/,
    ],
    ["infinity", server({ clientAliveCountMax: Number.POSITIVE_INFINITY }), "server.clientAliveCountMax", /infinity/],
    [
      "a count in quotes",
      server({ clientAliveInterval: 9, clientAliveCountMax: "3" }),
      "server.clientAliveCountMax",
      /without quotes; config\.requireNumber/,
    ],
    ["yes for true", server({ tcpKeepAlive: "yes" }), "server.tcpKeepAlive", /true or false without quotes/],
    ["a number for true", server({ tcpKeepAlive: 1 }), "server.tcpKeepAlive", /true or false, not a number/],
    ["one text for a list", top({ verifyAs: "root" }), "verifyAs", /a list of texts, not a text\. Write \["…"\]/],
    ["a number in a list", top({ verifyAs: ["root", 7] }), "verifyAs[1]", /Must be text, not a number/],
    [
      "an unknown word",
      server({ clientAliveInterval: 9, placement: "top" }),
      "server.placement",
      /one of "auto", "dropIn", "main", not "top"/,
    ],
    [
      "a proxy without host",
      host({ proxy: { user: "x" } }),
      'hosts["a"].proxy.host',
      /Is missing\. Name the jump host/,
    ],
  ])("%s", (_name, inputs, property, reason) => {
    const failure = only(inputs);
    expect(failure.property).toBe(property);
    expect(failure.reason).toMatch(reason);
  });
});

describe("names what an unknown property was meant to be", () => {
  test.each<[string, unknown, string, RegExp]>([
    [
      "a slip",
      server({ clientAliveIntervall: 60, tcpKeepAlive: true }),
      "server.clientAliveIntervall",
      /Did you mean clientAliveInterval\?/,
    ],
    [
      "OpenSSH's spelling",
      server({ ClientAliveInterval: 60, tcpKeepAlive: true }),
      "server.ClientAliveInterval",
      /Did you mean clientAliveInterval\?/,
    ],
    [
      "snake case",
      server({ client_alive_interval: 60, tcpKeepAlive: true }),
      "server.client_alive_interval",
      /Did you mean clientAliveInterval\?/,
    ],
    [
      "an option at a host",
      host({ clientAliveInterval: 60 }),
      'hosts["a"].clientAliveInterval',
      /belongs under server, server: \{/,
    ],
    [
      "an option at the top",
      top({ ServerAliveInterval: 60 }),
      "ServerAliveInterval",
      /serverAliveInterval belongs under client/,
    ],
    ["a connection field at the top", top({ privateKey: "x" }), "privateKey", /under connection, for all hosts/],
    ["a connection in a host", host({ connection: {} }), 'hosts["a"].connection', /fields stand at the host itself/],
    ["a rollout in a host", host({ rollout: {} }), 'hosts["a"].rollout', /write it at the top level/],
    ["an output", top({ observed: {} }), "observed", /computed by the resource/],
    ["the preview's lines", top({ pendingChanges: {} }), "pendingChanges", /computed by the resource/],
    ["something else", top({ colour: 1 }), "colour", /Known are hosts, connection, become/],
    ["a key that needs escaping", host({ "a\u001b[31m": 1 }), 'hosts["a"]["a\\x1b[31m"]', /Known are local, host/],
  ])("%s", (_name, inputs, property, reason) => {
    const failure = only(inputs);
    expect(failure.property).toBe(property);
    expect(failure.reason).toMatch(reason);
  });
});

describe("catches the wrong side in any spelling, and says which option was meant", () => {
  test.each(["serverAliveInterval", "ServerAliveInterval", "serveraliveinterval", "server_alive_interval"])(
    "%s under server",
    (name) => {
      const { property, reason } = only(server({ [name]: 300, tcpKeepAlive: true }));
      expect(property).toBe(`server.${name}`);
      expect(reason).toBe(
        "ServerAliveInterval is an option of the ssh client. In an sshd_config it is a bad configuration option: the next sshd would not start, and everyone would be locked out. Here clientAliveInterval is meant; serverAliveInterval belongs under client.",
      );
    },
  );
  test.each(["clientAliveCountMax", "ClientAliveCountMax"])("%s under a host's client", (name) => {
    const { property, reason } = only(host({ client: { [name]: 3 } }));
    expect(property).toBe(`hosts["a"].client.${name}`);
    expect(reason).toMatch(/every ssh command on the host would fail\. Here serverAliveCountMax is meant/);
  });
  test("ClientAliveInterval as an option for the way to the host", () => {
    const { property, reason } = only(host({ sshOptions: { ClientAliveInterval: "60" } }));
    expect(property).toBe('hosts["a"].sshOptions["ClientAliveInterval"]');
    expect(reason).toMatch(/is an option of sshd: ssh refuses it/);
  });
});

describe("refuses values that OpenSSH would not take or that do harm", () => {
  const max = 2147483647;
  test.each<[string, unknown, string, RegExp]>([
    ["a negative interval", server({ clientAliveInterval: -1 }), "server.clientAliveInterval", /cannot be negative/],
    [
      "an overflow",
      server({ clientAliveInterval: max + 1 }),
      "server.clientAliveInterval",
      /more than 2147483647 seconds/,
    ],
    [
      "a huge number",
      server({ clientAliveInterval: 1e300 }),
      "server.clientAliveInterval",
      /more than 2147483647 seconds/,
    ],
    [
      "an overflow in weeks",
      server({ clientAliveInterval: "9999w" }),
      "server.clientAliveInterval",
      /more than 2147483647 seconds/,
    ],
    ...["5min", "1.5m", "-5", "+5", "5 m", "", "0x10", "m", "5m\n"].map((text): [string, unknown, string, RegExp] => [
      `the time ${JSON.stringify(text)}`,
      server({ clientAliveInterval: text }),
      "server.clientAliveInterval",
      /is no OpenSSH time: write seconds/,
    ]),
    ["none", client({ serverAliveInterval: "none" }), "client.serverAliveInterval", /To switch it off write 0/],
    ["a negative count", server({ clientAliveCountMax: -3 }), "server.clientAliveCountMax", /cannot be negative/],
    [
      "a huge count",
      server({ clientAliveCountMax: max + 1 }),
      "server.clientAliveCountMax",
      /the most that OpenSSH takes/,
    ],
    [
      "server count 0",
      server({ clientAliveCountMax: 0 }),
      "server.clientAliveCountMax",
      /from 8\.2 on then never ends a dead session, and before 8\.2/,
    ],
    [
      "client count 0",
      client({ serverAliveCountMax: 0 }),
      "client.serverAliveCountMax",
      /ends a healthy session at the first interval/,
    ],
    [
      "interval × (count + 1)",
      server({ clientAliveInterval: max, clientAliveCountMax: 1 }),
      "server.clientAliveInterval",
      /2147483647 s × \(1 \+ 1\)/,
    ],
    [
      "a count beside interval 0",
      server({ clientAliveInterval: 0, clientAliveCountMax: 3 }),
      "server.clientAliveCountMax",
      /sends no probes\. Leave it out/,
    ],
    [
      "a host's count beside the top's interval 0",
      { server: { clientAliveInterval: "0s" }, hosts: { a: { host: "h", server: { clientAliveCountMax: 3 } } } },
      'hosts["a"].server.clientAliveCountMax',
      /interval 0|clientAliveInterval 0 of the top level/,
    ],
    [
      "an interval over the idle limit",
      top({ idleTimeout: 350, server: { clientAliveInterval: "6m" } }),
      "server.clientAliveInterval",
      /too long for idleTimeout 350 s: first probe after 360 s.*set ClientAliveInterval to 348 or less/,
    ],
    [
      "a host's tighter idle limit",
      top({ idleTimeout: 350, hosts: { a: { host: "h", idleTimeout: "1m" } } }),
      'hosts["a"].idleTimeout',
      /set ClientAliveInterval to 58 or less/,
    ],
    [
      "no probes under an idle limit",
      top({ idleTimeout: 350, server: { clientAliveInterval: 0 } }),
      "server.clientAliveInterval",
      /sends no probes/,
    ],
    ["idle limit 0", top({ idleTimeout: 0 }), "idleTimeout", /Is 0: nothing would survive/],
    ["a bad idle limit", top({ idleTimeout: "6 minutes" }), "idleTimeout", /no OpenSSH time/],
    [
      "a relative configPath",
      server({ tcpKeepAlive: true, configPath: "sshd_config" }),
      "server.configPath",
      /absolute path/,
    ],
    [
      "a configPath under ~",
      client({ tcpKeepAlive: true, configPath: "~/.ssh/config" }),
      "client.configPath",
      /give client\.user/,
    ],
    [
      "a folder as configPath",
      server({ tcpKeepAlive: true, configPath: "/etc/ssh/" }),
      "server.configPath",
      /a folder/,
    ],
    [
      "a configPath with ..",
      server({ tcpKeepAlive: true, configPath: "/etc/ssh/../x" }),
      "server.configPath",
      /`\.\.`/,
    ],
    [
      "a configPath with a line end",
      server({ tcpKeepAlive: true, configPath: "/etc/a\nb" }),
      "server.configPath",
      /control character/,
    ],
    ["a relative sshdPath", server({ tcpKeepAlive: true, sshdPath: "sshd" }), "server.sshdPath", /absolute path/],
    ["a reload without words", server({ tcpKeepAlive: true, reload: [] }), "server.reload", /Is empty/],
    [
      "a reload in one word",
      server({ tcpKeepAlive: true, reload: ["systemctl reload ssh"] }),
      "server.reload[0]",
      /one entry per word/,
    ],
    [
      "a reload with a line end",
      server({ tcpKeepAlive: true, reload: ["x", "a\nb"] }),
      "server.reload[1]",
      /control character/,
    ],
    ["a client user with a slash", client({ tcpKeepAlive: true, user: "../ana" }), "client.user", /plain user name/],
    ["no patterns", client({ tcpKeepAlive: true, hosts: [] }), "client.hosts", /no host would match/],
    ["two patterns in one", client({ tcpKeepAlive: true, hosts: ["a b"] }), "client.hosts[0]", /one Host pattern/],
    [
      "a quote in a pattern",
      client({ tcpKeepAlive: true, hosts: ["*", 'a"b'] }),
      "client.hosts[1]",
      /one Host pattern/,
    ],
    [
      "a line end in a pattern",
      client({ tcpKeepAlive: true, hosts: ["a\nHost *"] }),
      "client.hosts[0]",
      /one Host pattern/,
    ],
    ["exceptions only", client({ tcpKeepAlive: true, hosts: ["!a"] }), "client.hosts", /match nothing by themselves/],
    ["a sudo user of two words", top({ become: { user: "root -c" } }), "become.user", /plain user name/],
    [
      "a user to verify as that looks like an option",
      top({ verifyAs: ["-oProxyCommand=x"] }),
      "verifyAs[0]",
      /Begins with -/,
    ],
    ["parallel 0", top({ rollout: { parallel: 0 } }), "rollout.parallel", /from 1 to 1000/],
    ["parallel 1001", top({ rollout: { parallel: 1001 } }), "rollout.parallel", /from 1 to 1000/],
    ["maxFailures -1", top({ rollout: { maxFailures: -1 } }), "rollout.maxFailures", /from 0/],
    ["canary 0", top({ rollout: { canary: 0 } }), "rollout.canary", /1 or more/],
    ...["0%", "101%", "5", "1.5%", "%"].map((canary): [string, unknown, string, RegExp] => [
      `canary ${canary}`,
      top({ rollout: { canary } }),
      "rollout.canary",
      /percentage from "1%" to "100%"/,
    ]),
    ["confirmTimeout 9", top({ confirmTimeout: 9 }), "confirmTimeout", /from 10 s/],
    ["confirmTimeout 2h", top({ confirmTimeout: "2h" }), "confirmTimeout", /Is 7200 s/],
    ["confirmTimeout soon", top({ confirmTimeout: "soon" }), "confirmTimeout", /no OpenSSH time/],
  ])("%s", (_name, inputs, property, reason) => {
    const failure = only(inputs);
    expect(failure.property).toBe(property);
    expect(failure.reason).toMatch(reason);
  });

  test("a host may switch probes off although the top level counts them", () => {
    const inputs = {
      server: { clientAliveInterval: 60, clientAliveCountMax: 3 },
      hosts: { a: { host: "h", server: { clientAliveInterval: 0 } } },
    };
    expect(checkInputs(inputs).failures).toEqual([]);
  });

  test("a wrong value at the top level is reported once, however many hosts there are", () => {
    const hosts = Object.fromEntries(Array.from({ length: 500 }, (_, i) => [`h${i}`, { host: `h${i}` }]));
    only({ hosts, idleTimeout: 350, server: { clientAliveInterval: 400 } });
    only({ hosts, server: { clientAliveInterval: "5min" } });
  });
});

describe("refuses hosts that cannot be reached or told apart", () => {
  const both = (a: object, b: object, rest: object = { server: { tcpKeepAlive: true } }): object => ({
    hosts: { a, b },
    ...rest,
  });
  test.each<[string, unknown, string, RegExp]>([
    ["no hosts at all", top({ hosts: {} }), "hosts", /Is empty: there is nothing to keep/],
    ["no address", top({ hosts: { a: {} } }), 'hosts["a"].host', /connection\.host is not given either/],
    ["an empty name", top({ hosts: { "": { host: "h" } } }), 'hosts[""]', /empty name/],
    [
      "a line end in a name",
      top({ hosts: { "a\nb": { host: "h" } } }),
      'hosts["a\\x0ab"]',
      /control character in its name/,
    ],
    [
      "nothing to keep",
      { hosts: { a: { host: "h", server: { configPath: "/etc/x" } } } },
      'hosts["a"]',
      /Has nothing to keep/,
    ],
    ["an address that is an option", host({ host: "-oProxyCommand=x" }), 'hosts["a"].host', /Begins with -/],
    ["an address with a blank", host({ host: "a b" }), 'hosts["a"].host', /a blank or a control character/],
    ["an address with a user", host({ host: "root@h" }), 'hosts["a"].host', /login name as user/],
    ["an address with a port", host({ host: "h:2222" }), 'hosts["a"].host', /give it as port/],
    ["a URL", host({ host: "ssh://h" }), 'hosts["a"].host', /Is a URL/],
    ["an empty address", host({ host: "" }), 'hosts["a"].host', /Is empty/],
    ["a user that is an option", host({ user: "-l" }), 'hosts["a"].user', /Begins with -/],
    ["a user with a line end", top({ connection: { user: "a\nb" } }), "connection.user", /control character/],
    ["port 0", host({ port: 0 }), 'hosts["a"].port', /from 1 to 65535/],
    ["port 65536", host({ proxy: { host: "j", port: 65536 } }), 'hosts["a"].proxy.port', /from 1 to 65535/],
    ["dialErrorLimit -2", host({ dialErrorLimit: -2 }), 'hosts["a"].dialErrorLimit', /-1: no limit/],
    ["perDialTimeout -1", host({ perDialTimeout: -1 }), 'hosts["a"].perDialTimeout', /0: no limit/],
    [
      "local with an address",
      host({ local: true }),
      'hosts["a"]',
      /local: true, which is this machine without ssh, beside host/,
    ],
    [
      "two local ones",
      both({ local: true, server: {} }, { local: true, server: {} }),
      'hosts["b"]',
      /same machine as hosts\["a"\] and keeps the same sshd_config/,
    ],
    [
      "one machine twice",
      both({ host: "h" }, { host: "H", port: 22, user: "x" }),
      'hosts["b"]',
      /same machine as hosts\["a"\]/,
    ],
    [
      "one client file twice",
      both(
        { host: "h", client: { user: "x" } },
        { host: "h", client: { user: "x" } },
        { client: { tcpKeepAlive: true } },
      ),
      'hosts["b"]',
      /keeps the same ssh_config/,
    ],
    [
      "an option of the transport",
      host({ sshOptions: { controlPath: "none" } }),
      'hosts["a"].sshOptions["controlPath"]',
      /set by the provider/,
    ],
    [
      "host key checking as an option",
      host({ sshOptions: { StrictHostKeyChecking: "no" } }),
      'hosts["a"].sshOptions["StrictHostKeyChecking"]',
      /Use hostKeyChecking/,
    ],
    [
      "an option that is none",
      host({ sshOptions: { "Proxy Command": "x" } }),
      'hosts["a"].sshOptions["Proxy Command"]',
      /no ssh_config keyword/,
    ],
    [
      "an option with a line end",
      host({ sshOptions: { User: "a\nb" } }),
      'hosts["a"].sshOptions["User"]',
      /control characters/,
    ],
  ])("%s", (_name, inputs, property, reason) => {
    const failure = only(inputs);
    expect(failure.property).toBe(property);
    expect(failure.reason).toMatch(reason);
  });

  test.each<[string, unknown]>([
    [
      "server here, client there",
      { hosts: { a: { host: "h", server: { tcpKeepAlive: true } }, b: { host: "h", client: { tcpKeepAlive: true } } } },
    ],
    ["another configPath", both({ host: "h" }, { host: "h", server: { configPath: "/x" } })],
    ["another port", both({ host: "h" }, { host: "h", port: 2222 })],
    ["another jump host", both({ host: "10.0.0.5", proxy: { host: "a" } }, { host: "10.0.0.5", proxy: { host: "b" } })],
    [
      "another client user",
      both(
        { local: true, client: { user: "a" } },
        { local: true, client: { user: "b" } },
        { client: { tcpKeepAlive: true } },
      ),
    ],
    ["an IPv6 address", top({ hosts: { a: { host: "2001:db8::1" }, b: { host: "fe80::1%eth0" } } })],
    ["the address of the connection", top({ hosts: { a: {} }, connection: { host: "h" } })],
  ])("allows %s", (_name, inputs) => {
    expect(checkInputs(inputs).failures).toEqual([]);
  });
});

describe("refuses keys that are none, without repeating them", () => {
  const begin = "-----BEGIN OPENSSH PRIVATE KEY-----";
  const end = "-----END OPENSSH PRIVATE KEY-----";
  test.each<[string, Partial<ConnectionInputs>, RegExp]>([
    [
      "a path",
      { privateKey: "/home/ana/.ssh/id_ed25519" },
      /^Looks like a path\. Pass the key's text, for example readFileSync/,
    ],
    ["a path under ~", { privateKey: "~/.ssh/key.pem" }, /Looks like a path/],
    ["a file name", { privateKey: "id_rsa" }, /Looks like a path/],
    ["a password", { privateKey: "hunter2-marker" }, /Is no private key/],
    ["a public key", { privateKey: `${HOST_KEY} ana@marker` }, /Is a public key/],
    ["PuTTY's form", { privateKey: "PuTTY-User-Key-File-3: ssh-ed25519\nmarker" }, /puttygen/],
    ["escaped line ends", { privateKey: `${begin}\\nmarker\\n${end}` }, /the two characters \\n/],
    ["folded line ends", { privateKey: `${begin} marker ${end}` }, /lost its line ends/],
    ["a cut-off key", { privateKey: `${begin}\nmarker\n` }, /Is cut off/],
    ["nothing", { privateKey: "\n" }, /Is empty/],
    ["a fingerprint", { hostKey: "SHA256:marker" }, /Is a fingerprint/],
    ["a known_hosts line", { hostKey: `marker.example.com ${HOST_KEY}` }, /Begins with a host name/],
    ["a cut-off host key", { hostKey: HOST_KEY.slice(0, 20) }, /damaged or cut off/],
    ["another type's blob", { hostKey: `ssh-rsa ${blob("ssh-ed25519")}` }, /damaged or cut off/],
    ["a private key as host key", { hostKey: PRIVATE_KEY }, /Is not a public key line/],
    ["an empty host key", { hostKey: "# none\n" }, /Is empty/],
  ])("%s", (_name, fields, words) => {
    const { property, reason } = only(host(fields));
    expect(property).toBe(`hosts["a"].${Object.keys(fields)[0]}`);
    expect(reason).toMatch(words);
    expect(reason).not.toContain("marker");
  });

  test.each<[string, Partial<ConnectionInputs>]>([
    ["CRLF and no final line end", { privateKey: `${begin}\r\nAAAA\r\n${end}` }],
    ["a PEM key", { privateKey: "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----" }],
    ["a host key with a comment", { hostKey: `${HOST_KEY} root@web-1\n` }],
    ["several host keys", { hostKey: `${HOST_KEY}\necdsa-sha2-nistp256 ${blob("ecdsa-sha2-nistp256")}` }],
  ])("takes %s", (_name, fields) => {
    expect(checkInputs(host(fields)).failures).toEqual([]);
  });

  test("no secret shows in any failure, whatever is wrong around it", () => {
    const secrets = ["password", "privateKey", "privateKeyPassword"];
    const marked = paths(FULL).filter((at) => secrets.includes(at.at(-1) ?? ""));
    expect(marked.length).toBeGreaterThan(9);
    for (const at of marked) {
      const shapes = ["marker-5ecret", ["marker-5ecret"], { "x-ray": "marker-5ecret" }, "-----BEGIN marker-5ecret"];
      for (const value of shapes) {
        expect(JSON.stringify(checkInputs(replaced(FULL, at, value)))).not.toContain("5ecret");
      }
      // A secret where something else belongs: the property's neighbours of every other type.
      const parent = at.slice(0, -1);
      for (const sibling of ["port", "host", "user", "proxy", "sshOptions", "passwd", "hostKey", "dialErrorLimit"]) {
        const text = JSON.stringify(checkInputs(replaced(FULL, [...parent, sibling], "marker 5ecret")));
        expect(text).not.toContain("5ecret");
      }
    }
  });
});

describe("never takes a value that is not known yet for an error", () => {
  test.each(paths(FULL).map((at) => [at.join("."), at] as const))("%s", (_name, at) => {
    expect(checkInputs(replaced(FULL, at, UNKNOWN)).failures).toEqual([]);
  });

  test.each<[string, unknown]>([
    ["everything", UNKNOWN],
    ["an element of a list", { ...FULL, verifyAs: ["root", UNKNOWN] }],
    ["the address of an otherwise empty host", top({ hosts: { a: { host: UNKNOWN } } })],
    ["the address of the connection", top({ hosts: { a: {} }, connection: { host: UNKNOWN } })],
    ["the whole connection", top({ hosts: { a: {} }, connection: UNKNOWN })],
    ["the only settings", { hosts: { a: { host: "h" } }, server: UNKNOWN }],
    ["the only option", { hosts: { a: { host: "h", client: { serverAliveInterval: UNKNOWN } } } }],
    ["the only host", top({ hosts: { a: UNKNOWN } })],
    ["local or not", top({ hosts: { a: { local: UNKNOWN } } })],
    ["which machine it is", top({ hosts: { a: { host: "h", port: UNKNOWN }, b: { host: "h" } } })],
    ["how many hosts there are", top({ hosts: { a: UNKNOWN }, rollout: { canary: 5 } })],
  ])("%s", (_name, inputs) => {
    expect(checkInputs(inputs).failures).toEqual([]);
  });

  test("still judges the rest", () => {
    const { property } = only({ ...FULL, hosts: { a: UNKNOWN, b: { host: "h", port: 0 } } });
    expect(property).toBe('hosts["b"].port');
  });
});

test("a wrong shape does not hide what else is wrong", () => {
  const { failures } = checkInputs({
    hosts: { a: { host: "h", port: "22", user: "-x" }, b: {} },
    server: { clientAliveInterval: -1, clientAliveCountMax: true },
  });
  expect(failures.map((f) => f.property).sort()).toEqual([
    'hosts["a"].port',
    'hosts["a"].user',
    'hosts["b"].host',
    "server.clientAliveCountMax",
    "server.clientAliveInterval",
  ]);
});

test("a failure reads as one line", () => {
  expect(describeCheckFailure({ property: 'hosts["a"].port', reason: "Is 0." })).toBe('hosts["a"].port: Is 0.');
  expect(describeCheckFailure({ property: "", reason: "Is odd." })).toBe("Is odd.");
});

describe("hostSettings", () => {
  const settings = (inputs: SshKeepaliveInputs, name: string) => hostSettings(inputs).find((h) => h.name === name);

  test("lets the host win over the top level, field by field", () => {
    expect(settings(FULL, "web-1")).toEqual({
      name: "web-1",
      local: false,
      connection: {
        host: "192.0.2.11",
        port: 2222,
        user: "deploy",
        password: "pw-host",
        privateKey: PRIVATE_KEY,
        privateKeyPassword: "pass-host",
        agentSocketPath: "/run/agent",
        hostKey: HOST_KEY,
        dialErrorLimit: -1,
        perDialTimeout: 0,
        proxy: FULL.hosts["web-1"]?.proxy,
        sshOptions: { ProxyJump: "bastion", IdentitiesOnly: "yes" },
        hostKeyChecking: "acceptNew",
      },
      become: { user: "admin", password: "pw-sudo-host" },
      server: {
        values: { ClientAliveInterval: "120", ClientAliveCountMax: "4", TCPKeepAlive: "no" },
        configPath: "/opt/sshd_config",
        sshdPath: "/opt/sshd",
        reload: ["/usr/sbin/service", "sshd", "reload"],
        placement: "main",
      },
      client: {
        values: { ServerAliveInterval: "30", ServerAliveCountMax: "2", TCPKeepAlive: "yes" },
        user: "ana",
        hosts: ["*.example.com", "!db.example.com"],
        configPath: "/home/ana/.ssh/other",
      },
      idleTimeout: 600,
      confirmTimeout: 120,
      verifyAs: ["ana"],
      allowNoBootGuard: true,
      unknown: [],
    });
  });

  test("fills in defaults", () => {
    const inputs = { hosts: { a: { host: "h" } }, server: { clientAliveInterval: "1m" } };
    expect(hostSettings(inputs)).toEqual([
      {
        name: "a",
        local: false,
        connection: { host: "h", sshOptions: {}, hostKeyChecking: "strict" },
        server: { values: { ClientAliveInterval: "60" }, placement: "auto" },
        confirmTimeout: 60,
        verifyAs: [],
        allowNoBootGuard: false,
        unknown: [],
      },
    ]);
  });

  test("keeps the connection from this machine, and the rest not", () => {
    const here = settings(FULL, "here");
    expect(here?.local).toBe(true);
    expect(here?.connection).toEqual({ sshOptions: {}, hostKeyChecking: "strict" });
    expect(here?.client).toMatchObject({ user: "ana", values: { ServerAliveInterval: "60" }, hosts: ["*"] });
  });

  test("manages of this machine only the sides that it names itself", () => {
    const inputs = (here: HostInputs): SshKeepaliveInputs => ({
      hosts: { here: { local: true, ...here } },
      server: { clientAliveInterval: 60 },
      client: { serverAliveInterval: 30 },
    });
    const of = (here: HostInputs) => settings(inputs(here), "here");
    expect(of({ client: {} })?.client?.values).toEqual({ ServerAliveInterval: "30" });
    expect(of({ client: {} })?.server).toBeUndefined();
    expect(of({ server: {} })?.server?.values).toEqual({ ClientAliveInterval: "60" });
    expect(checkInputs(inputs({})).failures.map((f) => f.reason)).toEqual([expect.stringMatching(/names itself/)]);
  });

  test("becomes root where become says nobody, and nobody where there is no become", () => {
    const inputs = (become?: HostInputs["become"]): SshKeepaliveInputs => ({
      hosts: { a: { host: "h" } },
      server: { tcpKeepAlive: true },
      ...(become === undefined ? {} : { become }),
    });
    expect(settings(inputs({}), "a")?.become).toEqual({ user: "root" });
    expect(settings(inputs(), "a")?.become).toBeUndefined();
  });

  test("an option of the host replaces the top level's in any case", () => {
    const inputs: SshKeepaliveInputs = {
      hosts: { a: { host: "h", sshOptions: { proxyjump: "b" } } },
      connection: { sshOptions: { ProxyJump: "a", Compression: "yes" } },
      server: { tcpKeepAlive: true },
    };
    expect(settings(inputs, "a")?.connection.sshOptions).toEqual({ Compression: "yes", proxyjump: "b" });
  });

  test.each<[string, (f: SshKeepaliveInputs) => unknown, string, string[]]>([
    ["its own address", (f) => replaced(f, ["hosts", "web-2", "host"], UNKNOWN), "web-2", ['hosts["web-2"].host']],
    ["another host's address", (f) => replaced(f, ["hosts", "web-1", "host"], UNKNOWN), "web-2", []],
    ["itself", (f) => replaced(f, ["hosts", "web-2"], UNKNOWN), "web-2", ['hosts["web-2"]']],
    ["a shared field", (f) => replaced(f, ["connection", "privateKey"], UNKNOWN), "web-2", ["connection.privateKey"]],
    ["a shared field that it replaces", (f) => replaced(f, ["connection", "privateKey"], UNKNOWN), "web-1", []],
    [
      "a shared field that this machine does not use",
      (f) => replaced(f, ["connection", "privateKey"], UNKNOWN),
      "here",
      [],
    ],
    ["the whole connection", (f) => replaced(f, ["connection"], UNKNOWN), "web-1", ["connection"]],
    ["a shared option that it replaces", (f) => replaced(f, ["server", "clientAliveInterval"], UNKNOWN), "web-1", []],
    [
      "a shared option",
      (f) => replaced(f, ["server", "clientAliveInterval"], UNKNOWN),
      "web-2",
      ["server.clientAliveInterval"],
    ],
    ["a shared list that it replaces", (f) => ({ ...f, verifyAs: [UNKNOWN] }), "web-1", []],
    ["a shared list", (f) => ({ ...f, verifyAs: ["a", UNKNOWN] }), "web-2", ["verifyAs"]],
    ["the rollout, which is no host's", (f) => replaced(f, ["rollout", "parallel"], UNKNOWN), "web-2", []],
  ])("says what is not known yet: %s", (_name, change, name, unknown) => {
    expect(settings(change(FULL) as SshKeepaliveInputs, name)?.unknown).toEqual(unknown);
  });

  test("has no hosts where hosts are not known yet", () => {
    const inputs = { ...FULL, hosts: UNKNOWN } as unknown as SshKeepaliveInputs;
    expect(hostSettings(inputs)).toEqual([]);
    expect(unknownInputs(inputs)).toEqual(["hosts"]);
  });
});

test.each<[SshKeepaliveInputs["rollout"], number, object]>([
  [undefined, 50, { parallel: 16, canary: 0, maxFailures: 0 }],
  [{ parallel: 4, canary: 2, maxFailures: 3 }, 50, { parallel: 4, canary: 2, maxFailures: 3 }],
  [{ canary: "10%" }, 50, { parallel: 16, canary: 5, maxFailures: 0 }],
  [{ canary: "1%" }, 3, { parallel: 16, canary: 1, maxFailures: 0 }],
  [{ canary: "100%" }, 3, { parallel: 16, canary: 3, maxFailures: 0 }],
  [{ canary: 5 }, 3, { parallel: 16, canary: 3, maxFailures: 0 }],
])("rolloutSettings of %j over %i hosts", (rollout, count, expected) => {
  expect(rolloutSettings({ hosts: {}, ...(rollout === undefined ? {} : { rollout }) }, count)).toEqual(expected);
});

describe("inputWarnings", () => {
  const warnings = (inputs: object) => inputWarnings(hostSettings(inputs as SshKeepaliveInputs));

  test("names all hosts of one reason together", () => {
    const found = warnings({
      hosts: { a: { host: "a" }, b: { host: "b", hostKeyChecking: "strict" }, c: { host: "c" } },
      connection: { hostKeyChecking: "off" },
      server: { clientAliveInterval: 60 },
    });
    expect(found).toHaveLength(1);
    expect(found[0]).toMatchObject({ hosts: ["a", "c"], reason: expect.stringMatching(/^hostKeyChecking is off: /) });
  });

  test.each<[string, object, RegExp[]]>([
    ["an interval above 300 s", server({ clientAliveInterval: 301 }), [/^ClientAliveInterval 301 probes after 301 s/]],
    ["an interval of 300 s", server({ clientAliveInterval: 300 }), []],
    ["an idle limit to judge by", top({ server: { clientAliveInterval: 600 }, idleTimeout: "1h" }), []],
    [
      "a passphrase without key",
      host({ privateKeyPassword: "x" }),
      [/^privateKeyPassword is given without privateKey/],
    ],
  ])("%s", (_name, inputs, reasons) => {
    const found = warnings(inputs);
    expect(found).toHaveLength(reasons.length);
    reasons.forEach((reason, i) => {
      expect(found[i]?.reason).toMatch(reason);
    });
  });
});
