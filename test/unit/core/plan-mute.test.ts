import { describe, expect, it } from "vitest";
import type { PlanMemory } from "../../../src/core/plan-types.ts";
import { emptyMemory } from "../../../src/core/plan-types.ts";
import type { RunnerEvent } from "../../../src/core/runner.ts";
import type { Runner } from "../../../src/core/types.ts";
import {
  after,
  booting,
  busy,
  forge,
  fresh,
  job,
  MINUTE,
  NOW,
  planned,
  poolView,
  ready,
  row,
  running,
  shown,
  steps,
  T,
} from "./build.ts";

const mute = { mute: true } as const;
const pools = [poolView(mute)];
const exit: RunnerEvent = { kind: "sandbox-exited", exit: { code: 0, signal: null, at: 0 } };
const removal: RunnerEvent = { kind: "draining", reason: "idle-timeout", detail: "no job" };

describe("a pool whose images have the original's agent", () => {
  it("registers before it boots", () => {
    expect(steps({ pools, jobs: [job(1)] })).toEqual(["create a", "register new"]);
    const asked = after(fresh(1, { ...mute, jobKey: job(1).key }), [{ kind: "register-asked" }]);
    expect(steps({ pools, runners: [asked], jobs: [job(1)] })).toEqual(["register 1"]);
    const registered = after(asked, [{ kind: "registered", row: 1, uuid: "u" }]);
    expect(steps({ pools, runners: [registered], jobs: [job(1)] })).toEqual(["boot 1"]);
  });

  it("gives nothing by metadata", () => {
    expect(steps({ pools, runners: [booting(1, mute)], jobs: [job(1)] })).toEqual([]);
    expect(steps({ pools, runners: [busy(1, { ...mute, credentials: "none" })], jobs: [running(1, 1)] })).toEqual([]);
  });

  it("registers what its minimum asks for, since there is no other way to be there", () => {
    const warm = [poolView({ ...mute, minIdle: 1 })];
    expect(steps({ pools: warm })).toEqual(["create a", "register new"]);
  });

  it("binds no runner to a job", () => {
    const output = planned({ pools, jobs: [job(1, { handle: "h" })] });
    const [create] = output.steps;
    expect(create).toMatchObject({ kind: "create", runner: { mute: true, jobKey: job(1).key } });
    expect(create).not.toHaveProperty("runner.handle");
  });

  it("replaces runners of the other kind", () => {
    expect(steps({ pools, runners: [after(fresh(1), [])] })).toEqual(["end 1 outdated"]);
  });
});

describe("a mute runner", () => {
  const view = (over = {}) => ({ [T]: forge({ rows: [row(1, { online: false })], rowsSince: NOW, ...over }) });
  const late = booting(1, mute, NOW - 3 * MINUTE);

  it("has until boot and ready limit together to be online in the forge", () => {
    expect(steps({ pools, runners: [late], forges: view(), jobs: [] })).toEqual(["end 1 boot-timeout"]);
    expect(steps({ pools, runners: [booting(1, mute, NOW - 2 * MINUTE)], forges: view() })).toEqual([]);
  });

  it("is not late by a list that is older than the limit, nor by a forge in trouble or one that lists no runners", () => {
    expect(steps({ pools, runners: [late], forges: view({ rowsSince: NOW - 1 }) })).toEqual([]);
    expect(steps({ pools, runners: [late], forges: view({ health: "frozen" }) })).toEqual([]);
    expect(steps({ pools, runners: [late], forges: { [T]: forge({ listsRunners: false }) } })).toEqual([]);
  });

  it("ends as finished when its row is gone at two reads", () => {
    let memory: PlanMemory = emptyMemory();
    const at = (rowsRead: number): string[] => {
      const forges = view({ rows: [], rowsRead });
      const output = planned({ pools, runners: [busy(1, mute)], forges, memory });
      memory = output.memory;
      return shown(output.steps).filter((step) => step.startsWith("end"));
    };
    expect([at(5), at(6), at(7)]).toEqual([[], [], ["end 1 finished"]]);
  });

  it("waits after its end for what the forge says", () => {
    const ended = after(booting(1, mute), [exit]);
    expect(steps({ pools, runners: [ended], forges: view({ rowsSince: NOW - 1 }) })).toEqual([]);
    expect(steps({ pools, runners: [ended], forges: view() })).toEqual(["end 1 sandbox-exited"]);
    const long = after(booting(1, mute, NOW - 5 * MINUTE), [exit], NOW - 2 * MINUTE);
    expect(steps({ pools, runners: [long], forges: view({ rowsSince: 0 }) })).toEqual(["end 1 sandbox-exited"]);
  });

  it("may have done its job when it ended: another runner waits until the forge has told", () => {
    const jobs = [job(1)];
    const ended = after(booting(1, { ...mute, jobKey: job(1).key }), [exit]);
    expect(steps({ pools, runners: [ended], forges: view({ jobs, rowsSince: NOW - 1 }) })).toEqual([]);
    const failed = after(ended, [{ kind: "ending", reason: "sandbox-exited", detail: "" }]);
    expect(steps({ pools, runners: [failed], forges: view({ jobs }) })).toContain("create a");
  });

  it("is never asked, but watched, before it is removed", () => {
    const idle = ready(1, { ...mute, credentials: "none" }, NOW - 20 * MINUTE);
    expect(steps({ pools, runners: [idle], forges: view() })).toEqual(["drain 1 idle-timeout"]);
    expect(removed(after(idle, [removal]), [])).toEqual([[], [], ["end 1 idle-timeout"]]);
    const starting = booting(1, mute);
    expect(steps({ pools: [], runners: [starting], forges: view() })).toEqual(["drain 1 outdated"]);
    expect(removed(after(starting, [removal]), [])).toEqual([[], [], ["end 1 idle-timeout"]]);
  });

  it("stays while one of the forge's running jobs is, or may be, its own", () => {
    const going = after(ready(1, mute), [removal]);
    expect(removed(going, [running(5, 1)])).toEqual([[], [], []]);
    expect(removed(going, [running(5, undefined)])).toEqual([[], [], []]);
    expect(removed(going, [running(5, 2)])).toEqual([[], [], ["end 1 idle-timeout"]]);
    const working = after(going, [{ kind: "assigned", job: {} }]);
    expect(steps({ pools, runners: [working], forges: view() })).toContain("keep 1");
  });

  it("may be removed at once while nothing is in its sandbox", () => {
    const registered = after(fresh(1, mute), [{ kind: "registered", row: 1, uuid: "u" }]);
    expect(steps({ pools: [], runners: [registered], forges: view() })).toEqual(["end 1 outdated"]);
  });

  /** The ends of three plans, each after another read of the queue. */
  function removed(runner: Runner, jobs: ReturnType<typeof running>[]): string[][] {
    let memory: PlanMemory = emptyMemory();
    return [5, 6, 7].map((jobsRead) => {
      const output = planned({ pools, runners: [runner], forges: view({ jobs, jobsRead }), memory });
      memory = output.memory;
      return shown(output.steps).filter((step) => step.startsWith("end"));
    });
  }
});
