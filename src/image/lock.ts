import { randomUUID } from "node:crypto";
import { link, mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { bootId } from "../base/clock.ts";
import { ignore, systemCode } from "../base/errors.ts";
import { identify, isAlive } from "../base/process.ts";

const RETRY_MILLISECONDS = 200;

/**
 * Runs `work` while this process holds the lock file; others wait for it. The file names its holder by pid, start time
 * and boot, so that a lock whose holder died is taken over and a reused pid is not mistaken for it.
 *
 * @param onWait Called once when somebody else holds the lock.
 */
export async function withLock<T>(
  path: string,
  { signal, onWait }: { signal: AbortSignal; onWait: (pid: string) => void },
  work: () => Promise<T>,
): Promise<T> {
  await mkdir(dirname(path), { recursive: true });
  // The id tells holders within one process apart.
  const mine = `${process.pid} ${identify(process.pid)?.start ?? 0} ${bootId()} ${randomUUID()}\n`;
  for (let waited = false; !(await take(path, mine)); waited = true) {
    if (!waited) onWait(await holderPid(path));
    await sleep(RETRY_MILLISECONDS, undefined, { signal });
  }
  try {
    return await work();
  } finally {
    await release(path, mine);
  }
}

/** Creates the file with its content in one step; breaks it first where its holder is gone. */
async function take(path: string, mine: string): Promise<boolean> {
  const draft = `${path}.${randomUUID()}`;
  await writeFile(draft, mine, { mode: 0o600 });
  try {
    await link(draft, path);
    return true;
  } catch (error) {
    if (systemCode(error) !== "EEXIST") throw error;
    await breakStale(path);
    return false;
  } finally {
    await rm(draft, { force: true });
  }
}

async function breakStale(path: string): Promise<void> {
  const held = await readFile(path, "utf8").catch(ignore("ENOENT"));
  if (held === undefined || holderLives(held)) return;
  const aside = `${path}.${randomUUID()}`;
  await rename(path, aside).catch(ignore("ENOENT"));
  const moved = await readFile(aside, "utf8").catch(ignore("ENOENT"));
  // Somebody else broke it and took it between our look and our move: it goes back.
  if (moved !== undefined && moved !== held) await link(aside, path).catch(ignore("EEXIST"));
  await rm(aside, { force: true });
}

function holderLives(held: string): boolean {
  const [pid = "", start = "", boot = ""] = held.trim().split(" ");
  return isAlive({ pid: Number(pid), start: Number(start), boot });
}

async function holderPid(path: string): Promise<string> {
  const held = await readFile(path, "utf8").catch(ignore("ENOENT"));
  return held?.split(" ")[0] ?? "unknown";
}

async function release(path: string, mine: string): Promise<void> {
  const held = await readFile(path, "utf8").catch(ignore("ENOENT"));
  if (held === mine) await rm(path, { force: true });
}
