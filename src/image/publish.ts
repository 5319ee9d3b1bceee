import { rename } from "node:fs/promises";
import { join } from "node:path";
import { systemCode } from "../base/errors.ts";
import type { Places } from "../base/names.ts";
import { checkFiles, type ImageRecord, imageDirectory, isDamage, readRecord } from "./record.ts";

/** Puts a finished image, whose record lies in `draft`, to its place among the images. */
export async function placeImage(draft: string, record: ImageRecord, places: Places): Promise<void> {
  const directory = imageDirectory(places, record.digest);
  await rename(draft, directory).catch(async (error: unknown) => {
    if (!["ENOTEMPTY", "EEXIST"].includes(systemCode(error) ?? "")) throw error;
    if (await isWhole(places, record)) {
      // The same content is here, from other inputs. Guests may run from its files: only the record is replaced.
      await rename(join(draft, "image.json"), join(directory, "image.json"));
      return;
    }
    const damaged = `${draft}-damaged`;
    await rename(directory, damaged);
    await rename(draft, directory);
  });
}

/** Whether the files of an image that is here are those of its record. */
export async function isWhole(places: Places, { digest }: Pick<ImageRecord, "digest">): Promise<boolean> {
  try {
    const record = await readRecord(imageDirectory(places, digest));
    if (record !== undefined) await checkFiles(places, record);
    return record !== undefined;
  } catch (error) {
    if (!isDamage(error)) throw error;
    return false;
  }
}
