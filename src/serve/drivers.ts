import type { Clock, Timer } from "../base/clock.ts";
import { describe } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import type { DriverName } from "../core/types.ts";
import type { DriverCheck, SandboxDriver, StepContext } from "../sandbox/port.ts";

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
  /** Looks now whether a driver can still make sandboxes: one of them could not be started. */
  recheck(name: DriverName): void;
  stop(): Promise<void>;
}

const FIRST_RETRY = 5_000;
const LAST_RETRY = 120_000;
/** How often it is looked whether what a driver found is still there. */
const VERIFY = 30_000;
const PREPARE_TIMEOUT = 30 * 60_000;

export function keepDrivers(deps: {
  drivers: Map<DriverName, SandboxDriver>;
  clock: Clock;
  log: Logger;
  /** Called when a driver can serve sandboxes that run already. */
  onReady: (driver: SandboxDriver) => void;
  wake: () => void;
  /** Milliseconds; for tests. */
  verifyEvery?: number;
}): DriverKeeper {
  const states = new Map<DriverName, DriverState>();
  const abort = new AbortController();
  const timers = new Map<DriverName, Timer>();
  const running = new Set<Promise<void>>();
  /** Drivers that serve what runs already. */
  const resumed = new Set<DriverName>();

  const contextFor = (driver: SandboxDriver): StepContext => ({
    signal: AbortSignal.any([abort.signal, AbortSignal.timeout(PREPARE_TIMEOUT)]),
    log: deps.log.child({ driver: driver.name }),
    step: (_, work) => work(),
  });

  /** What keeps it from resuming keeps it from being prepared too, and is told there. */
  const resume = async (driver: SandboxDriver, context: StepContext) => {
    if (resumed.has(driver.name)) return;
    try {
      await driver.resume?.(context);
    } catch (error) {
      context.log.debug({ cause: describe(error) }, "the driver cannot resume yet");
      return;
    }
    resumed.add(driver.name);
    if (!abort.signal.aborted) deps.onReady(driver);
  };

  const prepare = async (driver: SandboxDriver, failures: number) => {
    const context = contextFor(driver);
    const { log } = context;
    await resume(driver, context);
    const check: DriverCheck = await driver
      .prepare(context)
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
      await resume(driver, context);
      verifyLater(driver);
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

  const verify = async (driver: SandboxDriver) => {
    if (states.get(driver.name)?.usable !== true) return;
    const context = contextFor(driver);
    try {
      await driver.verify?.(context);
      verifyLater(driver);
    } catch (error) {
      if (abort.signal.aborted || states.get(driver.name)?.usable !== true) return;
      const detail = describe(error);
      states.set(driver.name, { usable: false, detail });
      context.log.error({ detail, ...hintOf(error) }, "the driver cannot make sandboxes any more");
      timers.set(
        driver.name,
        deps.clock.after(FIRST_RETRY, () => begin(driver, 1)),
      );
      deps.wake();
    }
  };
  const verifyNow = (driver: SandboxDriver) => {
    const work = verify(driver).finally(() => running.delete(work));
    running.add(work);
  };
  const verifyLater = (driver: SandboxDriver) => {
    if (driver.verify === undefined || abort.signal.aborted) return;
    timers.get(driver.name)?.cancel();
    timers.set(
      driver.name,
      deps.clock.after(deps.verifyEvery ?? VERIFY, () => verifyNow(driver)),
    );
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
    recheck: (name) => {
      const driver = deps.drivers.get(name);
      if (driver?.verify !== undefined && states.get(name)?.usable === true) verifyNow(driver);
    },
    stop: async () => {
      abort.abort();
      for (const timer of timers.values()) timer.cancel();
      await Promise.all(running);
    },
  };
}

const hintOf = (error: unknown): { hint?: string } =>
  error instanceof Error && "hint" in error && typeof error.hint === "string" ? { hint: error.hint } : {};
