import type { DatabaseSync } from "node:sqlite";
import type { Clock } from "../base/clock.ts";
import type { Logger } from "../base/log.ts";
import type { PlanMemory } from "../core/plan-types.ts";
import type { Runner } from "../core/types.ts";
import { openDatabase } from "./open.ts";
import type { Store } from "./port.ts";

interface StoreOptions {
  path: string;
  clock: Clock;
  /** This boot of the host; uptimes recorded under another one mean nothing. */
  boot: string;
  log: Logger;
  /** How many closed runners are kept. */
  historyLimit?: number;
}

/** Opens (or makes) the store. Throws `STORE_TOO_NEW`; a damaged file is set aside with a warning. */
export function openStore(options: StoreOptions): Store {
  const database = openDatabase(options.path, options.log);
  const sql = statements(database);
  const historyLimit = options.historyLimit ?? 10_000;
  const save = (runner: Runner) => sql.saveRunner.run(runner.id, JSON.stringify(runner));
  const transaction = <T>(work: () => T): T => {
    database.exec("BEGIN IMMEDIATE");
    try {
      const result = work();
      database.exec("COMMIT");
      return result;
    } catch (error) {
      database.exec("ROLLBACK");
      throw error;
    }
  };

  const runners = () => sql.runners.all().map((row) => JSON.parse(String(row.record)) as Runner);
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
    saveRunner: (runner) => void save(runner),
    closeRunner: (runner, at) =>
      transaction(() => {
        sql.addHistory.run(runner.id, runner.pool, at, JSON.stringify(runner));
        sql.deleteRunner.run(runner.id);
        sql.deleteSecrets.run(runner.id);
        sql.trimHistory.run(historyLimit);
      }),
    history: (limit) =>
      sql.history
        .all(limit)
        .map((row) => ({ runner: JSON.parse(String(row.record)) as Runner, closedAt: Number(row.closed_at) })),

    beginStep: (lane, step, at, runner) =>
      transaction(() => {
        if (runner !== undefined) save(runner);
        return Number(sql.addIntent.run(lane, step, at).lastInsertRowid);
      }),
    endStep: (intent, runner) =>
      transaction(() => {
        if (runner !== undefined) save(runner);
        sql.deleteIntent.run(intent);
      }),
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
    close: () => database.close(),
  };
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

function statements(database: DatabaseSync) {
  const prepare = (text: string) => database.prepare(text);
  return {
    getMeta: prepare("SELECT value FROM meta WHERE key = ?"),
    setMeta: prepare(
      "INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
    ),
    deleteMeta: prepare("DELETE FROM meta WHERE key = ?"),
    runners: prepare("SELECT record FROM runners ORDER BY id"),
    saveRunner: prepare(
      "INSERT INTO runners (id, record) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET record = excluded.record",
    ),
    deleteRunner: prepare("DELETE FROM runners WHERE id = ?"),
    addHistory: prepare("INSERT INTO history (id, pool, closed_at, record) VALUES (?, ?, ?, ?)"),
    history: prepare("SELECT record, closed_at FROM history ORDER BY seq DESC LIMIT ?"),
    trimHistory: prepare("DELETE FROM history WHERE seq <= (SELECT max(seq) FROM history) - ?"),
    addIntent: prepare("INSERT INTO intents (lane, step, at) VALUES (?, ?, ?)"),
    deleteIntent: prepare("DELETE FROM intents WHERE id = ?"),
    intents: prepare("SELECT id, lane, step, at FROM intents ORDER BY id"),
    saveSecrets: prepare(
      "INSERT INTO secrets (runner, uuid, token) VALUES (?, ?, ?) ON CONFLICT (runner) DO UPDATE SET uuid = excluded.uuid, token = excluded.token",
    ),
    secrets: prepare("SELECT uuid, token FROM secrets WHERE runner = ?"),
    deleteSecrets: prepare("DELETE FROM secrets WHERE runner = ?"),
    paused: prepare("SELECT pool FROM paused_pools ORDER BY pool"),
    pause: prepare("INSERT INTO paused_pools (pool) VALUES (?) ON CONFLICT DO NOTHING"),
    resume: prepare("DELETE FROM paused_pools WHERE pool = ?"),
  };
}
