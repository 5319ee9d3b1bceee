import type { FileHandle } from "node:fs/promises";
import { badImage } from "./errors.ts";

/** Names and targets hold one character for every byte (latin1): a file's name may be any bytes but a slash and NUL. */
export interface TarEntry {
  name: string;
  type: "file" | "directory" | "symlink" | "link" | "char" | "block" | "fifo";
  mode: number;
  uid: number;
  gid: number;
  /** Seconds. */
  mtime: number;
  /** Bytes of content, and where in the archive they begin. */
  size: number;
  offset: number;
  /** Target of a symbolic or a hard link. */
  target: string;
  major: number;
  minor: number;
  xattrs: ReadonlyMap<string, string>;
}

const BLOCK = 512;
/** Most bytes of a long name or of extended headers; the largest that Linux allows for an attribute is 64 KiB. */
const MOST_HEADER = 1024 * 1024;
const MOST_NAME = 4_096;
const WINDOW = 256 * 1024;
const MOST_ID = 0xffff_fffe;

const TYPES: Record<string, TarEntry["type"]> = {
  "\0": "file",
  "0": "file",
  "1": "link",
  "2": "symlink",
  "3": "char",
  "4": "block",
  "5": "directory",
  "6": "fifo",
  "7": "file",
};

/**
 * Reads the headers of a tar archive (ustar, pax, GNU) without its content. Every number and length is bounded, since
 * the archive comes from somewhere else.
 *
 * @throws FireteactError `IMAGE_INVALID`
 */
export async function* readTar(file: FileHandle, length: number): AsyncGenerator<TarEntry> {
  const read = windowOn(file, length);
  let extended = new Map<string, string>();
  let longName: string | undefined;
  let longTarget: string | undefined;
  for (let at = 0; at + BLOCK <= length; ) {
    const header = await read(at, BLOCK);
    // Two empty blocks are the end; what comes behind the first is of no interest.
    if (header[0] === 0 && isEmpty(header)) return;
    checkSum(header);
    const size = extended.has("size") ? decimal(extended.get("size")) : number(header, 124, 12);
    const offset = at + BLOCK;
    const flag = String.fromCharCode(header[156] ?? 0);
    const contentEnd = offset + Math.ceil(size / BLOCK) * BLOCK;
    if ("xgLK".includes(flag)) {
      if (size > MOST_HEADER) throw badImage(`a layer has an extended header of ${size} bytes`);
      if (offset + size > length) throw cutShort();
      const body = await read(offset, size);
      if (flag === "x") extended = readPax(body);
      if (flag === "L") longName = text(body, 0, size);
      if (flag === "K") longTarget = text(body, 0, size);
      at = contentEnd;
      continue;
    }
    const name = extended.get("path") ?? longName ?? headerName(header);
    const type = typeOf(flag, name, extended);
    const hasContent = type === "file";
    if (hasContent && offset + size > length) throw cutShort();
    const target = extended.get("linkpath") ?? longTarget ?? text(header, 157, 100);
    for (const each of [name, target])
      if (each.length > MOST_NAME) throw badImage("a layer has a path of more than 4096 bytes");
    yield {
      name,
      type,
      mode: number(header, 100, 8) & 0o7777,
      uid: id(extended.get("uid"), header, 108),
      gid: id(extended.get("gid"), header, 116),
      mtime: Math.floor(Number(extended.get("mtime") ?? time(header))) || 0,
      size: hasContent ? size : 0,
      offset,
      target: type === "symlink" || type === "link" ? target : "",
      major: type === "char" || type === "block" ? number(header, 329, 8) : 0,
      minor: type === "char" || type === "block" ? number(header, 337, 8) : 0,
      xattrs: attributes(extended),
    };
    at = hasContent ? contentEnd : offset;
    extended = new Map();
    longName = longTarget = undefined;
  }
}

/** Reads through a window, since most headers lie close to one another. */
function windowOn(file: FileHandle, length: number): (at: number, size: number) => Promise<Buffer> | Buffer {
  let window: Buffer = Buffer.alloc(0);
  let start = 0;
  return (at, size) => {
    if (at >= start && at + size <= start + window.length) return window.subarray(at - start, at - start + size);
    return (async () => {
      const fresh = Buffer.alloc(Math.min(Math.max(WINDOW, size), length - at));
      for (let done = 0; done < fresh.length; ) {
        const { bytesRead } = await file.read(fresh, done, fresh.length - done, at + done);
        if (bytesRead === 0) throw cutShort();
        done += bytesRead;
      }
      [window, start] = [fresh, at];
      return fresh.subarray(0, size);
    })();
  };
}

