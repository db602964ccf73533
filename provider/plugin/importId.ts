/**
 * The ID that `pulumi import` is given: which hosts to adopt, and how to reach them.
 *
 * Either a list, `web-1=deploy@192.0.2.11:2222,web-2=192.0.2.12,this=local` (the name may be left out, the host is then
 * its own name), or JSON text of the resource's inputs, `{"hosts": {"web-1": {"host": "192.0.2.11"}}, "client": {}}`.
 * JSON may have `id` as well: the id of a resource that manages these hosts now and is to be taken over.
 *
 * An ID is printed and stored in clear, so no secret may stand in it.
 */
import { KeepaliveError, printable } from "../errors";
import { isRecord } from "../inputs/paths";
import type { Bag } from "../lifecycle";
import { secretsByName } from "./values";

/** What an ID says. */
export interface ImportId {
  /** The resource's id, where one is to be taken over. */
  readonly id?: string;
  /** Inputs that lead to the hosts; their settings are still to be read. */
  readonly inputs: Bag;
}

/** The form of ids that this provider gives out. */
const OWN_ID = /^ssh-keepalive-[0-9a-f]{16}$/;

/** Reads an ID. Throws KeepaliveError (bad-input) that says how one is written. */
export function parseImportId(text: string): ImportId {
  const trimmed = text.trim();
  if (OWN_ID.test(trimmed)) {
    throw wrong("this is the id of a resource, which does not say how its hosts are reached");
  }
  return trimmed.startsWith("{") ? fromJson(trimmed) : { inputs: { hosts: fromList(trimmed) } };
}

function fromJson(text: string): ImportId {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    throw wrong("it begins like JSON and is none");
  }
  if (!isRecord(parsed)) throw wrong("it is no object");
  const secret = secretsByName(parsed)[0];
  if (secret !== undefined) {
    throw wrong(
      `${secret.join(".")} is a secret, and IDs are printed and stored in clear`,
      "Give it as the provider's configuration: pulumi config set --secret --path sshkeepalive:connection.privateKey",
    );
  }
  const { id, ...inputs } = parsed;
  if (id !== undefined && (typeof id !== "string" || !OWN_ID.test(id))) {
    throw wrong("its `id` is none of this provider's");
  }
  return { inputs, ...(id === undefined ? {} : { id }) };
}

function fromList(text: string): Bag {
  const entries = text.split(/[\s,]+/).filter((entry) => entry !== "");
  if (entries.length === 0) throw wrong("it names no host");
  const hosts = new Map<string, Bag>();
  for (const entry of entries) {
    const [, given, target = ""] = /^(?:([^=@:]+)=)?(.*)$/.exec(entry) ?? [];
    const host = target === "local" ? { local: true } : fromTarget(entry, target);
    const name = given ?? ("host" in host ? host.host : "local");
    if (hosts.has(name)) throw wrong(`${printable(name, 80)} is named twice`);
    hosts.set(name, host);
  }
  return Object.fromEntries(hosts);
}

function fromTarget(entry: string, target: string): { readonly host: string } & Bag {
  const match = /^(?:([^@]+)@)?(?:\[([0-9A-Fa-f:.%\w]+)\]|([^@:[\]]+))(?::(\d{1,5}))?$/.exec(target);
  const host = match?.[2] ?? match?.[3];
  if (match === null || host === undefined) throw wrong(`${printable(entry, 80)} is no host`);
  return {
    host,
    ...(match[1] === undefined ? {} : { user: match[1] }),
    ...(match[4] === undefined ? {} : { port: Number(match[4]) }),
  };
}

function wrong(reason: string, remedy?: string): KeepaliveError {
  return new KeepaliveError({
    code: "bad-input",
    step: "inputs",
    reason: `the import ID cannot be used: ${reason}`,
    remedy:
      remedy ??
      'Write NAME=USER@HOST:PORT, several with commas between, or JSON such as {"hosts": {"web-1": {"host": "192.0.2.11"}}}',
  });
}
