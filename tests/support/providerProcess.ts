/** The dynamic provider's process as the engine starts it, driven over gRPC without an engine. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { Client, credentials, type ServiceError } from "@grpc/grpc-js";
import type { Project } from "./engine";

/** Property bags as they go over the wire. */
export type Bag = Record<string, unknown>;

/** What a call brought: an answer, or the error with what it carries for the engine's state. */
export type Reply =
  | { readonly kind: "answer"; readonly answer: Bag }
  | {
      readonly kind: "error";
      readonly message: string;
      /** A resource that exists, with what is not right about it. */
      readonly partial?: { readonly id: string; readonly properties: Bag; readonly reasons: readonly string[] };
    };

/** A running provider process. */
export interface ProviderProcess {
  /** The stored provider object, as source: the property `__provider` of each bag. */
  readonly source: string;
  check(olds: Bag, news: Bag): Promise<Reply>;
  diff(id: string, olds: Bag, news: Bag): Promise<Reply>;
  create(properties: Bag): Promise<Reply>;
  read(id: string, properties: Bag): Promise<Reply>;
  update(id: string, olds: Bag, news: Bag): Promise<Reply>;
  remove(id: string, properties: Bag): Promise<Reply>;
  /** What it printed so far, both streams. */
  printed(): string;
  stop(): Promise<void>;
}

// Pulumi's generated messages; untyped here, since only a few of their accessors are needed.
type Message = Record<string, (...args: unknown[]) => unknown> & { serializeBinary(): Uint8Array };
type MessageClass = { new (): Message; deserializeBinary(bytes: Uint8Array): Message };
const proto = require("@pulumi/pulumi/proto/provider_pb") as Record<string, MessageClass>;
const status = require("@pulumi/pulumi/proto/status_pb") as Record<string, MessageClass>;
const { Struct } = require("google-protobuf/google/protobuf/struct_pb") as {
  Struct: { fromJavaScript(value: Bag): unknown };
};

/** Starts the process in a project's folder. The project needs no engine, stack or program. */
export async function startProviderProcess(project: Project): Promise<ProviderProcess> {
  const source = storedProvider(project);
  const main = require.resolve("@pulumi/pulumi/cmd/dynamic-provider");
  // The address of the engine: nobody is there, and a dynamic provider does not ask for it.
  const child: ChildProcess = spawn(process.execPath, [main, "127.0.0.1:9"], { cwd: project.dir, env: project.env });
  let printed = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding("utf8").on("data", (text: string) => {
      printed += text;
    });
  }
  if (child.stdout === null) throw new Error("the provider's process has no output");
  const [port] = (await once(createInterface(child.stdout), "line")) as [string];
  const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure());

  const call = (method: string, response: string, request: Message): Promise<Reply> =>
    new Promise((resolve) => {
      client.makeUnaryRequest(
        `/pulumirpc.ResourceProvider/${method}`,
        (message: Message) => Buffer.from(message.serializeBinary()),
        (bytes: Buffer) => (response === "" ? undefined : classOf(response).deserializeBinary(bytes)),
        request,
        (error, message) =>
          resolve(error === null ? { kind: "answer", answer: plain(message) } : { kind: "error", ...failureOf(error) }),
      );
    });
  const request = (name: string, fields: Readonly<Record<string, string | Bag>>): Message => {
    const made = new (classOf(name))();
    for (const [key, value] of Object.entries(fields)) {
      made[`set${key}`]?.(typeof value === "string" ? value : Struct.fromJavaScript({ ...value, __provider: source }));
    }
    return made;
  };
  return {
    source,
    check: (olds, news) =>
      call("Check", "CheckResponse", request("CheckRequest", { Urn: URN, Olds: olds, News: news })),
    diff: (id, olds, news) =>
      call("Diff", "DiffResponse", request("DiffRequest", { Urn: URN, Id: id, Olds: olds, News: news })),
    create: (properties) =>
      call("Create", "CreateResponse", request("CreateRequest", { Urn: URN, Properties: properties })),
    read: (id, properties) =>
      call("Read", "ReadResponse", request("ReadRequest", { Urn: URN, Id: id, Properties: properties })),
    update: (id, olds, news) =>
      call("Update", "UpdateResponse", request("UpdateRequest", { Urn: URN, Id: id, Olds: olds, News: news })),
    remove: (id, properties) =>
      call("Delete", "", request("DeleteRequest", { Urn: URN, Id: id, Properties: properties })),
    printed: () => printed,
    stop: async () => {
      client.close();
      const ended = once(child, "exit");
      child.kill("SIGTERM");
      await ended;
    },
  };
}

const URN = "urn:pulumi:dev::test::pulumi-nodejs:dynamic/sshkeepalive:SshKeepalive::fleet";

function classOf(name: string): MessageClass {
  const found = proto[name];
  if (found === undefined) throw new Error(`no message ${name}`);
  return found;
}

/** The parts of an answer that are set; property bags as plain objects. */
function plain(message: Message | undefined): Bag {
  const get = (name: string): unknown => message?.[`get${name}`]?.();
  const bag = (name: string): Bag | undefined => (get(name) as { toJavaScript(): Bag } | undefined)?.toJavaScript();
  const failures = (get("FailuresList") as Message[] | undefined)?.map((failure) => ({
    property: failure.getProperty?.(),
    reason: failure.getReason?.(),
  }));
  const fields = {
    id: get("Id"),
    inputs: bag("Inputs"),
    properties: bag("Properties"),
    failures,
    // DIFF_UNKNOWN, DIFF_NONE, DIFF_SOME
    changes: ["unknown", "none", "some"][Number(get("Changes"))],
    deleteBeforeReplace: get("Deletebeforereplace"),
  };
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
}

/** Unpacks `ErrorResourceInitFailed` out of `google.rpc.Status`, as the engine does. */
function failureOf(error: ServiceError): Omit<Extract<Reply, { kind: "error" }>, "kind"> {
  const [packed] = error.metadata.get("grpc-status-details-bin");
  const message = error.details;
  if (!(packed instanceof Buffer)) return { message };
  const details = status.Status?.deserializeBinary(packed).getDetailsList?.() as Message[];
  const bytes = details[0]?.getValue_asU8?.() as Uint8Array;
  const failed = classOf("ErrorResourceInitFailed").deserializeBinary(bytes);
  return {
    message,
    partial: {
      id: String(failed.getId?.()),
      properties: (failed.getProperties?.() as { toJavaScript(): Bag } | undefined)?.toJavaScript() ?? {},
      reasons: failed.getReasonsList?.() as string[],
    },
  };
}

/** What the engine would store of the provider object, by Pulumi's own serializer. */
function storedProvider(project: Project): string {
  const program = `
    const pulumi = require("@pulumi/pulumi");
    pulumi.runtime.setMocks({
      newResource: ({ inputs }) => {
        if (inputs.__provider) process.stdout.write(inputs.__provider);
        return { id: "", state: {} };
      },
      call: () => ({}),
    });
    const { SshKeepalive } = require("pulumi-ssh-keepalive");
    new SshKeepalive("fleet", { hosts: { here: { local: true } }, server: { clientAliveInterval: 60 } });`;
  return execFileSync(process.execPath, ["-e", program], { cwd: project.dir, env: project.env, encoding: "utf8" });
}
