/**
 * Talks to the ssh process that holds a shared connection, where else each command would cost an ssh process of its own:
 * OpenSSH's multiplexing protocol, version 4 (PROTOCOL.mux), whose proxy mode carries the messages of the SSH connection
 * protocol (RFC 4254) over the control socket, in clear between two processes of one user. OpenSSH 7.4 and newer.
 */
import { createConnection, type Socket } from "node:net";
import { outputOf, type Running, type SpawnResult, type Watched } from "./spawn";

const HELLO = 0x00000001;
const TERMINATE = 0x10000005;
const STOP_LISTENING = 0x10000009;
const PROXY = 0x1000000f;
const OK = 0x80000001;
const PROXY_OK = 0x8000000f;
const VERSION = 4;
/** Every request goes over a connection of its own. */
const REQUEST_ID = 1;

/** RFC 4254, section 9. */
const CHANNEL = {
  open: 90,
  confirmation: 91,
  openFailure: 92,
  windowAdjust: 93,
  data: 94,
  extendedData: 95,
  eof: 96,
  close: 97,
  request: 98,
  success: 99,
  failure: 100,
} as const;

/** Our side's window, bytes, and how much is taken before it is opened again. */
const WINDOW = 4 * 1024 * 1024;
const REFILL = 1024 * 1024;
const PACKET = 32 * 1024;
/** Most bytes of one message: the protocol's own packets are far smaller. */
const MESSAGE_MAX = 256 * 1024;
/** How long the holder of the connection, a process on this machine, may take for its part, milliseconds. */
const LOCAL_TIMEOUT = 2_000;

function uint32(...values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(4 * values.length);
  for (const [i, value] of values.entries()) bytes.writeUInt32BE(value >>> 0, 4 * i);
  return bytes;
}

const framed = (body: Buffer): Buffer => Buffer.concat([uint32(body.length), body]);

const text = (value: string | Buffer): Buffer => framed(Buffer.from(value));

/** Calls `message` with each whole message of a stream; `broken` when one is longer than any may be. */
function messages(socket: Socket, message: (body: Buffer) => void, broken: () => void): void {
  let rest: Buffer = Buffer.alloc(0);
  socket.on("data", (chunk: Buffer) => {
    rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    while (rest.length >= 4) {
      const length = rest.readUInt32BE(0);
      if (length > MESSAGE_MAX) return broken();
      if (rest.length < 4 + length) return;
      const body = rest.subarray(4, 4 + length);
      rest = rest.subarray(4 + length);
      message(body);
    }
  });
}

/** Connects, says hello and sends one request; `answer` gets every message after the other's hello. */
function ask(path: string, request: number, answer: (body: Buffer) => void, gone: (why: string) => void): Socket {
  const socket = createConnection({ path });
  let greeted = false;
  socket.on("connect", () =>
    socket.write(Buffer.concat([framed(uint32(HELLO, VERSION)), framed(uint32(request, REQUEST_ID))])),
  );
  socket.on("error", (error) => gone(error.message));
  socket.on("close", () => gone("it closed its socket"));
  messages(
    socket,
    (body) => {
      if (greeted) return answer(body);
      if (body.length < 8 || body.readUInt32BE(0) !== HELLO || body.readUInt32BE(4) !== VERSION) {
        return gone("it speaks another protocol");
      }
      greeted = true;
    },
    () => gone("it sent a message that is too long"),
  );
  return socket;
}

/** What the holder of a shared connection can be told: `ssh -O exit` and `stop`. */
export type ControlCommand = "exit" | "stop";

const COMMANDS: Readonly<Record<ControlCommand, number>> = { exit: TERMINATE, stop: STOP_LISTENING };

/** Tells the holder of the connection at socket `path` something; whether it said yes within two seconds. */
export function controlShared(path: string, command: ControlCommand): Promise<boolean> {
  return new Promise((resolve) => {
    const settle = (yes: boolean): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(yes);
    };
    const timer = setTimeout(() => settle(false), LOCAL_TIMEOUT);
    const socket = ask(
      path,
      COMMANDS[command],
      (body) => settle(body.length >= 4 && body.readUInt32BE(0) === OK),
      () => settle(false),
    );
  });
}

/** A command over a shared connection, with the bounds and watchers of a process. */
export interface SharedCommand extends Watched {
  /** The control socket. */
  readonly path: string;
  /** One line for the login shell of the far side. */
  readonly command: string;
}

/**
 * Runs a command over the shared connection at `path`, in a session of its own, and says how it ended as if an ssh
 * process had run it: 255 with a reason on stderr where there was no session. Never rejects.
 */
