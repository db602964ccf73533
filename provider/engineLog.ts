/** Lines to the engine, which shows them beside the resource they are about. Loaded only where something is said. */
import { credentials, Metadata } from "@grpc/grpc-js";
import { EngineClient } from "@pulumi/pulumi/proto/engine_grpc_pb";
import { LogRequest, LogSeverity } from "@pulumi/pulumi/proto/engine_pb";

/** A way to speak to people through the engine. */
export interface EngineLog {
  /** A lasting line, under "Diagnostics". An empty `urn` is the stack. */
  readonly say: (severity: "info" | "warning", urn: string, text: string) => void;
  /** A passing line in the Info column; the next one takes its place. */
  readonly show: (urn: string, text: string) => void;
  /** Resolves when everything said so far has arrived, or cannot. */
  readonly flushed: () => Promise<void>;
}

/** How long the engine may take for one line, in milliseconds. */
const PATIENCE_MS = 5000;

/** Connects to the engine at `address`, `HOST:PORT`. Nothing said ever fails: who does not listen misses it. */
export function engineLog(address: string): EngineLog {
  const client = new EngineClient(address, credentials.createInsecure());
  // One after the other: calls that are under way together overtake each other.
  let last: Promise<void> = Promise.resolve();
  const send = (severity: LogSeverity, urn: string, text: string, ephemeral: boolean): void => {
    const request = new LogRequest().setSeverity(severity).setUrn(urn).setMessage(text).setEphemeral(ephemeral);
    last = last.then(
      () =>
        new Promise<void>((resolve) => {
          client.log(request, new Metadata(), { deadline: Date.now() + PATIENCE_MS }, () => resolve());
        }),
    );
  };
  return {
    say: (severity, urn, text) => send(severity === "info" ? LogSeverity.INFO : LogSeverity.WARNING, urn, text, false),
    show: (urn, text) => send(LogSeverity.INFO, urn, text, true),
    flushed: () => last,
  };
}
