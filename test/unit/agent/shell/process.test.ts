import { existsSync } from "node:fs";
import { describe, expect, it, onTestFinished } from "vitest";
import { createJobLog, type JobLog } from "../../../../src/agent/engines/shell/job-log.ts";
import { createMasks } from "../../../../src/agent/engines/shell/masks.ts";
import { createProcessGroups, runProcess } from "../../../../src/agent/engines/shell/process.ts";
import { systemClock } from "../../../../src/base/clock.ts";

function setUp(total?: number) {
  const masks = createMasks();
  const log = createJobLog(masks, systemClock, () => undefined, total);
  const groups = createProcessGroups();
  onTestFinished(() => groups.killAll());
  const run = (script: string, signal = new AbortController().signal): Promise<number> =>
    runProcess(
      {
        command: ["bash", "-c", script],
        cwd: "/",
        environment: { PATH: process.env["PATH"] ?? "" },
        onLine: (line) => log.write(line),
        log,
        masks,
        clock: systemClock,
        signal,
      },
      groups,
    );
  return { masks, log, groups, run };
}

const linesOf = (log: JobLog): string[] => log.pending().map((line) => line.content);

describe("a step's process", () => {
  it("gives its lines and its code, with and without a last line end", async () => {
    const { log, run } = setUp();
    expect(await run("printf 'one\\r\\ntwo'; exit 7")).toBe(7);
    expect(linesOf(log)).toEqual(["one", "two"]);
    expect(await run("kill -9 $$")).toBe(137);
  });

  it("is ended with its children when it is told to", async () => {
    const { log, run } = setUp();
    const abort = new AbortController();
    const ended = run("sleep 1000 & echo $!; wait", abort.signal);
    while (log.length === 0) await systemClock.sleep(5);
    abort.abort();
    expect(await ended).toBe(143);
    const child = linesOf(log)[0] ?? "";
    while (existsSync(`/proc/${child}/exe`)) await systemClock.sleep(5);
  });

  it("does not wait for what it left running, which lives until the job's end", async () => {
    const { log, groups, run } = setUp();
    const started = performance.now();
    expect(await run("(for i in $(seq 1000); do echo $i; sleep 0.1; done) & echo pid $!")).toBe(0);
    expect(performance.now() - started).toBeLessThan(3_000);
    const child =
      linesOf(log)
        .find((line) => line.startsWith("pid"))
        ?.slice(4) ?? "";
    await systemClock.sleep(300);
    expect(existsSync(`/proc/${child}/exe`)).toBe(true);
    groups.killAll();
    while (existsSync(`/proc/${child}/exe`)) await systemClock.sleep(5);
  });

  it("is slowed down, not stored, when the forge takes nothing", async () => {
    const { log, run } = setUp();
    const abort = new AbortController();
    const ended = run("yes $(printf 'x%.0s' $(seq 1000))", abort.signal);
    await systemClock.sleep(1_500);
    const lines = log.length;
    expect(lines).toBeGreaterThan(1_000);
    await systemClock.sleep(300);
    expect(log.length).toBe(lines);
    expect(lines * 1_000).toBeLessThan(6 * 1024 * 1024);
    log.acknowledge(lines);
    while (log.length === lines) await systemClock.sleep(5);
    abort.abort();
    await ended;
  });

  it("says when there is no such program", async () => {
    const { log, masks, groups } = setUp();
    const options = { cwd: "/", environment: {}, onLine: () => undefined, log, masks, clock: systemClock };
    const signal = new AbortController().signal;
    await expect(runProcess({ ...options, command: ["/no/such"], signal }, groups)).rejects.toThrow(
      /could not be started/,
    );
  });
});

describe("a job's log", () => {
  it("hides secrets, cuts long lines and numbers what the forge did not take", () => {
    const { masks, log } = setUp();
    masks.add("hidden-word");
    log.write(`a hidden-word\nb\n${"ß".repeat(40_000)}`);
    expect(linesOf(log)[0]).toBe("a ***");
    expect(log.length).toBe(5);
    for (const line of linesOf(log)) expect(Buffer.byteLength(line)).toBeLessThanOrEqual(64 * 1024);
    log.acknowledge(2);
    expect({ length: log.length, acknowledged: log.acknowledged, pending: log.pending().length }).toEqual({
      length: 5,
      acknowledged: 2,
      pending: 3,
    });
    log.acknowledge(1);
    log.acknowledge(99);
    expect(log.acknowledged).toBe(5);
  });

  it("goes to the forge in bounded requests", () => {
    const { log } = setUp();
    for (let line = 0; line < 3_000; line++) log.write("x".repeat(line % 3_000));
    const first = log.pending();
    expect(first.length).toBeLessThanOrEqual(1_000);
    log.acknowledge(first.length);
    const second = log.pending();
    expect(second.length).toBeGreaterThan(0);
    expect(second.reduce((sum, line) => sum + line.content.length, 0)).toBeLessThanOrEqual(600 * 1024);
  });

  it("ends with a notice when it is too long", () => {
    const { log } = setUp(1024 * 1024);
    for (let line = 0; line < 100; line++) log.write("y".repeat(16_000));
    log.write("never seen");
    const { length } = log;
    expect(length).toBeLessThan(70);
    log.acknowledge(length - 1);
    expect(linesOf(log)[0]).toMatch(/longer than 1 MiB; the rest is left out/);
  });
});
