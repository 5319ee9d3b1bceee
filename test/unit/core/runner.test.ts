import { describe, expect, it } from "vitest";
import {
  applyEvent,
  isAvailable,
  isBusy,
  isLive,
  type RunnerEvent,
  reached,
  statusOf,
} from "../../../src/core/runner.ts";
import type { Runner } from "../../../src/core/types.ts";
import { after, booting, busy, ending, fresh, job, NOW, ready, WALL, warm } from "./build.ts";

const gone: RunnerEvent = { kind: "sandbox-gone" };
const draining: RunnerEvent = { kind: "draining", reason: "scale-down", detail: "not needed" };
const exited: RunnerEvent = { kind: "sandbox-exited", exit: { code: 0, signal: null, at: WALL } };
const failed = after(fresh(1), [{ kind: "ending", reason: "boot-failed", detail: "no kernel" }]);

describe("the words for a runner", () => {
  it.each<[string, Runner, string, { busy: boolean; available: boolean; live: boolean }]>([
    ["recorded", fresh(1), "starting", { busy: false, available: true, live: true }],
    ["booting", booting(1), "starting", { busy: false, available: true, live: true }],
    ["warm", warm(1), "idle", { busy: false, available: true, live: true }],
    [
      "warm, being registered",
      after(warm(1), [{ kind: "register-asked" }]),
      "starting",
      { busy: false, available: true, live: true },
    ],
    ["ready", ready(1), "idle", { busy: false, available: true, live: true }],
    ["busy", busy(1), "busy", { busy: true, available: false, live: true }],
    ["draining", after(ready(1), [draining]), "stopping", { busy: false, available: false, live: true }],
    ["drained", after(ready(1), [{ kind: "drained" }]), "stopping", { busy: false, available: false, live: true }],
    ["finished", after(busy(1), [{ kind: "job-finished" }]), "stopping", { busy: false, available: false, live: true }],
    ["exited", after(busy(1), [exited]), "stopping", { busy: true, available: false, live: true }],
    [
      "unregistered by the forge",
      after(ready(1), [{ kind: "row-gone" }]),
      "idle",
      { busy: false, available: false, live: true },
    ],
    ["ending", ending(ready(1)), "stopping", { busy: false, available: false, live: true }],
    ["ended", after(ending(ready(1)), [gone]), "stopped", { busy: false, available: false, live: false }],
    [
      "failed and still there",
      after(failed, [{ kind: "boot-asked" }]),
      "stopping",
      { busy: false, available: false, live: true },
    ],
    ["failed and gone", failed, "failed", { busy: false, available: false, live: false }],
  ])("%s", (_, runner, status, expected) => {
    expect(statusOf(runner)).toBe(status);
    expect({ busy: isBusy(runner), available: isAvailable(runner), live: isLive(runner) }).toEqual(expected);
  });
});

