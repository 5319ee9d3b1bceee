import { type Duplex, duplexPair, PassThrough } from "node:stream";
import * as fc from "fast-check";
import { afterEach, describe, expect, it } from "vitest";
import { systemClock } from "../../../src/base/clock.ts";
import { silentLogger } from "../../../src/base/log.ts";
import { type AgentChannel, createAgentChannel } from "../../../src/channel/agent.ts";
import { createFrameDecoder, encodeFrame } from "../../../src/channel/frames.ts";
import { connectChannel, type HostChannel } from "../../../src/channel/host.ts";
import type { AgentEvent, HostMessage } from "../../../src/channel/messages.ts";

const FAST = { hello: 60, ping: 20, silence: 200 };
const open: (HostChannel | { close(): void })[] = [];
afterEach(async () => {
  for (const one of open.splice(0)) await one.close();
});

function agentOf(onOrder: (order: HostMessage) => void = () => undefined, keepLogBytes?: number): AgentChannel {
  const bounds = keepLogBytes === undefined ? {} : { keepLogBytes };
  const agent = createAgentChannel({ agent: "test", onOrder, clock: systemClock, ...bounds });
  open.push(agent);
  return agent;
}

interface Seen {
  channel: HostChannel;
  events: AgentEvent[];
  numbers: number[];
}

function hostOf(
  dial: () => Duplex | Promise<Duplex>,
  options: Partial<Parameters<typeof connectChannel>[0]> = {},
): Seen {
  const events: AgentEvent[] = [];
  const numbers: number[] = [];
  const channel = connectChannel({
    dial: async () => dial(),
    onEvent: (event, { seq }) => {
      events.push(event);
      numbers.push(seq);
    },
    nextSeq: 0,
    clock: systemClock,
    log: silentLogger,
    limits: FAST,
    ...options,
  });
  open.push(channel);
  return { channel, events, numbers };
}

/** Dials an agent directly, in memory. */
function dialOf(agent: AgentChannel): () => Duplex {
  return () => {
    const [host, guest] = duplexPair();
    agent.attach(guest);
    return host;
  };
}

async function until(condition: () => boolean, what: string): Promise<void> {
  const deadline = performance.now() + 8_000;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`not within 8 s: ${what}`);
    await systemClock.sleep(2);
  }
}

/** A connection that delivers only so many bytes each way, after some garbage, in small pieces, and then breaks. */
function faulty(
  agent: AgentChannel,
  fault: { garbage: Uint8Array; toHost: number; toGuest: number; piece: number },
): Duplex {
  const [host, hostFar] = duplexPair();
  const [guestFar, guest] = duplexPair();
  const carry = (from: Duplex, to: Duplex, budget: number): void => {
    from.on("data", (chunk: Buffer) => {
      for (let at = 0; at < chunk.length && budget > 0; at += fault.piece) {
        const part = chunk.subarray(at, Math.min(at + fault.piece, at + budget));
        budget -= part.length;
        to.write(part);
      }
      if (budget <= 0) {
        hostFar.destroy();
        guestFar.destroy();
        host.destroy();
        guest.destroy();
      }
    });
    from.on("error", () => undefined);
  };
  hostFar.write(fault.garbage);
  carry(guestFar, hostFar, fault.toHost);
  carry(hostFar, guestFar, fault.toGuest);
  agent.attach(guest);
  return host;
}

const eventOf = (index: number): AgentEvent =>
  index % 3 === 0
    ? { kind: "failed", detail: `state ${index}` }
    : { kind: "log", stream: "job", text: `line ${index}` };

