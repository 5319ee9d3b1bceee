import { describe, expect, it } from "vitest";
import { createSlotPool, type SlotPoolOptions } from "../../../src/network/embedded/pool.ts";

function setUp(options: Partial<SlotPoolOptions> = {}) {
  const made: number[] = [];
  const errors: unknown[] = [];
  const pool = createSlotPool({
    capacity: 5,
    ahead: 2,
    kinds: () => ["a"],
    make: async (slot) => void made.push(slot),
    turn: async () => undefined,
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
    expect([await pool.take("a"), await pool.take("a")]).toEqual([0, 1]);
    expect(await pool.take("a")).toBe(2);
    await pool.refill();
    expect(made).toEqual([0, 1, 2, 3, 4]);
  });

  it("are never numbers that somebody holds, and go round before one is used again", async () => {
    const { pool } = setUp({ ahead: 0 });
    pool.reserve(1);
    expect([await pool.take("a"), await pool.take("a")]).toEqual([0, 2]);
    pool.free(0);
    expect([await pool.take("a"), await pool.take("a"), await pool.take("a")]).toEqual([3, 4, 0]);
    await expect(pool.take("a")).rejects.toThrow("all 5 networks for guests are in use");
  });

  it("that are still being made are waited for when they are the last", async () => {
    let finish = (): void => undefined;
    const { pool } = setUp({ capacity: 1, ahead: 1, make: () => new Promise((resolve) => (finish = resolve)) });
    const refilled = pool.refill();
    const taken = pool.take("a");
    const late = pool.take("a");
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
    await expect(pool.take("a")).rejects.toThrow("no bridge");
    broken = false;
    expect(await pool.take("a")).toBe(0);
  });

  it("and not taken are given back at the end", async () => {
    const { pool, made } = setUp({ ahead: 3 });
    await pool.refill();
    pool.putBack(await pool.take("a"), "a");
    expect(await pool.close()).toEqual([0, 1, 2]);
    await pool.refill();
    expect(made).toEqual([0, 1, 2]);
  });
});

describe("slots of several kinds", () => {
  function ofKinds(options: Partial<SlotPoolOptions> = {}) {
    const is = new Map<number, string>();
    const turned: number[] = [];
    const { pool, errors } = setUp({
      kinds: () => ["a", "b"],
      make: async (slot, kind) => void is.set(slot, kind),
      turn: async (slot, kind) => {
        turned.push(slot);
        is.set(slot, kind);
      },
      ...options,
    });
    return { pool, errors, is, turned };
  }

  it("are made ahead for each kind, and handed out as they were made", async () => {
    const { pool, is, turned } = ofKinds({ capacity: 9 });
    await pool.refill();
    expect([...is.values()].sort()).toEqual(["a", "a", "b", "b"]);
    for (const kind of ["b", "a", "b", "a"]) expect(is.get(await pool.take(kind))).toBe(kind);
    expect(is.get(await pool.take("c"))).toBe("c");
    expect(turned).toEqual([]);
  });

  it("become another kind when theirs is not wanted any more", async () => {
    let kinds = ["a", "b"];
    const { pool, is, turned } = ofKinds({ kinds: () => kinds });
    await pool.refill();
    kinds = ["b", "c"];
    await pool.refill();
    expect(turned).toHaveLength(2);
    expect([...is.values()].sort()).toEqual(["b", "b", "c", "c"]);
  });

  it("are taken from each other before somebody is refused, and not only to be ready", async () => {
    const { pool, is, turned } = ofKinds({ capacity: 3 });
    await pool.refill();
    await pool.refill();
    expect([...is.values()].sort()).toEqual(["a", "a", "b"]);
    expect(turned).toEqual([]);
    for (let count = 0; count < 3; count++) expect(is.get(await pool.take("b"))).toBe("b");
    await expect(pool.take("b")).rejects.toMatchObject({ code: "NETWORK_EXHAUSTED" });
  });

  it("that cannot be changed stay ready for the next try", async () => {
    let broken = true;
    const { pool } = ofKinds({
      capacity: 1,
      ahead: 1,
      turn: () => (broken ? Promise.reject(new Error("no rules")) : Promise.resolve()),
    });
    await pool.refill();
    await expect(pool.take("b")).rejects.toThrow("no rules");
    broken = false;
    expect(await pool.take("b")).toBe(0);
  });
});