describe("events", () => {
  it("note when each phase was reached, once", () => {
    const way: RunnerEvent[] = [
      { kind: "registered", row: 1, uuid: "u" },
      { kind: "booted" },
      { kind: "listening" },
      { kind: "assigned", job: {} },
      { kind: "first-step" },
      { kind: "job-finished" },
      gone,
    ];
    const walked = [...way, ...way].reduce(
      (runner, event, at) => applyEvent(runner, event, { now: NOW + at, at }),
      fresh(1),
    );
    expect(walked.timeline).toEqual({
      registered: 0,
      started: 1,
      ready: 2,
      assigned: 3,
      first_step: 4,
      finished: 5,
      destroyed: 6,
    });
    expect(reached(walked, "ready")).toBe(true);
    expect(reached(fresh(1), "ready")).toBe(false);
  });

  it.each<[string, Runner, RunnerEvent[], string]>([
    ["a drained answer that comes late leaves a busy runner busy", busy(1), [{ kind: "drained" }], "busy"],
    ["a drain that comes late leaves a busy runner busy", busy(1), [draining], "busy"],
    ["a job that arrives during a drain makes it busy", ready(1), [draining, { kind: "assigned", job: {} }], "busy"],
    [
      "a job that arrives after it said that it takes none makes it busy",
      ready(1),
      [{ kind: "drained" }, { kind: "assigned", job: {} }],
      "busy",
    ],
    [
      "a repeated job does not bring a finished one back",
      busy(1),
      [{ kind: "job-finished" }, { kind: "assigned", job: {} }],
      "finished",
    ],
    ["a late word that it listens does not make a busy one free", busy(1), [{ kind: "listening" }], "busy"],
    ["the engine's end ends the job", busy(1), [{ kind: "engine-exited", code: 0 }], "finished"],
  ])("%s", (_, before, events, phase) => {
    expect(after(before, events).agent.phase).toBe(phase);
  });

  it("keep the job that ended, and know an engine that never had one", () => {
    expect(after(busy(1), [{ kind: "job-finished", result: "failure" }]).agent).toEqual({
      phase: "finished",
      since: NOW,
      job: { name: "something", taskId: 701 },
      result: "failure",
    });
    expect(after(ready(1), [{ kind: "job-finished" }]).agent).toMatchObject({ job: {} });
    const jobless = after(ready(1), [{ kind: "engine-exited", code: 3 }]);
    expect(jobless.agent).toEqual({ phase: "finished", since: NOW, code: 3 });
    expect(reached(jobless, "finished")).toBe(false);
  });

  it("remember why a runner is drained until it is kept", () => {
    const asked = after(ready(1), [draining, { kind: "draining", reason: "lifetime", detail: "old" }]);
    expect(asked.removal).toEqual({ reason: "scale-down", detail: "not needed", since: NOW });
    expect(after(asked, [{ kind: "assigned", job: {} }, { kind: "kept" }]).removal).toBeUndefined();
    expect(after(busy(1), [draining]).removal).toBeUndefined();
    expect(after(ready(1), [{ kind: "drained" }, draining])).toMatchObject({
      agent: { phase: "drained" },
      removal: { reason: "scale-down" },
    });
  });

  it("set the end once", () => {
    const ended = after(ending(ready(1)), [{ kind: "ending", reason: "forced", detail: "operator" }]);
    expect(ended.ending?.reason).toBe("scale-down");
  });

  it("keep the first registration, and none after the forge said that it is gone", () => {
    const second: RunnerEvent = { kind: "registered", row: 2, uuid: "other" };
    expect(after(ready(1), [second]).registration).toMatchObject({ row: 1 });
    expect(after(ready(1), [{ kind: "row-gone" }, second, { kind: "register-asked" }]).registration).toEqual({
      phase: "gone",
    });
  });

  it("give and withdraw credentials once, in that order", () => {
    const withdrawn: RunnerEvent = { kind: "credentials-withdrawn" };
    expect(after(fresh(1), [withdrawn]).credentials).toBe("none");
    const given = after(fresh(1), [{ kind: "credentials-given" }]);
    expect(given).toMatchObject({ credentials: "given", given: { since: NOW } });
    expect(after(given, [withdrawn, { kind: "credentials-given" }]).credentials).toBe("withdrawn");
  });

  it("keep the address of the first boot", () => {
    const at = (address: string): RunnerEvent => ({ kind: "booted", address });
    expect(after(fresh(1), [at("172.31.0.2"), at("172.31.0.9")]).address).toBe("172.31.0.2");
    expect(after(fresh(1), [{ kind: "booted" }]).address).toBeUndefined();
  });

  it("match a warm runner with a job, and another one as long as it is not registered", () => {
    const first = job(1, { handle: "h1", queuedAt: 3, at: 4 });
    const once = after(warm(1), [{ kind: "matched", job: first }]);
    expect(once).toMatchObject({ jobKey: first.key, handle: "h1", timeline: { queued: 3, observed: 4 } });
    const twice = after(once, [{ kind: "matched", job: job(2, { at: 5 }) }]);
    expect(twice.jobKey).toBe(job(2).key);
    expect(twice.timeline).toEqual({ started: WALL, observed: 5 });
    expect(twice.handle).toBeUndefined();
    const registered = after(once, [{ kind: "register-asked" }, { kind: "matched", job: job(2) }]);
    expect(registered.jobKey).toBe(first.key);
  });
});
