/**
 * The native face: Pulumi's resource provider interface (provider.proto), spoken directly, over the life-cycle that the
 * dynamic face uses too. Turns messages into property bags and answers into messages; what is to be done, lifecycle.ts
 * decides.
 */
import { readFileSync } from "node:fs";
import path from "node:path";
import {
  Metadata,
  type ServerUnaryCall,
  type sendUnaryData,
  status,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";
import { PluginInfo } from "@pulumi/pulumi/proto/plugin_pb";
import * as proto from "@pulumi/pulumi/proto/provider_pb";
import { Status } from "@pulumi/pulumi/proto/status_pb";
import { Any } from "google-protobuf/google/protobuf/any_pb";
import { Empty } from "google-protobuf/google/protobuf/empty_pb";
import type { EngineLog } from "../engineLog";
import { describeFailure, isKeepaliveError, printable } from "../errors";
import type { FleetControl } from "../fleet";
import { isRecord, type Path, UNKNOWN } from "../inputs/paths";
import type { Applied, Bag, Reporter } from "../lifecycle";
import * as lifecycle from "../lifecycle";
import { adopted, look, observedBy } from "../look";
import { showProgress } from "../summary";
import {
  type Change,
  changesOf,
  differences,
  withLiveValues,
  withoutLeftovers,
  withoutLiveValues,
  withWantedValues,
} from "./compare";
import { checkConfig, parsedConfig, withDefaults } from "./config";
import { parseImportId } from "./importId";
import { NOTHING, opened, type Properties, sealed, secretsByName, withValueAt } from "./values";

/** The function's token in schema.json. */
const GET_TOKEN = "sshkeepalive:index:getSshKeepalive";

/** What a plugin's process needs from outside. */
export interface Surroundings {
  /** Connects to the engine at an address. */
  readonly connect: (address: string) => EngineLog;
  /** The engine's address, where it is known already. */
  readonly engineAddress?: string;
  /** Told how many calls are being worked on, whenever that changes. */
  readonly busy?: (calls: number) => void;
}

/** The native face in one process. */
export interface NativeProvider {
  /** For grpc's Server.addService with Pulumi's ResourceProviderService. */
  readonly service: UntypedServiceImplementation;
  /** Starts no further host; what has begun on one is finished or taken back. */
  readonly cancel: () => void;
}

/** schema.json, from provider/plugin/ as from dist/plugin/. */
const schemaText = (): string => readFileSync(path.join(__dirname, "..", "..", "schema.json"), "utf8");

/** Makes the provider. Its state is that of one run of the engine: configuration, and what has been said already. */
export function nativeProvider({ connect, engineAddress, busy = () => {} }: Surroundings): NativeProvider {
  let engine = engineAddress === undefined ? undefined : connect(engineAddress);
  let config: Properties = NOTHING;
  const cancelled = new AbortController();
  /** What check has written out at hosts, by URN: no part of what the program said. */
  const writtenOut = new Map<string, readonly Path[]>();
  const said = new Set<string>();
  let calls = 0;

  /** Check and diff run more than once for a resource; each line is said once. */
  const reporter = (urn: string): Reporter => {
    const once = (severity: "info" | "warning") => (text: string) => {
      const key = `${urn}\n${text}`;
      if (said.has(key)) return;
      said.add(key);
      engine?.say(severity, urn, text);
    };
    return { info: once("info"), warn: once("warning") };
  };

  const control = (urn: string): FleetControl => ({
    signal: cancelled.signal,
    progress: showProgress((text) => engine?.show(urn, text)),
  });

  const unary =
    <Request, Response>(work: (request: Request) => Promise<Response> | Response) =>
    (call: ServerUnaryCall<Request, Response>, callback: sendUnaryData<Response>): void => {
      calls += 1;
      busy(calls);
      const done = async (): Promise<void> => {
        await engine?.flushed();
        calls -= 1;
        busy(calls);
      };
      Promise.resolve()
        .then(() => work(call.request))
        .then(
          (response) => done().then(() => callback(null, response)),
          (error: unknown) => done().then(() => callback(asServiceError(error))),
        );
    };

  const checkConfiguration = (request: proto.CheckRequest): proto.CheckResponse => {
    const given = opened(request.getNews());
    const failures = checkConfig(given.values).map((f) =>
      new proto.CheckFailure().setReason(lifecycle.describeCheckFailure(f)),
    );
    // An object that came as text is a secret as a whole when a part of it is.
    const parsed = parsedConfig(given).values;
    const whole = Object.keys(parsed)
      .filter((name) => typeof given.values[name] === "string" && secretsByName(parsed[name]).length > 0)
      .map((name) => [name]);
    return new proto.CheckResponse()
      .setInputs(sealed({ values: given.values, secrets: [...given.secrets, ...whole] }))
      .setFailuresList(failures);
  };

  const diffConfiguration = (request: proto.DiffRequest): proto.DiffResponse => {
    const olds = parsedConfig(opened(request.hasOldInputs() ? request.getOldInputs() : request.getOlds())).values;
    const news = parsedConfig(opened(request.getNews())).values;
    // Configuration says how to get to hosts, not what they are: it never replaces anything.
    const names = [...new Set(differences(olds, news).map((d) => String(d.path[0])))];
    return diffResponse(names.map((name) => ({ path: name, kind: "update", inputDiff: true })));
  };

  const check = async (request: proto.CheckRequest): Promise<proto.CheckResponse> => {
    const urn = request.getUrn();
    const { values: all, secrets } = opened(request.getNews());
    const values = Object.fromEntries(Object.entries(all).filter(([, value]) => value !== null));
    const merged = withDefaults(config, values);
    const { failures } = await lifecycle.check(merged, false, reporter(urn));
    const given: Properties = { values: lifecycle.inputsOf(values) as unknown as Bag, secrets };
    const isUpdate = Object.keys(opened(request.getOlds()).values).length > 0;
    if (failures.length > 0 || !isUpdate) {
      // An empty property: the engine prints the value of a named one, and secrets are among them.
      const list = failures.map((f) => new proto.CheckFailure().setReason(lifecycle.describeCheckFailure(f)));
      return new proto.CheckResponse().setInputs(sealed(given)).setFailuresList(list);
    }
    const { added, ...inputs } = withWantedValues(given, await lifecycle.drift(undefined, merged));
    writtenOut.set(urn, added);
    return new proto.CheckResponse().setInputs(sealed(inputs));
  };

  const diff = async (request: proto.DiffRequest): Promise<proto.DiffResponse> => {
    const news = opened(request.getNews()).values;
    const oldOutputs = opened(request.getOlds()).values;
    const oldInputs = request.hasOldInputs() ? opened(request.getOldInputs()).values : oldOutputs;
    const drift = await lifecycle.drift(request.getId(), withDefaults(config, news));
    const own = (bag: Bag): Bag => lifecycle.inputsOf(bag) as unknown as Bag;
    const changes = changesOf(own(oldInputs), oldOutputs, own(news), drift);
    // Otherwise the preview of the update says it.
    if (changes.length === 0) for (const line of drift.summary) reporter(request.getUrn()).info(line);
    return diffResponse(changes);
  };

  /** Preview: looks, says what an up would do, and answers with what is known beforehand. */
  const foreseen = async (urn: string, given: Properties): Promise<Properties> => {
    const { failures, pendingChanges } = await lifecycle.lookAhead(withDefaults(config, given.values), reporter(urn));
    if (failures.length > 0) throw new PlainError(failures.map(lifecycle.describeCheckFailure).join("\n"));
    const values = { ...given.values, observed: UNKNOWN, ...(pendingChanges === undefined ? {} : { pendingChanges }) };
    return { values, secrets: given.secrets };
  };

  /** What the program said, without what check has written out for the engine to show. */
  const asWritten = (urn: string, given: Properties): Properties => ({
    ...given,
    values: (writtenOut.get(urn) ?? []).reduce((bag, at) => withValueAt(bag, at, undefined), given.values),
  });

  /** Outputs after a change; a partial failure is thrown in the form that keeps them in state. */
  const settled = (applied: Applied, given: Properties, olds: Properties): Properties => {
    const { hosts, observed } = applied.outputs;
    // A host that could not be put back is kept from the old outputs, with its secrets.
    const outputs = { values: { ...given.values, hosts, observed }, secrets: [...given.secrets, ...olds.secrets] };
    if (applied.failures.length > 0) throw new PartialFailure(applied, outputs);
    return outputs;
  };

  const create = async (request: proto.CreateRequest): Promise<proto.CreateResponse> => {
    const urn = request.getUrn();
    const given = opened(request.getProperties());
    if (request.getPreview()) {
      return new proto.CreateResponse().setProperties(sealed(await foreseen(urn, given))).setRefreshBeforeUpdate(true);
    }
    const applied = await lifecycle.create(withDefaults(config, given.values), reporter(urn), control(urn));
    const outputs = settled(applied, given, NOTHING);
    return new proto.CreateResponse().setId(applied.id).setProperties(sealed(outputs)).setRefreshBeforeUpdate(true);
  };

  const update = async (request: proto.UpdateRequest): Promise<proto.UpdateResponse> => {
    const urn = request.getUrn();
    const given = asWritten(urn, opened(request.getNews()));
    if (request.getPreview()) {
      return new proto.UpdateResponse().setProperties(sealed(await foreseen(urn, given))).setRefreshBeforeUpdate(true);
    }
    const olds = opened(request.getOlds());
    const applied = await lifecycle.update(
      request.getId(),
      withDefaults(config, olds.values),
      withDefaults(config, given.values),
      reporter(urn),
      control(urn),
    );
    const outputs = settled(applied, given, olds);
    return new proto.UpdateResponse().setProperties(sealed(outputs)).setRefreshBeforeUpdate(true);
  };

  const read = async (request: proto.ReadRequest): Promise<proto.ReadResponse> => {
    const olds = opened(request.getProperties());
    const inputs = request.hasInputs() ? opened(request.getInputs()) : olds;
    if (!("hosts" in inputs.values)) return adopt(request.getId());
    const written = withoutLeftovers(inputs.values, olds.values);
    const { outputs, drift } = await lifecycle.read(request.getId(), {
      ...withDefaults(config, written),
      observed: olds.values.observed,
    });
    // Hosts that are still to be put back stand in the outputs alone.
    const hosts = { ...asRecord(olds.values.hosts), ...asRecord(written.hosts) };
    const values = { ...lifecycle.inputsOf(olds.values), ...written, hosts };
    const own = { ...withoutLiveValues(values, written), observed: outputs.observed };
    const secrets = [...olds.secrets, ...inputs.secrets];
    return new proto.ReadResponse()
      .setId(request.getId())
      .setProperties(sealed(withLiveValues({ values: own, secrets }, drift)))
      .setInputs(sealed({ values: written, secrets: inputs.secrets }))
      .setRefreshBeforeUpdate(true);
  };

  /** Import: the hosts are looked at, and become inputs that say what they do. */
  const adopt = async (text: string): Promise<proto.ReadResponse> => {
    const { id = lifecycle.newId(), inputs: given } = parseImportId(text);
    const looked = await look(withDefaults(config, given));
    if (looked.failures.length > 0) {
      throw new PlainError(looked.failures.map(lifecycle.describeCheckFailure).join("\n"));
    }
    const inputs = adopted(given, looked);
    const { outputs } = await lifecycle.read(id, withDefaults(config, inputs), false);
    return new proto.ReadResponse()
      .setId(id)
      .setProperties(sealed({ values: { ...inputs, observed: outputs.observed }, secrets: [] }))
      .setInputs(sealed({ values: inputs, secrets: [] }))
      .setRefreshBeforeUpdate(true);
  };

  const remove = async (request: proto.DeleteRequest): Promise<Empty> => {
    const urn = request.getUrn();
    const olds = opened(request.getProperties()).values;
    await lifecycle.remove(request.getId(), withDefaults(config, olds), reporter(urn), control(urn));
    return new Empty();
  };

  const invoke = async (request: proto.InvokeRequest): Promise<proto.InvokeResponse> => {
    if (request.getTok() !== GET_TOKEN)
      throw new PlainError(`there is no function ${printable(request.getTok(), 100)}`);
    const { values } = opened(request.getArgs());
    const looked = await look(withDefaults(config, values));
    const failures = looked.failures.map((f) => new proto.CheckFailure().setReason(lifecycle.describeCheckFailure(f)));
    if (failures.length > 0) return new proto.InvokeResponse().setFailuresList(failures);
    return new proto.InvokeResponse().setReturn(sealed({ values: { observed: observedBy(looked) }, secrets: [] }));
  };

  const service = {
    handshake: unary((request: proto.ProviderHandshakeRequest) => {
      engine = connect(request.getEngineAddress());
      return new proto.ProviderHandshakeResponse().setAcceptSecrets(true);
    }),
    attach: unary((request: { getAddress(): string }) => {
      engine = connect(request.getAddress());
      return new Empty();
    }),
    getSchema: unary(() => new proto.GetSchemaResponse().setSchema(schemaText())),
    getPluginInfo: unary(() => {
      const { version } = JSON.parse(schemaText()) as { readonly version: string };
      return new PluginInfo().setVersion(version);
    }),
    checkConfig: unary(checkConfiguration),
    diffConfig: unary(diffConfiguration),
    configure: unary((request: proto.ConfigureRequest) => {
      config = parsedConfig(opened(request.getArgs()));
      return new proto.ConfigureResponse().setAcceptsecrets(true).setSupportspreview(true);
    }),
    check: unary(check),
    diff: unary(diff),
    create: unary(create),
    read: unary(read),
    update: unary(update),
    delete: unary(remove),
    invoke: unary(invoke),
    cancel: unary(() => {
      cancelled.abort();
      return new Empty();
    }),
  };
  return { service, cancel: () => cancelled.abort() };
}

const asRecord = (value: unknown): Bag => (isRecord(value) ? value : {});

function diffResponse(changes: readonly Change[]): proto.DiffResponse {
  const { DIFF_SOME, DIFF_NONE } = proto.DiffResponse.DiffChanges;
  const response = new proto.DiffResponse()
    .setChanges(changes.length > 0 ? DIFF_SOME : DIFF_NONE)
    .setDiffsList([...new Set(changes.map(({ path: at }) => /^\w+/.exec(at)?.[0] ?? at))])
    .setHasdetaileddiff(true)
    // Undo before the new one begins, so that a --replace does not find its own hosts taken.
    .setDeletebeforereplace(true);
  const kinds = {
    add: proto.PropertyDiff.Kind.ADD,
    delete: proto.PropertyDiff.Kind.DELETE,
    update: proto.PropertyDiff.Kind.UPDATE,
  };
  for (const { path: at, kind, inputDiff } of changes) {
    response.getDetaileddiffMap().set(at, new proto.PropertyDiff().setKind(kinds[kind]).setInputdiff(inputDiff));
  }
  return response;
}

/** An error whose text is all there is to say. */
class PlainError extends Error {}

/** Hosts were changed, not all of them: the resource exists, and what became of it goes into state. */
class PartialFailure extends Error {
  constructor(
    readonly applied: Applied,
    readonly outputs: Properties,
  ) {
    super(`not all hosts are as wanted:\n  ${applied.failures.join("\n  ")}`);
  }
}

/** What gRPC takes for an error, never with a stack. */
function asServiceError(error: unknown): { code: number; details: string; metadata: Metadata } & Error {
  const details = isKeepaliveError(error)
    ? describeFailure(error.failure)
    : error instanceof PlainError || error instanceof PartialFailure
      ? error.message
      : `unexpected: ${printable(error instanceof Error ? error.message : String(error), 500)}. Please report this, it is a fault of the provider.`;
  const metadata = new Metadata();
  if (error instanceof PartialFailure) {
    const failure = new proto.ErrorResourceInitFailed()
      .setId(error.applied.id)
      .setProperties(sealed(error.outputs))
      .setReasonsList([...error.applied.failures])
      .setRefreshBeforeUpdate(true);
    const packed = new Any();
    packed.pack(failure.serializeBinary(), "pulumirpc.ErrorResourceInitFailed");
    // How Go's gRPC carries an error's details (google.rpc.Status).
    const whole = new Status().setCode(status.UNKNOWN).setMessage(details).setDetailsList([packed]);
    metadata.add("grpc-status-details-bin", Buffer.from(whole.serializeBinary()));
  }
  return { name: "ServiceError", message: details, code: status.UNKNOWN, details, metadata };
}
