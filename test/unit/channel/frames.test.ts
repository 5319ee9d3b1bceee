import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createFrameDecoder, encodeFrame, MAX_PAYLOAD } from "../../../src/channel/frames.ts";

/** Cuts the bytes at the given fractions of their length. */
function cut(bytes: Buffer, fractions: number[]): Buffer[] {
  const places = [0, ...fractions.map((part) => Math.floor(part * bytes.length)).sort((a, b) => a - b), bytes.length];
  return places.slice(1).map((end, index) => bytes.subarray(places[index], end));
}

const fractions = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 20 });

describe("frames", () => {
  it("come out as they went in, however the stream is cut", () => {
    fc.assert(
      fc.property(fc.array(fc.jsonValue(), { maxLength: 10 }), fractions, (messages, where) => {
        const decoder = createFrameDecoder();
        const seen = cut(Buffer.concat(messages.map(encodeFrame)), where).flatMap((piece) => decoder.push(piece));
        expect(seen).toEqual(messages.map((message) => JSON.parse(JSON.stringify(message))));
        expect(decoder.garbage).toBe(0);
      }),
    );
  });

  it("are found again after any garbage, cut-off frames included, and all garbage is counted", () => {
    const junk = fc.oneof(
      fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
      fc.tuple(fc.string(), fc.nat(60)).map(([text, keep]) => encodeFrame({ text }).subarray(0, keep)),
    );
    const parts = fc.array(fc.tuple(junk, fc.record({ n: fc.nat() })), { minLength: 1, maxLength: 8 });
    fc.assert(
      fc.property(parts, fractions, (mixed, where) => {
        const decoder = createFrameDecoder();
        const stream = Buffer.concat(mixed.flatMap(([garbage, message]) => [garbage, encodeFrame(message)]));
        const seen = cut(stream, where).flatMap((piece) => decoder.push(piece));
        const wanted = mixed.map(([, message]) => message);
        // A whole frame may be cut from garbage too ("keep" longer than the frame): the wanted ones are in it, in order.
        let from = 0;
        for (const message of wanted) {
          const found = seen.findIndex(
            (one, index) => index >= from && JSON.stringify(one) === JSON.stringify(message),
          );
          expect(found).toBeGreaterThanOrEqual(from);
          from = found + 1;
        }
        const framed = seen.reduce<number>((sum, message) => sum + encodeFrame(message).length, 0);
        expect(decoder.garbage + framed).toBe(stream.length);
      }),
    );
  });

  it("with one bit turned never give another message", () => {
    const frame = encodeFrame({ kind: "event", seq: 7, text: "hello" });
    for (let bit = 0; bit < frame.length * 8; bit++) {
      const broken = Buffer.from(frame);
      broken[bit >> 3] = broken[bit >> 3]! ^ (1 << (bit & 7));
      const decoder = createFrameDecoder();
      expect(decoder.push(broken)).toEqual([]);
      expect(decoder.push(encodeFrame("next"))).toEqual(["next"]);
    }
  });

  it("do not keep more than one frame of a stream that never completes one", () => {
    const decoder = createFrameDecoder();
    const start = encodeFrame("x".repeat(MAX_PAYLOAD - 2)).subarray(0, -1);
    const before = process.memoryUsage().arrayBuffers;
    for (let round = 0; round < 200; round++) expect(decoder.push(start)).toEqual([]);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(1024 * 1024);
    expect(decoder.garbage).toBe(199 * start.length);
  });

  it("take linear time for single bytes and for megabytes without a frame", () => {
    const decoder = createFrameDecoder();
    const frame = encodeFrame("y".repeat(60_000));
    const started = performance.now();
    const seen = [...frame].flatMap((byte) => decoder.push(Uint8Array.of(byte)));
    decoder.push(Buffer.alloc(32 * 1024 * 1024, 0x41));
    expect(seen).toHaveLength(1);
    expect(performance.now() - started).toBeLessThan(2_000);
  });

  it("longer than the bound are refused on the way out", () => {
    expect(() => encodeFrame("z".repeat(MAX_PAYLOAD))).toThrow(/too long/);
  });
});
