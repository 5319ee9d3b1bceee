import type { Duplex } from "node:stream";
import type { Clock } from "../base/clock.ts";
import { createFrameDecoder, encodeFrame } from "./frames.ts";
import { type AgentEvent, type AgentMessage, type HostMessage, PROTOCOL_VERSION } from "./messages.ts";
import { parseHostMessage } from "./parse-host.ts";

interface AgentChannelOptions {
  /** The agent's version, for people. */
  agent: string;
  /** Name of the engine, once it is known. */
  engine?(): string | undefined;
  /** `metadata`, `drain` or `shutdown`; each may come more than once. */
  onOrder(order: Extract<HostMessage, { kind: "metadata" | "drain" | "shutdown" }>): void;
  clock: Clock;
  /** Bytes of log that wait for a host; the oldest are dropped beyond it. Default 1 MiB. */
  keepLogBytes?: number;
}

/** The sandbox's end. It listens: the host dials, and the newest connection that said hello is the one that counts. */
export interface AgentChannel {
  /** Serves a byte stream on which a host may appear, vanish and appear again. */
  attach(stream: Duplex): void;
  /** Keeps the event until the host has recorded it. A long log text is split. */
  report(event: AgentEvent): void;
  /** Whether everything reported was acknowledged within the time. */
  flush(milliseconds: number): Promise<boolean>;
  close(): void;
}

interface Kept {
  event: AgentEvent;
  at: number;
  bytes: number;
}

/** A text of this many UTF-16 units fits a frame, however much of it JSON escapes. */
const LOG_PIECE = 8 * 1024;
const KEEP_LOG_BYTES = 1024 * 1024;
/** Events that were sent and are not acknowledged. */
const WINDOW = 64;
/** State events are few; a host that lost its records is told these again. */
const KEEP_STATES = 200;

export function createAgentChannel(options: AgentChannelOptions): AgentChannel {
  const keepLogBytes = options.keepLogBytes ?? KEEP_LOG_BYTES;
  const streams = new Set<Duplex>();
  const history: Kept[] = [];
  /** Sent, numbered from `base` on. */
  let flying: Kept[] = [];
  /** Not sent, not numbered yet: only these can be dropped, so numbers never have holes. */
  let waiting: Kept[] = [];
  let waitingBytes = 0;
  let droppedBytes = 0;
  let base = 0;
  /** The stream on which the last hello came. */
  let current: Duplex | undefined;
  const onEmpty = new Set<() => void>();

  return { attach, report, flush, close };

  function attach(stream: Duplex): void {
    const decoder = createFrameDecoder();
    streams.add(stream);
    stream.on("data", (chunk: Buffer) => {
      for (const value of decoder.push(chunk)) receive(stream, parseHostMessage(value));
    });
    stream.on("drain", pump);
    // An error is followed by `close`, which is all that matters here: the host dials again.
    stream.on("error", () => undefined);
    stream.on("close", () => {
      streams.delete(stream);
      if (current === stream) current = undefined;
    });
  }

  function receive(stream: Duplex, message: HostMessage | undefined): void {
    if (message?.kind === "hello") return greet(stream, message);
    if (message === undefined || stream !== current) return;
    switch (message.kind) {
      case "ack":
        acknowledge(message.next);
        return pump();
      case "ping":
        return send({ kind: "pong", id: message.id, next: base + flying.length });
      case "metadata":
      case "drain":
      case "shutdown":
        return options.onOrder(message);
    }
  }

  function greet(stream: Duplex, hello: Extract<HostMessage, { kind: "hello" }>): void {
    current = stream;
    for (const other of streams) if (other !== stream) other.destroy();
    const known = hello.next >= base && hello.next <= base + flying.length;
    if (known) {
      acknowledge(hello.next);
      putBack(flying);
    } else {
      // Another host, one that lost its records, or we are new: the story is told again from the beginning.
      const logs = [...flying, ...waiting].filter((kept) => kept.event.kind === "log");
      waiting = [];
      waitingBytes = 0;
      putBack([...history, ...logs]);
    }
    flying = [];
    base = hello.next;
    const engine = options.engine?.();
    const version = Math.min(hello.version, PROTOCOL_VERSION);
    const answer = { kind: "hello", nonce: hello.nonce, version, agent: options.agent, next: base } as const;
    send(engine === undefined ? answer : { ...answer, engine });
    trim();
    pump();
  }

  function acknowledge(next: number): void {
    if (next <= base || next > base + flying.length) return;
    flying.splice(0, next - base);
    base = next;
    if (flying.length + waiting.length > 0) return;
    for (const wake of onEmpty) wake();
    onEmpty.clear();
  }

  function report(event: AgentEvent): void {
    const at = options.clock.now();
    if (event.kind !== "log") {
      const kept = { event, at, bytes: 0 };
      history.push(kept);
      if (history.length > KEEP_STATES) history.shift();
      waiting.push(kept);
    } else {
      for (let from = 0; from < event.text.length; from += LOG_PIECE) {
        const text = event.text.slice(from, from + LOG_PIECE);
        waiting.push({ event: { ...event, text }, at, bytes: text.length });
        waitingBytes += text.length;
      }
    }
    trim();
    pump();
  }

  function putBack(events: Kept[]): void {
    waiting = [...events, ...waiting];
    for (const kept of events) waitingBytes += kept.bytes;
  }

  /** Drops the oldest logs; never a state event. */
  function trim(): void {
    if (waitingBytes <= keepLogBytes) return;
    // Down to half, so that a flood does not cost a pass over the list for each of its lines.
    waiting = waiting.filter((kept) => {
      if (kept.bytes === 0 || waitingBytes <= keepLogBytes / 2) return true;
      waitingBytes -= kept.bytes;
      droppedBytes += kept.bytes;
      return false;
    });
  }

  function pump(): void {
    let sent = 0;
    for (const kept of waiting) {
      if (current === undefined || current.writableNeedDrain || flying.length >= WINDOW) break;
      waitingBytes -= kept.bytes;
      const told = withNotice(kept);
      send({ kind: "event", seq: base + flying.length, at: told.at, event: told.event });
      flying.push(told);
      sent++;
    }
    waiting.splice(0, sent);
  }

  function withNotice(kept: Kept): Kept {
    if (kept.event.kind !== "log" || droppedBytes === 0) return kept;
    const text = `[${droppedBytes} bytes of log were dropped]\n${kept.event.text}`;
    droppedBytes = 0;
    return { ...kept, event: { ...kept.event, text }, bytes: text.length };
  }

  function send(message: AgentMessage): void {
    if (current !== undefined && !current.destroyed) current.write(encodeFrame(message));
  }

  async function flush(milliseconds: number): Promise<boolean> {
    if (flying.length + waiting.length === 0) return true;
    const { promise, resolve } = Promise.withResolvers<boolean>();
    const timer = options.clock.after(milliseconds, () => resolve(false));
    onEmpty.add(() => resolve(true));
    const done = await promise;
    timer.cancel();
    return done;
  }

  function close(): void {
    for (const stream of streams) stream.destroy();
  }
}
