import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Clock } from "../../base/clock.ts";
import { describe } from "../../base/errors.ts";
import { EXIT_FILE } from "../microvm/record.ts";
import type { StepContext } from "../port.ts";
import { createApi } from "./api.ts";
import { requests } from "./requests.ts";

/** Milliseconds for the two requests: a monitor that hangs is killed next. */
const ANSWER = 1_000;
/** Milliseconds for the reset. Nothing in the guest is worth waiting longer: its disk goes away with it. */
const GRACE = 1_000;

/**
 * Asks a guest that still runs to reset, as its keyboard would, which ends the monitor. A kernel without a driver for
 * that keyboard does not heed it. Whatever comes of it, the monitor is killed after this.
 */
export async function askToReset(directory: string, socket: string, clock: Clock, context: StepContext): Promise<void> {
  if (!existsSync(socket) || hasEnded(directory)) return;
  try {
    const api = createApi(socket);
    const signal = AbortSignal.timeout(ANSWER);
    if ((await api.instance(signal)).state !== "Running") return;
    await api.send(requests.action("SendCtrlAltDel"), signal);
    const end = clock.uptime() + GRACE;
    while (!hasEnded(directory) && clock.uptime() < end) await clock.sleep(20);
  } catch (error) {
    // It has just ended, or it does not answer.
    context.log.debug({ cause: describe(error) }, "a guest could not be asked to reset");
  }
}

const hasEnded = (directory: string): boolean => existsSync(join(directory, EXIT_FILE));
