import { chown } from "node:fs/promises";
import { connect } from "node:net";
import type { Duplex } from "node:stream";
import type { Clock } from "../../base/clock.ts";
import { awaitMonitor } from "../microvm/await-monitor.ts";
import type { SandboxPlaces } from "../microvm/places.ts";
import { connectQmp } from "./qmp.ts";

/**
 * Waits until the monitor that was just started answers on its control socket. Takes the directory of the sockets away
 * from it then: nothing in there can be replaced by what a guest that broke out would like us to open.
 *
 * @throws FireteactError `VMM_FAILED` with what it said, `VMM_SILENT`
 */
export async function waitForMonitor(own: SandboxPlaces, { clock, signal }: { clock: Clock; signal: AbortSignal }) {
  const qmp = await awaitMonitor(own, { clock, signal }, (limit) => connectQmp(own.qmp, limit));
  qmp.close();
  await chown(own.vm, 0, 0);
}

/**
 * Connects to the agent's end of the channel. The monitor keeps what is sent until the guest's end is opened, so the
 * first words are there when the agent is.
 */
export async function dialAgent(path: string, signal: AbortSignal): Promise<Duplex> {
  signal.throwIfAborted();
  const socket = connect(path);
  const abort = () => socket.destroy();
  signal.addEventListener("abort", abort);
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once("connect", resolve);
      socket.once("error", reject);
      socket.once("close", () => reject(new Error("closed")));
    });
    return socket;
  } catch (error) {
    signal.throwIfAborted();
    throw error;
  } finally {
    signal.removeEventListener("abort", abort);
  }
}
