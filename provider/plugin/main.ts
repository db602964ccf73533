/**
 * The plugin's process, as the engine starts it: `pulumi-resource-sshkeepalive ENGINE-ADDRESS`. Prints the port it
 * listens on, and serves until it is told to end.
 */
import { Server, ServerCredentials } from "@grpc/grpc-js";
import { ResourceProviderService } from "@pulumi/pulumi/proto/provider_grpc_pb";
import { engineLog } from "../engineLog";
import { nativeProvider } from "./provider";

/** What Pulumi's own SDKs allow a message to have, in bytes. */
const MAX_MESSAGE = 400 * 1024 * 1024;

/** How often the engine is looked for, in milliseconds. */
const PARENT_EVERY_MS = 5000;

/** Serves on a free port of loopback; resolves to that port. */
export async function serve(engineAddress: string | undefined): Promise<number> {
  let calls = 0;
  let ending = false;
  const endWhenIdle = (): void => {
    if (ending && calls === 0) process.exit(0);
  };
  const provider = nativeProvider({
    connect: engineLog,
    ...(engineAddress === undefined ? {} : { engineAddress }),
    busy: (n) => {
      calls = n;
      // After the answer has left.
      if (ending) setTimeout(endWhenIdle, 100);
    },
  });
  // A transaction that runs is finished or taken back first; the engine's patience ends the process at the latest.
  const end = (): void => {
    ending = true;
    provider.cancel();
    endWhenIdle();
  };
  process.on("SIGINT", end).on("SIGTERM", end);
  // An engine that was killed says nothing: its child is then someone else's.
  const parent = process.ppid;
  setInterval(() => {
    if (process.ppid !== parent) end();
  }, PARENT_EVERY_MS).unref();

  const server = new Server({
    "grpc.max_receive_message_length": MAX_MESSAGE,
    "grpc.max_send_message_length": MAX_MESSAGE,
  });
  server.addService(ResourceProviderService, provider.service);
  return new Promise((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, port) =>
      error === null ? resolve(port) : reject(error),
    );
  });
}

/** The executable's main function. */
export function main(): void {
  const address = process.argv.slice(2).find((arg) => !arg.startsWith("-"));
  serve(address).then(
    (port) => process.stdout.write(`${port}\n`),
    (error: unknown) => {
      process.stderr.write(`pulumi-resource-sshkeepalive: ${error instanceof Error ? error.message : String(error)}\n`);
      process.exitCode = 1;
    },
  );
}
