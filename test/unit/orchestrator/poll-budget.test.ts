import { describe, expect, it } from "vitest";
import { type Clock, systemClock } from "../../../src/base/clock.ts";
import { createPollBudget } from "../../../src/orchestrator/poll-budget.ts";

const MINUTE = 60_000;

/** Lets scopes read by the budget's word for so long, on a clock of its own; every sixth read costs one more, for rows. */
function simulate(scopes: number, options: { interval?: number; minutes?: number; pages?: number } = {}) {
  const { interval = 5_000, minutes = 30, pages = 1 } = options;
  let now = 0;
  const clock: Clock = { ...systemClock, uptime: () => now };
  const budget = createPollBudget(clock);
  const due = Array.from({ length: scopes }, () => ({ at: 0, reads: 0, waits: [] as number[] }));
  let requests = 0;
  for (;;) {
    const next = due.reduce((first, scope) => (scope.at < first.at ? scope : first));
    if (next.at > minutes * MINUTE) break;
    now = next.at;
    const cost = pages + (next.reads++ % 6 === 0 ? 1 : 0);
    requests += cost;
    const wait = budget.book(interval, cost);
    next.waits.push(wait);
    next.at = now + wait;
  }
  /** Without the beginning, at which all read at once. */
  const waits = due.flatMap((scope) => scope.waits.slice(3));
  const reads = due.map((scope) => scope.reads);
  return {
    perMinute: requests / minutes,
    longest: Math.max(...waits),
    shortest: Math.min(...waits),
    unfairness: Math.max(...reads) - Math.min(...reads),
  };
}

describe("the budget of idle polls of one forge", () => {
  it.each([1, 2, 3])("%s scopes keep the configured interval", (scopes) => {
    expect(simulate(scopes)).toMatchObject({ longest: 5_000, shortest: 5_000 });
  });

  it.each([4, 6, 12, 30])("%s scopes ask fifty times a minute together, each as often as the others", (scopes) => {
    const { perMinute, unfairness } = simulate(scopes);
    expect(perMinute).toBeLessThan(55);
    expect(perMinute).toBeGreaterThan(45);
    expect(unfairness).toBeLessThanOrEqual(1);
  });

  it("no scope waits for more than a minute, however many there are", () => {
    const { longest, perMinute } = simulate(200);
    expect(longest).toBeLessThanOrEqual(MINUTE);
    expect(perMinute).toBeGreaterThan(200);
  });

  it("a queue of many pages is read less often while nothing changes", () => {
    expect(simulate(1, { pages: 20 })).toMatchObject({ shortest: 24_000, longest: 25_200 });
  });

  it("a shorter interval gives all scopes together what one of them has", () => {
    expect(simulate(1, { interval: 1_000 }).longest).toBeLessThan(1_720);
    const alone = simulate(1, { interval: 1_000 }).perMinute;
    expect(simulate(5, { interval: 1_000 }).perMinute / alone).toBeCloseTo(1, 0);
  });

  it("a longer interval is kept", () => {
    expect(simulate(6, { interval: 10 * MINUTE, minutes: 600 })).toMatchObject({ shortest: 600_000 });
  });
});
