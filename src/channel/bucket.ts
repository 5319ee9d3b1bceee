import type { Clock } from "../base/clock.ts";

/** Allows `rate` units a second on average and `burst` at once. */
export interface Bucket {
  /** Takes the amount in any case; returns the milliseconds to wait until it is paid for, 0 when it is already. */
  take(amount: number): number;
  /** Takes the amount only if it is there. */
  tryTake(amount: number): boolean;
}

export function createBucket(clock: Clock, rate: number, burst: number): Bucket {
  let level = burst;
  let filledAt = clock.uptime();

  const refill = (): void => {
    const now = clock.uptime();
    level = Math.min(burst, level + ((now - filledAt) / 1_000) * rate);
    filledAt = now;
  };

  return {
    take(amount) {
      refill();
      level -= amount;
      return level >= 0 ? 0 : Math.ceil((-level / rate) * 1_000);
    },
    tryTake(amount) {
      refill();
      if (level < amount) return false;
      level -= amount;
      return true;
    },
  };
}
