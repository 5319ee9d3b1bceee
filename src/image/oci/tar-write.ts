import type { TarEntry } from "./tar-read.ts";

const BLOCK = 512;
/** The largest numbers that the plain fields take. */
const MOST_ID = 0o7777777;
const MOST_SIZE = 0o77777777777;
const FLAGS: Record<TarEntry["type"], string> = {
  file: "0",
  link: "1",
  symlink: "2",
  char: "3",
  block: "4",
  directory: "5",
  fifo: "6",
};

/** The headers of an entry, with an extended one where the plain one has no room. Names are bytes, as in `TarEntry`. */
export function tarHeader(entry: Omit<TarEntry, "offset">): Buffer {
  const extended: [string, string][] = [...entry.xattrs].map(([key, value]) => [`SCHILY.xattr.${key}`, value]);
  if (entry.name.length > 100) extended.push(["path", entry.name]);
  if (entry.target.length > 100) extended.push(["linkpath", entry.target]);
  if (entry.uid > MOST_ID) extended.push(["uid", String(entry.uid)]);
  if (entry.gid > MOST_ID) extended.push(["gid", String(entry.gid)]);
  if (entry.size > MOST_SIZE) extended.push(["size", String(entry.size)]);
  if (extended.length === 0) return plain(entry, FLAGS[entry.type]);
  const body = Buffer.from(extended.map(([key, value]) => record(key, value)).join(""), "latin1");
  const about = { ...entry, name: "pax", target: "", size: body.length, mode: 0o644, uid: 0, gid: 0 };
  return Buffer.concat([plain(about, "x"), body, padding(body.length), plain(entry, FLAGS[entry.type])]);
}

/** What fills up a content of this size to whole blocks. */
export const padding = (size: number): Buffer => Buffer.alloc((BLOCK - (size % BLOCK)) % BLOCK);

/** The end of an archive. */
export const tarEnd = (): Buffer => Buffer.alloc(2 * BLOCK);

/** The length counts its own digits. */
function record(key: string, value: string): string {
  const rest = ` ${key}=${value}\n`;
  let length = rest.length + 1;
  while (String(length).length + rest.length !== length) length = String(length).length + rest.length;
  return `${length}${rest}`;
}

function plain(entry: Omit<TarEntry, "offset">, flag: string): Buffer {
  const header = Buffer.alloc(BLOCK);
  const octal = (value: number, at: number, digits: number) =>
    header.write(Math.max(value, 0).toString(8).padStart(digits, "0"), at, "latin1");
  header.write(entry.name.slice(0, 100), 0, "latin1");
  octal(entry.mode, 100, 7);
  octal(entry.uid > MOST_ID ? 0 : entry.uid, 108, 7);
  octal(entry.gid > MOST_ID ? 0 : entry.gid, 116, 7);
  octal(entry.size > MOST_SIZE ? 0 : entry.size, 124, 11);
  octal(Math.min(entry.mtime, MOST_SIZE), 136, 11);
  header.write(flag, 156, "latin1");
  header.write(entry.target.slice(0, 100), 157, "latin1");
  header.write("ustar\u000000", 257, "latin1");
  octal(entry.major, 329, 7);
  octal(entry.minor, 337, 7);
  header.fill(" ", 148, 156);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  return header;
}
