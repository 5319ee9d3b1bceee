import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
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
          { key },
        );
        expect(found).toEqual({ items: all, complete: true });
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
      { key },
    );
    expect(found.items.toSorted((a, b) => a - b)).toEqual(before);
    expect(found.complete).toBe(true);
  });

  it("ends at a server that gives the same page again and again", async () => {
    for (const total of [undefined, 4, 1_000_000]) {
      let requests = 0;
      const found = await readPages(
        async () => {
          requests++;
          return { items: [1, 2], raw: 2, ...(total === undefined ? {} : { total }) };
        },
        { key, maxPages: 10 },
      );
      expect(found).toEqual({ items: [1, 2], complete: total === undefined });
      expect(requests).toBeLessThanOrEqual(10);
    }
  });

  it("stops at the cap, which makes the list incomplete, with and without a total", async () => {
    for (const total of [{}, { total: 1000 }]) {
      let requests = 0;
      const fetchPage = async (page: number) => {
        requests++;
        return { items: [page], raw: 1, ...total };
      };
      expect(await readPages(fetchPage, { key, maxPages: 5 })).toEqual({ items: [1, 2, 3, 4, 5], complete: false });
      expect(requests).toBe(5);
    }
  });

  it("is incomplete when something is still missing after three readings", async () => {
    let requests = 0;
    const found = await readPages(
      async (page) => {
        requests++;
        return { items: page === 1 ? [1, 2] : [], raw: page === 1 ? 2 : 0, total: 3 };
      },
      { key },
    );
    expect(found).toEqual({ items: [1, 2], complete: false });
    expect(requests).toBe(6);
  });

  it("counts unreadable elements as seen", async () => {
    let requests = 0;
    const found = await readPages(
      async () => {
        requests++;
        return { items: [1], raw: 3, total: 3 };
      },
      { key },
    );
    expect(found).toEqual({ items: [1], complete: true });
    expect(requests).toBe(1);
  });
});
