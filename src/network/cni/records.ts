import { mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import * as z from "zod";
import { replaceFileSync } from "../../base/atomic-file.ts";
import { ignore } from "../../base/errors.ts";
import type { Places } from "../../base/names.ts";
import { ConfList } from "./conf-list.ts";
import { AddResult } from "./result.ts";

/**
 * What is known of a guest's attachment: enough to take it away again, with the configuration it was made with. Kept where
 * a boot leaves it, since addresses outlive boots too.
 */
const Record = z.object({
  hex: z.string().regex(/^[0-9a-f]{24}$/),
  /** User that may open the tap. */
  owner: z.int().min(1),
  binDir: z.string(),
  list: ConfList,
  /** What the last plugin printed; absent while they are at it. */
  result: AddResult.exactOptional(),
});
export type Attached = z.output<typeof Record>;

/** Tap owners, beside those of the embedded network. */
const FIRST_OWNER = 1_900_100_000;

export interface Records {
  read(hex: string): Attached | undefined;
  write(record: Attached): void;
  /** Twice is success. */
  remove(hex: string): void;
  all(): Attached[];
  /** A user id that no other guest has. */
  freeOwner(): number;
}

export function createRecords(places: Places): Records {
  const directory = join(places.state, "cni");
  const fileOf = (hex: string): string => join(directory, `${hex}.json`);

  const read = (hex: string): Attached | undefined => {
    try {
      const parsed = Record.safeParse(JSON.parse(readFileSync(fileOf(hex), "utf8")));
      return parsed.success && parsed.data.hex === hex ? parsed.data : undefined;
    } catch (error) {
      return error instanceof SyntaxError ? undefined : ignore("ENOENT")(error);
    }
  };

  const all = (): Attached[] =>
    names(directory)
      .map((name) => /^([0-9a-f]{24})\.json$/.exec(name)?.[1])
      .flatMap((hex) => (hex === undefined ? [] : (read(hex) ?? [])));

  return {
    read,
    all,
    write(record) {
      mkdirSync(directory, { recursive: true, mode: 0o700 });
      replaceFileSync(fileOf(record.hex), `${JSON.stringify(record)}\n`);
    },
    remove: (hex) => rmSync(fileOf(hex), { force: true }),
    freeOwner() {
      const taken = new Set(all().map(({ owner }) => owner));
      let owner = FIRST_OWNER;
      while (taken.has(owner)) owner++;
      return owner;
    },
  };
}

function names(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch (error) {
    return ignore("ENOENT")(error) ?? [];
  }
}
