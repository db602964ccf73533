/**
 * The dynamic face as a program sees it: the resource class, a dynamic resource to the engine. What is stored of it is one
 * small object whose methods load the installed package, so that refresh and destroy always run the present code.
 */
import * as pulumi from "@pulumi/pulumi";
import type { ObservedHost, SshKeepaliveArgs } from "./args";

/**
 * The provider object as the engine stores it: source that Pulumi's host for dynamic providers runs
 * (@pulumi/pulumi, cmd/dynamic-provider). Constant, so that pulumi.dynamic.Resource need not serialize a closure in every
 * program, which loads a compiler first. The path and the names are a promise to states that older releases have written.
 */
const PROVIDER_SOURCE = `const call = (name) => async (...args) => require("pulumi-ssh-keepalive/dynamic")[name](...args);
exports.handler = () => ({
  check: call("check"),
  diff: call("diff"),
  create: call("create"),
  read: call("read"),
  update: call("update"),
  delete: call("remove"),
});
`;

/** Properties whose values are secrets wherever they stand: encrypted in state, never shown. */
const SECRETS: readonly string[] = ["password", "privateKey", "privateKeyPassword"];

/** Objects that may hold secrets, by property name, and what stands in them. */
const NESTED: readonly string[] = ["connection", "become", "proxy"];

/** Marks secret leaves as secrets, so that a key passed as a plain string is one too. */
function sealed(value: unknown): unknown {
  if (pulumi.Output.isInstance(value) || value instanceof Promise) return pulumi.output(value).apply(sealed);
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, v]) => v !== undefined)
      .map(([key, v]) => [key, SECRETS.includes(key) ? pulumi.secret(v) : NESTED.includes(key) ? sealed(v) : v]),
  );
}

function sealedHosts(hosts: unknown): unknown {
  if (pulumi.Output.isInstance(hosts) || hosts instanceof Promise) return pulumi.output(hosts).apply(sealedHosts);
  if (typeof hosts !== "object" || hosts === null || Array.isArray(hosts)) return hosts;
  return Object.fromEntries(Object.entries(hosts).map(([name, host]) => [name, sealed(host)]));
}

/** What pulumi.dynamic.Resource makes of the module `sshkeepalive` and the type `SshKeepalive`. */
const DYNAMIC_TYPE = "pulumi-nodejs:dynamic/sshkeepalive:SshKeepalive";

/** `ignoreChanges` that would hide what a preview found. */
const HIDING: readonly string[] = ["*", "pendingChanges"];

/**
 * Keeps SSH sessions alive on one host or a fleet.
 *
 * A preview looks at each host (one ssh round trip each) and shows what OpenSSH there really does, with file and line,
 * where that is not what is wanted. An up changes it by a transaction that the host reverts by itself unless a new
 * login proves that it still works. Errors name host, step, reason and remedy, with a stable code (README).
 *
 * Options of the resource: `deleteBeforeReplace` is true unless given; `ignoreChanges` with `"*"` or
 * `"pendingChanges"` is refused, it would hide drift.
 */
export class SshKeepalive extends pulumi.CustomResource {
  /** What was found on each host, by its name in `hosts`, the last time it was looked at. */
  declare readonly observed: pulumi.Output<{ readonly [name: string]: ObservedHost }>;

  /** What an update would change, by host name, for people. Known in previews only, never stored. */
  declare readonly pendingChanges: pulumi.Output<{ readonly [name: string]: readonly string[] } | undefined>;

  /**
   * @param name the resource's name in the program
   * @param args what is wanted; schema.json and README describe each property
   * @param opts the usual options of a Pulumi resource
   */
  constructor(name: string, args: SshKeepaliveArgs, opts?: pulumi.CustomResourceOptions) {
    const hiding = opts?.ignoreChanges?.find((path) => HIDING.includes(path));
    if (hiding !== undefined) {
      const error = new pulumi.RunError(
        `${name}: ignoreChanges "${hiding}" would hide what a preview finds on the hosts. Name the properties to ignore.`,
      );
      // A user's mistake needs no stack, and colouring one can keep Node.js 20 busy for half a minute.
      delete error.stack;
      throw error;
    }
    const given = args as unknown as Readonly<Record<string, unknown>>;
    const props = {
      ...(sealed(given) as Record<string, unknown>),
      hosts: sealedHosts(given.hosts),
      observed: undefined,
      pendingChanges: undefined,
      // The provider's process cannot know whether this is a preview; check takes this away again.
      dry: pulumi.runtime.isDryRun(),
      __provider: PROVIDER_SOURCE,
    };
    super(DYNAMIC_TYPE, name, props, { deleteBeforeReplace: true, ...opts });
  }
}
