import type { Duplex } from "node:stream";
import type { Clock } from "../base/clock.ts";
import { describe } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import { createBucket } from "./bucket.ts";
import {
  type ChannelLimits,
  type ConnectionEnd,
  DEFAULT_LIMITS,
  type EventSink,
  type HostConnection,
  serveConnection,
} from "./host-connection.ts";
import type { AgentEvent, HostMessage } from "./messages.ts";
import { parseAgentEvent } from "./parse.ts";

/** What the orchestrator may tell an agent. Each is harmless when it arrives twice. */
export type HostOrder = Extract<HostMessage, { kind: "metadata" | "drain" | "shutdown" }>;

export type ChannelState =
  | { phase: "dialling"; detail?: string }
  | { phase: "connected"; agent: string; version: number; engine?: string }
  | { phase: "closed" };

export interface EventPosition {
  /** The event's number; store it with the event and give `seq + 1` as `nextSeq` when dialling again. */
  seq: number;
  /** Unix milliseconds by the guest's clock: a claim. */
  at: number;
  /** Bytes of log that were dropped before this one, since the guest sent more than it may. */
  droppedBytes: number;
}

interface ChannelOptions {
  /** Opens the byte stream (the driver's `dial`); it may reject as often as it likes. */
  dial(signal: AbortSignal): Promise<Duplex>;
  /**
   * Called for each event, in order, one at a time, never twice for the same number once it resolved. Resolving means
   * recorded: only then is the event acknowledged. When it rejects, the event comes again on the next connection.
   */
  onEvent(event: AgentEvent, position: EventPosition): Promise<void> | void;
  /** Called when the phase changes. */
  onState?(state: ChannelState): void;
  /** Called when the guest was cut off for what it sent, with what that was. */
  onTrouble?(detail: string): void;
  /** Number of the first event that is not recorded yet; 0 for a new sandbox. */
  nextSeq: number;
  clock: Clock;
  log: Logger;
  limits?: Partial<ChannelLimits>;
}

export interface HostChannel {
  /** Now, and again after each reconnection, so that an order outlives a lost connection. */
  send(order: HostOrder): void;
  readonly state: ChannelState;
  /** Ends the connection and waits until no callback runs any more. Twice is harmless. */
  close(): Promise<void>;
}

const FIRST_DELAY = 20;
const LAST_DELAY = 250;
/** After abuse, or where we share no version with the agent. */
const SLOW_DELAY = 30_000;
/** A connection that lasted this long was a good one. */
const STEADY = 5_000;
const READ_RATE = { bytes: 1024 * 1024, burst: 8 * 1024 * 1024 };
const LOG_RATE = { bytes: 512 * 1024, burst: 4 * 1024 * 1024 };
/** What an event of a log costs beside its text: many short ones are no way round the rate. */
const LOG_EVENT = 256;
/** Events other than logs; more than that are read more slowly. */
const STATE_RATE = { events: 10, burst: 100 };

/** Dials the sandbox's agent, and again until `close`, and hands over its events in order, each exactly once. */
export function connectChannel(options: ChannelOptions): HostChannel {
  const { clock, log } = options;
  const limits = { ...DEFAULT_LIMITS, ...options.limits };
  const ended = new AbortController();
  const inflow = createBucket(clock, READ_RATE.bytes, READ_RATE.burst);
  const orders = new Map<HostOrder["kind"], HostOrder>();
  let state: ChannelState = { phase: "dialling" };
  let connection: HostConnection | undefined;
  const sink = createSink(options, ended.signal, greeted);
  const running = run();

  return {
    send(order) {
      orders.set(order.kind, order);
      if (state.phase === "connected") connection?.send(order);
    },
    get state() {
      return state;
    },
    async close() {
      ended.abort();
      await running;
    },
  };

  async function run(): Promise<void> {
    let delay = FIRST_DELAY;
    while (!ended.signal.aborted) {
      const since = clock.uptime();
      const end = await connectOnce();
      if (ended.signal.aborted) break;
      if (state.phase === "connected" && clock.uptime() - since > STEADY) delay = FIRST_DELAY;
      enter({ phase: "dialling", detail: end.detail });
      const slow = end.reason === "abuse" || end.reason === "incompatible";
      if (slow) {
        log.warn({ reason: end.reason, detail: end.detail }, "the connection to a guest's agent was ended");
        options.onTrouble?.(end.detail);
      }
      await clock.sleep(slow ? SLOW_DELAY : delay, ended.signal).catch(() => undefined);
      delay = Math.min(2 * delay, LAST_DELAY);
    }
    enter({ phase: "closed" });
  }

  async function connectOnce(): Promise<ConnectionEnd> {
    let stream: Duplex;
    try {
      stream = await options.dial(ended.signal);
    } catch (error) {
      return { reason: "closed", detail: describe(error) };
    }
    if (ended.signal.aborted) {
      stream.destroy();
      return { reason: "closed", detail: "closed by the host" };
    }
    connection = serveConnection({ stream, sink, limits, inflow, clock, log, signal: ended.signal });
    const end = await connection.ended;
    connection = undefined;
    return end;
  }

  function greeted(hello: { agent: string; version: number; engine?: string | undefined }): void {
    const engine = hello.engine === undefined ? {} : { engine: hello.engine };
    enter({ phase: "connected", agent: hello.agent, version: hello.version, ...engine });
    for (const order of orders.values()) connection?.send(order);
  }

  function enter(entered: ChannelState): void {
    const changed = entered.phase !== state.phase;
    state = entered;
    if (changed) options.onState?.(entered);
  }
}

/** Numbers, bounds and hands over events, whatever connection they come by. */
function createSink(
  options: ChannelOptions,
  signal: AbortSignal,
  onHello: (hello: { agent: string; version: number; engine?: string | undefined }) => void,
): EventSink {
  const { clock } = options;
  const logs = createBucket(clock, LOG_RATE.bytes, LOG_RATE.burst);
  const states = createBucket(clock, STATE_RATE.events, STATE_RATE.burst);
  let next = options.nextSeq;
  let droppedBytes = 0;

  return {
    get next() {
      return next;
    },
    onHello,
    async record(value, at) {
      const event = parseAgentEvent(value);
      if (event?.kind === "log" && !logs.tryTake(event.text.length + LOG_EVENT)) {
        droppedBytes += event.text.length;
      } else if (event !== undefined) {
        const pause = event.kind === "log" ? 0 : states.take(1);
        if (pause > 0) await clock.sleep(pause, signal);
        await options.onEvent(event, { seq: next, at, droppedBytes });
        droppedBytes = 0;
      }
      next++;
      return event !== undefined;
    },
  };
}
