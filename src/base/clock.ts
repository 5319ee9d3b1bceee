import { readFileSync } from "node:fs";
import { setTimeout as sleepFor } from "node:timers/promises";

/** A timer that has been set; `cancel` twice is harmless. */
export interface Timer {
  cancel(): void;
}

/** Time as the program sees it, so that tests can own it. */
export interface Clock {
  /** Wall clock, Unix milliseconds: for records and people only, since it may jump. */
  now(): number;
  /** Milliseconds since boot: the same for every process until the next boot, and never jumps. For deadlines. */
  uptime(): number;
  after(milliseconds: number, action: () => void): Timer;
  /** Rejects with the signal's reason when it is aborted first. */
  sleep(milliseconds: number, signal?: AbortSignal): Promise<void>;
}

export const systemClock: Clock = {
  now: () => Date.now(),
  uptime: () => Number(process.hrtime.bigint() / 1_000n) / 1_000,
  after: (milliseconds, action) => {
    const timer = setTimeout(action, milliseconds);
    return { cancel: () => clearTimeout(timer) };
  },
  sleep: async (milliseconds, signal) => {
    await sleepFor(milliseconds, undefined, signal === undefined ? {} : { signal });
  },
};

/**
 * The wait for something that a thousand sandboxes do every so often: up to an eighth longer than asked for, so that the
 * process wakes a few times a second for all of them, and not for each.
 */
export function inStep(clock: Clock, milliseconds: number): number {
  const step = Math.min(250, milliseconds / 8);
  return Math.ceil((clock.uptime() + milliseconds) / step) * step - clock.uptime();
}

/** Does some work with a signal that is aborted after a time, or when `others` are; no timer is left when it is done. */
export async function withDeadline<T>(
  clock: Clock,
  milliseconds: number,
  others: readonly AbortSignal[],
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const deadline = new AbortController();
  const timer = clock.after(milliseconds, () =>
    deadline.abort(new DOMException(`it was not done within ${milliseconds} ms`, "TimeoutError")),
  );
  try {
    return await work(AbortSignal.any([...others, deadline.signal]));
  } finally {
    timer.cancel();
  }
}

let boot: string | undefined;

/** Identifies this boot of the host: uptimes of another boot mean nothing. */
export function bootId(): string {
  boot ??= readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
  return boot;
}
