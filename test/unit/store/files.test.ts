import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { describe, expect, it } from "vitest";
import { systemClock } from "../../../src/base/clock.ts";
import { FireteactError } from "../../../src/base/errors.ts";
import { createLogger } from "../../../src/base/log.ts";
import type { Runner } from "../../../src/core/types.ts";
import { backUpStore } from "../../../src/store/copy.ts";
import { migrate } from "../../../src/store/migrate.ts";
import { MIGRATIONS } from "../../../src/store/schema.ts";
import { openStore } from "../../../src/store/sqlite.ts";
import { temporaryDirectory } from "../../support/orchestrator.ts";
import { busy, ending, fresh, ready, warm } from "../core/build.ts";

/** Made by the program with schema 1. */
const SCHEMA_1 = join(import.meta.dirname, "fixtures/schema-1.db");

function place(directory: string) {
  const lines: string[] = [];
  const log = createLogger("info", { write: (line) => lines.push(line) });
  const path = join(directory, "state.db");
  const open = () => openStore({ path, log, boot: "boot 1", clock: systemClock });
  /** Changes the file behind the store's back. */
  const meddle = (sql: string) => {
    const database = new DatabaseSync(path, { defensive: false });
    database.exec(sql);
    database.close();
  };
  const broken = () => readdirSync(directory).filter((name) => /\.broken-\d+$/.test(name));
  return { open, lines, path, meddle, broken };
}

function failure(work: () => unknown): FireteactError {
  try {
    work();
  } catch (error) {
    if (error instanceof FireteactError) return error;
    throw error;
  }
  throw new Error("it did not fail");
}

/** A record as that program wrote it, which did not know a job's task. */
const asThen = (runner: Runner): Runner =>
  JSON.parse(JSON.stringify(runner, (key, value: unknown) => (key === "taskId" ? undefined : value))) as Runner;

describe("an upgrade of the store", () => {
  it("keeps everything that the program with schema 1 wrote, and a copy of it as it was", () => {
    using directory = temporaryDirectory();
    const { open, path, lines } = place(directory.path);
    copyFileSync(SCHEMA_1, path);
    const store = open();
    expect(store.runners()).toEqual([asThen(busy(1)), warm(2), ready(3)]);
    expect(store.secrets(busy(1).id)).toEqual({ uuid: "uuid-1", token: "the token of runner 1" });
    expect(store.history(9)).toEqual([8, 7].map((id) => ({ runner: asThen(ending(busy(id))), closedAt: 1_000 + id })));
    expect(store.closed(busy(7).hex)?.runner).toEqual(asThen(ending(busy(7))));
    expect(store.story(busy(7).hex)).toEqual([]);
    expect(store.openIntents()).toHaveLength(1);
    expect(store.pausedPools()).toEqual(["a"]);
    expect(store.loadMemory()?.suspects).toEqual({ x: 1 });
    store.close();
    expect(lines).toEqual([]);

    const copy = new DatabaseSync(`${path}.schema-1`);
    expect(copy.prepare("PRAGMA user_version").get()?.user_version).toBe(1);
    expect(copy.prepare("SELECT count(*) AS n FROM runners").get()?.n).toBe(3);
    copy.close();
    expect(statSync(`${path}.schema-1`).mode & 0o777).toBe(0o600);
    expect(readFileSync(`${path}.schema-1`, "latin1")).not.toContain("the token of runner 1");
  });

  it("is made again from where it stood when it was interrupted, over the copy of then", () => {
    using directory = temporaryDirectory();
    const { open, path } = place(directory.path);
    copyFileSync(SCHEMA_1, path);
    writeFileSync(`${path}.schema-1`, "an old copy");
    writeFileSync(`${path}.schema-1.part`, "half a copy");
    open().close();
    expect(new DatabaseSync(`${path}.schema-1`).prepare("SELECT count(*) AS n FROM runners").get()?.n).toBe(3);
    expect(existsSync(`${path}.schema-1.part`)).toBe(false);
  });

  it("leaves the file at the last schema that it reached when a migration fails", () => {
    using directory = temporaryDirectory();
    const { path } = place(directory.path);
    copyFileSync(SCHEMA_1, path);
    const database = new DatabaseSync(path);
    const failing = [...MIGRATIONS, "CREATE TABLE half (id TEXT) STRICT; SELECT 1 FROM nowhere"];
    expect(() => migrate(database, path, failing)).toThrow(/nowhere/);
    expect(database.prepare("PRAGMA user_version").get()?.user_version).toBe(MIGRATIONS.length);
    expect(database.prepare("SELECT count(*) AS n FROM sqlite_schema WHERE name = 'half'").get()?.n).toBe(0);
    migrate(database, path);
    database.close();
  });

  it("cannot begin without its copy", () => {
    using directory = temporaryDirectory();
    const { open, path } = place(join(directory.path));
    copyFileSync(SCHEMA_1, path);
    const database = new DatabaseSync(path);
    // A name in a directory that is not there, as on a disk that takes no more.
    const error = failure(() => migrate(database, join(directory.path, "missing", "state.db")));
    expect(error.code).toBe("STORE_COPY_FAILED");
    expect(database.prepare("PRAGMA user_version").get()?.user_version).toBe(1);
    database.close();
    open().close();
  });

  it("is refused by an older program, which names the newest copy that it can read", () => {
    using directory = temporaryDirectory();
    const { open, path, meddle } = place(directory.path);
    open().close();
    meddle("PRAGMA user_version = 99");
    expect(failure(open).hint).toContain("there is no copy that this one can read");
    for (const version of [1, MIGRATIONS.length, 98]) copyFileSync(SCHEMA_1, `${path}.schema-${version}`);
    const error = failure(open);
    expect(error.code).toBe("STORE_TOO_NEW");
    expect(error.message).toContain("schema 99");
    expect(error.hint).toContain(`${path}.schema-${MIGRATIONS.length}`);
    expect(existsSync(path)).toBe(true);
    // And what it names works.
    copyFileSync(`${path}.schema-1`, path);
    const store = open();
    expect(store.runners()).toHaveLength(3);
    store.close();
  });
});

