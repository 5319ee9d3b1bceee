import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { describe, FireteactError, systemCode } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import { migrate } from "./migrate.ts";
import { createPrivate } from "./private.ts";

/**
 * Opens the database, makes or upgrades it, and hands it to `use`, which reads what must be readable. A damaged file is
 * set aside with a warning, since everything that matters can be read from the forge and the host again; one that a
 * newer program wrote is refused.
 */
export function openDatabase<T>(path: string, log: Logger, use: (database: DatabaseSync) => T): T {
  mkdirSync(dirname(path), { recursive: true, mode: 0o711 });
  try {
    return openSound(path, use);
  } catch (error) {
    if (!isDamage(error)) throw isFault(error) ? unusable(path, error) : error;
    log.warn(
      { path, aside: setAside(path), cause: describe(error) },
      "the store could not be read and was set aside; runners are found again in the forge and on the host",
    );
    return openSound(path, use);
  }
}

function openSound<T>(path: string, use: (database: DatabaseSync) => T): T {
  // Runner tokens lie in it.
  createPrivate(path);
  const database = new DatabaseSync(path, { timeout: 5_000 });
  try {
    database.exec(
      "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON; PRAGMA secure_delete = ON",
    );
    const check = database.prepare("PRAGMA integrity_check(1)").get();
    if (check?.integrity_check !== "ok") throw new DamagedStore(String(check?.integrity_check));
    migrate(database, path);
    return use(database);
  } catch (error) {
    database.close();
    throw error;
  }
}

/** Broken files that are kept, the newest, for whoever wants to know what happened. */
const KEEP_BROKEN = 3;

function setAside(path: string): string {
  const aside = `${path}.broken-${Date.now()}`;
  for (const suffix of ["", "-wal", "-shm"]) {
    if (existsSync(path + suffix)) renameSync(path + suffix, aside + suffix);
  }
  const broken = readdirSync(dirname(path)).filter((name) => name.startsWith(`${basename(path)}.broken-`));
  const times = [...new Set(broken.map(timeOf))].sort((a, b) => b - a);
  const old = new Set(times.slice(KEEP_BROKEN));
  for (const name of broken) if (old.has(timeOf(name))) rmSync(join(dirname(path), name));
  return aside;
}

const timeOf = (name: string): number => Number(/\.broken-(\d+)/.exec(name)?.[1] ?? 0);

class DamagedStore extends Error {}

/** What SQLite says when a file, or what is written in it, cannot be what we wrote. */
const SQLITE_ERROR = 1;
const SQLITE_CORRUPT = 11;
const SQLITE_NOTADB = 26;

/** A full disk, a lock or a lack of rights is no damage: the file is left as it is. */
function isDamage(error: unknown): boolean {
  // A record that is no JSON.
  if (error instanceof DamagedStore || error instanceof SyntaxError) return true;
  return (
    error instanceof Error &&
    "errcode" in error &&
    [SQLITE_ERROR, SQLITE_CORRUPT, SQLITE_NOTADB].includes(Number(error.errcode) & 0xff)
  );
}

/** Something of the host that stands in the way. */
function isFault(error: unknown): boolean {
  return (error instanceof Error && "errcode" in error) || systemCode(error) !== undefined;
}

const unusable = (path: string, cause: unknown): FireteactError =>
  new FireteactError("STORE_UNUSABLE", `the store ${path} cannot be opened`, {
    cause,
    hint: "it needs a disk with room, and a directory that this user may write to",
  });
