import { chown, readFile, rm, writeFile } from "node:fs/promises";
import { join, posix } from "node:path";
import { FireteactError } from "../../base/errors.ts";
import type { SandboxSpec } from "../port.ts";
import type { SandboxPlaces } from "./places.ts";

/** A file or directory of an initramfs; `mode` with the bits of its type. */
interface CpioEntry {
  path: string;
  mode: number;
  content: Buffer;
}

/** Where the image's first process looks for files that are for one guest alone. */
const FILES = "files";

type Files = NonNullable<SandboxSpec["files"]>;

const initrdOf = (own: SandboxPlaces): string => join(own.vm, "initrd");

/**
 * Makes an initrd that brings files of one guest along, for the monitor's user alone: the kernel unpacks archives that
 * follow each other, and the image's first process copies the tree `/files` over the root file system.
 */
export async function ownInitrd(base: string, files: Files, uid: number, own: SandboxPlaces): Promise<string> {
  const path = initrdOf(own);
  const added = cpio([...parents(Object.keys(files)), ...Object.entries(files).map(toEntry)]);
  await writeFile(path, Buffer.concat([aligned(await readFile(base)), added]), { mode: 0o600, flag: "wx" });
  await chown(path, uid, uid);
  return path;
}

/** Removes it again, once the monitor has read it: files of guests are secrets. */
export async function forgetInitrd(own: SandboxPlaces): Promise<void> {
  await rm(initrdOf(own), { force: true });
}

function toEntry([path, { content, mode }]: [string, { content: string; mode: number }]): CpioEntry {
  if (!path.startsWith("/") || path.endsWith("/") || posix.normalize(path) !== path || path.includes("\0")) {
    throw new FireteactError("BAD_FILE_PATH", `No file of a guest can have the path ${JSON.stringify(path)}`);
  }
  return { path: FILES + path, mode: 0o100000 | (mode & 0o7777), content: Buffer.from(content) };
}

/** Every directory above the files, each before what it holds. */
function parents(paths: string[]): CpioEntry[] {
  const found = new Set([FILES]);
  for (const path of paths) {
    const parts = (FILES + path).split("/");
    for (let depth = 1; depth < parts.length; depth++) found.add(parts.slice(0, depth).join("/"));
  }
  return [...found].map((path) => ({ path, mode: 0o040755, content: Buffer.alloc(0) }));
}

/** An archive in the kernel's format ("newc"): 13 fields of eight hexadecimal digits, name, content for each entry. */
export function cpio(entries: readonly CpioEntry[]): Buffer {
  const end = { path: "TRAILER!!!", mode: 0, content: Buffer.alloc(0) };
  const parts = [...entries, end].flatMap(({ path, mode, content }, index) => {
    const name = Buffer.from(`${path}\0`);
    const fields = [index, mode, 0, 0, 1, 0, content.length, 0, 0, 0, 0, name.length, 0];
    const header = `070701${fields.map((field) => field.toString(16).padStart(8, "0")).join("")}`;
    return [aligned(Buffer.concat([Buffer.from(header, "latin1"), name])), aligned(content)];
  });
  return Buffer.concat(parts);
}

const aligned = (part: Buffer): Buffer => Buffer.concat([part, Buffer.alloc(-part.length & 3)]);
