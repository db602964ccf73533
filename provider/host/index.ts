/** Reaching hosts: the public names of this folder. */
export { closeAgents } from "./agent";
export type { Answer, AnswerRecord, Connector, Script } from "./connector";
export { isRetryable } from "./failure";
export { cksum } from "./frame";
export { handedOver, handOver, KEPT_MS, takeOver } from "./handover";
export { type LocalConnectorOptions, localConnector } from "./local";
export { confirmScript, observeScript, ownScript, stagedScript, transactionScript } from "./scripts";
export { type SshConnectorOptions, sshConnector } from "./ssh";
export {
  type Become,
  checkTarget,
  type HostKeyChecking,
  hostKeys,
  RESERVED_OPTIONS,
  type SshEndpoint,
  type SshJump,
  type SshTarget,
  type TargetProblem,
} from "./target";
