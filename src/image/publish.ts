import { rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { systemCode } from "../base/errors.ts";
import type { Places } from "../base/names.ts";
import { checkFiles, type ImageRecord, imageDirectory, isDamage, RECORD, readRecord } from "./record.ts";

/** Puts a finished image, whose files lie in `draft`, to its place among the images, with its record. */
export async function placeImage(draft: string, record: ImageRecord, places: Places): Promise<void> {
  const directory = imageDirectory(places, record.digest);
  await writeRecord(draft, record);
  await rename(draft, directory).catch(async (error: unknown) => {
    if (!["ENOTEMPTY", "EEXIST"].includes(systemCode(error) ?? "")) throw error;
    if (await isWhole(places, record)) {
      // The same content is here, from other inputs. Guests may run from its files: only the record is replaced. It goes
      // on to describe those files, since one content is not written in the same bytes twice.
      const { files } = (await readRecord(directory)) ?? record;
      await writeRecord(draft, files === undefined ? record : { ...record, files });
      await rename(join(draft, RECORD), join(directory, RECORD));
      return;
    }
    const damaged = `${draft}-damaged`;
    await rename(directory, damaged);
    await rename(draft, directory);
  });
}

const writeRecord = (directory: string, record: ImageRecord): Promise<void> =>
  writeFile(join(directory, RECORD), `${JSON.stringify(record, null, 2)}\n`);

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
