import { describe, FireteactError } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import type { Settings } from "../core/settings.ts";
import { localName } from "../image/record.ts";
import type { LocalImages } from "../image/store/images.ts";

/** Image of pools that name none. */
export const DEFAULT_IMAGE = "local:default";

/** Keeps the default image at what the settings say. */
export interface ImageUpdates {
  /** After every reading of the settings. Resolves when the image is up to date, or could not be made so, which is logged. */
  begin(): Promise<void>;
  stop(): Promise<void>;
}

/**
 * Brings the image up to date after every reload, since files that the settings name may be others now; at the start the
 * driver's preparation does it. Guests that begin meanwhile wait for it, those that run keep theirs.
 */
export function createImageUpdates(deps: {
  settings: () => Pick<Settings, "pools">;
  images: LocalImages;
  log: Logger;
}): ImageUpdates {
  const { settings, images, log } = deps;
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
  return {
    begin: async () => {
      images.recheck();
      const isFirst = !started;
      started = true;
      const isUsed = settings().pools.some((pool) => pool.qemu !== undefined && isDefault(pool.image));
      if (isFirst || !isUsed) return;
      last = update();
      await last;
    },
    stop: async () => {
      closing.abort();
      await last;
    },
  };
}

const isDefault = (image = DEFAULT_IMAGE): boolean => localName(image) === localName(DEFAULT_IMAGE);
