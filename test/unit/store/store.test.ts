import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type { Clock } from "../../../src/base/clock.ts";
import { systemClock } from "../../../src/base/clock.ts";
import { createLogger } from "../../../src/base/log.ts";
import { emptyMemory } from "../../../src/core/plan-types.ts";
import { claimState } from "../../../src/store/claim.ts";
import { openStore } from "../../../src/store/sqlite.ts";
import { temporaryDirectory } from "../../support/orchestrator.ts";
import { busy, fresh, job, NOW, ready, warm } from "../core/build.ts";

const at = (uptime: number, wall = 5_000): Clock => ({ ...systemClock, uptime: () => uptime, now: () => wall });

function opener(directory: string) {
  const log = createLogger("info");
  const path = join(directory, "state.db");
  const open = (over: { boot?: string; uptime?: number; wall?: number } = {}) =>
    openStore({
      path,
      log,
      boot: over.boot ?? "boot 1",
      clock: at(over.uptime ?? NOW, over.wall),
    });
  return { open, path };
}

describe("the store", () => {
  it("gives back what was saved, whatever order it is closed in", () => {
    using directory = temporaryDirectory();
    const { open } = opener(directory.path);
    const store = open();
    store.saveRunner(busy(1));
    store.saveRunner(warm(2));
    store.setPaused("a", true);
    store.saveMemory({ ...emptyMemory(), suspects: { x: 1 } });
    const intent = store.together(() => {
      store.saveRunner(ready(3));
      return store.beginStep("lane", "{}", 7);
    });
    store.close();
    const again = open();
    expect(again.runners()).toEqual([busy(1), warm(2), ready(3)]);
    expect(again.pausedPools()).toEqual(["a"]);
    expect(again.loadMemory()?.suspects).toEqual({ x: 1 });
    expect(again.openIntents()).toEqual([{ id: intent, lane: "lane", step: "{}", at: 7 }]);
    again.together(() => {
      again.saveRunner(busy(3));
      again.endStep(intent);
    });
    expect(again.openIntents()).toEqual([]);
    expect(again.runners()[2]).toEqual(busy(3));
    again.close();
  });

  it("keeps what webhooks said last of the last jobs", () => {
    using directory = temporaryDirectory();
    const { open } = opener(directory.path);
    const store = open();
    const pushed = (id: number, rank: number) => ({ job: job(id), rank, queuedBy: "signature" });
    for (let id = 1; id <= 4100; id++) store.savePushedJob(pushed(id, 2));
    store.savePushedJob(pushed(6, 4));
    store.close();
    const again = open();
    const kept = again.pushedJobs();
    expect(kept).toHaveLength(4096 - 1);
    expect(kept.slice(0, 2).map((entry) => entry.job.id)).toEqual([7, 8]);
    expect(kept.at(-1)).toEqual(pushed(6, 4));
    again.close();
  });

  it("moves a closed runner into history, where it is found by its hex, and erases its secrets", () => {
    using directory = temporaryDirectory();
    const { open, path } = opener(directory.path);
    const store = open();
    for (const id of [1, 2, 3]) {
      store.saveRunner(fresh(id));
      store.saveSecrets(fresh(id).id, { uuid: "u", token: "t" });
      store.closeRunner(fresh(id), id);
    }
    expect(store.runners()).toEqual([]);
    expect(store.secrets(fresh(1).id)).toBeUndefined();
    expect(store.history(2).map(({ closedAt }) => closedAt)).toEqual([3, 2]);
    expect(store.closed(fresh(2).hex)).toEqual({ runner: fresh(2), closedAt: 2 });
    expect(store.closed(fresh(4).hex)).toBeUndefined();
    store.close();
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  it("tells the story of a runner, present and gone, and not without end", () => {
    using directory = temporaryDirectory();
    const { open } = opener(directory.path);
    const store = open();
    store.saveRunner(fresh(1), [{ at: 1, change: "created" }]);
    store.saveRunner(fresh(1));
    const intent = store.beginStep("lane", "{}", 2);
    store.saveRunner(fresh(1), [
      { at: 3, change: "registered" },
      { at: 4, change: "booted" },
    ]);
    store.endStep(intent);
    const told = ["1 created", "3 registered", "4 booted"];
    const story = () => store.story(fresh(1).hex).map(({ at, change }) => `${at} ${change}`);
    expect(story()).toEqual(told);
    store.closeRunner(fresh(1), 5);
    expect(story()).toEqual(told);
    expect(store.story(fresh(2).hex)).toEqual([]);
    for (let at = 0; at < 3_000; at++) store.saveRunner(fresh(2), [{ at, change: "first-step" }]);
    expect(store.story(fresh(2).hex).length).toBeLessThan(2_000);
    store.close();
  });

  it("forgets history that is too much or too old, a bounded part at a time", () => {
    using directory = temporaryDirectory();
    const { open } = opener(directory.path);
    const day = 24 * 60 * 60_000;
    const store = open({ wall: 100 * day });
    for (let id = 0; id < 1_200; id++) store.closeRunner(fresh(id), (id < 100 ? 9 : 99) * day);
    store.tidy({ runners: 10_000, days: 90 });
    expect(store.history(2_000)).toHaveLength(1_100);
    store.tidy({ runners: 300, days: 90 });
    expect(store.history(2_000)).toHaveLength(600);
    store.tidy({ runners: 300, days: 90 });
    store.tidy({ runners: 300, days: 90 });
    expect(store.history(2_000)).toHaveLength(300);
    expect(store.history(1)[0]?.runner.id).toBe(fresh(1_199).id);
    store.close();
  });

  it("leaves nothing of an erased token in any file, however much was written meanwhile", () => {
    using directory = temporaryDirectory();
    const { open } = opener(directory.path);
    const store = open();
    const token = (id: number) => `token-of-runner-${id}-`.padEnd(40, "x");
    const bytes = () => readdirSync(directory.path).map((name) => readFileSync(join(directory.path, name), "latin1"));
    const found = (id: number) => bytes().some((content) => content.includes(token(id)));
    // Enough that pages are split and joined.
    for (let id = 0; id < 600; id++) {
      store.saveRunner(fresh(id));
      store.saveSecrets(fresh(id).id, { uuid: "u", token: token(id) });
      const gone = (id * 7) % 600;
      if (gone < id) store.closeRunner(fresh(gone), id);
    }
    expect(found(599), "what is needed is there").toBe(true);
    store.tidy({ runners: 100, days: 1 });
    const erased = Array.from({ length: 600 }, (_, id) => id).filter((id) => !store.secrets(fresh(id).id));
    expect(erased.length).toBeGreaterThan(250);
    expect(erased.filter(found)).toEqual([]);
    expect(found(599)).toBe(true);
    store.close();
  });

  it("carries uptimes over to another boot once: no sandbox outlives it, and no deadline is years away", () => {
    using directory = temporaryDirectory();
    const { open } = opener(directory.path);
    const store = open();
    store.saveRunner(busy(1));
    store.saveRunner({ ...ready(2), removal: { reason: "forced", detail: "", since: NOW } });
    store.saveMemory({ ...emptyMemory(), pools: { a: { failures: 1, since: NOW, until: NOW + 1, error: "" } } });
    store.close();
    open({ boot: "boot 2", uptime: 77 }).close();
    // A crash right after the start must not lose what was carried over.
    const later = open({ boot: "boot 2", uptime: 99 });
    const [first, second] = later.runners();
    expect(first).toMatchObject({
      since: 77,
      registration: { phase: "active", row: 1, since: 77 },
      agent: { phase: "busy", since: 77 },
      sandbox: { phase: "exited", since: 77, exit: { reason: "the host was restarted" } },
      given: { since: 77 },
    });
    expect(first?.at).toBe(busy(1).at);
    expect(second?.removal).toMatchObject({ since: 77 });
    expect(later.loadMemory()).toBeUndefined();
    later.close();
  });

  it("leaves a runner alone whose sandbox was gone, or not yet there, before the boot", () => {
    using directory = temporaryDirectory();
    const { open } = opener(directory.path);
    const store = open();
    store.saveRunner(fresh(1));
    store.saveRunner({ ...fresh(2), sandbox: { phase: "gone" } });
    store.close();
    const again = open({ boot: "boot 2", uptime: 77 });
    expect(again.runners().map((runner) => runner.sandbox.phase)).toEqual(["none", "gone"]);
    again.close();
  });
});

describe("the claim on a state directory", () => {
  it("belongs to one process at a time", () => {
    using directory = temporaryDirectory();
    const claim = claimState(directory.path);
    expect(() => claimState(directory.path)).toThrow(/another fireteact works on/);
    claim.release();
    claimState(directory.path).release();
  });
});