export function runShared(request: SharedCommand): Promise<SpawnResult> {
  return new Promise((resolve) => {
    let code: number | null = null;
    let reason: string | undefined;
    let timedOut = false;
    let settled = false;
    let proxied = false;
    /** The far side's channel number, once there is a channel. */
    let channel: number | undefined;
    let started = false;
    let window = 0;
    let packet = PACKET;
    let taken = 0;
    let queue: Buffer = Buffer.alloc(0);
    let inputEnded = false;

    const settle = (): void => {
      if (settled) return;
      settled = true;
      clearTimeout(timer);
      clearTimeout(localTimer);
      // A channel that was asked for and not confirmed: its holder would end itself, and every session with it, were
      // this socket closed (nchan.c chan_send_close2). It stays as long as this process.
      if (proxied && channel === undefined) socket.unref();
      // What was written still goes out.
      else socket.destroySoon();
      const kept = output.kept();
      // Where there was no session nobody else has said why.
      const stderr = reason === undefined ? kept.stderr : Buffer.concat([kept.stderr, Buffer.from(reason)]);
      resolve({ code, signal: null, ...kept, stderr, timedOut });
    };
    const fail = (why: string): void => {
      if (settled) return;
      if (code === null) {
        code = 255;
        reason = `the shared connection is of no use: ${why}\n`;
      }
      settle();
    };
    const send = (type: number, ...parts: readonly Buffer[]): void => {
      if (settled) return;
      // What is said together goes out together: its holder wakes up once.
      if (socket.writableCorked === 0) {
        socket.cork();
        process.nextTick(() => socket.uncork());
      }
      socket.write(framed(Buffer.concat([Buffer.from([0, type]), ...parts])));
    };
    const kill = (): void => {
      if (settled) return;
      if (channel !== undefined) send(CHANNEL.close, uint32(channel));
      settle();
    };
    const expire = (): void => {
      timedOut = true;
      kill();
    };
    let timer = setTimeout(expire, request.timeoutMs);
    const localTimer = setTimeout(() => {
      if (!proxied) fail("its holder does not answer");
    }, LOCAL_TIMEOUT);

    const pump = (): void => {
      if (channel === undefined || !started) return;
      while (queue.length > 0 && window > 0) {
        const size = Math.min(queue.length, window, packet);
        send(CHANNEL.data, uint32(channel), text(queue.subarray(0, size)));
        queue = queue.subarray(size);
        window -= size;
      }
      if (queue.length === 0 && inputEnded) {
        inputEnded = false;
        send(CHANNEL.eof, uint32(channel));
      }
    };
    const control: Running = {
      pid: undefined,
      write: (data) => {
        queue = Buffer.concat([queue, Buffer.from(data)]);
        pump();
      },
      endInput: () => {
        inputEnded = true;
        pump();
      },
      kill,
      deadline: (ms) => {
        clearTimeout(timer);
        if (!settled) timer = setTimeout(expire, ms);
      },
    };

    const output = outputOf(request, control);
    const received = (bytes: Buffer, isError: boolean): void => {
      taken += bytes.length;
      if (taken >= REFILL && channel !== undefined) {
        send(CHANNEL.windowAdjust, uint32(channel, taken));
        taken = 0;
      }
      if (isError) output.stderr(bytes);
      // Its own memory: what it is a part of is a whole chunk of the socket.
      else output.stdout(Buffer.from(bytes));
    };

    const channelMessage = (type: number, body: Buffer): void => {
      switch (type) {
        case CHANNEL.confirmation:
          channel = body.readUInt32BE(4);
          window = body.readUInt32BE(8);
          packet = Math.min(body.readUInt32BE(12), PACKET);
          send(CHANNEL.request, uint32(channel), text("exec"), Buffer.from([1]), text(request.command));
          break;
        case CHANNEL.openFailure:
          fail("no further session is allowed on it");
          break;
        case CHANNEL.success:
          started = true;
          pump();
          break;
        case CHANNEL.failure:
          fail("the far side does not run commands");
          break;
        case CHANNEL.windowAdjust:
          window += body.readUInt32BE(4);
          pump();
          break;
        case CHANNEL.data:
          received(body.subarray(8, 8 + body.readUInt32BE(4)), false);
          break;
        case CHANNEL.extendedData:
          received(body.subarray(12, 12 + body.readUInt32BE(8)), true);
          break;
        case CHANNEL.request: {
          const length = body.readUInt32BE(4);
          const name = body.toString("latin1", 8, 8 + length);
          // A boolean between: whether a reply is wanted; for these it never is.
          if (name === "exit-status") code = body.readUInt32BE(9 + length);
          else if (name === "exit-signal") code = 255;
          break;
        }
        case CHANNEL.close:
          if (channel !== undefined) send(CHANNEL.close, uint32(channel));
          code ??= 255;
          settle();
          break;
      }
    };

    const socket = ask(
      request.path,
      PROXY,
      (body) => {
        if (settled) return;
        try {
          if (proxied) return channelMessage(body.readUInt8(1), body.subarray(2));
          if (body.readUInt32BE(0) !== PROXY_OK) return fail("its holder refuses");
          proxied = true;
          send(CHANNEL.open, text("session"), uint32(0, WINDOW, PACKET));
        } catch {
          // A message shorter than its kind is.
          fail("a message is not what it should be");
        }
      },
      fail,
    );
    request.onStart?.(control);
  });
}
