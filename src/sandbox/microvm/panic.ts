import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { join } from "node:path";
import { stripVTControlCharacters } from "node:util";
import { ignore } from "../../base/errors.ts";

/** A panic prints registers and a call trace, which are shorter. */
const LAST_WORDS = 32 * 1024;

/**
 * Why a guest's kernel panicked, by its console: a panic ends in a reset, which the monitor takes for a clean end. It is
 * the guest's word, for people.
 */
export function panicIn(directory: string): string | undefined {
  const text = tail(join(directory, "console/old")) + tail(join(directory, "console/log"));
  const found = [...text.matchAll(/Kernel panic - not syncing: ([^\r\n]{1,200})/g)].at(-1)?.[1];
  if (found === undefined) return undefined;
  return `the guest's kernel panicked: ${stripVTControlCharacters(found)
    .replaceAll(/\p{Cc}+/gu, " ")
    .trim()}`;
}

function tail(path: string): string {
  let fd: number | undefined;
  try {
    fd = openSync(path, "r");
    const { size } = fstatSync(fd);
    const buffer = Buffer.alloc(Math.min(size, LAST_WORDS));
    return buffer.toString("latin1", 0, readSync(fd, buffer, 0, buffer.length, size - buffer.length));
  } catch (error) {
    return ignore("ENOENT", "ENOTDIR")(error) ?? "";
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}
