import type { Clock } from "../../base/clock.ts";
import { describe, FireteactError } from "../../base/errors.ts";
import type { SandboxExit } from "../../core/types.ts";
import { readConsole } from "./console.ts";
import type { SandboxPlaces } from "./places.ts";
import { watchExit } from "./watch.ts";

/** Milliseconds in which a monitor that works has long answered, on a host that is busy too. */
const DEADLINE = 15_000;

/**
 * Waits until the monitor that was just started answers, which `connect` finds out, or has ended.
 *
 * @throws FireteactError `VMM_FAILED` with what it said, `VMM_SILENT`
 */
export async function awaitMonitor<T>(
  own: SandboxPlaces,
  { clock, signal }: { clock: Clock; signal: AbortSignal },
  connect: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const ended = new AbortController();
  const stop = watchExit(own.directory, clock, (exit) => ended.abort(exit));
  const late = AbortSignal.timeout(DEADLINE);
  try {
    return await keepConnecting(connect, clock, AbortSignal.any([signal, ended.signal, late]));
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

async function keepConnecting<T>(
  connect: (signal: AbortSignal) => Promise<T>,
  clock: Clock,
  signal: AbortSignal,
): Promise<T> {
  for (let pause = 2; ; pause = Math.min(pause * 1.2, 50)) {
    try {
      return await connect(signal);
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
