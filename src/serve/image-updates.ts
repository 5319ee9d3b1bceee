import type { Clock, Timer } from "../base/clock.ts";
import { describe, FireteactError } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import type { PoolSettings, Settings } from "../core/settings.ts";
import { localName } from "../image/record.ts";
import type { LocalImages } from "../image/store/images.ts";

/** Image of pools that name none. */
export const DEFAULT_IMAGE = "local:default";

/** Milliseconds between two looks at which images there are. */
const LOOK_EVERY = 30_000;

/** Keeps the default image at what the settings say. */
export interface ImageUpdates {
  /** After every reading of the settings. Resolves when the image is up to date, or could not be made so, which is logged. */
  begin(): Promise<void>;
  /** Digest of an image that a pool uses, as far as it is known. */
  digest(reference: string): string | undefined;
  /** Looks which images there are now. It does so by itself now and then, since they may be built by another process. */
  look(): Promise<void>;
  stop(): Promise<void>;
}

/**
 * Brings the image up to date after every reload, since files that the settings name may be others now; at the start the
 * driver's preparation does it. Guests that begin meanwhile wait for it, those that run keep theirs.
 */
export function createImageUpdates(deps: {
  settings: () => Pick<Settings, "pools">;
  images: LocalImages;
  clock: Clock;
  log: Logger;
  /** Called when an image became another one. */
  changed: () => void;
}): ImageUpdates {
  const { settings, images, clock, log } = deps;
  const digests = new Map<string, string | undefined>();
  let timer: Timer | undefined;
  const closing = new AbortController();
  let started = false;
  let last: Promise<void> | undefined;

  const update = async () => {
    try {
      await images.resolve(DEFAULT_IMAGE, closing.signal, (line) => log.info({ line }, "image"));
    } catch (error) {
      if (closing.signal.aborted) return;
      const hint = error instanceof FireteactError ? { hint: error.hint } : {};
      log.error({ cause: describe(error), ...hint }, "no guest can be made: its image cannot be brought up to date");
    }
  };
  const look = async () => {
    timer?.cancel();
    if (closing.signal.aborted) return;
    timer = clock.after(LOOK_EVERY, () => void look());
    const used = settings().pools.filter((pool) => bootsImage(pool));
    for (const reference of new Set(used.map(({ image = DEFAULT_IMAGE }) => image))) {
      // Not waited for: what it brings is seen by a later look.
      void images.refresh(reference, (line) => log.info({ line }, "image"));
      // What cannot be read now may be in the middle of a change.
      const digest = await images.digestOf(reference).catch(() => digests.get(reference));
      if (digests.get(reference) === digest) continue;
      digests.set(reference, digest);
      deps.changed();
    }
  };

  return {
    digest: (reference) => digests.get(reference),
    look,
    begin: async () => {
      images.recheck();
      const isFirst = !started;
      started = true;
      const isUsed = settings().pools.some((pool) => bootsImage(pool) && isDefault(pool.image));
      if (isFirst || !isUsed) return;
      last = update().then(look);
      await last;
    },
    stop: async () => {
      closing.abort();
      timer?.cancel();
      await last;
    },
  };
}

const isDefault = (image = DEFAULT_IMAGE): boolean => localName(image) === localName(DEFAULT_IMAGE);

/** Pools of virtual machines. */
const bootsImage = ({ qemu, firecracker }: PoolSettings): boolean => (qemu ?? firecracker) !== undefined;
