import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createLogger } from "../../../src/base/log.ts";
import type { PoolView } from "../../../src/core/plan-types.ts";
import { createModelClock } from "./clock.ts";
import { createModelForge, type ForgeKind, type ModelJob, NO_FORGE_FAULTS } from "./forge.ts";
import type { GuestFate } from "./guest.ts";
import { createModelHost, NO_HOST_FAULTS, type Sandbox } from "./host.ts";
import { type ModelProcess, type ProcessOptions, startProcess } from "./process.ts";
import { brokenPromises, mayEndUnder, orphans } from "./promises.ts";
import { createRandom } from "./random.ts";

export interface ModelOptions {
  seed: number;
  kind: ForgeKind;
  pools: PoolView[];
  capacity: ProcessOptions["capacity"];
  history?: ProcessOptions["history"];
}

/** Milliseconds from SIGTERM to the process's end. */
const LONGEST_STOP = 20_000;
/** The store is real; syncing it to a disk is tested elsewhere. */
const MEMORY = "/dev/shm";

export type ModelWorld = ReturnType<typeof createModelWorld>;

/**
 * A forge, a host and the real orchestrator between them, on a clock that only passes when told to. The same seed and
 * the same calls give the same world. Whatever breaks a promise is thrown by `pass`.
 */
export function createModelWorld(options: ModelOptions) {
  const clock = createModelClock();
  const random = createRandom(options.seed);
  const directory = mkdtempSync(join(existsSync(MEMORY) ? MEMORY : tmpdir(), "fireteact-"));
  const storePath = join(directory, "state.db");
  const forge = createModelForge({
    clock,
    random,
    kind: options.kind,
    onFail: (job) => {
      const worker = [...host.sandboxes.values()].find(({ guest }) => guest.job() === job);
      if (worker !== undefined) onKill(worker, job);
    },
    onDelete: ({ row, name }) => {
      const sandbox = host.sandboxes.get(name.slice(-24));
      if (sandbox?.state !== "running" || !sandbox.guest.mayTakeJob()) return;
      const runner = process?.records.byHex(sandbox.spec.hex);
      broken.push(
        `row ${row} was deleted while ${name} may take a job: ${JSON.stringify(runner?.ending ?? "no record")}`,
      );
    },
  });
  const fates: GuestFate[] = [];
  const broken: string[] = [];
  const counts = { kills: 0, restarts: 0, storesLost: 0 };
  const onKill = (sandbox: Sandbox, job: ModelJob) => {
    const runner = process?.records.byHex(sandbox.spec.hex);
    if (mayEndUnder(runner)) return;
    broken.push(
      `job ${job.id} was ended with ${sandbox.spec.runnerId}: ${JSON.stringify(runner?.ending ?? "no record")}`,
    );
  };
  const host = createModelHost({
    clock,
    random,
    forge,
    fate: () => fates.shift() ?? { boot: random.between(500, 8_000), deaf: false },
    onKill,
  });
  let pools = options.pools;
  let process: ModelProcess | undefined;
  /** Fault points until the process dies at one. */
  let pointsLeft = Number.POSITIVE_INFINITY;

  const log = createLogger("error", {
    write: (line) => {
      if (process?.life.ended === false) broken.push(line.trim());
    },
  });

  // The watcher's jitter; everything else that is random is handed in.
  const mathRandom = Math.random;
  Math.random = () => random.next();

  const look = () => {
    if (process?.life.ended === true) {
      process.kill();
      process = undefined;
      counts.kills++;
    }
    if (process !== undefined) broken.push(...brokenPromises(process.records.all(), host, pools));
    if (broken.length > 0) throw new Error(broken.join("\n"));
  };
  const pass = (milliseconds: number) => clock.pass(milliseconds, look);

  const start = async () => {
    if (process !== undefined) return;
    const started = startProcess({
      clock,
      random,
      forge,
      host,
      storePath,
      log,
      pools: () => pools,
      capacity: options.capacity,
      history: options.history ?? { runners: 1_000, days: 30 },
      faultPoint: () => {
        if (--pointsLeft > 0) return;
        pointsLeft = Number.POSITIVE_INFINITY;
        started.life.ended = true;
      },
    });
    process = started;
    // A host that cannot be read at the start ends the process; its service manager starts it again.
    started.started.catch(() => {
      started.life.ended = true;
    });
    await pass(0);
  };

  const kill = () => {
    if (process === undefined) return;
    process.life.ended = true;
    look();
  };

  /** Whatever was out of order works again. */
  const heal = () => {
    Object.assign(forge.faults, NO_FORGE_FAULTS);
    Object.assign(host.faults, NO_HOST_FAULTS);
    for (const { pool } of pools) process?.loop.resume(pool.name);
  };

  const world = {
    clock,
    random,
    forge,
    host,
    fates,
    counts,
    directory,
    storePath,
    process: () => process,
    pools: () => pools,
    pass,
    start,
    kill,
    /** Dies at the point so many points from now. */
    killAt: (points: number) => {
      pointsLeft = points;
    },
    stop: async () => {
      if (process === undefined) return;
      counts.restarts++;
      const stopping = process;
      const end = clock.uptime() + LONGEST_STOP;
      // It may come to the point at which it is to die.
      stopping.stop().catch((error: unknown) => {
        if (!stopping.life.ended) broken.push(String(error));
      });
      while (!stopping.life.ended && clock.uptime() < end) await clock.pass(50);
      if (!stopping.life.ended) broken.push("it does not stop");
      stopping.kill();
      process = undefined;
    },
    /** The store is gone, or is no store any more, at the next start. */
    loseStore: (how: "gone" | "broken") => {
      kill();
      counts.storesLost++;
      for (const suffix of ["", "-wal", "-shm"]) rmSync(storePath + suffix, { force: true });
      if (how === "broken") writeFileSync(storePath, "this was a store ".repeat(500));
    },
    storeBytes: () => statSync(storePath).size,
    reload: (next: PoolView[]) => {
      pools = next;
      process?.loop.wake();
    },
    heal,
    /** Everything works from here on. */
    calm: async () => {
      fates.length = 0;
      pointsLeft = Number.POSITIVE_INFINITY;
      // One that could not start for what is out of order is started again.
      heal();
      look();
      await start();
      heal();
    },
    orphans: () => orphans(process?.records.all() ?? [], host, forge),
    close: () => {
      process?.kill();
      process = undefined;
      Math.random = mathRandom;
      rmSync(directory, { recursive: true, force: true });
    },
  };
  return world;
}
