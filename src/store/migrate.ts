import { readdirSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import type { DatabaseSync } from "node:sqlite";
import { FireteactError } from "../base/errors.ts";
import { copyDatabase } from "./copy.ts";
import { MIGRATIONS } from "./schema.ts";

/**
 * Brings the database to the newest schema, each migration in a transaction of its own, after a copy of the old one was
 * made beside it. Throws STORE_TOO_NEW.
 */
export function migrate(database: DatabaseSync, path: string, migrations: readonly string[] = MIGRATIONS): void {
  const version = Number(database.prepare("PRAGMA user_version").get()?.user_version);
  if (version > migrations.length) throw tooNew(path, version, migrations.length);
  if (version === migrations.length) return;
  if (version > 0) copyFirst(database, copyOf(path, version));
  for (const [index, migration] of migrations.entries()) {
    if (index < version) continue;
    try {
      database.exec(`BEGIN IMMEDIATE; ${migration}; PRAGMA user_version = ${index + 1}; COMMIT`);
    } catch (error) {
      if (database.isTransaction) database.exec("ROLLBACK");
      throw error;
    }
  }
}

function copyFirst(database: DatabaseSync, to: string): void {
  try {
    copyDatabase(database, to);
  } catch (cause) {
    throw new FireteactError("STORE_COPY_FAILED", `the store could not be copied to ${to} before its upgrade`, {
      cause,
      hint: "make room for it on the disk, and start again; nothing was changed",
    });
  }
}

const copyOf = (path: string, version: number): string => `${path}.schema-${version}`;

function tooNew(path: string, version: number, known: number): FireteactError {
  const copy = newestCopy(path, known);
  const instead =
    copy === undefined
      ? `there is no copy that this one can read; without ${path} it finds its runners again, but loses the history`
      : `stop it and put back the copy that it made before it upgraded: ${copy}`;
  return new FireteactError(
    "STORE_TOO_NEW",
    `${path} was written by a newer fireteact (schema ${version}, this one knows ${known})`,
    { hint: `start the newer program again; or ${instead}`, facts: { path, version, known, copy } },
  );
}

/** The copy with the highest schema that this program can read. */
function newestCopy(path: string, known: number): string | undefined {
  const prefix = `${basename(path)}.schema-`;
  const versions = readdirSync(dirname(path))
    .filter((name) => name.startsWith(prefix))
    .map((name) => Number(name.slice(prefix.length)))
    .filter((version) => Number.isInteger(version) && version <= known);
  return versions.length === 0 ? undefined : join(dirname(path), `${prefix}${Math.max(...versions)}`);
}
