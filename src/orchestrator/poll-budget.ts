import type { Clock } from "../base/clock.ts";

/** Requests a minute that one forge is asked while nothing happens, by all its scopes together. */
const PER_MINUTE = 50;
/** However many scopes a forge has, each is read within this time, milliseconds. */
const LONGEST = 60_000;
/** Of the requests of one scope, the part that is not for rows; see `ROWS_EVERY` in observe.ts. */
const QUEUE_SHARE = 6 / 7;

/** What the idle scopes of one forge may ask, shared fairly: each read books its requests, and the next one comes after. */
export interface PollBudget {
  /**
   * Books what the read of a scope has cost.
   * @param interval milliseconds between two reads as configured; one scope with short lists has it in any case
   * @param requests how many were sent
   * @returns milliseconds until the scope's next read
   */
  book(interval: number, requests: number): number;
}

export function createPollBudget(clock: Clock): PollBudget {
  /** Uptime at which all that was booked has been worked off. */
  let free = 0;
  return {
    book: (interval, requests) => {
      const now = clock.uptime();
      const each = Math.min(60_000 / PER_MINUTE, interval * QUEUE_SHARE);
      // Debts that no wait will pay off would be paid by scopes that come later.
      free = Math.min(Math.max(free, now) + requests * each, now + LONGEST);
      return Math.max(interval, free - now);
    },
  };
}
