import { duplexPair } from "node:stream";
import { setImmediate as turn } from "node:timers/promises";
import { expect, it } from "vitest";
import type { Clock } from "../../../src/base/clock.ts";
import { silentLogger } from "../../../src/base/log.ts";
import { createBucket } from "../../../src/channel/bucket.ts";
import { createFrameDecoder, encodeFrame } from "../../../src/channel/frames.ts";
import { type ConnectionEnd, DEFAULT_LIMITS, serveConnection } from "../../../src/channel/host-connection.ts";

/** Time that passes only when told to; all else settles before it does. */
function handClock() {
  let now = 0;
  const alarms = new Set<{ at: number; action: () => void }>();
  const clock: Clock = {
    now: () => now,
    uptime: () => now,
    after: (milliseconds, action) => {
      const alarm = { at: now + milliseconds, action };
      alarms.add(alarm);
      return { cancel: () => void alarms.delete(alarm) };
    },
    sleep: () => Promise.resolve(),
  };
  const pass = async (milliseconds: number) => {
    for (const end = now + milliseconds; now < end; now += 1_000) {
      for (let turns = 0; turns < 4; turns++) await turn();
      for (const alarm of [...alarms].filter(({ at }) => at <= now)) {
        alarms.delete(alarm);
        alarm.action();
      }
    }
    for (let turns = 0; turns < 4; turns++) await turn();
  };
  return { clock, pass };
}

it("a guest that only waits is asked once a minute, and given up when it does not answer", async () => {
  const { clock, pass } = handClock();
  const [host, guest] = duplexPair();
  const decoder = createFrameDecoder();
  const asked: number[] = [];
  let answers = true;
  guest.on("data", (chunk: Buffer) => {
    for (const message of decoder.push(chunk) as { kind: string; nonce: string; id: number }[]) {
      if (message.kind === "hello") {
        guest.write(encodeFrame({ kind: "hello", nonce: message.nonce, version: 1, agent: "test", next: 0 }));
      }
      if (message.kind !== "ping") continue;
      asked.push(clock.uptime());
      if (answers) guest.write(encodeFrame({ kind: "pong", id: message.id, next: 0 }));
    }
  });
  let end: ConnectionEnd | undefined;
  const connection = serveConnection({
    stream: host,
    sink: { next: 0, record: () => Promise.resolve(true), onHello: () => undefined },
    limits: DEFAULT_LIMITS,
    inflow: createBucket(clock, 1e6, 1e6),
    clock,
    log: silentLogger,
    signal: new AbortController().signal,
  });
  void connection.ended.then((ended) => (end = ended));

  await pass(20 * 60_000);
  expect(asked.length).toBeGreaterThanOrEqual(18);
  expect(asked.length).toBeLessThanOrEqual(23);
  expect(end).toBeUndefined();

  answers = false;
  await pass(60_000 + 10_000 + DEFAULT_LIMITS.silence + 10_000);
  expect(end).toMatchObject({ reason: "silent" });
});
