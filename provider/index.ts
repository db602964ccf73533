/** pulumi-ssh-keepalive: the public names. */
export type {
  BecomeArgs,
  ClientSettingsArgs,
  ConnectionArgs,
  HostArgs,
  HostKeyChecking,
  HostStatus,
  ObservedDifference,
  ObservedHost,
  ObservedOption,
  ObservedSide,
  Placement,
  ProxyConnectionArgs,
  RolloutArgs,
  ServerSettingsArgs,
  SshKeepaliveArgs,
} from "./args";
export { SshKeepalive } from "./sshKeepalive";
