import { describe, expect, it } from "vitest";
import { shared } from "../../../src/forge/shared.ts";

const never = new AbortController().signal;

describe("shared", () => {
  it("asks once for many, again after forgetting, and keeps no failure", async () => {
    let asked = 0;
    const value = shared(async () => {
      asked++;
      if (asked === 2) throw new Error("not now");
      return asked;
    });
    expect(await Promise.all([value.get(never), value.get(never)])).toEqual([1, 1]);
    value.forget(7);
    expect(await value.get(never)).toBe(1);
    value.forget(1);
    await expect(value.get(never)).rejects.toThrow("not now");
    expect(await value.get(never)).toBe(3);
  });

  it("does not take the value from the others when one gives up", async () => {
    const gate = Promise.withResolvers<string>();
    const value = shared(async () => await gate.promise);
    const abort = new AbortController();
    const quitter = value.get(abort.signal);
    const other = value.get(never);
    abort.abort(new Error("enough"));
    gate.resolve("here");
    await expect(quitter).rejects.toThrow("enough");
    expect(await other).toBe("here");
  });
});
