import type { Duplex } from "node:stream";
import { describe, expect, it } from "vitest";
import { createFrameDecoder, encodeFrame } from "../../../src/channel/frames.ts";
import type { HostMessage } from "../../../src/channel/messages.ts";
import { eventually, FAKE_POOL } from "../../support/orchestrator.ts";
import type { Script } from "../../support/scripted/driver.ts";
import { createWorld } from "../../support/world.ts";

const MIB = 2 ** 20;

/** A guest that answers the hello, in a version of its own, and then does what the test says. */
const impostor =
  (version: number, then: (stream: Duplex) => void = () => undefined) =>
  (stream: Duplex): void => {
    const decoder = createFrameDecoder();
    stream.on("error", () => undefined);
    stream.on("data", (chunk: Buffer) => {
      for (const message of decoder.push(chunk) as HostMessage[]) {
        if (message.kind !== "hello") continue;
        const { nonce, next } = message;
        stream.write(encodeFrame({ kind: "hello", nonce, version, agent: "impostor", next }));
        then(stream);
      }
    });
  };

/** Writes for as long as the host reads. */
function pour(stream: Duplex, make: () => Buffer): void {
  if (stream.destroyed) return;
  stream.write(make());
  setTimeout(() => pour(stream, make), 2);
}

function floodOfLogs(stream: Duplex): void {
  let seq = 0;
  const text = `${"flood ".repeat(8_000)}\n`;
  pour(stream, () => encodeFrame({ kind: "event", seq: seq++, at: 0, event: { kind: "log", stream: "job", text } }));
}

interface BadGuest {
  what: string;
  script: Partial<Script>;
  limits: Record<string, string>;
  reason: string;
  detail: string | RegExp;
}

const BAD_GUESTS: BadGuest[] = [
  {
    what: "that never boots",
    script: { guest: "absent" },
    limits: { boot: "1s" },
    reason: "boot-timeout",
    detail: "the sandbox did not report within 1 s",
  },
  {
    what: "that boots and never reports",
    script: { bootTime: Number.POSITIVE_INFINITY },
    limits: { boot: "1s" },
    reason: "boot-timeout",
    detail: "the sandbox did not report within 1 s",
  },
  {
    what: "whose agent speaks an older version of the channel",
    script: { guest: impostor(0) },
    limits: { boot: "1s" },
    reason: "boot-timeout",
    detail: "the sandbox did not report within 1 s: the agent speaks version 0 of the channel's protocol",
  },
  {
    what: "that floods the channel with garbage",
    script: { guest: impostor(1, (stream) => pour(stream, () => Buffer.alloc(64 * 1024, 0x41))) },
    limits: { boot: "2s" },
    reason: "boot-timeout",
    detail: "the sandbox did not report within 2 s: the guest sends bytes that are no frames",
  },
  {
    what: "that floods the channel with messages that are none",
    script: { guest: impostor(1, (stream) => pour(stream, () => encodeFrame({ kind: "ping", id: 1 }))) },
    limits: { boot: "2s" },
    reason: "boot-timeout",
    detail: "the sandbox did not report within 2 s: the guest sends messages that are none",
  },
  {
    what: "that floods the channel with logs",
    script: { guest: impostor(1, floodOfLogs) },
    limits: { boot: "2s" },
    reason: "boot-timeout",
    detail: "the sandbox did not report within 2 s",
  },
  {
    what: "that has credentials and does nothing with them",
    script: { neverListens: true },
    limits: { ready: "1s" },
    reason: "ready-timeout",
    detail: "the engine did not begin to ask for jobs within 1 s",
  },
  {
    what: "that is registered and never takes a job",
    script: { neverFetches: true },
    limits: {},
    reason: "left-alone",
    detail: /^it listened, but left one alone for 1[5-9] s$/,
  },
  {
    what: "that hangs under its job",
    script: { jobTime: Number.POSITIVE_INFINITY, neverReports: true },
    limits: { job: "1s" },
    reason: "job-timeout",
    detail: "the job did not end within 1 s",
  },
];

describe("a guest", () => {
  it.each(BAD_GUESTS)("$what ends within its limit, and the record says so", async (bad) => {
    const world = await createWorld({ script: bad.script, extra: { limits: bad.limits } });
    const run = await world.push({ one: ["linux"] });
    await eventually("it was ended", () => world.runners()[0]?.ending !== undefined, 25_000);
    const hex = world.scripted.created[0] ?? "";
    world.forge.cancelRun(run.id);
    world.orchestrator.pause("default");
    await eventually("its record is closed", () => world.history().some((runner) => runner.hex === hex));
    const ended = world.history().find((runner) => runner.hex === hex);
    expect(ended?.ending?.reason).toBe(bad.reason);
    expect(ended?.ending?.detail).toEqual(
      typeof bad.detail === "string" ? bad.detail : expect.stringMatching(bad.detail),
    );
    const logs = await world.orchestrator.logs(ended?.id ?? "", 64 * MIB);
    expect(logs?.engine.length ?? 0).toBeLessThan(4 * MIB + 1_024);
    for (const { id } of world.runners()) world.orchestrator.stopRunner(id, true);
    await world.cleared();
  });

  it("that ignores what it is told is ended by its lifetime", async () => {
    const world = await createWorld({
      forge: { version: "1.24.6" },
      pools: [{ ...FAKE_POOL, minRunners: 1 }],
      script: { deaf: () => true },
      extra: { limits: { engine: "1s", job: "1s", lifetime: "2s" } },
    });
    await eventually("it listens", () => world.runners()[0]?.agent.phase === "listening");
    const { id } = world.runners()[0] ?? {};
    world.orchestrator.pause("default");
    expect(world.orchestrator.stopRunner(id ?? "", false)).toBe("ending");
    await world.cleared();
    expect(world.history().at(-1)).toMatchObject({
      id,
      ending: { reason: "lifetime", detail: "the runner did not end within 3 s" },
      agent: { phase: "draining" },
    });
  });
});
