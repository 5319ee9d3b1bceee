import { LZ4_LEGACY_MAGIC } from "../../../src/image/kernel/lz4.ts";

const BLOCK = 8 * 1024 * 1024;

/** The simplest encoder that uses every part of the format: greedy, with one remembered position per four bytes. */
export function encodeLz4Legacy(content: Buffer): Buffer {
  const blocks: Buffer[] = [];
  for (let at = 0; at < content.length; at += BLOCK) blocks.push(encodeBlock(content.subarray(at, at + BLOCK)));
  return frame(blocks);
}

export function frame(blocks: Buffer[]): Buffer {
  const size = (value: number) => Buffer.from(Uint32Array.of(value).buffer);
  return Buffer.concat([size(LZ4_LEGACY_MAGIC), ...blocks.flatMap((block) => [size(block.length), block])]);
}

function encodeBlock(block: Buffer): Buffer {
  const seen = new Map<number, number>();
  const parts: Buffer[] = [];
  let literalStart = 0;
  let at = 0;
  // The last five bytes are literals by the format's rules.
  while (at + 4 <= block.length - 5) {
    const key = block.readUInt32LE(at);
    const before = seen.get(key);
    seen.set(key, at);
    if (before === undefined || at - before > 0xffff) {
      at++;
      continue;
    }
    let length = 4;
    while (at + length < block.length - 5 && block[before + length] === block[at + length]) length++;
    parts.push(sequence(block.subarray(literalStart, at), { distance: at - before, length }));
    at += length;
    literalStart = at;
  }
  parts.push(sequence(block.subarray(literalStart)));
  return Buffer.concat(parts);
}

function sequence(literals: Buffer, match?: { distance: number; length: number }): Buffer {
  const over = (match?.length ?? 4) - 4;
  const token = (Math.min(literals.length, 15) << 4) | Math.min(over, 15);
  const tail = match === undefined ? [] : [match.distance & 255, match.distance >> 8, ...more(over)];
  return Buffer.concat([Buffer.from([token, ...more(literals.length)]), literals, Buffer.from(tail)]);
}

function more(length: number): number[] {
  if (length < 15) return [];
  const rest = length - 15;
  return [...Array.from({ length: Math.floor(rest / 255) }, () => 255), rest % 255];
}
