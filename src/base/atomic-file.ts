import { randomBytes } from "node:crypto";
import { renameSync, rmSync, writeFileSync } from "node:fs";
import { open, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";

interface AtomicOptions {
  /** Permissions of the new file, less the user's mask. Default 0600. */
  mode?: number;
}

/**
 * Replaces a file so that every reader, also after a power cut, sees either the old or the new content as a whole:
 * temporary file beside it, sync, rename, sync of the directory.
 */
export async function writeFileAtomic(path: string, content: string | Buffer, options: AtomicOptions = {}) {
  const temporary = temporaryName(path);
  try {
    await using file = await open(temporary, "wx", options.mode ?? 0o600);
    await file.writeFile(content);
    await file.sync();
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  await using directory = await open(dirname(path), "r");
  await directory.sync();
}

/**
 * The same for a file that matters only until the next boot: nothing is synced, and a small file on a memory file system
 * is not worth giving up the thread for.
 */
export function replaceFileSync(path: string, content: string, options: AtomicOptions = {}): void {
  const temporary = temporaryName(path);
  try {
    writeFileSync(temporary, content, { flag: "wx", mode: options.mode ?? 0o600 });
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
}

/** Hidden, and no other writer's. */
const temporaryName = (path: string): string =>
  join(dirname(path), `.${basename(path)}.${randomBytes(6).toString("hex")}`);
