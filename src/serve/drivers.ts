import type { Clock, Timer } from "../base/clock.ts";
import { describe } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import type { DriverName } from "../core/types.ts";
import type { DriverCheck, SandboxDriver } from "../sandbox/port.ts";

/** Whether a driver can make sandboxes now, and why not. */
export interface DriverState {
  usable: boolean;
  detail: string;
  /** Multiplies the time that guests have to boot. */
  bootFactor?: number;
}

/** Prepares drivers in the background and again after failures, so that an image build holds nothing else up. */
export interface DriverKeeper {
  state(name: DriverName): DriverState;
  stop(): Promise<void>;
}

const FIRST_RETRY = 5_000;
const LAST_RETRY = 300_000;
const PREPARE_TIMEOUT = 30 * 60_000;

export function keepDrivers(deps: {
  drivers: Map<DriverName, SandboxDriver>;
  clock: Clock;
  log: Logger;
  /** Called when a driver became usable. */
  onReady: (driver: SandboxDriver) => void;
  wake: () => void;
}): DriverKeeper {
  const states = new Map<DriverName, DriverState>();
  const abort = new AbortController();
  const timers = new Map<DriverName, Timer>();
  const running = new Set<Promise<void>>();

  const prepare = async (driver: SandboxDriver, failures: number) => {
    const log = deps.log.child({ driver: driver.name });
    const signal = AbortSignal.any([abort.signal, AbortSignal.timeout(PREPARE_TIMEOUT)]);
    const check: DriverCheck = await driver
      .prepare({ signal, log, step: (_, work) => work() })
      .catch((error: unknown) => ({ ok: false, detail: describe(error), ...hintOf(error) }));
    if (abort.signal.aborted) return;
    const before = states.get(driver.name);
    states.set(driver.name, {
      usable: check.ok,
      detail: check.detail,
      ...(check.ok ? { bootFactor: check.bootFactor ?? 1 } : {}),
    });
    if (check.ok) {
      log.info({ detail: check.detail }, "the driver is ready");
      deps.onReady(driver);
    } else {
      if (before?.detail !== check.detail)
        log.error({ detail: check.detail, hint: check.hint }, "the driver cannot make sandboxes");
      const wait = Math.min(FIRST_RETRY * 2 ** failures, LAST_RETRY);
      timers.set(
        driver.name,
        deps.clock.after(wait, () => begin(driver, failures + 1)),
      );
    }
    deps.wake();
  };
  const begin = (driver: SandboxDriver, failures: number) => {
    const work = prepare(driver, failures).finally(() => running.delete(work));
    running.add(work);
  };

  for (const driver of deps.drivers.values()) {
    states.set(driver.name, { usable: false, detail: "being prepared" });
    begin(driver, 0);
  }
  return {
    state: (name) =>
      states.get(name) ?? { usable: false, detail: `the driver ${name} is taken into use at the next start` },
    stop: async () => {
      abort.abort();
      for (const timer of timers.values()) timer.cancel();
      await Promise.all(running);
    },
  };
}

const hintOf = (error: unknown): { hint?: string } =>
  error instanceof Error && "hint" in error && typeof error.hint === "string" ? { hint: error.hint } : {};
