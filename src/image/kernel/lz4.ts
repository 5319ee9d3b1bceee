import { FireteactError } from "../../base/errors.ts";

/** First four bytes, little endian, of the "legacy" LZ4 framing that the Linux kernel uses for itself. */
export const LZ4_LEGACY_MAGIC = 0x184c2102;

/** Every block but the last holds this many bytes once decoded. */
const BLOCK_BYTES = 8 * 1024 * 1024;
const MIN_MATCH = 4;

/**
 * Decodes LZ4 in legacy framing: the magic, then blocks of a 32-bit size and that many bytes. What follows the last
 * block (the kernel's build appends the decoded size) is not read once `size` bytes are there.
 *
 * @param size Bytes the decoded content has; anything else is an error.
 */
export function decodeLz4Legacy(input: Buffer, size: number): Buffer {
  if (input.length < 8 || input.readUInt32LE(0) !== LZ4_LEGACY_MAGIC) throw damaged("the magic number is missing");
  const output = Buffer.allocUnsafe(size);
  let read = 4;
  let written = 0;
  while (written < size) {
    if (read + 4 > input.length) throw damaged("it ends before its last block");
    const length = input.readUInt32LE(read);
    read += 4;
    if (length === 0 || read + length > input.length) throw damaged("a block is longer than the rest");
    const end = Math.min(written + BLOCK_BYTES, size);
    written = decodeBlock(input.subarray(read, read + length), output, written, end);
    read += length;
  }
  return output;
}

/** Decodes one block into `output` from `start`, never beyond `limit`; returns where it ended. */
function decodeBlock(block: Buffer, output: Buffer, start: number, limit: number): number {
  let read = 0;
  let written = start;
  const byte = (): number => {
    const value = block[read++];
    if (value === undefined) throw damaged("a block ends within a sequence");
    return value;
  };
  /** A length of 15 goes on in the bytes that follow, up to the first that is not 255. */
  const lengthOf = (nibble: number): number => {
    let length = nibble;
    if (nibble < 15) return length;
    for (let more = 255; more === 255; ) {
      more = byte();
      length += more;
    }
    return length;
  };

  while (read < block.length) {
    const token = byte();
    const literals = lengthOf(token >> 4);
    if (read + literals > block.length || written + literals > limit) throw damaged("literals run over the end");
    block.copy(output, written, read, read + literals);
    read += literals;
    written += literals;
    if (read >= block.length) break; // the last sequence has literals only

    const distance = byte() | (byte() << 8);
    const length = lengthOf(token & 15) + MIN_MATCH;
    if (distance === 0 || distance > written - start) throw damaged("a match points before its block");
    if (written + length > limit) throw damaged("a match runs over the end");
    if (distance >= length) output.copyWithin(written, written - distance, written - distance + length);
    else repeat(output, written, distance, length);
    written += length;
  }
  return written;
}

/** A match that overlaps what it writes repeats its first `distance` bytes. */
function repeat(output: Buffer, at: number, distance: number, length: number): void {
  for (let done = 0; done < length; ) {
    const step = Math.min(distance + done, length - done);
    output.copyWithin(at + done, at - distance, at - distance + step);
    done += step;
  }
}

const damaged = (why: string): FireteactError =>
  new FireteactError("KERNEL_DAMAGED", `The kernel's LZ4 payload is damaged: ${why}`, {
    hint: "Remove the kernel from the cache so that it is fetched again",
  });
