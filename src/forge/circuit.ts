import {
  BrokenCircuitError,
  type CircuitBreakerPolicy,
  CircuitState,
  ConsecutiveBreaker,
  circuitBreaker,
  handleWhen,
} from "cockatiel";
import { type Clock, systemClock } from "../base/clock.ts";
import { ForgeError } from "./errors.ts";

export interface CircuitOptions {
  clock?: Clock;
  /** Failures in a row that open the circuit. */
  failures?: number;
  /** How long no request is sent once it is open, milliseconds; then one is let through as a probe. */
  pause?: number;
}

/** Keeps a forge in trouble from being asked in vain. One for all targets of a forge. */
export interface ForgeCircuit {
  /**
   * To be called before a call's first request.
   * @throws {ForgeError} FORGE_CIRCUIT_OPEN while a pause lasts that the forge asked for
   */
  check(forge: string): void;
  /** @throws {ForgeError} FORGE_CIRCUIT_OPEN without calling `action` */
  run<T>(forge: string, action: () => Promise<T>): Promise<T>;
}

/** However long a pause the forge asks for, milliseconds: clocks and proxies are sometimes wrong. */
const LONGEST_REST = 15 * 60_000;

export function createCircuit(options: CircuitOptions = {}): ForgeCircuit {
  const { clock = systemClock, failures = 5, pause = 10_000 } = options;
  let openedAt = 0;
  let lastFailure: unknown;
  let rest: { until: number; asked: ForgeError } | undefined;
  let policy = closed();

  function closed(): CircuitBreakerPolicy {
    const fresh = circuitBreaker(
      handleWhen((error) => error instanceof ForgeError && error.outage),
      { halfOpenAfter: pause, breaker: new ConsecutiveBreaker(failures) },
    );
    fresh.onBreak((reason) => {
      openedAt = clock.uptime();
      lastFailure = "error" in reason ? reason.error : undefined;
    });
    return fresh;
  }

  return {
    check: (forge) => {
      const wait = (rest?.until ?? 0) - clock.uptime();
      if (rest === undefined || wait <= 0) return;
      throw new ForgeError("FORGE_CIRCUIT_OPEN", `${forge} is not asked: it wants to be left alone for a while`, {
        hint: "It is asked again by itself; raise the poll interval or the limit of the proxy before the forge if it lasts.",
        cause: rest.asked,
        facts: { forge, retryInSeconds: Math.ceil(wait / 1000), sent: false },
      });
    },
    run: async (forge, action) => {
      // The library measures the pause by the wall clock, which may be set back; uptime can not.
      if (policy.state !== CircuitState.Closed && clock.uptime() - openedAt > 2 * pause) policy = closed();
      try {
        return await policy.execute(action);
      } catch (error) {
        if (error instanceof ForgeError && error.retryAfter !== undefined) {
          rest = { until: clock.uptime() + Math.min(error.retryAfter, LONGEST_REST), asked: error };
        }
        if (!(error instanceof BrokenCircuitError)) throw error;
        const wait = Math.max(0, openedAt + pause - clock.uptime());
        throw new ForgeError("FORGE_CIRCUIT_OPEN", `${forge} is not asked: its last ${failures} requests failed`, {
          hint: "It is asked again by itself; the cause below tells what to repair.",
          cause: lastFailure,
          facts: { forge, retryInSeconds: Math.ceil(wait / 1000), sent: false },
        });
      }
    },
  };
}
