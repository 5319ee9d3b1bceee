import { statfs } from "node:fs/promises";
import type { Clock, Timer } from "../../base/clock.ts";
import { describe, ignore } from "../../base/errors.ts";
import type { Logger } from "../../base/log.ts";
import { connectQmp } from "./qmp.ts";

/** Milliseconds between two looks at the free space. */
const EVERY = 10_000;
/** With less than this, bytes, a guest that goes on would stand still again at once. */
const LITTLE = 64 * 2 ** 20;
const TIMEOUT = 5_000;

interface StalledDeps {
  clock: Clock;
  log: Logger;
  /** Holds the scratch disks. */
  directory: string;
  /** Control sockets of the guests that run, by hex. */
  sockets: () => Promise<Map<string, string>>;
  every?: number | undefined;
}

/**
 * Goes on with guests whose monitors stopped them when a write found the host's disk full: nothing is lost but time, as
 * soon as there is space again. Returns what ends it.
 */
export function keepGoing({ clock, log, directory, sockets, every = EVERY }: StalledDeps): () => Promise<void> {
  /** Some guest may stand still: the disk was full, or was before this process began. */
  let suspect = true;
  let stopped = false;
  let timer: Timer | undefined;
  let looking: Promise<void> = Promise.resolve();

  const look = async (): Promise<void> => {
    const space = await statfs(directory).catch(ignore("ENOENT"));
    const isFull = space !== undefined && space.bavail * space.bsize < LITTLE;
    if (!isFull && suspect && space !== undefined) {
      suspect = false;
      for (const [hex, socket] of await sockets()) await goOn(hex, socket);
    }
    suspect ||= isFull;
  };
  const goOn = async (hex: string, socket: string): Promise<void> => {
    try {
      if (await resume(socket)) log.warn({ sandbox: hex }, "a guest that stood still for want of disk space goes on");
    } catch (error) {
      suspect = true;
      log.debug({ sandbox: hex, cause: describe(error) }, "a guest could not be asked whether it stands still");
    }
  };
  const schedule = (): void => {
    timer = clock.after(every, () => {
      looking = look()
        .catch((error: unknown) => log.debug({ cause: describe(error) }, "the disk could not be looked at"))
        .finally(() => {
          if (!stopped) schedule();
        });
    });
  };
  schedule();
  return async () => {
    stopped = true;
    timer?.cancel();
    await looking;
  };
}

/** Lets the guest go on if it was stopped by a failed write; says whether it was. */
async function resume(socket: string): Promise<boolean> {
  const qmp = await connectQmp(socket, AbortSignal.timeout(TIMEOUT));
  try {
    const answer = await qmp.execute("query-status");
    const isStopped =
      typeof answer === "object" && answer !== null && "status" in answer && answer.status === "io-error";
    if (isStopped) await qmp.execute("cont");
    return isStopped;
  } finally {
    qmp.close();
  }
}
