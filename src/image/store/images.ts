import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { FireteactError, ignore } from "../../base/errors.ts";
import type { Places } from "../../base/names.ts";
import type { BuiltImage } from "../build/build.ts";
import type { GuestImage, Images } from "../port.ts";
import {
  checkFiles,
  type ImageRecord,
  imagesDirectory,
  isDamage,
  localName,
  readRecord,
  readReference,
  toImage,
} from "../record.ts";
import type { RegistryImages } from "./registry-images.ts";

export interface ImagesOptions {
  places: Places;
  /**
   * Builds the image of that name from the sources as they are now, or finds that it is up to date. Called when an image
   * is not here, and for the default one at its first use and after every `recheck`. Without it a missing image is an
   * error that says how to build.
   */
  build?: (name: string, signal: AbortSignal, progress: (line: string) => void) => Promise<BuiltImage>;
  /** Images that are not this host's own. Without it their references are an error. */
  registry?: RegistryImages;
}

export interface LocalImages extends Images {
  /** Says that the sources may have changed: the default image is brought up to date at its next use. */
  recheck(): void;
  /** Digest of the image as it is here now, without building or looking for anything. */
  digestOf(reference: string): Promise<string | undefined>;
  /** Asks the registry again where that is wanted and due; never fails, and never waits for a guest's sake. */
  refresh(reference: string, progress: (line: string) => void): Promise<void>;
  /** Ends what is being pulled. */
  close(): Promise<void>;
}

/** The image that follows the program and its configuration. One of another name belongs to whoever built it. */
const FOLLOWING = "default";

/** The images of this host, kept under `<state>/images/`. */
export function createImages({ places, build, registry }: ImagesOptions): LocalImages {
  const running = new Map<string, Promise<GuestImage>>();
  /** Counts the sources that there have been, and which of them the default image was last compared with. */
  let sources = 1;
  let compared = 0;

  async function find(name: string, signal: AbortSignal, progress: (line: string) => void): Promise<GuestImage> {
    const isDue = build !== undefined && name === FOLLOWING && compared !== sources;
    const record = isDue ? undefined : await whole(name);
    if (record !== undefined) return toImage(places, record);
    if (build === undefined) throw notHere(name);
    const present = sources;
    const { image } = await build(name, signal, progress);
    if (name === FOLLOWING) compared = Math.max(compared, present);
    return image;
  }

  /** A damaged image is made again where this program makes it; one of another name belongs to whoever built it. */
  async function whole(name: string): Promise<ImageRecord | undefined> {
    try {
      const record = await readReference(places, name);
      if (record !== undefined) await checkFiles(places, record);
      return record;
    } catch (error) {
      if (build === undefined || name !== FOLLOWING || !isDamage(error)) throw error;
      return undefined;
    }
  }

  return {
    recheck() {
      sources++;
    },

    async resolve(reference, signal, progress) {
      const name = localName(reference);
      if (name === undefined) {
        if (registry === undefined) throw notLocal(reference);
        return await registry.resolve(reference, signal, progress);
      }
      // Callers at the same time share one build. It ends with the first one's signal; the others may ask again.
      const key = `${name} ${sources}`;
      const shared = running.get(key) ?? find(name, signal, progress).finally(() => running.delete(key));
      running.set(key, shared);
      return await shared;
    },

    async verify(reference) {
      const name = localName(reference);
      if (name === undefined && registry !== undefined) return await registry.verify(reference);
      const record = name === undefined ? undefined : await readReference(places, name);
      if (record === undefined) throw notHere(name ?? reference);
      await checkFiles(places, record);
    },

    async digestOf(reference) {
      const name = localName(reference);
      if (name === undefined) return await registry?.digestOf(reference);
      return (await readReference(places, name))?.digest;
    },

    isRemote: (reference) => localName(reference) === undefined,

    refresh: async (reference, progress) => {
      if (localName(reference) === undefined) await registry?.refresh(reference, progress);
    },

    close: async () => await registry?.close(),

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
