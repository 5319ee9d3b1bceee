import { crc32 } from "node:zlib";
import { FireteactError } from "../base/errors.ts";

/**
 * A frame is `FF "FT" type flags length checksum payload`. Length and checksum are written in bytes of seven bits and
 * the payload is UTF-8, so the byte FF occurs at the start of a frame and nowhere else: whatever was cut off or mixed
 * in before, the next FF is the next frame. A reader therefore never waits for the rest of a frame that will not come.
 */
const MARK = 0xff;
const MAGIC = Buffer.from([MARK, 0x46, 0x54]);
const TYPE_JSON = 1;
const LENGTH_AT = 5;
const LENGTH_BYTES = 3;
const CHECKSUM_AT = LENGTH_AT + LENGTH_BYTES;
const CHECKSUM_BYTES = 5;
const HEADER_BYTES = CHECKSUM_AT + CHECKSUM_BYTES;

/** The longest payload of a frame, in bytes. */
export const MAX_PAYLOAD = 64 * 1024;

/** What a quiet connection costs: there may be a thousand. */
const KEEP_BYTES = 512;

/** One message as a frame. Throws `CHANNEL_FRAME_TOO_LONG` when its JSON is longer than `MAX_PAYLOAD`. */
export function encodeFrame(message: unknown): Buffer {
  const payload = Buffer.from(JSON.stringify(message), "utf8");
  if (payload.length > MAX_PAYLOAD) {
    throw new FireteactError("CHANNEL_FRAME_TOO_LONG", "a message is too long for the channel", {
      facts: { bytes: payload.length, limit: MAX_PAYLOAD },
    });
  }
  const header = Buffer.alloc(HEADER_BYTES);
  MAGIC.copy(header);
  header[MAGIC.length] = TYPE_JSON;
  writeSevens(header, LENGTH_AT, LENGTH_BYTES, payload.length);
  writeSevens(header, CHECKSUM_AT, CHECKSUM_BYTES, checksum(header, payload));
  return Buffer.concat([header, payload]);
}

/** Takes a byte stream in pieces of any size and gives back the messages in it; holds at most one frame. */
export interface FrameDecoder {
  push(chunk: Uint8Array): unknown[];
  /** Bytes that belonged to no valid frame, since the beginning or the last `forget`. */
  readonly garbage: number;
  /** Starts counting garbage anew: what lay in the pipe before a connection began is nobody's fault. */
  forget(): void;
}

export function createFrameDecoder(): FrameDecoder {
  let held = Buffer.alloc(KEEP_BYTES);
  let size = 0;
  /** Bytes that the open frame has as far as is known; 0 between frames. */
  let need = 0;
  let garbage = 0;

  return {
    push(chunk) {
      const messages: unknown[] = [];
      let at = 0;
      while (at < chunk.length) {
        if (need === 0) {
          const mark = chunk.indexOf(MARK, at);
          garbage += (mark < 0 ? chunk.length : mark) - at;
          if (mark < 0) break;
          open();
          at = mark + 1;
          continue;
        }
        const part = chunk.subarray(at, at + need - size);
        const mark = part.indexOf(MARK);
        if (mark >= 0) {
          drop(mark);
          at += mark;
          continue;
        }
        append(part);
        at += part.length;
        if (size < need) break;
        if (size === HEADER_BYTES) {
          const length = payloadLength(held);
          if (length === undefined) drop(0);
          else need += length;
          continue;
        }
        const message = readMessage(held.subarray(0, size));
        if (message === undefined) drop(0);
        else messages.push(message.value);
        close();
        if (held.length > KEEP_BYTES) held = Buffer.alloc(KEEP_BYTES);
      }
      return messages;
    },
    get garbage() {
      return garbage;
    },
    forget() {
      garbage = 0;
    },
  };

  function open(): void {
    held[0] = MARK;
    size = 1;
    need = HEADER_BYTES;
  }

  function close(): void {
    need = 0;
    size = 0;
  }

  function drop(more: number): void {
    garbage += size + more;
    close();
  }

  function append(part: Uint8Array): void {
    if (size + part.length > held.length) {
      const larger = Buffer.alloc(Math.max(size + part.length, Math.min(2 * held.length, HEADER_BYTES + MAX_PAYLOAD)));
      held.copy(larger, 0, 0, size);
      held = larger;
    }
    held.set(part, size);
    size += part.length;
  }
}

/** The payload's length if this is the header of a frame that we understand. */
function payloadLength(header: Buffer): number | undefined {
  if (!header.subarray(0, MAGIC.length).equals(MAGIC) || header[MAGIC.length] !== TYPE_JSON) return undefined;
  const length = readSevens(header, LENGTH_AT, LENGTH_BYTES);
  return length > 0 && length <= MAX_PAYLOAD ? length : undefined;
}

function readMessage(frame: Buffer): { value: unknown } | undefined {
  const payload = frame.subarray(HEADER_BYTES);
  if (readSevens(frame, CHECKSUM_AT, CHECKSUM_BYTES) !== checksum(frame, payload)) return undefined;
  try {
    return { value: JSON.parse(payload.toString("utf8")) };
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

/** Covers type, flags and length as well as the payload. */
function checksum(header: Buffer, payload: Buffer): number {
  return crc32(payload, crc32(header.subarray(MAGIC.length, CHECKSUM_AT)));
}

function writeSevens(target: Buffer, at: number, count: number, value: number): void {
  for (let index = count - 1, rest = value; index >= 0; index--, rest = Math.floor(rest / 128)) {
    target[at + index] = rest % 128;
  }
}

function readSevens(source: Buffer, at: number, count: number): number {
  let value = 0;
  for (let index = 0; index < count; index++) value = value * 128 + (source[at + index] ?? 0);
  return value;
}
