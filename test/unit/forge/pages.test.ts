import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createLogger, silentLogger } from "../../../src/base/log.ts";
import { readPages } from "../../../src/forge/pages.ts";

const key = (item: number): number => item;

describe("readPages", () => {
  it("finds every element, whatever page size the server insists on", async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(120), fc.integer({ min: 1, max: 50 }), fc.boolean(), async (count, size, tellsTotal) => {
        const all = Array.from({ length: count }, (_, index) => index);
        const found = await readPages(
          async (page) => {
            const items = all.slice((page - 1) * size, page * size);
            return { items, raw: items.length, ...(tellsTotal ? { total: count } : {}) };
          },
          { what: "numbers", key, log: silentLogger },
        );
        expect(found).toEqual(all);
      }),
    );
  });

  it("reads once more when elements slipped between pages", async () => {
    // Between pages 1 and 2 of the first reading, the last element becomes the first: 50 moves to page 1 unseen.
    const before = Array.from({ length: 100 }, (_, index) => index);
    const after = [99, ...before.slice(0, 99)];
    let requests = 0;
    const found = await readPages(
      async (page) => {
        const list = ++requests === 1 ? before : after;
        const items = list.slice((page - 1) * 50, page * 50);
        return { items, raw: items.length, total: 100 };
      },
      { what: "numbers", key, log: silentLogger },
    );
    expect(found.toSorted((a, b) => a - b)).toEqual(before);
  });

  it("ends at a server that gives the same page again and again", async () => {
    for (const total of [undefined, 4, 1_000_000]) {
      let requests = 0;
      const found = await readPages(
        async () => {
          requests++;
          return { items: [1, 2], raw: 2, ...(total === undefined ? {} : { total }) };
        },
        { what: "numbers", key, log: silentLogger, maxPages: 10 },
      );
      expect(found).toEqual([1, 2]);
      expect(requests).toBeLessThanOrEqual(10);
    }
  });

  it("stops at the cap and says so", async () => {
    const lines: string[] = [];
    const log = createLogger("warn", { write: (line) => lines.push(line) });
    const found = await readPages(async (page) => ({ items: [page], raw: 1, total: 1000 }), {
      what: "jobs",
      key,
      log,
      maxPages: 5,
    });
    expect(found).toEqual([1, 2, 3, 4, 5]);
    expect(lines).toHaveLength(1);
    expect(JSON.parse(lines[0] ?? "")).toMatchObject({ list: "jobs", read: 5, total: 1000 });
  });

  it("counts unreadable elements as seen", async () => {
    let requests = 0;
    const found = await readPages(
      async () => {
        requests++;
        return { items: [1], raw: 3, total: 3 };
      },
      { what: "numbers", key, log: silentLogger },
    );
    expect(found).toEqual([1]);
    expect(requests).toBe(1);
  });
});
