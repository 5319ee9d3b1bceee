import { randomBytes } from "node:crypto";
import type { Duplex } from "node:stream";
import { type Clock, inStep } from "../base/clock.ts";
import { describe } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import type { Bucket } from "./bucket.ts";
import { createFrameDecoder, encodeFrame } from "./frames.ts";
import { type HostMessage, OLDEST_VERSION, PROTOCOL_VERSION } from "./messages.ts";
import { type AgentHello, parseAgentMessage } from "./parse.ts";

/** What a guest may do before its connection is slowed down or ended. Times are milliseconds. */
export interface ChannelLimits {
  /** From the dial to the guest's answer; then it is dialled again. */
  hello: number;
  /** Between two pings while something happens, and where one was not answered. */
  ping: number;
  /** Between two pings once two in a row brought no news: there may be a thousand guests that only wait. */
  restPing: number;
  /** Without a byte from the guest, though it was asked; then it is dialled again. */
  silence: number;
  /** Bytes that are no frames, and frames that are no messages, on one connection. */
  garbageBytes: number;
  invalidMessages: number;
  /** Written to a guest that does not read. */
  unreadBytes: number;
}

export const DEFAULT_LIMITS: ChannelLimits = {
  hello: 5_000,
  ping: 10_000,
  restPing: 60_000,
  silence: 35_000,
  garbageBytes: 1024 * 1024,
  invalidMessages: 100,
  unreadBytes: 256 * 1024,
};

/** What outlives a connection: where the events are, and what becomes of them. */
export interface EventSink {
  /** Number of the next event to be recorded. */
  readonly next: number;
  /** Records the event numbered `next`; `value` is still unread. False when it was no event that we know. */
  record(value: unknown, at: number): Promise<boolean>;
  onHello(hello: AgentHello): void;
}

/** Why a connection ended; after `abuse` and `incompatible` the guest is dialled only seldom. */
export interface ConnectionEnd {
  reason: "closed" | "no-hello" | "silent" | "gap" | "abuse" | "incompatible" | "unrecorded";
  detail: string;
}

export interface HostConnection {
  send(message: HostMessage): void;
  /** Resolves when the stream has ended and the last event taken from it is recorded; never rejects. */
  readonly ended: Promise<ConnectionEnd>;
}

interface ConnectionOptions {
  stream: Duplex;
  sink: EventSink;
  limits: ChannelLimits;
  /** Paces reading: the guest is made to wait, not cut off. */
  inflow: Bucket;
  clock: Clock;
  log: Logger;
  signal: AbortSignal;
}

/** Serves one dialled connection: says hello, ignores everything before its answer, then takes events in order. */
export function serveConnection(options: ConnectionOptions): HostConnection {
  const { stream, sink, limits, clock, log, signal } = options;
  const decoder = createFrameDecoder();
  const nonce = randomBytes(12).toString("hex");
  let greeted = false;
  let working = false;
  let invalid = 0;
  let pings = 0;
  let heardAt = clock.uptime();
  let reportedAt = heardAt;
  /** When the ping was sent that nothing was heard after. */
  let askedAt: number | undefined;
  let end: ConnectionEnd | undefined;

  const finish = (reason: ConnectionEnd["reason"], detail: string): void => {
    end ??= { reason, detail };
    stream.destroy();
  };
  const onAbort = (): void => finish("closed", "closed by the host");
  signal.addEventListener("abort", onAbort, { once: true });
  // The reader below sees every error; this one keeps an error between two reads from being uncaught.
  stream.on("error", (error) => finish("closed", describe(error)));

  let timer = clock.after(limits.hello, () => finish("no-hello", "the guest did not answer the hello"));
  send({ kind: "hello", nonce, version: PROTOCOL_VERSION, oldest: OLDEST_VERSION, next: sink.next });
  return { send, ended: read() };

  function send(message: HostMessage): void {
    if (stream.destroyed) return;
    if (stream.writableLength > limits.unreadBytes) return finish("silent", "the guest does not read");
    stream.write(encodeFrame(message));
  }

  async function read(): Promise<ConnectionEnd> {
    try {
      for await (const chunk of stream as AsyncIterable<Buffer>) {
        working = true;
        await take(chunk);
        working = false;
        heardAt = clock.uptime();
        askedAt = undefined;
        if (end !== undefined) break;
      }
    } catch (error) {
      // Aborting a wait and destroying the stream end the reading with an error too: the first reason stands.
      finish("closed", describe(error));
    }
    timer.cancel();
    signal.removeEventListener("abort", onAbort);
    stream.destroy();
    return end ?? { reason: "closed", detail: "the guest's end was closed" };
  }

  async function take(chunk: Buffer): Promise<void> {
    const before = sink.next;
    for (const value of decoder.push(chunk)) {
      if (end !== undefined) break;
      await receive(value);
    }
    if (sink.next !== before) {
      reportedAt = clock.uptime();
      send({ kind: "ack", next: sink.next });
    }
    if (decoder.garbage > limits.garbageBytes) finish("abuse", "the guest sends bytes that are no frames");
    if (invalid > limits.invalidMessages) finish("abuse", "the guest sends messages that are none");
    const pause = options.inflow.take(chunk.length);
    if (pause > 0 && end === undefined) await clock.sleep(pause, signal);
  }

  async function receive(value: unknown): Promise<void> {
    const message = parseAgentMessage(value);
    if (!greeted) {
      if (message?.kind === "hello" && message.nonce === nonce) greet(message);
      return;
    }
    switch (message?.kind) {
      case "event":
        if (message.seq > sink.next) finish("gap", `event ${message.seq} came where ${sink.next} was due`);
        if (message.seq === sink.next) await record(message.event, message.at);
        break;
      case "pong":
        if ((message.next ?? 0) > sink.next) finish("gap", "the last events did not arrive");
        break;
      case "hello":
      case undefined:
        invalid++;
    }
  }

  function greet(hello: AgentHello): void {
    if (hello.version < OLDEST_VERSION || hello.version > PROTOCOL_VERSION) {
      finish("incompatible", `the agent speaks version ${hello.version} of the channel's protocol`);
      return;
    }
    if (hello.next !== sink.next) return finish("gap", "the agent goes on at another event than it was told");
    greeted = true;
    decoder.forget();
    sink.onHello(hello);
    timer.cancel();
    timer = clock.after(inStep(clock, limits.ping), ping);
  }

  /** The acknowledgement goes with it again, in case the last one was lost. */
  function ping(): void {
    const now = clock.uptime();
    timer = clock.after(inStep(clock, limits.ping), ping);
    const resting = now - reportedAt > 2 * limits.ping && now - heardAt < limits.restPing;
    if (askedAt === undefined && resting) return;
    const silentSince = askedAt === undefined ? now : Math.max(heardAt, askedAt - limits.ping);
    if (!working && now - silentSince > limits.silence) return finish("silent", "the guest went silent");
    askedAt ??= now;
    stream.cork();
    send({ kind: "ping", id: pings++ });
    send({ kind: "ack", next: sink.next });
    stream.uncork();
  }

  async function record(value: unknown, at: number): Promise<void> {
    try {
      if (!(await sink.record(value, at))) invalid++;
    } catch (error) {
      if (!signal.aborted)
        log.warn({ err: describe(error) }, "an event of a guest was not recorded; it will come again");
      finish("unrecorded", describe(error));
    }
  }
}
