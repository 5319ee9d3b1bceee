import { describe, expect, it } from "vitest";
import { eventually, FAKE_POOL } from "../../support/orchestrator.ts";
import { many } from "../../support/world.ts";
import { DELETION, ENOUGH, openPlace, POLL, REGISTRATION } from "./place.ts";

const FORGES = [
  { forge: "Gitea 1.25", options: { flavour: "gitea", version: "1.25.1" } },
  { forge: "Forgejo 15", options: { flavour: "forgejo", version: "15.0.0+gitea-1.22.0" } },
] as const;

describe.concurrent.each(FORGES)("$forge acts, and its answer is lost:", ({ options }) => {
  it("a registration's row is found by its recorded name, deleted and never used", async () => {
    await using place = await openPlace({ forge: options, script: { jobTime: 200 } });
    await place.begin({ kind: "lose-reply" }, { match: REGISTRATION, times: 1 });
    const run = await place.push({ one: ["linux"] });
    expect(await run.finished(ENOUGH())).toEqual({ one: "success" });
    await place.cleared();
    const rows = place.forge.runners("all");
    expect(rows.map(({ tasks }) => tasks.length)).toEqual([0, 1]);
    expect(new Set(rows.map(({ name }) => name)).size).toBe(2);
    expect(place.history().map(({ name, ending }) => [name, ending?.reason])).toEqual([
      [rows[1]?.name, "finished"],
      [rows[0]?.name, "register-failed"],
    ]);
    expect(place.asked(REGISTRATION)).toBe(2);
  });

  it("of every registration for a while: tries end soon, no row stays, and the jobs are served afterwards", async () => {
    await using place = await openPlace({
      forge: options,
      pools: [{ ...FAKE_POOL, maxRunners: 3 }],
      script: { jobTime: 200 },
    });
    const heal = await place.begin({ kind: "lose-reply" }, { match: REGISTRATION });
    const run = await place.push(many(6, ["linux"]));
    await eventually("the pool waits", () => place.orchestrator.reasons()[0]?.code === "backing-off");
    await place.cleared();
    expect(place.asked(REGISTRATION)).toBeLessThanOrEqual(3);
    expect((await place.verboseHealth()).problems).toEqual([
      expect.stringMatching(/^pool default backs off: 1 failures/),
    ]);
    await heal();
    expect(Object.values(await run.finished(ENOUGH()))).toEqual(Array(6).fill("success"));
    await place.cleared();
    const rows = place.forge.runners("all");
    expect(rows.filter(({ tasks }) => tasks.length === 1)).toHaveLength(6);
    expect(rows.every(({ tasks }) => tasks.length <= 1)).toBe(true);
  });

  it("a registration's, and the forge is gone right after: the row is deleted when it is back", async () => {
    await using place = await openPlace({ forge: options, script: { jobTime: 200 } });
    await place.begin({ kind: "lose-reply" }, { match: REGISTRATION, times: 1 });
    const run = await place.push({ one: ["linux"] });
    await eventually("the forge has the row", () => place.forge.runners("all").length === 1);
    const heal = await place.begin({ kind: "refuse" });
    const [lost] = place.forge.runners("all");
    await eventually("it is frozen", () => !place.isOk());
    expect(place.forge.runners("existing")).toHaveLength(1);
    await heal();
    expect(await run.finished(ENOUGH())).toEqual({ one: "success" });
    await place.cleared();
    expect(place.forge.runners("all").find(({ id }) => id === lost?.id)?.tasks).toEqual([]);
  });

  it("a deletion is repeated, and that the row is gone already is success", async () => {
    await using place = await openPlace({ forge: options, script: { jobTime: Infinity } });
    await place.push({ one: ["linux"] });
    await eventually("it runs", () => place.busy() === 1);
    await place.begin({ kind: "lose-reply" }, { match: DELETION, times: 1 });
    place.proxy.forget();
    const [runner] = place.runners();
    expect(place.orchestrator.stopRunner(runner?.id ?? "", true)).toBe("ending");
    await place.cleared();
    expect(place.asked(DELETION)).toBe(2);
    expect(place.history()[0]?.ending?.reason).toBe("forced");
  });
});

it.concurrent("the answers to everything that a job's own runner says may be lost: it has one runner", async () => {
  await using place = await openPlace({ script: { jobTime: 300 } });
  const run = await place.push({ one: ["linux"] });
  await eventually("it runs", () => place.busy() === 1);
  await place.begin({ kind: "lose-reply" }, { match: /(UpdateTask|UpdateLog)$/, times: 3 });
  expect(await run.finished(ENOUGH())).toEqual({ one: "success" });
  const end = performance.now();
  await eventually("two polls went by", () => performance.now() - end > 2 * POLL);
  expect(place.scripted.created).toHaveLength(1);
});
