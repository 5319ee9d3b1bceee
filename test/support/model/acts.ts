import * as fc from "fast-check";
import type { ModelWorld } from "./world.ts";

/** What can happen to the world, with how often it does. */
const WEIGHTS = {
  push: 20,
  "push big": 5,
  "push long": 1,
  cancel: 4,
  poach: 2,
  webhook: 4,
  "late webhook": 1,
  "forge down": 2,
  "forge slow": 2,
  "forge up": 5,
  "lose answers": 3,
  "host trouble": 3,
  "host well": 4,
  "kill vmm": 3,
  hang: 2,
  "bad guest": 2,
  "deaf guest": 1,
  "kill -9": 3,
  "kill -9 at a point": 8,
  start: 6,
  restart: 2,
  "lose store": 1,
  "break store": 1,
  pause: 1,
  resume: 3,
  "stop runner": 2,
  "force runner": 1,
  reload: 1,
} as const;
export type ActKind = keyof typeof WEIGHTS;
export const ACT_KINDS = Object.keys(WEIGHTS) as ActKind[];

export interface Act {
  do: ActKind;
  n: number;
  /** Milliseconds that pass after it. */
  wait: number;
}

export const act: fc.Arbitrary<Act> = fc.record({
  do: fc.oneof(...ACT_KINDS.map((kind) => ({ weight: WEIGHTS[kind], arbitrary: fc.constant(kind) }))),
  n: fc.nat({ max: 255 }),
  wait: fc.oneof(
    { weight: 5, arbitrary: fc.nat({ max: 500 }) },
    { weight: 8, arbitrary: fc.nat({ max: 15_000 }) },
    { weight: 1, arbitrary: fc.nat({ max: 180_000 }) },
  ),
});

/** An act of the world's own chance, with the same weights. */
export function chanceAct({ random }: ModelWorld): ActKind {
  let left = random.between(
    0,
    ACT_KINDS.reduce((sum, kind) => sum + WEIGHTS[kind], 0),
  );
  for (const kind of ACT_KINDS) {
    left -= WEIGHTS[kind];
    if (left < 0) return kind;
  }
  return "start";
}

const MINUTE = 60_000;

export async function perform(world: ModelWorld, { do: what, n, wait }: Act): Promise<void> {
  const { forge, host, fates, random, clock } = world;
  const process = world.process();
  const jobs = [...forge.jobs.values()];
  const job = jobs[n % Math.max(jobs.length, 1)];
  const sandboxes = [...host.sandboxes.values()];
  const sandbox = sandboxes[n % Math.max(sandboxes.length, 1)];
  const runners = process?.records.all() ?? [];
  const runner = runners[n % Math.max(runners.length, 1)];
  const pool = world.pools()[n % world.pools().length]?.pool.name ?? "";
  switch (what) {
    case "push":
      forge.push(["linux"], random.between(1_000, 2 * MINUTE));
      break;
    case "push big":
      forge.push(["linux", "big"], random.between(1_000, 4 * MINUTE));
      break;
    case "push long":
      forge.push(["linux"], 40 * MINUTE);
      break;
    case "cancel":
      if (job !== undefined) forge.cancel(job);
      break;
    case "poach":
      if (job !== undefined) forge.poach(job);
      break;
    case "webhook":
      process?.watcher.observe(forge.shown(forge.push(["linux"], random.between(1_000, MINUTE))), false);
      break;
    case "late webhook": {
      if (job === undefined) break;
      const shown = forge.shown(job);
      clock.after(n * 500, () => world.process()?.watcher.observe(shown, n % 2 === 0));
      break;
    }
    case "forge down":
      forge.faults.down = true;
      break;
    case "forge slow":
      Object.assign(forge.faults, { hangs: 0.2, incomplete: 0.3 });
      break;
    case "lose answers":
      Object.assign(forge.faults, { lost: 0.3, refused: 0.2 });
      break;
    case "forge up":
      Object.assign(forge.faults, { down: false, hangs: 0, incomplete: 0, lost: 0, refused: 0 });
      break;
    case "host trouble":
      Object.assign(host.faults, { create: 0.3, remove: 0.3, publish: 0.3, list: 0.3 });
      break;
    case "host well":
      Object.assign(host.faults, { create: 0, remove: 0, publish: 0, list: 0 });
      break;
    case "kill vmm":
      if (sandbox !== undefined) host.kill(sandbox);
      break;
    case "hang":
      sandbox?.guest.hang();
      break;
    case "bad guest":
      fates.push({ boot: n % 2 === 0 ? Number.POSITIVE_INFINITY : 5 * MINUTE, deaf: false });
      break;
    case "deaf guest":
      fates.push({ boot: 1_000, deaf: true });
      break;
    case "kill -9":
      world.kill();
      break;
    case "kill -9 at a point":
      world.killAt(1 + (n % 40));
      break;
    case "start":
      await world.start();
      break;
    case "restart":
      await world.stop();
      await world.start();
      break;
    case "lose store":
      world.loseStore("gone");
      break;
    case "break store":
      world.loseStore("broken");
      break;
    case "pause":
      process?.loop.pause(pool);
      break;
    case "resume":
      process?.loop.resume(pool);
      break;
    case "stop runner":
    case "force runner":
      if (runner !== undefined) process?.loop.stopRunner(runner.id, what === "force runner");
      break;
    case "reload":
      world.reload(world.pools().map((view) => ({ ...view, pool: { ...view.pool, memoryMib: 500 + (n % 3) } })));
      break;
  }
  await world.pass(wait);
}
