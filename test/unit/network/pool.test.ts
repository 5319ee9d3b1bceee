import { describe, expect, it } from "vitest";
import { createSlotPool, type SlotPoolOptions } from "../../../src/network/embedded/pool.ts";

function setUp(options: Partial<SlotPoolOptions> = {}) {
  const made: number[] = [];
  const errors: unknown[] = [];
  const pool = createSlotPool({
    capacity: 5,
    ahead: 2,
    make: async (slot) => void made.push(slot),
    onError: (error) => errors.push(error),
    ...options,
  });
  return { pool, made, errors };
}

describe("slots made ahead", () => {
  it("are handed out in order, and replaced up to the number asked for", async () => {
    const { pool, made } = setUp();
    await pool.refill();
    expect(made).toEqual([0, 1]);
    expect([await pool.take(), await pool.take()]).toEqual([0, 1]);
    expect(await pool.take()).toBe(2);
    await pool.refill();
    expect(made).toEqual([0, 1, 2, 3, 4]);
  });

  it("are never numbers that somebody holds, and go round before one is used again", async () => {
    const { pool } = setUp({ ahead: 0 });
    pool.reserve(1);
    expect([await pool.take(), await pool.take()]).toEqual([0, 2]);
    pool.free(0);
    expect([await pool.take(), await pool.take(), await pool.take()]).toEqual([3, 4, 0]);
    await expect(pool.take()).rejects.toThrow("all 5 networks for guests are in use");
  });

  it("that are still being made are waited for when they are the last", async () => {
    let finish = (): void => undefined;
    const { pool } = setUp({ capacity: 1, ahead: 1, make: () => new Promise((resolve) => (finish = resolve)) });
    const refilled = pool.refill();
    const taken = pool.take();
    const late = pool.take();
    finish();
    expect(await taken).toBe(0);
    await expect(late).rejects.toMatchObject({ code: "NETWORK_EXHAUSTED" });
    await refilled;
  });

  it("that cannot be made are reported and do not keep their number", async () => {
    let broken = true;
    const { pool, errors } = setUp({
      capacity: 1,
      make: async () => {
        if (broken) throw new Error("no bridge");
      },
    });
    await pool.refill();
    expect(errors).toEqual([new Error("no bridge")]);
    await expect(pool.take()).rejects.toThrow("no bridge");
    broken = false;
    expect(await pool.take()).toBe(0);
  });

  it("and not taken are given back at the end", async () => {
    const { pool, made } = setUp({ ahead: 3 });
    await pool.refill();
    pool.putBack(await pool.take());
    expect(await pool.close()).toEqual([0, 1, 2]);
    await pool.refill();
    expect(made).toEqual([0, 1, 2]);
  });
});
