import { readFileSync } from "node:fs";
import { FireteactError } from "../base/errors.ts";
import type { Settings } from "../core/settings.ts";

/** What a daemon without runners needs, with room for answers and short programs. */
const LEAST = 128;
/** Connections, log and metadata of one runner, with what is open for a moment while it is made. */
const PER_RUNNER = 8;

/**
 * Refuses a limit of open files with which nothing would work; returns a warning where all runners at once may come to it.
 *
 * @throws FireteactError `OPEN_FILES_LIMIT`
 */
export function checkOpenFiles(
  settings: Pick<Settings, "pools">,
  limit: number = openFilesLimit(),
): string | undefined {
  if (limit < LEAST) {
    throw new FireteactError("OPEN_FILES_LIMIT", `fireteact may open at most ${limit} files, and needs ${LEAST}`, {
      hint: "raise the limit: LimitNOFILE= in the unit, or ulimit -n",
      facts: { limit },
    });
  }
  const runners = settings.pools.reduce((sum, { maxRunners }) => sum + maxRunners, 0);
  const wanted = LEAST + PER_RUNNER * runners;
  if (limit >= wanted) return undefined;
  return `at most ${limit} files may be open, and ${runners} runners at once may need ${wanted}: raise LimitNOFILE= in the unit`;
}

/** The hard limit: Node raises its own to it. */
function openFilesLimit(): number {
  const [, , hard] = /^Max open files\s+(\S+)\s+(\S+)/m.exec(readFileSync("/proc/self/limits", "utf8")) ?? [];
  return hard === undefined || hard === "unlimited" ? Number.POSITIVE_INFINITY : Number(hard);
}
