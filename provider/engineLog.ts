/** Lines to the engine, which shows them beside the resource they are about. Loaded only where something is said. */
import { credentials } from "@grpc/grpc-js";
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

/** Connects to the engine at `address`, `HOST:PORT`. Nothing said ever fails: who does not listen misses it. */
export function engineLog(address: string): EngineLog {
  const client = new EngineClient(address, credentials.createInsecure());
  const underWay = new Set<Promise<void>>();
  const send = (
    severity: LogRequest["getSeverity"] extends () => infer S ? S : never,
    urn: string,
    text: string,
    ephemeral: boolean,
  ) => {
    const request = new LogRequest().setSeverity(severity).setUrn(urn).setMessage(text).setEphemeral(ephemeral);
    const sent = new Promise<void>((resolve) => {
      client.log(request, { deadline: Date.now() + 5000 }, () => resolve());
    }).finally(() => underWay.delete(sent));
    underWay.add(sent);
  };
  return {
    say: (severity, urn, text) => send(severity === "info" ? LogSeverity.INFO : LogSeverity.WARNING, urn, text, false),
    show: (urn, text) => send(LogSeverity.INFO, urn, text, true),
    flushed: async () => {
      await Promise.all(underWay);
    },
  };
}
