import { chown } from "node:fs/promises";
import { connect } from "node:net";
import type { Duplex } from "node:stream";
import type { Clock } from "../../base/clock.ts";
import { describe, FireteactError } from "../../base/errors.ts";
import type { SandboxExit } from "../../core/types.ts";
import { readConsole } from "../microvm/console.ts";
import type { SandboxPlaces } from "../microvm/places.ts";
import { watchExit } from "../microvm/watch.ts";
import { connectQmp, type Qmp } from "./qmp.ts";

/** Milliseconds in which a monitor that works has long answered, on a host that is busy too. */
const DEADLINE = 15_000;

/**
 * Waits until the monitor that was just started answers on its control socket, or has ended. Takes the directory of the
 * sockets away from it then: nothing in there can be replaced by what a guest that broke out would like us to open.
 *
 * @throws FireteactError `VMM_FAILED` with what it said, `VMM_SILENT`
 */
export async function waitForMonitor(own: SandboxPlaces, { clock, signal }: { clock: Clock; signal: AbortSignal }) {
  const ended = new AbortController();
  const stop = watchExit(own.directory, clock, (exit) => ended.abort(exit));
  const late = AbortSignal.timeout(DEADLINE);
  try {
    const qmp = await keepConnecting(own.qmp, clock, AbortSignal.any([signal, ended.signal, late]));
    qmp.close();
    await chown(own.vm, 0, 0);
  } catch (error) {
    signal.throwIfAborted();
    const said = describe((await readConsole(own.directory, 2_000)).trim().split("\n").slice(-5).join("; "));
    if (ended.signal.aborted) throw failed(ended.signal.reason as SandboxExit, said);
    if (late.aborted) throw silent(said);
    throw error;
  } finally {
    stop();
  }
}

async function keepConnecting(path: string, clock: Clock, signal: AbortSignal): Promise<Qmp> {
  for (let pause = 2; ; pause = Math.min(pause * 1.2, 50)) {
    try {
      return await connectQmp(path, signal);
    } catch {
      // Not there yet, or just gone, which the recorded end tells.
      signal.throwIfAborted();
      await clock.sleep(pause, signal);
    }
  }
}

const failed = ({ code, signal, reason }: SandboxExit, said: string): FireteactError =>
  new FireteactError(
    "VMM_FAILED",
    `The virtual machine monitor ended at once (${reason ?? signal ?? `status ${code}`})${said === "" ? "" : `: ${said}`}`,
    { facts: { code: code ?? undefined, signal: signal ?? undefined } },
  );

const silent = (said: string): FireteactError =>
  new FireteactError("VMM_SILENT", `The virtual machine monitor did not answer within ${DEADLINE / 1000} s: ${said}`, {
    hint: "The host may be overloaded; lower the pools' maxRunners",
  });

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
