import { type SoakSample, soak } from "../test/support/model/soak.ts";

/** Hours on a fake clock; throws where a promise is broken. */
export async function soakModel({ hours, seed }: { hours: number; seed: number }): Promise<boolean> {
  const began = performance.now();
  say(`${hours} hours on a fake clock, seed ${seed}`);
  const figures = await soak({ hours, seed, progress: tell });
  const { jobs, samples } = figures;
  say(
    `${jobs.pushed} jobs: ${jobs.finished} finished, ${jobs.cancelled} cancelled, ${jobs.elsewhere} run elsewhere, ${jobs.lost} lost with a sandbox that was killed, hung or too slow`,
  );
  say(
    `${figures.sandboxes} sandboxes; ${figures.kills} times kill -9, ${figures.restarts} restarts, ${figures.storesLost} stores lost; nothing left at the end`,
  );
  say(
    `heap: ${spread(samples.map(({ heapMib }) => heapMib))} MiB; store: ${spread(samples.map(({ storeKib }) => storeKib))} KiB`,
  );
  say(`in ${Math.round((performance.now() - began) / 1_000)} s`);
  return true;
}

function tell({ hour, heapMib, storeKib, finished }: SoakSample): void {
  if (hour % 6 === 0) say(`  hour ${hour}: ${finished} jobs, heap ${heapMib.toFixed(1)} MiB, store ${storeKib} KiB`);
}

/** First quarter, last quarter, most. */
export function spread(values: number[]): string {
  const quarter = Math.max(Math.floor(values.length / 4), 1);
  const mean = (part: number[]) => (part.reduce((sum, value) => sum + value, 0) / part.length).toFixed(1);
  return `${mean(values.slice(0, quarter))} at first, ${mean(values.slice(-quarter))} at last, at most ${Math.max(...values).toFixed(1)}`;
}

export function say(line: string): void {
  process.stdout.write(`${line}\n`);
}
