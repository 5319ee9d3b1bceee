import { describe, expect, it } from "vitest";
import type { Trouble } from "../../support/fault-proxy.ts";
import { eventually } from "../../support/orchestrator.ts";
import { many } from "../../support/world.ts";
import { DELETION, ENOUGH, expectClean, openPlace, POLL, REGISTRATION, REST, WITHIN_ONE_POLL } from "./place.ts";

const page = (title: string) => `<!DOCTYPE html><html><title>${title}</title></html>`;
const message = (text: string) => JSON.stringify({ message: text, url: "" });

const TWO_LINES = ["warn the forge cannot be read; scaling of its pools stands still", "info the forge answers"];

interface Case {
  what: string;
  trouble: Trouble;
  /** In the reason that health gives. */
  reason: RegExp;
}

/** Of REST alone: what engines ask gets through, so that jobs can end meanwhile. */
const OF_REST: Case[] = [
  {
    what: "503 from all sides",
    trouble: { kind: "answer", status: 503 },
    reason: /503 Service Unavailable|is not asked/,
  },
  {
    what: "500 from all sides",
    trouble: { kind: "answer", status: 500, body: message("") },
    reason: /500 Internal|is not asked/,
  },
  { what: "resets connections", trouble: { kind: "reset" }, reason: /reset|closed before|is not asked/ },
  {
    what: "a page of a proxy with 200",
    trouble: { kind: "answer", status: 200, body: page("Sign in") },
    reason: /an HTML page/,
  },
  {
    what: "a page of a proxy with 502",
    trouble: { kind: "answer", status: 502, body: page("Bad gateway") },
    reason: /502 Bad Gateway|is not asked/,
  },
  { what: "half of its JSON", trouble: { kind: "half-body" }, reason: /no valid JSON/ },
  {
    what: "ends connections in the middle",
    trouble: { kind: "break-off" },
    reason: /complete|half-way|aborted|closed|is not asked/,
  },
  { what: "answers that get lost", trouble: { kind: "lose-reply" }, reason: /reset|closed before|is not asked/ },
  {
    what: "refuses the token",
    trouble: { kind: "answer", status: 401, body: message("invalid token") },
    reason: /does not accept the API token/,
  },
  {
    what: "has no such scope",
    trouble: { kind: "answer", status: 404, body: message("not found") },
    reason: /has no /,
  },
  {
    what: "grants no right",
    trouble: { kind: "answer", status: 403, body: message("denied") },
    reason: /refuses .* to this API token/,
  },
  {
    what: "redirects elsewhere",
    trouble: { kind: "answer", status: 302, headers: { location: "https://elsewhere.test/" } },
    reason: /redirects/,
  },
];