describe("the channel", () => {
  it("delivers every event exactly once, in order, over connections that break at any byte", async () => {
    const fault = fc.record({
      garbage: fc.uint8Array({ maxLength: 80 }),
      toHost: fc.integer({ min: 1, max: 1_500 }),
      toGuest: fc.integer({ min: 1, max: 900 }),
      piece: fc.integer({ min: 1, max: 200 }),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(fault, { maxLength: 5 }), fc.integer({ min: 1, max: 40 }), async (faults, count) => {
        const agent = agentOf();
        const left = [...faults];
        const host = hostOf(() => {
          const next = left.shift();
          return next === undefined ? dialOf(agent)() : faulty(agent, next);
        });
        const wanted = Array.from({ length: count }, (_, index) => eventOf(index));
        for (const event of wanted) {
          agent.report(event);
          await new Promise(setImmediate);
        }
        await until(() => host.events.length >= count, "all events");
        expect(await agent.flush(2_000)).toBe(true);
        expect(host.events).toEqual(wanted);
        expect(host.numbers).toEqual(wanted.map((_, index) => index));
        await host.channel.close();
        agent.close();
      }),
      { numRuns: 25 },
    );
  }, 60_000);

  it("goes on with another host process where the last one stopped", async () => {
    const agent = agentOf();
    for (let index = 0; index < 10; index++) agent.report(eventOf(index));
    const first = hostOf(dialOf(agent));
    await until(() => first.events.length === 10, "the first ten");
    await first.channel.close();
    for (let index = 10; index < 20; index++) agent.report(eventOf(index));
    const second = hostOf(dialOf(agent), { nextSeq: 10 });
    await until(() => second.events.length === 10, "the second ten");
    expect(second.events).toEqual(Array.from({ length: 10 }, (_, index) => eventOf(index + 10)));
    expect(second.numbers[0]).toBe(10);
  });

  it("tells the states again to a host that lost its records, and starts at its number after a restart of the agent", async () => {
    const agent = agentOf();
    agent.report({ kind: "up", agent: "test", engines: [] });
    agent.report({ kind: "log", stream: "agent", text: "old" });
    agent.report({ kind: "listening" });
    const first = hostOf(dialOf(agent));
    await until(() => first.events.length === 3, "three events");
    expect(await agent.flush(1_000)).toBe(true);
    await first.channel.close();
    const forgetful = hostOf(dialOf(agent), { nextSeq: 0 });
    await until(() => forgetful.events.length === 2, "the states");
    expect(forgetful.events.map((event) => event.kind)).toEqual(["up", "listening"]);
    await forgetful.channel.close();

    const restarted = agentOf();
    restarted.report({ kind: "up", agent: "test", engines: [] });
    const remembering = hostOf(dialOf(restarted), { nextSeq: 17 });
    await until(() => remembering.events.length === 1, "the new agent's first event");
    expect(remembering.numbers).toEqual([17]);
  });

  it("gives an event again until it was recorded", async () => {
    const agent = agentOf();
    agent.report({ kind: "listening" });
    agent.report({ kind: "drained" });
    let failures = 2;
    const recorded: string[] = [];
    const host = hostOf(dialOf(agent), {
      onEvent: async (event) => {
        await systemClock.sleep(1);
        if (failures-- > 0) throw new Error("disk full");
        recorded.push(event.kind);
      },
    });
    await until(() => recorded.length === 2, "both events");
    expect(recorded).toEqual(["listening", "drained"]);
    expect(host.channel.state.phase).toBe("connected");
  });

  it("repeats orders on each connection, so that none is lost with one", async () => {
    const orders: string[] = [];
    const agent = agentOf((order) => orders.push(order.kind));
    const connections: Duplex[] = [];
    const host = hostOf(() => {
      const stream = dialOf(agent)();
      connections.push(stream);
      return stream;
    });
    await until(() => host.channel.state.phase === "connected", "the connection");
    host.channel.send({ kind: "drain" });
    await until(() => orders.length === 1, "the order");
    connections[0]?.destroy();
    await until(() => orders.length === 2, "the order again");
    expect(orders).toEqual(["drain", "drain"]);
  });

  it("drops the oldest logs of a guest that nobody listens to, never its states, and says so", async () => {
    const agent = agentOf(undefined, 10_000);
    agent.report({ kind: "up", agent: "test", engines: [] });
    for (let index = 0; index < 1_000; index++)
      agent.report({ kind: "log", stream: "job", text: `${index} `.repeat(20) });
    agent.report({ kind: "job-finished", result: "success" });
    const host = hostOf(dialOf(agent));
    await until(() => host.events.at(-1)?.kind === "job-finished", "the end");
    expect(host.events[0]?.kind).toBe("up");
    const logs = host.events.filter((event) => event.kind === "log");
    expect(logs[0]?.text).toMatch(/^\[\d+ bytes of log were dropped\]\n/);
    expect(logs.at(-1)?.text).toContain("999 ");
    expect(logs.reduce((sum, event) => sum + event.text.length, 0)).toBeLessThan(11_000);
  });

  it("splits a log text that would not fit a frame", async () => {
    const agent = agentOf();
    const text = "\u0001\ud800€".repeat(20_000);
    agent.report({ kind: "log", stream: "job", text });
    const host = hostOf(dialOf(agent));
    await until(
      () => host.events.map((event) => (event.kind === "log" ? event.text : "")).join("").length === text.length,
      "the text",
    );
    expect(host.events.length).toBeGreaterThan(1);
  });
});