describe("a store that cannot be read", () => {
  const damages: [string, (path: string, meddle: (sql: string) => void) => void][] = [
    ["is something else", (path) => copyFileSync(process.execPath, path)],
    ["was cut off", (path) => truncateSync(path, 12_288)],
    ["lost a table", (_, meddle) => meddle("DROP TABLE runners")],
    ["has a record that is none", (_, meddle) => meddle("INSERT INTO runners (id, record) VALUES ('x', '{')")],
    [
      "has an index that lies",
      (_, meddle) =>
        meddle(
          "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = 'CREATE INDEX history_hex ON history (pool)' WHERE name = 'history_hex'",
        ),
    ],
  ];
  it.each(damages)("is set aside with one warning when it %s", (_, damage) => {
    using directory = temporaryDirectory();
    const { open, path, lines, meddle, broken } = place(directory.path);
    const before = open();
    for (let id = 0; id < 40; id++) before.saveRunner(ready(id));
    for (let id = 0; id < 40; id++) before.closeRunner(ready(id), id);
    before.close();
    damage(path, meddle);
    const store = open();
    expect(store.runners()).toEqual([]);
    store.saveRunner(fresh(1));
    store.close();
    expect(lines).toHaveLength(1);
    expect(lines[0]).toContain("set aside");
    expect(broken()).toHaveLength(1);
    expect(lines[0]).toContain(join(directory.path, broken()[0] ?? "?"));
  });

  it("keeps the newest three that were set aside", () => {
    using directory = temporaryDirectory();
    const { open, path, broken } = place(directory.path);
    for (const time of [100, 200, 300, 400]) writeFileSync(`${path}.broken-${time}`, "");
    writeFileSync(path, "x".repeat(5_000));
    open().close();
    expect(broken()).toHaveLength(3);
    expect(broken()).not.toContain("state.db.broken-200");
    expect(broken()).toContain("state.db.broken-400");
  });

  it("is not touched when only the host stands in the way", () => {
    using directory = temporaryDirectory();
    const { open, path, lines } = place(directory.path);
    // As with a disk that is full or takes no writes: what SQLite and the system say is no word about the file.
    mkdirSync(path);
    const error = failure(open);
    expect(error.code).toBe("STORE_UNUSABLE");
    expect(error.cause).toBeDefined();
    expect(lines).toEqual([]);
    expect(existsSync(path)).toBe(true);
  });
});

describe("a backup", () => {
  it("is a whole store without secrets, made while another writes", () => {
    using directory = temporaryDirectory();
    const { open } = place(directory.path);
    const store = open();
    const token = "0123456789abcdef-a-very-secret-token";
    store.saveRunner(ready(1));
    store.saveSecrets(ready(1).id, { uuid: "u", token });
    store.closeRunner(ready(2), 5);
    const file = join(directory.path, "backup.db");
    expect(backUpStore(directory.path, file)).toEqual({ file, runners: 1, history: 1 });
    store.saveRunner(ready(3));
    expect(store.secrets(ready(1).id)?.token).toBe(token);
    store.close();
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(readFileSync(file, "latin1")).not.toContain(token);
    expect(readdirSync(directory.path).filter((name) => name.startsWith("backup"))).toEqual(["backup.db"]);

    using elsewhere = temporaryDirectory();
    const again = place(elsewhere.path);
    copyFileSync(file, again.path);
    const restored = again.open();
    expect(restored.runners()).toEqual([ready(1)]);
    expect(restored.secrets(ready(1).id)).toBeUndefined();
    expect(restored.history(9)).toHaveLength(1);
    restored.close();
  });

  it("overwrites nothing, and needs a store", () => {
    using directory = temporaryDirectory();
    const { open, path } = place(directory.path);
    const file = join(directory.path, "backup.db");
    expect(failure(() => backUpStore(directory.path, file)).code).toBe("STORE_MISSING");
    open().close();
    expect(failure(() => backUpStore(directory.path, path)).code).toBe("FILE_EXISTS");
    expect(failure(() => backUpStore(directory.path, join(directory.path, "nowhere", "b.db"))).code).toBe(
      "FILE_UNWRITABLE",
    );
    expect(existsSync(file)).toBe(false);
  });
});