function typeOf(flag: string, name: string, extended: ReadonlyMap<string, string>): TarEntry["type"] {
  const type = TYPES[flag];
  if (type === undefined || [...extended.keys()].some((key) => key.startsWith("GNU.sparse."))) {
    throw badImage(`a layer has an entry of a kind that is not supported (${JSON.stringify(flag)})`, { entry: name });
  }
  // So did tar before there were types.
  return type === "file" && name.endsWith("/") ? "directory" : type;
}

function headerName(header: Buffer): string {
  const name = text(header, 0, 100);
  // GNU's own format keeps other things where the standard has the rest of the name.
  const prefix = header.toString("latin1", 257, 263) === "ustar\0" ? text(header, 345, 155) : "";
  return prefix === "" ? name : `${prefix}/${name}`;
}

function text(bytes: Buffer, start: number, size: number): string {
  const value = bytes.toString("latin1", start, start + size);
  const end = value.indexOf("\0");
  return end < 0 ? value : value.slice(0, end);
}

/** Octal digits, or a number in base 256 where the first bit is set. */
function number(header: Buffer, start: number, size: number): number {
  const first = header[start] ?? 0;
  if ((first & 0x80) === 0) {
    const digits = text(header, start, size).trim();
    if (!/^[0-7]*$/.test(digits)) throw badImage("a layer is no tar archive, or damaged: a number is none");
    return digits === "" ? 0 : Number.parseInt(digits, 8);
  }
  let value = first & 0x7f;
  for (const byte of header.subarray(start + 1, start + size)) value = value * 256 + byte;
  return checked(value);
}

/** Times before 1970 are of no interest to a guest. */
const time = (header: Buffer): number => ((header[136] ?? 0) === 0xff ? 0 : number(header, 136, 12));

const decimal = (value: string | undefined): number =>
  checked(/^\d{1,19}$/.test(value ?? "") ? Number(value) : Number.NaN);

function id(extended: string | undefined, header: Buffer, at: number): number {
  const value = extended === undefined ? number(header, at, 8) : decimal(extended);
  if (value > MOST_ID) throw badImage(`a layer has an owner ${value}, which no system has`);
  return value;
}

function checked(value: number): number {
  if (Number.isSafeInteger(value)) return value;
  throw badImage("a layer has a number that is out of all bounds");
}

/** Records of `<length> <key>=<value>\n`. */
function readPax(body: Buffer): Map<string, string> {
  const found = new Map<string, string>();
  for (let at = 0; at < body.length; ) {
    const digits = /^\d{1,7} /.exec(body.toString("latin1", at, at + 8))?.[0];
    const length = Number(digits);
    const record = body.toString("latin1", at + (digits?.length ?? 0), at + length);
    const equals = record.indexOf("=");
    if (
      digits === undefined ||
      length <= digits.length ||
      at + length > body.length ||
      equals < 1 ||
      !record.endsWith("\n")
    ) {
      throw badImage("a layer has an extended header that cannot be read");
    }
    found.set(record.slice(0, equals), record.slice(equals + 1, -1));
    at += length;
  }
  for (const key of ["path", "linkpath"]) {
    if (found.get(key)?.includes("\0") === true) throw badImage("a layer has a path with a NUL in it");
  }
  return found;
}

const XATTR = "SCHILY.xattr.";

/** What a guest can make use of. Marks of overlayfs would change what is seen, since it lies over the image there. */
function attributes(extended: ReadonlyMap<string, string>): ReadonlyMap<string, string> {
  const kept = new Map<string, string>();
  for (const [key, value] of extended) {
    const name = key.startsWith(XATTR) ? key.slice(XATTR.length) : "";
    const isWanted = name === "security.capability" || (name.startsWith("user.") && !name.startsWith("user.overlay."));
    if (isWanted && name.length <= 255 && !name.includes("\0")) kept.set(name, value);
  }
  return kept;
}

function checkSum(header: Buffer): void {
  const wanted = number(header, 148, 8);
  let unsigned = 0;
  let signed = 0;
  for (let index = 0; index < BLOCK; index++) {
    const byte = index >= 148 && index < 156 ? 0x20 : (header[index] ?? 0);
    unsigned += byte;
    signed += byte > 127 ? byte - 256 : byte;
  }
  if (wanted !== unsigned && wanted !== signed)
    throw badImage("a layer is no tar archive, or damaged: a check sum is wrong");
}

const isEmpty = (block: Buffer): boolean => block.every((byte) => byte === 0);

const cutShort = () => badImage("a layer is cut short");
