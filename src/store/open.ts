import { existsSync, mkdirSync, renameSync } from "node:fs";
import { dirname } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { describe, FireteactError } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import { createPrivate } from "./private.ts";
import { MIGRATIONS } from "./schema.ts";

/**
 * Opens the database, makes or upgrades it. A damaged file is set aside with a warning, since everything that matters
 * can be read from the forge and the host again; one that a newer program wrote is refused.
 */
export function openDatabase(path: string, log: Logger): DatabaseSync {
  mkdirSync(dirname(path), { recursive: true, mode: 0o711 });
  try {
    return openSound(path);
  } catch (error) {
    if (!isDamage(error)) throw error;
    const aside = `${path}.broken-${Date.now()}`;
    for (const suffix of ["", "-wal", "-shm"]) {
      if (existsSync(path + suffix)) renameSync(path + suffix, aside + suffix);
    }
    log.warn(
      { path, aside, cause: describe(error) },
      "the store could not be read and was set aside; runners are found again in the forge and on the host",
    );
    return openSound(path);
  }
}

function openSound(path: string): DatabaseSync {
  // Runner tokens lie in it.
  createPrivate(path);
  const database = new DatabaseSync(path);
  try {
    database.exec(
      "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON; PRAGMA busy_timeout = 5000; PRAGMA secure_delete = ON",
    );
    const check = database.prepare("PRAGMA quick_check(1)").get();
    if (check?.quick_check !== "ok") throw new DamagedStore(String(check?.quick_check));
    migrate(database, path);
    return database;
  } catch (error) {
    database.close();
    throw error;
  }
}

function migrate(database: DatabaseSync, path: string): void {
  const version = Number(database.prepare("PRAGMA user_version").get()?.user_version);
  if (version > MIGRATIONS.length) {
    throw new FireteactError(
      "STORE_TOO_NEW",
      `${path} was written by a newer fireteact (schema ${version}, this one knows ${MIGRATIONS.length})`,
      {
        hint: `start the newer program again, or put back the copy it made before upgrading: ${backupPath(path, MIGRATIONS.length)}`,
        facts: { path, version },
      },
    );
  }
  if (version === MIGRATIONS.length) return;
  if (version > 0) {
    createPrivate(backupPath(path, version));
    database.prepare("VACUUM INTO ?").run(backupPath(path, version));
  }
  for (const [index, migration] of MIGRATIONS.entries()) {
    if (index < version) continue;
    database.exec(`BEGIN; ${migration}; PRAGMA user_version = ${index + 1}; COMMIT`);
  }
}

const backupPath = (path: string, version: number): string => `${path}.schema-${version}`;

class DamagedStore extends Error {}

const SQLITE_CORRUPT = 11;
const SQLITE_NOTADB = 26;

/** A full disk, a lock or a lack of rights is no damage: the file is left as it is. */
function isDamage(error: unknown): boolean {
  if (error instanceof DamagedStore) return true;
  return (
    error instanceof Error &&
    "errcode" in error &&
    [SQLITE_CORRUPT, SQLITE_NOTADB].includes(Number(error.errcode) & 0xff)
  );
}
