import { closeSync, mkdirSync, openSync, readdirSync, readSync, rmSync, statSync, writeSync } from "node:fs";
import { join } from "node:path";
import { describe, ignore } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";

/** Output of engines and jobs, one bounded file per runner; the newest are kept when their runners are gone. */
export interface LogBook {
  /** Never throws: a log that cannot be written is lost, not the job. */
  append(hex: string, text: string): void;
  /** Nothing more is appended for this runner. */
  done(hex: string): void;
  /** The last `bytes` of a runner's log, empty when there is none. */
  tail(hex: string, bytes: number): string;
  close(): void;
}

const MAX_BYTES = 4 * 1024 * 1024;
const KEEP_FILES = 500;
const PRUNE_EVERY = 50;
const NOTICE = "\n[fireteact: the log reached its limit of 4 MiB; the rest is in the forge]\n";

export function createLogBook(directory: string, log: Logger): LogBook {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const open = new Map<string, { fd: number; size: number }>();
  /** The last line could not be written: said once. */
  let failing = false;
  let ended = 0;
  const path = (hex: string) => join(directory, `${hex}.log`);

  const file = (hex: string) => {
    const known = open.get(hex);
    if (known !== undefined) return known;
    const fd = openSync(path(hex), "a", 0o600);
    const entry = { fd, size: statSync(path(hex)).size };
    open.set(hex, entry);
    if (open.size > KEEP_FILES) forgetOldest();
    return entry;
  };
  const forgetOldest = () => {
    const [hex, entry] = open.entries().next().value ?? [];
    if (hex === undefined || entry === undefined) return;
    closeSync(entry.fd);
    open.delete(hex);
  };
  prune(directory);

  return {
    append: (hex, text) => {
      try {
        append(file(hex), text);
      } catch (error) {
        if (!failing) log.error({ cause: describe(error) }, "a runner's log cannot be written; it is in the forge");
        failing = true;
        return;
      }
      failing = false;
    },
    done: (hex) => {
      const entry = open.get(hex);
      if (entry === undefined) return;
      closeSync(entry.fd);
      open.delete(hex);
      ended++;
      if (ended % PRUNE_EVERY === 0) prune(directory);
    },
    tail: (hex, bytes) => tailOf(path(hex), bytes),
    close: () => {
      for (const { fd } of open.values()) closeSync(fd);
      open.clear();
    },
  };
}

function append(entry: { fd: number; size: number }, text: string): void {
  if (entry.size >= MAX_BYTES) return;
  const bytes = Buffer.from(text);
  writeSync(entry.fd, bytes.subarray(0, MAX_BYTES - entry.size));
  entry.size += bytes.length;
  if (entry.size >= MAX_BYTES) writeSync(entry.fd, NOTICE);
}

function tailOf(path: string, bytes: number): string {
  let fd: number | undefined;
  try {
    fd = openSync(path, "r");
    const { size } = statSync(path);
    const buffer = Buffer.alloc(Math.min(bytes, size));
    const read = readSync(fd, buffer, 0, buffer.length, size - buffer.length);
    return buffer.toString("utf8", 0, read);
  } catch (error) {
    ignore("ENOENT")(error);
    return "";
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

/** Removes all but the newest logs. */
function prune(directory: string): void {
  const files = readdirSync(directory)
    .filter((name) => name.endsWith(".log"))
    .map((name) => ({ name, changed: statSync(join(directory, name)).mtimeMs }))
    .sort((a, b) => b.changed - a.changed);
  for (const { name } of files.slice(KEEP_FILES)) rmSync(join(directory, name), { force: true });
}
