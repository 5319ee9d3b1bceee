import type { DatabaseSync } from "node:sqlite";
import type { Clock } from "../base/clock.ts";
import type { Logger } from "../base/log.ts";
import type { PlanMemory } from "../core/plan-types.ts";
import type { Runner } from "../core/types.ts";
import { openDatabase } from "./open.ts";
import type { HistoryEntry, PushedJob, RunnerChange, Store } from "./port.ts";

interface StoreOptions {
  path: string;
  clock: Clock;
  /** This boot of the host; uptimes recorded under another one mean nothing. */
  boot: string;
  log: Logger;
}

/** Opens (or makes) the store. Throws STORE_TOO_NEW, STORE_UNUSABLE; a damaged file is set aside with a warning. */
export function openStore(options: StoreOptions): Store {
  return openDatabase(options.path, options.log, (database) => storeOn(database, options));
}

/** How much of the history is forgotten at once. */
const PRUNED_AT_ONCE = 500;
const PUSHED_JOBS = 4096;
const DAY = 24 * 60 * 60_000;

function storeOn(database: DatabaseSync, options: StoreOptions): Store {
  const sql = statements(database);
  /** Whether pages with erased secrets may still lie in the log of the database; the process before left some, too. */
  let erased = true;
  const save = (runner: Runner, changes: readonly RunnerChange[] = []) =>
    sql.saveRunner.run(
      runner.id,
      JSON.stringify(runner),
      changes.map(({ at, change }) => `${at} ${change}\n`).join(""),
    );
  /** Inside another one the writes belong to that. */
  const transaction = <T>(work: () => T): T => {
    if (database.isTransaction) return work();
    sql.begin.run();
    try {
      const result = work();
      sql.commit.run();
      return result;
    } catch (error) {
      // Some errors, as that of a full disk, have ended it already.
      if (database.isTransaction) sql.rollback.run();
      throw error;
    }
  };

  const runners = () => sql.runners.all().map((row) => JSON.parse(String(row.record)) as Runner);
  runners();
  if (sql.getMeta.get("boot")?.value !== options.boot) {
    transaction(() => {
      for (const runner of runners()) save(afterReboot(runner, options.clock));
      // Back-off times are uptimes of one boot.
      sql.deleteMeta.run("memory");
      sql.setMeta.run("boot", options.boot);
    });
  }

  return {
    runners,
    saveRunner: (runner, changes) => void save(runner, changes),
    closeRunner: (runner, at) => {
      transaction(() => {
        sql.addHistory.run(runner.id, runner.pool, at, JSON.stringify(runner), runner.id);
        sql.deleteRunner.run(runner.id);
        sql.deleteSecrets.run(runner.id);
      });
      erased = true;
    },
    history: (limit) => sql.history.all(limit).map(entryOf),
    closed: (hex) => {
      const row = sql.closed.get(hex);
      return row === undefined ? undefined : entryOf(row);
    },
    story: (hex) => storyOf(String(sql.story.get(hex, hex)?.events ?? "")),

    together: transaction,
    beginStep: (lane, step, at) => Number(sql.addIntent.run(lane, step, at).lastInsertRowid),
    endStep: (intent) => void sql.deleteIntent.run(intent),
    openIntents: () =>
      sql.intents
        .all()
        .map((row) => ({ id: Number(row.id), lane: String(row.lane), step: String(row.step), at: Number(row.at) })),

    saveSecrets: (runner, secrets) => void sql.saveSecrets.run(runner, secrets.uuid, secrets.token),
    secrets: (runner) => {
      const row = sql.secrets.get(runner);
      return row === undefined ? undefined : { uuid: String(row.uuid), token: String(row.token) };
    },

    pausedPools: () => sql.paused.all().map((row) => String(row.pool)),
    setPaused: (pool, paused) => void (paused ? sql.pause : sql.resume).run(pool),
    loadMemory: () => {
      const text = sql.getMeta.get("memory")?.value;
      return text === undefined ? undefined : (JSON.parse(String(text)) as PlanMemory);
    },
    saveMemory: (memory) => void sql.setMeta.run("memory", JSON.stringify(memory)),
    pushedJobs: () => sql.pushedJobs.all().map((row) => JSON.parse(String(row.record)) as PushedJob),
    savePushedJob: (pushed) =>
      transaction(() => {
        sql.savePushedJob.run(pushed.job.key, JSON.stringify(pushed));
        sql.trimPushedJobs.run(PUSHED_JOBS);
      }),
    tidy: (retention) => {
      sql.prune.run(PRUNED_AT_ONCE, retention.runners, options.clock.now() - retention.days * DAY);
      if (erased) erased = !emptyLog(database);
    },
    close: () => database.close(),
  };
}

