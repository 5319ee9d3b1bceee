import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { FireteactError, ignore } from "../../base/errors.ts";
import type { Places } from "../../base/names.ts";
import type { BuiltImage } from "../build/build.ts";
import type { GuestImage, Images } from "../port.ts";
import { imagesDirectory, localName, readRecord, readReference, toImage } from "../record.ts";

export interface ImagesOptions {
  places: Places;
  /**
   * Builds the image of that name when it is not here; without it a missing image is an error that says how to build.
   */
  build?: (name: string, signal: AbortSignal, progress: (line: string) => void) => Promise<BuiltImage>;
}

/** The images of this host, kept under `<state>/images/`. */
export function createImages({ places, build }: ImagesOptions): Images {
  const running = new Map<string, Promise<GuestImage>>();

  async function find(name: string, signal: AbortSignal, progress: (line: string) => void): Promise<GuestImage> {
    const record = await readReference(places, name);
    if (record !== undefined) return toImage(places, record);
    if (build === undefined) throw notHere(name);
    return (await build(name, signal, progress)).image;
  }

  return {
    async resolve(reference, signal, progress) {
      const name = localName(reference);
      if (name === undefined) throw notLocal(reference);
      // Callers at the same time share one build. It ends with the first one's signal; the others may ask again.
      const shared = running.get(name) ?? find(name, signal, progress).finally(() => running.delete(name));
      running.set(name, shared);
      return await shared;
    },

    async list() {
      const directory = imagesDirectory(places);
      const names = (await readdir(directory).catch(ignore("ENOENT"))) ?? [];
      const records = await Promise.all(
        names.filter((name) => /^[0-9a-f]{64}$/.test(name)).map((name) => readRecord(join(directory, name))),
      );
      return records.filter((record) => record !== undefined).map((record) => toImage(places, record));
    },
  };
}

const notLocal = (reference: string): FireteactError =>
  new FireteactError("IMAGE_REFERENCE", `${reference} is not an image of this host`, {
    hint: "Use local:default, or the name given to: fireteact image build",
    facts: { reference },
  });

const notHere = (name: string): FireteactError =>
  new FireteactError("IMAGE_MISSING", `There is no guest image ${name} on this host`, {
    hint: name === "default" ? "fireteact image build" : `fireteact image build --name ${name}`,
    facts: { name },
  });
