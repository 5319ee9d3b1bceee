import { closeSync, existsSync, fsyncSync, openSync, renameSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { FireteactError } from "../base/errors.ts";
import { createPrivate } from "./private.ts";

/**
 * Writes a whole copy of a database into one file, also while others write to it. The runners' secrets stay out: a copy
 * outlives them, and a runner that waits for its own when the copy is put back ends at its limit.
 */
export function copyDatabase(database: DatabaseSync, to: string): void {
  const part = `${to}.part`;
  try {
    rmSync(part, { force: true });
    createPrivate(part);
    database.prepare("VACUUM INTO ?").run(part);
    eraseSecrets(part);
    renameSync(part, to);
  } finally {
    for (const suffix of ["", "-journal"]) rmSync(part + suffix, { force: true });
  }
  syncDirectory(dirname(to));
}

/** Copies the store of a state directory, which a daemon may be working on. Throws STORE_MISSING, FILE_EXISTS, FILE_UNWRITABLE. */
export function backUpStore(stateDirectory: string, to: string): { file: string; runners: number; history: number } {
  const path = join(stateDirectory, "state.db");
  if (!existsSync(path)) {
    throw new FireteactError("STORE_MISSING", `there is no store at ${path}`, {
      hint: "name its directory in FIRETEACT_STATE_DIR; 'fireteact serve' makes one",
    });
  }
  if (existsSync(to)) {
    throw new FireteactError("FILE_EXISTS", `${to} is there already`, {
      hint: "name another file, or remove it first",
    });
  }
  const database = new DatabaseSync(path, { timeout: 10_000 });
  try {
    copyDatabase(database, to);
  } catch (cause) {
    throw new FireteactError("FILE_UNWRITABLE", `the store could not be copied to ${to}`, {
      cause,
      hint: "its directory must be there, and have room",
    });
  } finally {
    database.close();
  }
  const copy = new DatabaseSync(to, { readOnly: true });
  const count = (table: string) => Number(copy.prepare(`SELECT count(*) AS n FROM ${table}`).get()?.n);
  const counts = { runners: count("runners"), history: count("history") };
  copy.close();
  return { file: to, ...counts };
}

function eraseSecrets(path: string): void {
  const copy = new DatabaseSync(path);
  try {
    copy.exec("PRAGMA secure_delete = ON; DELETE FROM secrets");
  } finally {
    copy.close();
  }
}

function syncDirectory(path: string): void {
  const directory = openSync(path, "r");
  fsyncSync(directory);
  closeSync(directory);
}
