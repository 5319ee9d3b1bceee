import { randomBytes } from "node:crypto";
import { array, assert, constantFrom, nat, oneof, property, uint8Array } from "fast-check";
import { describe, expect, it } from "vitest";
import { decodeLz4Legacy, LZ4_LEGACY_MAGIC } from "../../../src/image/kernel/lz4.ts";
import { encodeLz4Legacy, frame } from "./lz4-encoder.ts";

describe("LZ4 in legacy framing", () => {
  it("gives back what was encoded, whatever it is", () => {
    // Few different bytes, so that matches of every length and overlap come up.
    const content = oneof(
      uint8Array({ minLength: 1, maxLength: 2_000 }),
      array(constantFrom(0, 1, 255), { minLength: 1, maxLength: 4_000 }).map((bytes) => Uint8Array.from(bytes)),
    );
    assert(
      property(content, (bytes) => {
        const original = Buffer.from(bytes);
        expect(decodeLz4Legacy(encodeLz4Legacy(original), original.length).equals(original)).toBe(true);
      }),
      { numRuns: 200 },
    );
  });

  it("repeats a byte for a match that overlaps what it writes", () => {
    // One literal "a", then a match of 4 + 15 + 10 bytes at distance 1; last sequence: literal "b".
    const block = Buffer.from([0x1f, 0x61, 0x01, 0x00, 0x0a, 0x10, 0x62]);
    expect(decodeLz4Legacy(frame([block]), 31).toString()).toBe(`${"a".repeat(30)}b`);
  });

  it("goes on over blocks of 8 MiB, none of which looks back into the one before", () => {
    const original = Buffer.concat([Buffer.alloc(8 * 1024 * 1024, "x"), randomBytes(1_000)]);
    expect(decodeLz4Legacy(encodeLz4Legacy(original), original.length).equals(original)).toBe(true);
  });

  it("ignores what follows once all bytes are there", () => {
    const encoded = Buffer.concat([encodeLz4Legacy(Buffer.from("kernel")), Buffer.from([6, 0, 0, 0])]);
    expect(decodeLz4Legacy(encoded, 6).toString()).toBe("kernel");
  });

  it.each([
    ["no magic number", Buffer.from("gzip?gzip?"), /magic number is missing/],
    ["an end before the last block", frame([]).subarray(0, 4), /magic number is missing/],
    ["a block that is cut off", frame([Buffer.from([0x10, 0x61])]).subarray(0, 9), /longer than the rest/],
    ["a match before the start", frame([Buffer.from([0x10, 0x61, 0x02, 0x00])]), /points before its block/],
    ["distance zero", frame([Buffer.from([0x10, 0x61, 0x00, 0x00])]), /points before its block/],
    ["literals beyond the block", frame([Buffer.from([0xf0, 0xff])]), /ends within a sequence/],
    [
      "a match longer than the content",
      frame([Buffer.from([0x1f, 0x61, 0x01, 0x00, 0xff, 0x10])]),
      /runs over the end/,
    ],
    ["no more blocks", Buffer.concat([frame([Buffer.from([0x10, 0x61])])]), /ends before its last block/],
  ])("refuses %s", (_, input, message) => {
    expect(() => decodeLz4Legacy(input, 100)).toThrow(message);
  });

  it("never throws anything but its own error on damaged input", () => {
    const original = encodeLz4Legacy(Buffer.from("abcabcabcabcabcabcabcabc the quick brown fox ".repeat(20)));
    assert(
      property(nat(original.length - 5), nat(255), (at, value) => {
        const damaged = Buffer.from(original);
        damaged[4 + at] = value;
        try {
          decodeLz4Legacy(damaged, 900);
        } catch (error) {
          expect(error).toMatchObject({ code: "KERNEL_DAMAGED" });
        }
      }),
    );
  });

  it("knows its magic number", () => {
    expect(encodeLz4Legacy(Buffer.from("x")).readUInt32LE(0)).toBe(LZ4_LEGACY_MAGIC);
  });
});
