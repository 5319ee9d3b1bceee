import { describe, expect, it } from "vitest";
import type { Clock } from "../../../src/base/clock.ts";
import { systemClock } from "../../../src/base/clock.ts";
import { createLogger } from "../../../src/base/log.ts";
import type { DriverName } from "../../../src/core/types.ts";
import type { DriverCheck, SandboxDriver } from "../../../src/sandbox/port.ts";
import { keepDrivers } from "../../../src/serve/drivers.ts";

/** A driver whose answers the test gives, and a clock whose timers it lets go off. */
function setUp(driver: Partial<SandboxDriver>) {
  const due: { at: number; action: () => void }[] = [];
  const clock: Clock = {
    ...systemClock,
    after: (at, action) => {
      const timer = { at, action };
      due.push(timer);
      return { cancel: () => void (due.includes(timer) && due.splice(due.indexOf(timer), 1)) };
    },
  };
  const log: string[] = [];
  const ready: string[] = [];
  const keeper = keepDrivers({
    drivers: new Map<DriverName, SandboxDriver>([["qemu", { name: "qemu", ...driver } as SandboxDriver]]),
    clock,
    log: createLogger("info", { write: (line) => void log.push(line) }),
    onReady: () => void ready.push("ready"),
    wake: () => undefined,
  });
  const errors = () => log.filter((line) => line.includes('"level":"error"'));
  const settle = async () => {
    for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate);
  };
  return {
    keeper,
    ready,
    errors,
    settle,
    waits: () => due.map(({ at }) => at),
    tick: async () => {
      due.shift()?.action();
      await settle();
    },
  };
}

const good: DriverCheck = { ok: true, detail: "good" };

describe("drivers", () => {
  it("serve what runs before they are prepared, which may take long", async () => {
    const prepared = Promise.withResolvers<DriverCheck>();
    const { keeper, ready, settle } = setUp({ resume: async () => undefined, prepare: () => prepared.promise });
    await settle();
    expect(ready).toEqual(["ready"]);
    expect(keeper.state("qemu").usable).toBe(false);
    prepared.resolve(good);
    await settle();
    expect(ready).toEqual(["ready"]);
    expect(keeper.state("qemu").usable).toBe(true);
    await keeper.stop();
  });

  it("that could not serve at first do so once they are prepared", async () => {
    let works = false;
    const { keeper, ready, tick, settle } = setUp({
      resume: async () => (works ? undefined : Promise.reject(new Error("no bridge"))),
      prepare: async () => (works ? good : { ok: false, detail: "no bridge" }),
    });
    await settle();
    expect(ready).toEqual([]);
    works = true;
    await tick();
    expect(ready).toEqual(["ready"]);
    await keeper.stop();
  });

  it("that lost what they need are unusable from the next look on, with one line, until it is back", async () => {
    let lost: string | undefined;
    const { keeper, errors, tick, settle, waits } = setUp({
      prepare: async () => (lost === undefined ? good : { ok: false, detail: lost }),
      verify: async () => (lost === undefined ? undefined : Promise.reject(new Error(lost))),
    });
    await settle();
    expect(waits()).toEqual([30_000]);
    await tick();
    expect(keeper.state("qemu").usable).toBe(true);
    lost = "the kernel is missing";
    // Two boots failed at once.
    keeper.recheck("qemu");
    keeper.recheck("qemu");
    await settle();
    expect(keeper.state("qemu")).toEqual({ usable: false, detail: "the kernel is missing" });
    await tick();
    await tick();
    await tick();
    expect(errors()).toHaveLength(1);
    expect(waits()).toHaveLength(1);
    lost = undefined;
    await tick();
    expect(keeper.state("qemu").usable).toBe(true);
    await keeper.stop();
    expect(waits()).toEqual([]);
  });
});
