import { describe, FireteactError } from "../../base/errors.ts";
import type { Logger } from "../../base/log.ts";
import type { Images } from "../../image/port.ts";

/**
 * Prepares a driver's pools. One whose image comes from a registry holds up none that can do without it: it goes on by
 * itself, and its guests wait for the image or fail for the want of it. Only where every pool has such an image the first
 * that is ready is waited for, since before that nothing is known of the host's machine.
 *
 * @throws what keeps a pool with an image of this host from working, or every other
 */
export async function preparePools<P extends { image: string }, T>(
  pools: ReadonlyMap<string, P>,
  prepare: (pool: P) => Promise<T>,
  { images, log }: { images: Pick<Images, "isRemote">; log: Logger },
): Promise<T[]> {
  const remote = [...pools].filter(([, { image }]) => images.isRemote(image));
  const begun = remote.map(async ([name, pool]) => {
    try {
      return await prepare(pool);
    } catch (error) {
      const hint = error instanceof FireteactError ? { hint: error.hint } : {};
      log.error(
        { pool: name, image: pool.image, cause: describe(error), ...hint },
        "the pool has no image to start from",
      );
      throw error;
    }
  });
  const first = Promise.any(begun);
  // Whether anybody waits for it or not, its failure was told.
  first.catch(() => undefined);
  const ready: T[] = [];
  for (const pool of pools.values()) if (!images.isRemote(pool.image)) ready.push(await prepare(pool));
  if (ready.length > 0 || begun.length === 0) return ready;
  return [
    await first.catch((error: unknown) => {
      throw error instanceof AggregateError ? error.errors[0] : error;
    }),
  ];
}