describe.concurrent("a forge that", () => {
  it.each(OF_REST)(
    "$what: jobs go on, nothing is made or destroyed, it is told once, and found well within one poll",
    async ({ trouble, reason }) => {
      await using place = await openPlace();
      const first = await place.push(many(2, ["linux"], "running"));
      await eventually("two run", () => place.busy() === 2);
      place.told();
      const heal = await place.begin(trouble, { match: REST });
      await eventually("it is found to be ill", () => !place.isOk());
      const began = performance.now();
      place.proxy.forget();
      const later = await place.push({ later: ["linux"] });

      expect(await first.finished(ENOUGH())).toEqual({ running0: "success", running1: "success" });
      await eventually("their sandboxes are gone", () => place.scripted.running() === 0);
      await eventually("four polls went by", () => performance.now() - began > 4 * POLL);
      const health = await place.verboseHealth();
      expect(health.status).toBe("degraded");
      expect(health.problems).toEqual([expect.stringMatching(reason)]);
      expect(health.problems[0]).not.toContain(place.token);
      expect(await place.metric("fireteact_forge_up{")).toBe(0);
      expect(place.scripted.created).toHaveLength(2);
      expect([place.asked(REGISTRATION), place.asked(DELETION)]).toEqual([0, 0]);
      // Version and queue at each poll, and what was under way.
      expect(place.asked(REST)).toBeLessThanOrEqual((2 * (performance.now() - began)) / POLL + 6);

      await heal();
      const healed = performance.now();
      await eventually("it is found well", () => place.isOk());
      expect(performance.now() - healed).toBeLessThan(WITHIN_ONE_POLL);
      expect(await later.finished(ENOUGH())).toEqual({ later: "success" });
      await expectClean(place, 3);
      expect((await place.verboseHealth()).status).toBe("healthy");
      expect(await place.metric("fireteact_forge_up{")).toBe(1);
      expect(place.told()).toEqual([
        "warn the forge cannot be read; scaling of its pools stands still",
        "info the forge answers",
      ]);
    },
  );

  it("is gone for engines as well: sandboxes stay, and their jobs end when it is back", async () => {
    await using place = await openPlace({ script: { jobTime: 300 } });
    const first = await place.push(many(2, ["linux"], "running"));
    await eventually("two run", () => place.busy() === 2);
    place.told();
    const heal = await place.begin({ kind: "refuse" });
    const began = performance.now();
    await eventually("it is found to be ill", () => !place.isOk());
    expect((await place.verboseHealth()).problems).toEqual([expect.stringMatching(/connection refused|is not asked/)]);
    await eventually("six polls went by", () => performance.now() - began > 6 * POLL);
    expect([place.busy(), place.scripted.running(), place.scripted.created.length]).toEqual([2, 2, 2]);
    const later = await place.push({ later: ["linux"] });
    await heal();
    const healed = performance.now();
    await eventually("it is found well", () => place.isOk());
    expect(performance.now() - healed).toBeLessThan(WITHIN_ONE_POLL);
    expect(await first.finished(ENOUGH())).toEqual({ running0: "success", running1: "success" });
    expect(await later.finished(ENOUGH())).toEqual({ later: "success" });
    await expectClean(place, 3);
    expect(place.told()).toEqual(TWO_LINES);
  });

  it("fails in ever different ways, without a moment in which it is well: still two lines", async () => {
    await using place = await openPlace();
    place.told();
    const ways: Trouble[] = [
      { kind: "reset" },
      { kind: "answer", status: 503 },
      { kind: "answer", status: 401, body: message("no") },
      { kind: "half-body" },
      { kind: "answer", status: 404, body: message("no") },
    ];
    const heal: (() => Promise<void>)[] = [];
    const reasons = new Set<string | undefined>();
    for (const way of ways) {
      const end = await place.begin(way, { match: REST });
      for (const before of heal.splice(0)) await before();
      heal.push(end);
      place.proxy.forget();
      await eventually("it was asked twice in this way", () => place.asked(REST) >= 2 && !place.isOk());
      reasons.add(place.orchestrator.targets()[0]?.reason);
    }
    expect(reasons.size).toBeGreaterThan(2);
    for (const end of heal) await end();
    await eventually("it is found well", () => place.isOk());
    expect(place.told()).toEqual(TWO_LINES);
  });

  it("refuses deletions alone: jobs are served, and each row that stays is told of once until it is gone", async () => {
    await using place = await openPlace({ script: { jobTime: Infinity } });
    await place.push(many(2, ["linux"]));
    await eventually("two run", () => place.busy() === 2);
    place.told();
    const heal = await place.begin({ kind: "answer", status: 500 }, { match: DELETION });
    for (const { id } of place.runners()) expect(place.orchestrator.stopRunner(id, true)).toBe("ending");
    await eventually("their sandboxes are gone", () => place.scripted.running() === 0);
    const told: string[] = [];
    await eventually(
      "it was tried twice for each",
      () => {
        told.push(...place.told());
        return told.length >= 2;
      },
      20_000,
    );
    expect(told).toEqual([
      expect.stringMatching(/^warn a step failed: delete row: .* 500 Internal Server Error/),
      expect.stringMatching(/^warn a step failed: delete row: .* 500 Internal Server Error/),
    ]);
    expect(place.isOk()).toBe(true);
    expect(place.asked(DELETION)).toBeLessThanOrEqual(6);
    await heal();
    await eventually("their rows are gone", () => place.forge.runners("existing").length === 0, 30_000);
    expect(place.told()).toEqual([]);
  });

  it("hears and does not answer: jobs go on, and it is known for ill after half a minute", async () => {
    await using place = await openPlace({ script: { jobTime: 300 } });
    const first = await place.push(many(2, ["linux"], "running"));
    await eventually("two run", () => place.busy() === 2);
    place.told();
    place.proxy.forget();
    const heal = await place.begin({ kind: "hang" }, { match: REST });
    expect(await first.finished(ENOUGH())).toEqual({ running0: "success", running1: "success" });
    await eventually("it is found to be ill", () => !place.isOk(), 35_000);
    const later = await place.push({ later: ["linux"] });
    expect(place.asked(REST)).toBeLessThanOrEqual(20);
    await heal();
    await eventually("it is found well", () => place.isOk(), 12_000);
    expect(await later.finished(ENOUGH())).toEqual({ later: "success" });
    await expectClean(place, 3);
    expect(place.told()).toEqual(TWO_LINES);
  });

  it("is slow: one runner for each job, and no more requests than answers", async () => {
    await using place = await openPlace({ script: { jobTime: 300 } });
    place.proxy.forget();
    await place.begin({ kind: "slow", milliseconds: 700 });
    const began = performance.now();
    const run = await place.push(many(3, ["linux"]));
    expect(await run.finished(ENOUGH())).toMatchObject({ job0: "success", job2: "success" });
    expect(place.isOk()).toBe(true);
    expect(place.asked(/^GET .*\/actions\/jobs$/)).toBeLessThanOrEqual((performance.now() - began) / 700 + 1);
    expect(place.asked(REGISTRATION)).toBe(3);
    await expectClean(place, 3);
  });
});
