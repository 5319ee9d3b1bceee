import { gzipSync, zstdCompressSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { extractVmlinux } from "../../../src/image/kernel/vmlinux.ts";
import { encodeLz4Legacy } from "./lz4-encoder.ts";

const ELF = Buffer.concat([Buffer.from("\x7fELF", "latin1"), Buffer.alloc(200, 7)]);
const size = (value: number) => Buffer.from(Uint32Array.of(value).buffer);

/** A kernel image with everything that the extraction reads, and nothing else. */
function bzImage(payload: Buffer, { setupSectors = 1, padding = 32, length = payload.length } = {}): Buffer {
  const setup = Buffer.alloc(((setupSectors || 4) + 1) * 512);
  setup[0x1f1] = setupSectors;
  setup.writeUInt16LE(0xaa55, 0x1fe);
  setup.write("HdrS", 0x202, "latin1");
  setup.writeUInt32LE(padding, 0x248);
  setup.writeUInt32LE(length, 0x24c);
  return Buffer.concat([setup, Buffer.alloc(padding, 1), payload]);
}

describe("taking the kernel out of a bzImage", () => {
  it.each([
    ["LZ4", Buffer.concat([encodeLz4Legacy(ELF), size(ELF.length)])],
    ["gzip, which carries its size", gzipSync(ELF)],
    ["zstd", Buffer.concat([zstdCompressSync(ELF), size(ELF.length)])],
    ["no compression", Buffer.concat([ELF, size(ELF.length)])],
  ])("unpacks %s", (_, payload) => {
    expect(extractVmlinux(bzImage(payload)).subarray(0, ELF.length).equals(ELF)).toBe(true);
  });

  it("takes zero setup sectors for four", () => {
    const image = bzImage(gzipSync(ELF), { setupSectors: 0 });
    expect(extractVmlinux(image).equals(ELF)).toBe(true);
  });

  it.each([
    ["a text", Buffer.alloc(4096, "x"), "KERNEL_FORMAT", /setup header is missing/],
    ["an empty file", Buffer.alloc(0), "KERNEL_FORMAT", /setup header is missing/],
    [
      "a cut image",
      bzImage(gzipSync(ELF), { length: 100_000 }),
      "KERNEL_DAMAGED",
      /shorter than its setup header says/,
    ],
    [
      "an xz payload",
      bzImage(Buffer.concat([Buffer.from([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0, 0, 0]), size(10)])),
      "KERNEL_FORMAT",
      /not supported \(xz\)/,
    ],
    ["an unknown payload", bzImage(Buffer.concat([Buffer.alloc(16, 9), size(10)])), "KERNEL_FORMAT", /unknown/],
    ["what is no kernel", bzImage(gzipSync(Buffer.alloc(500))), "KERNEL_FORMAT", /does not hold an ELF kernel/],
    [
      "a size beyond reason",
      bzImage(Buffer.concat([encodeLz4Legacy(ELF), size(0xf0000000)])),
      "KERNEL_DAMAGED",
      /claims to unpack/,
    ],
  ])("refuses %s", (_, image, code, message) => {
    expect(() => extractVmlinux(image)).toThrow(
      expect.objectContaining({ code, message: expect.stringMatching(message) }),
    );
  });
});
