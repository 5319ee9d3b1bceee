import { gunzipSync, zstdDecompressSync } from "node:zlib";
import { FireteactError } from "../../base/errors.ts";
import { decodeLz4Legacy, LZ4_LEGACY_MAGIC } from "./lz4.ts";

/** Offsets in the x86 setup header (Linux: Documentation/arch/x86/boot.rst). */
const SETUP_SECTORS = 0x1f1;
const BOOT_FLAG = 0x1fe;
const HEADER_MAGIC = 0x202;
const PAYLOAD_OFFSET = 0x248;
const PAYLOAD_LENGTH = 0x24c;

const SECTOR = 512;
const MOST_BYTES = 512 * 1024 * 1024;

/**
 * Takes the uncompressed ELF kernel out of a bzImage: what virtual machine monitors boot directly, and under emulation
 * seconds faster than letting the kernel unpack itself.
 */
export function extractVmlinux(bzImage: Buffer): Buffer {
  if (
    bzImage.length < 0x250 ||
    bzImage.readUInt16LE(BOOT_FLAG) !== 0xaa55 ||
    bzImage.toString("latin1", HEADER_MAGIC, HEADER_MAGIC + 4) !== "HdrS"
  ) {
    throw new FireteactError("KERNEL_FORMAT", "This is not an x86 kernel image (bzImage): its setup header is missing");
  }
  // Zero means four, from the days of floppy disks; the boot sector itself is not counted.
  const setupSectors = (bzImage[SETUP_SECTORS] ?? 0) || 4;
  const start = (setupSectors + 1) * SECTOR + bzImage.readUInt32LE(PAYLOAD_OFFSET);
  const end = start + bzImage.readUInt32LE(PAYLOAD_LENGTH);
  if (end > bzImage.length || end - start < 8) {
    throw new FireteactError("KERNEL_DAMAGED", "The kernel image is shorter than its setup header says");
  }
  const elf = decompress(bzImage.subarray(start, end));
  if (elf.length < 64 || elf.toString("latin1", 0, 4) !== "\x7fELF") {
    throw new FireteactError("KERNEL_FORMAT", "The kernel image does not hold an ELF kernel");
  }
  return elf;
}

/** The kernel's build appends the decoded size, 32 bits, to payloads whose format does not carry it. */
function decompress(payload: Buffer): Buffer {
  const size = payload.readUInt32LE(payload.length - 4);
  if (size > MOST_BYTES) throw new FireteactError("KERNEL_DAMAGED", `The kernel claims to unpack to ${size} bytes`);
  const magic = payload.readUInt32LE(0);
  if (magic === LZ4_LEGACY_MAGIC) return decodeLz4Legacy(payload.subarray(0, -4), size);
  if ((magic & 0xffff) === 0x8b1f) return gunzipSync(payload, { maxOutputLength: MOST_BYTES });
  if (magic === 0xfd2fb528) return zstdDecompressSync(payload.subarray(0, -4), { maxOutputLength: MOST_BYTES });
  if (magic === 0x464c457f) return payload;
  const known = magic === 0x587a37fd ? "xz" : "unknown";
  throw new FireteactError("KERNEL_FORMAT", `The kernel is compressed in a format that is not supported (${known})`, {
    hint: "Use a kernel compressed with LZ4, gzip or zstd, or give an uncompressed vmlinux",
  });
}