/** Moves everything from the log into the database, where erased content is overwritten; says whether it could now. */
function emptyLog(database: DatabaseSync): boolean {
  // Somebody who makes a copy at this moment is not waited for.
  database.exec("PRAGMA busy_timeout = 0");
  try {
    return database.prepare("PRAGMA wal_checkpoint(TRUNCATE)").get()?.busy === 0;
  } finally {
    database.exec("PRAGMA busy_timeout = 5000");
  }
}

const entryOf = (row: Record<string, unknown>): HistoryEntry => ({
  runner: JSON.parse(String(row["record"])) as Runner,
  closedAt: Number(row["closed_at"]),
});

function storyOf(lines: string): RunnerChange[] {
  return lines
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => ({ at: Number.parseInt(line, 10), change: line.slice(line.indexOf(" ") + 1) }));
}

/** No sandbox outlives a boot of the host, and uptimes start again. */
function afterReboot(runner: Runner, clock: Clock): Runner {
  const since = clock.uptime();
  const restart = <T extends { phase: string }>(state: T): T => ("since" in state ? { ...state, since } : state);
  const hadSandbox = ["starting", "running", "exited"].includes(runner.sandbox.phase);
  return {
    ...runner,
    since,
    registration: restart(runner.registration),
    agent: restart(runner.agent),
    sandbox: hadSandbox
      ? {
          phase: "exited",
          since,
          exit: { code: null, signal: null, reason: "the host was restarted", at: clock.now() },
        }
      : runner.sandbox,
    ...(runner.ending === undefined ? {} : { ending: { ...runner.ending, since } }),
    ...(runner.removal === undefined ? {} : { removal: { ...runner.removal, since } }),
    ...(runner.given === undefined ? {} : { given: { ...runner.given, since } }),
  };
}

/** Characters; a guest that goes on and on fills no disk. */
const LONGEST_STORY = 16_384;

function statements(database: DatabaseSync) {
  const prepare = (text: string) => database.prepare(text);
  return {
    begin: prepare("BEGIN IMMEDIATE"),
    commit: prepare("COMMIT"),
    rollback: prepare("ROLLBACK"),
    getMeta: prepare("SELECT value FROM meta WHERE key = ?"),
    setMeta: prepare(
      "INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
    ),
    deleteMeta: prepare("DELETE FROM meta WHERE key = ?"),
    runners: prepare("SELECT record FROM runners ORDER BY id"),
    saveRunner: prepare(
      `INSERT INTO runners (id, record, events) VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET record = excluded.record,
       events = CASE WHEN length(events) < ${LONGEST_STORY} THEN events || excluded.events ELSE events END`,
    ),
    deleteRunner: prepare("DELETE FROM runners WHERE id = ?"),
    addHistory: prepare(
      "INSERT INTO history (id, pool, closed_at, record, events) VALUES (?, ?, ?, ?, coalesce((SELECT events FROM runners WHERE id = ?), ''))",
    ),
    history: prepare("SELECT record, closed_at FROM history ORDER BY seq DESC LIMIT ?"),
    closed: prepare("SELECT record, closed_at FROM history WHERE hex = ? ORDER BY seq DESC LIMIT 1"),
    story: prepare(
      "SELECT events FROM runners WHERE substr(id, -24) = ? UNION ALL SELECT events FROM history WHERE hex = ? LIMIT 1",
    ),
    // In the order of their closing, so that only the oldest need to be looked at.
    prune: prepare(
      `DELETE FROM history WHERE seq IN (
         SELECT seq FROM (SELECT seq, closed_at FROM history ORDER BY seq LIMIT ?)
         WHERE seq <= (SELECT max(seq) FROM history) - ? OR closed_at < ?)`,
    ),
    addIntent: prepare("INSERT INTO intents (lane, step, at) VALUES (?, ?, ?)"),
    deleteIntent: prepare("DELETE FROM intents WHERE id = ?"),
    intents: prepare("SELECT id, lane, step, at FROM intents ORDER BY id"),
    saveSecrets: prepare(
      "INSERT INTO secrets (runner, uuid, token) VALUES (?, ?, ?) ON CONFLICT (runner) DO UPDATE SET uuid = excluded.uuid, token = excluded.token",
    ),
    secrets: prepare("SELECT uuid, token FROM secrets WHERE runner = ?"),
    deleteSecrets: prepare("DELETE FROM secrets WHERE runner = ?"),
    pushedJobs: prepare("SELECT record FROM pushed_jobs ORDER BY rowid"),
    // The one that was said of last has the highest row.
    savePushedJob: prepare("INSERT OR REPLACE INTO pushed_jobs (key, record) VALUES (?, ?)"),
    trimPushedJobs: prepare("DELETE FROM pushed_jobs WHERE rowid <= (SELECT max(rowid) FROM pushed_jobs) - ?"),
    paused: prepare("SELECT pool FROM paused_pools ORDER BY pool"),
    pause: prepare("INSERT INTO paused_pools (pool) VALUES (?) ON CONFLICT DO NOTHING"),
    resume: prepare("DELETE FROM paused_pools WHERE pool = ?"),
  };
}
