/** The native face without a process: its handlers called with messages, its lines to the engine kept. */
import * as proto from "@pulumi/pulumi/proto/provider_pb";
import { Status } from "@pulumi/pulumi/proto/status_pb";
import type { Struct } from "google-protobuf/google/protobuf/struct_pb";
import { nativeProvider } from "../../../provider/plugin/provider";
import { opened, type Properties, sealed } from "../../../provider/plugin/values";

/** Property bags. */
export type Bag = Readonly<Record<string, unknown>>;

/** What a call brought. */
export interface Answer<T> {
  readonly message?: T;
  /** Text of the error, and what a partial failure carries. */
  readonly error?: string;
  readonly partial?: { readonly id: string; readonly properties: Properties; readonly reasons: readonly string[] };
}

/** The native face, as the engine drives it. */
export interface InProcess {
  /** Lasting lines, as `severity: text`. */
  readonly said: string[];
  /** Passing lines. */
  readonly shown: string[];
  /** Called with each passing line. */
  onShow?: (text: string) => void;
  configure(args: Properties | Bag): Promise<void>;
  check(olds: Bag, news: Bag | Properties): Promise<Answer<proto.CheckResponse>>;
  diff(id: string, oldInputs: Bag, olds: Bag, news: Bag): Promise<Answer<proto.DiffResponse>>;
  create(properties: Bag | Properties, preview?: boolean): Promise<Answer<proto.CreateResponse>>;
  read(id: string, inputs?: Bag, properties?: Bag): Promise<Answer<proto.ReadResponse>>;
  update(id: string, olds: Bag, news: Bag, preview?: boolean): Promise<Answer<proto.UpdateResponse>>;
  remove(id: string, properties: Bag): Promise<Answer<unknown>>;
  invoke(args: Bag): Promise<Answer<proto.InvokeResponse>>;
  call<T>(method: string, request: unknown): Promise<Answer<T>>;
  cancel(): void;
}

const URN = "urn:pulumi:dev::test::sshkeepalive:index:SshKeepalive::fleet";

/** A message of plain values, or of values with secrets. */
const struct = (bag: Bag | Properties): Struct =>
  sealed("secrets" in bag && Array.isArray(bag.secrets) ? (bag as Properties) : { values: bag as Bag, secrets: [] });

/** The values of a message, secrets in clear. */
export const plain = (message: Struct | undefined): Bag => opened(message).values;

/** Makes a provider of its own. */
export function inProcess(): InProcess {
  const said: string[] = [];
  const shown: string[] = [];
  const provider = nativeProvider({
    engineAddress: "nobody",
    connect: () => ({
      say: (severity, _urn, text) => said.push(`${severity}: ${text}`),
      show: (_urn, text) => {
        shown.push(text);
        face.onShow?.(text);
      },
      flushed: async () => {},
    }),
  });
  type Handler = (call: unknown, callback: (error: FullError | null, message?: unknown) => void) => void;
  const call = <T>(method: string, request: unknown): Promise<Answer<T>> =>
    new Promise((resolve) => {
      (provider.service[method] as unknown as Handler)({ request }, (error, message) =>
        resolve(error === null ? { message: message as T } : failed<T>(error)),
      );
    });
  const face: InProcess = {
    said,
    shown,
    call,
    cancel: provider.cancel,
    configure: async (args) => {
      await call("configure", new proto.ConfigureRequest().setArgs(struct(args)));
    },
    check: (olds, news) =>
      call("check", new proto.CheckRequest().setUrn(URN).setOlds(struct(olds)).setNews(struct(news))),
    diff: (id, oldInputs, olds, news) => {
      const request = new proto.DiffRequest().setUrn(URN).setId(id).setOldInputs(struct(oldInputs));
      return call("diff", request.setOlds(struct(olds)).setNews(struct(news)));
    },
    create: (properties, preview = false) =>
      call("create", new proto.CreateRequest().setUrn(URN).setProperties(struct(properties)).setPreview(preview)),
    read: (id, inputs, properties) => {
      const request = new proto.ReadRequest().setUrn(URN).setId(id);
      if (inputs !== undefined) request.setInputs(struct(inputs));
      if (properties !== undefined) request.setProperties(struct(properties));
      return call("read", request);
    },
    update: (id, olds, news, preview = false) => {
      const request = new proto.UpdateRequest().setUrn(URN).setId(id).setPreview(preview);
      return call("update", request.setOlds(struct(olds)).setNews(struct(news)));
    },
    remove: (id, properties) =>
      call("delete", new proto.DeleteRequest().setUrn(URN).setId(id).setProperties(struct(properties))),
    invoke: (args) =>
      call("invoke", new proto.InvokeRequest().setTok("sshkeepalive:index:getSshKeepalive").setArgs(struct(args))),
  };
  return face;
}

interface FullError {
  readonly details: string;
  readonly metadata: { get(key: string): unknown[] };
}

function failed<T>({ details, metadata }: FullError): Answer<T> {
  const [packed] = metadata.get("grpc-status-details-bin");
  if (!(packed instanceof Uint8Array)) return { error: details };
  const [any] = Status.deserializeBinary(packed).getDetailsList();
  const failure = proto.ErrorResourceInitFailed.deserializeBinary(any?.getValue_asU8() ?? new Uint8Array());
  return {
    error: details,
    partial: { id: failure.getId(), properties: opened(failure.getProperties()), reasons: failure.getReasonsList() },
  };
}