/** A guest that answers the hello as it should and then does what the test says. */
function impostor(after: (stream: Duplex) => void, answer: Record<string, unknown> = {}): () => Duplex {
  return () => {
    const [host, guest] = duplexPair();
    const decoder = createFrameDecoder();
    guest.on("error", () => undefined);
    guest.on("data", (chunk: Buffer) => {
      for (const message of decoder.push(chunk) as HostMessage[]) {
        if (message.kind !== "hello") continue;
        guest.write(
          encodeFrame({ kind: "hello", nonce: message.nonce, version: 1, agent: "x", next: message.next, ...answer }),
        );
        after(guest);
      }
    });
    return host;
  };
}

/** Writes for as long as the other side reads. */
function pour(stream: Duplex, make: () => Buffer, counter: { bytes: number }): void {
  const more = (): void => {
    while (!stream.destroyed) {
      const piece = make();
      counter.bytes += piece.length;
      if (!stream.write(piece)) return void stream.once("drain", more);
    }
  };
  more();
}

describe("a hostile guest", () => {
  it("that sends garbage is cut off, and not dialled again at once", async () => {
    let dials = 0;
    const counter = { bytes: 0 };
    const dial = impostor((stream) => pour(stream, () => Buffer.alloc(64 * 1024, 0x41), counter));
    const phases: string[] = [];
    const host = hostOf(
      () => {
        dials++;
        return dial();
      },
      { onState: (state) => phases.push(state.phase) },
    );
    await until(() => phases.length === 2, "the end of the connection");
    expect(phases).toEqual(["connected", "dialling"]);
    await systemClock.sleep(200);
    expect(dials).toBe(1);
    expect(counter.bytes).toBeLessThan(3 * 1024 * 1024);
    expect(host.events).toEqual([]);
  });

  it("that floods the log is read at a bounded rate and its excess dropped with a count", async () => {
    const counter = { bytes: 0 };
    let seq = 0;
    let taken = 0;
    let dropped = 0;
    const text = "a".repeat(50_000);
    const dial = impostor((stream) =>
      pour(
        stream,
        () => encodeFrame({ kind: "event", seq: seq++, at: 0, event: { kind: "log", stream: "job", text } }),
        counter,
      ),
    );
    hostOf(dial, {
      onEvent: (event, { droppedBytes }) => {
        if (event.kind === "log") taken += event.text.length;
        dropped += droppedBytes;
      },
    });
    await systemClock.sleep(1_500);
    expect(counter.bytes).toBeLessThan(12 * 1024 * 1024);
    expect(taken).toBeLessThan(6 * 1024 * 1024);
    expect(dropped).toBeGreaterThan(0);
  });

  it("that answers with a wrong nonce, a wrong number or an unknown version is never believed", async () => {
    const lie = (stream: Duplex): void =>
      void stream.write(encodeFrame({ kind: "event", seq: 0, at: 0, event: { kind: "drained" } }));
    for (const answer of [{ nonce: "guessed" }, { next: 5 }, { version: 99 }, { version: 0 }]) {
      const host = hostOf(impostor(lie, answer));
      await systemClock.sleep(100);
      expect(host.events).toEqual([]);
      expect(host.channel.state.phase).toBe("dialling");
    }
  });

  it("that skips numbers or sends unknown events changes nothing", async () => {
    const host = hostOf(
      impostor((stream) => {
        stream.write(encodeFrame({ kind: "event", seq: 0, at: 0, event: { kind: "root-please" } }));
        stream.write(encodeFrame({ kind: "event", seq: 1, at: 0, event: { kind: "listening", extra: 1 } }));
        stream.write(encodeFrame({ kind: "event", seq: 1, at: 0, event: { kind: "drained" } }));
        stream.write(encodeFrame({ kind: "event", seq: 9, at: 0, event: { kind: "drained" } }));
      }),
    );
    await until(() => host.events.length === 1, "the one good event");
    await systemClock.sleep(50);
    expect(host.events).toEqual([{ kind: "listening" }]);
  });

  it("that never answers or goes silent is dialled again", async () => {
    let dials = 0;
    const host = hostOf(() => {
      dials++;
      return dials === 1 ? new PassThrough().on("data", () => undefined) : impostor(() => undefined)();
    });
    await until(() => host.channel.state.phase === "connected", "the second dial");
    await until(() => dials >= 3, "another dial after the silence");
  });

  it("whose dial fails is dialled again until closed", async () => {
    let dials = 0;
    const host = hostOf(() => {
      dials++;
      throw new Error("nobody there");
    });
    await until(() => dials >= 3, "three dials");
    await host.channel.close();
    const after = dials;
    await systemClock.sleep(100);
    expect(dials).toBe(after);
    expect(host.channel.state.phase).toBe("closed");
  });
});
