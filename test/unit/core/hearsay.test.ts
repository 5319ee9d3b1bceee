import { describe, expect, it } from "vitest";
import { hearsay } from "../../../src/core/hearsay.ts";
import type { ForgeView } from "../../../src/core/plan-types.ts";
import type { RunnerEvent } from "../../../src/core/runner.ts";
import type { Runner } from "../../../src/core/types.ts";
import { after, booting, busy, ending, forge, fresh, NOW, ready, row, running } from "./build.ts";

const mute = { mute: true } as const;
const exit: RunnerEvent = { kind: "sandbox-exited", exit: { code: 0, signal: null, at: 0 } };
const online = { rows: [row(1)] };
const UP = ["agent-up", "listening"];
const silent = booting(1, mute);

describe("what the forge tells of a mute runner", () => {
  const table: [string, Runner, Partial<ForgeView>, string[]][] = [
    ["nothing new", silent, { rows: [row(1, { online: false })] }, []],
    ["its row is online", silent, online, UP],
    ["its row is online, once more", ready(1, mute), online, []],
    ["another row is online", silent, { rows: [row(2)] }, []],
    ["it has a job", silent, { jobs: [running(7, 1)] }, [...UP, "assigned"]],
    ["it has a job that was told", busy(1, mute), { jobs: [running(7, 1)] }, []],
    ["another has a job", silent, { jobs: [running(7, 2)] }, []],
    ["nobody knows whose a job is", silent, { jobs: [running(7, undefined)] }, []],
    [
      "the row that it made by itself has a job",
      silent,
      { rows: [row(1), row(9, { name: silent.name })], jobs: [running(7, 9)] },
      [...UP, "assigned"],
    ],
    ["its row is gone while it runs", ready(1, mute), { rows: [], rowsSince: NOW }, []],
    ["it ended, the lists are from before", after(silent, [exit]), { rows: [], rowsSince: NOW - 1 }, []],
    [
      "it ended, and its row with it",
      after(silent, [exit]),
      { rows: [], rowsSince: NOW },
      [...UP, "assigned", "job-finished"],
    ],
    ["it ended, its row did not", after(silent, [exit]), { rows: [row(1, { online: false })], rowsSince: NOW }, []],
    ["it ended after its job", after(busy(1, mute), [exit]), { rows: [row(1)], rowsSince: NOW }, ["job-finished"]],
    ["it ended under its job", after(busy(1, mute), [exit]), { jobs: [running(7, 1)], rowsSince: NOW }, []],
    ["the forge is frozen", silent, { ...online, health: "frozen" }, []],
    ["it is not booted", fresh(1, mute), online, []],
    ["it winds down", ending(silent), online, []],
    ["its agent speaks for itself", booting(1), online, []],
  ];
  it.each(table)("%s", (_, runner, view, events) => {
    expect(hearsay(runner, forge(view)).map(({ kind }) => kind)).toEqual(events);
  });

  it("names the job", () => {
    const jobs = [running(7, 1, { name: "build", repository: "org/app" })];
    expect(hearsay(silent, forge({ jobs })).at(-1)).toEqual({
      kind: "assigned",
      job: { name: "build", repository: "org/app" },
    });
  });

  it("is nothing where the forge is not known", () => {
    expect(hearsay(silent, undefined)).toEqual([]);
  });
});
