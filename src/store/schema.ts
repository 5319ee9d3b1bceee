/**
 * Numbered migrations, never edited once released: the database's `user_version` says how many have run.
 * Records are JSON documents beside the columns that queries need.
 */
export const MIGRATIONS: readonly string[] = [
  `
  CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
  CREATE TABLE runners (id TEXT PRIMARY KEY, record TEXT NOT NULL) STRICT;
  CREATE TABLE secrets (runner TEXT PRIMARY KEY, uuid TEXT NOT NULL, token TEXT NOT NULL) STRICT;
  CREATE TABLE intents (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    lane TEXT NOT NULL,
    step TEXT NOT NULL,
    at INTEGER NOT NULL
  ) STRICT;
  CREATE TABLE history (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL,
    pool TEXT NOT NULL,
    closed_at INTEGER NOT NULL,
    record TEXT NOT NULL
  ) STRICT;
  CREATE INDEX history_closed_at ON history (closed_at);
  CREATE TABLE paused_pools (pool TEXT PRIMARY KEY) STRICT;
  `,
  // What happened to a runner, as lines of time and change; and its hex, by which the history is searched.
  `
  ALTER TABLE runners ADD COLUMN events TEXT NOT NULL DEFAULT '';
  ALTER TABLE history ADD COLUMN events TEXT NOT NULL DEFAULT '';
  ALTER TABLE history ADD COLUMN hex TEXT GENERATED ALWAYS AS (substr(id, -24)) VIRTUAL;
  CREATE INDEX history_hex ON history (hex);
  `,
  // What webhooks said of jobs, for forges whose queue cannot be read.
  `
  CREATE TABLE pushed_jobs (key TEXT PRIMARY KEY, record TEXT NOT NULL) STRICT;
  `,
];
