import { describe, expect, it } from "vitest";
import { ANSWER } from "../../../src/core/limits.ts";
import type { RunnerEvent } from "../../../src/core/runner.ts";
import type { Runner } from "../../../src/core/types.ts";
import {
  after,
  booting,
  busy,
  ending,
  forge,
  fresh,
  job,
  limits,
  MINUTE,
  NOW,
  planned,
  poolView,
  ready,
  running,
  SECOND,
  shown,
  T,
  warm,
} from "./build.ts";

const short = limits({
  boot: 10 * SECOND,
  ready: 20 * SECOND,
  idle: 5 * MINUTE,
  job: 30 * MINUTE,
  lifetime: 60 * MINUTE,
});
const own = { limits: short, since: NOW };
const given: RunnerEvent[] = [{ kind: "agent-up" }, { kind: "credentials-given" }];
const asked: RunnerEvent = { kind: "draining", reason: "ready-timeout", detail: "it is late" };
const exit = { code: 0, signal: null, at: 0 };

interface Row {
  what: string;
  runner: Runner;
  /** How long after NOW the limit is reached. */
  at: number;
  step: string;
}

const ROWS: Row[] = [
  {
    what: "boot: the agent never reports",
    runner: after(fresh(1, own), [{ kind: "booted" }]),
    at: short.boot,
    step: "end 1 boot-timeout",
  },
  {
    what: "ready: the credentials are never fetched",
    runner: after(booting(1, own), given),
    at: short.ready,
    step: "drain 1 ready-timeout",
  },
  {
    what: "boot: begun anew for a sandbox that was taken over",
    runner: after(after(fresh(1, own), [{ kind: "booted" }]), [{ kind: "adopted" }], NOW + MINUTE),
    at: MINUTE + short.boot,
    step: "end 1 boot-timeout",
  },
  {
    what: "ready: begun anew where nobody handed out credentials for a while",
    runner: after(after(booting(1, own), given), [{ kind: "adopted" }], NOW + MINUTE),
    at: MINUTE + short.ready,
    step: "drain 1 ready-timeout",
  },
  {
    what: "job: it may have ended, and its agent is about to say so",
    runner: after(busy(1, own), [{ kind: "adopted" }], NOW + 2 * short.job),
    at: 2 * short.job + 10 * SECOND,
    step: "end 1 job-timeout",
  },
  {
    what: "job: held to its own limit, whoever took it over",
    runner: after(busy(1, own), [{ kind: "adopted" }], NOW + MINUTE),
    at: short.job,
    step: "end 1 job-timeout",
  },
  {
    what: "orphaned: it waits for credentials that were lost with its record",
    runner: after(booting(1, { ...own, secretLost: true }), given),
    at: 3 * SECOND,
    step: "end 1 orphaned",
  },
  {
    what: "ready: the engine never listens, whoever knows the credentials that it was given",
    runner: after(after(booting(1, { ...own, secretLost: true }), given), [{ kind: "engine-starting" }]),
    at: short.ready,
    step: "drain 1 ready-timeout",
  },
  {
    what: "ready: the engine never listens",
    runner: after(after(booting(1, own), given), [{ kind: "engine-starting" }], NOW + SECOND),
    at: SECOND + short.ready,
    step: "drain 1 ready-timeout",
  },
  {
    what: "ready: the credentials were there long before the agent",
    runner: after(
      after(booting(1, own), [{ kind: "credentials-given" }]),
      [{ kind: "agent-up" }, { kind: "engine-starting" }],
      NOW + MINUTE,
    ),
    at: MINUTE + short.ready,
    step: "drain 1 ready-timeout",
  },
  {
    what: "ready: the credentials cannot be handed over",
    runner: after(booting(1, own), [{ kind: "agent-up" }]),
    at: short.ready,
    step: "end 1 ready-timeout",
  },
  {
    what: "ready: it cannot be asked whether it has got a job",
    runner: after(booting(1, own), given),
    at: short.ready + ANSWER,
    step: "end 1 ready-timeout",
  },
  {
    what: "ready: it does not answer whether it has got a job",
    runner: after(booting(1, own), [...given, asked]),
    at: ANSWER,
    step: "end 1 ready-timeout",
  },
  {
    what: "ready: asked by a process that died, it is heard out",
    runner: after(after(booting(1, own), [...given, asked]), [{ kind: "adopted" }], NOW + MINUTE),
    at: MINUTE + ANSWER,
    step: "end 1 ready-timeout",
  },
  { what: "idle: no job for a listening runner", runner: ready(1, own), at: short.idle, step: "drain 1 idle-timeout" },
  { what: "idle: no job for a warm runner", runner: warm(1, own), at: short.idle, step: "end 1 idle-timeout" },
  { what: "job: it hangs", runner: busy(1, own), at: short.job, step: "end 1 job-timeout" },
  {
    what: "finish: the job ended, its sandbox does not",
    runner: after(busy(1, own), [{ kind: "job-finished" }]),
    at: 2 * MINUTE,
    step: "end 1 finished",
  },
  {
    what: "lifetime: a runner that waits with its pool's minimum",
    runner: ready(1, { ...own, limits: { ...short, idle: 600 * MINUTE } }),
    at: short.lifetime,
    step: "drain 1 lifetime",
  },
  {
    what: "lifetime: a warm runner",
    runner: warm(1, { ...own, limits: { ...short, idle: 600 * MINUTE } }),
    at: short.lifetime,
    step: "end 1 lifetime",
  },
];

describe("limits", () => {
  const at = (runner: Runner, now: number) => planned({ runners: [runner], now });

  it.each(ROWS)("$what", ({ runner, at: limit, step }) => {
    expect(shown(at(runner, NOW + limit - 1).steps)).not.toContain(step);
    expect(shown(at(runner, NOW + limit).steps)).toContain(step);
  });

  it.each(ROWS)("wakes for it: $what", ({ runner, at: limit }) => {
    expect(at(runner, NOW + limit - 1).wakeAt).toBe(NOW + limit);
  });

  it.each(ROWS.filter(({ step }) => !step.includes("idle")))("applies while the forge is in trouble: $what", (row) => {
    const output = planned({ runners: [row.runner], now: NOW + row.at, forges: { [T]: forge({ health: "frozen" }) } });
    expect(shown(output.steps)).toContain(row.step);
  });

  it("says in the detail which limit it was", () => {
    const [step] = at(busy(1, own), NOW + short.job).steps;
    expect(step).toMatchObject({ detail: "the job did not end within 30 min" });
  });

  it("holds a job to its own limit, not to the age of its runner", () => {
    const old = busy(1, { ...own, since: NOW - 59 * MINUTE });
    expect(shown(at(old, NOW + 29 * MINUTE).steps)).toEqual([]);
    expect(shown(at(old, NOW + 30 * MINUTE).steps)).toEqual(["end 1 job-timeout"]);
  });

  it("does not call a runner late that the forge says has a job", () => {
    const quiet = after(booting(1, own), [{ kind: "agent-up" }, { kind: "credentials-given" }]);
    const output = planned({ runners: [quiet], jobs: [running(7, 1)], now: NOW + short.ready });
    expect(shown(output.steps)).toEqual([]);
  });

  it("keeps a late runner that has just got a job", () => {
    const lucky = after(booting(1, own), [...given, asked, { kind: "assigned", job: {} }]);
    expect(shown(at(lucky, NOW + ANSWER).steps)).toContain("keep 1");
    const unheard = after(booting(1, own), [...given, asked]);
    const output = planned({ runners: [unheard], jobs: [running(7, 1)], now: NOW + ANSWER });
    expect(shown(output.steps).filter((step) => step.startsWith("end"))).toEqual([]);
  });

  it("makes the pool wait after a late runner that had no job", () => {
    const output = at(after(booting(1, own), [...given, asked, { kind: "drained" }]), NOW);
    expect(shown(output.steps)).toEqual(["end 1 ready-timeout"]);
    expect(output.memory.pools["a"]).toMatchObject({ failures: 1 });
  });

  it("does not drain a runner past its lifetime that the forge says has a job", () => {
    const output = planned({ runners: [ready(1, own)], jobs: [running(7, 1)], now: NOW + short.lifetime });
    expect(shown(output.steps)).toEqual([]);
  });

  it("ends at last a runner past its lifetime that cannot be asked whether it has a job", () => {
    const lost = ready(1, { ...own, limits: { ...short, idle: 600 * MINUTE } });
    const output = planned({ runners: [lost], now: NOW + short.lifetime + short.job });
    expect(shown(output.steps)).toContain("end 1 lifetime");
  });

  it("tells why the agent could not be heard", () => {
    const said = { kind: "agent-trouble", detail: "the agent speaks version 0" } as const;
    const runner = after(fresh(1, own), [{ kind: "booted" }, said]);
    const [step] = planned({ runners: [runner], now: NOW + short.boot }).steps;
    expect(step).toMatchObject({
      reason: "boot-timeout",
      detail: expect.stringMatching(/did not .*: the agent speaks/),
    });
    expect(after(runner, [said])).toBe(runner);
  });

  it("keeps the reason of an end that was decided before", () => {
    const output = planned({ runners: [ending(busy(1, own))], now: NOW + short.job });
    expect(shown(output.steps)).toEqual(["destroy 1"]);
  });

  it("prefers the end that happened to a limit that was reached", () => {
    const over = after(busy(1, own), [{ kind: "job-finished" }, { kind: "sandbox-exited", exit }]);
    expect(shown(at(over, NOW + 600 * MINUTE).steps)).toEqual(["end 1 finished"]);
  });

  it("makes the pool wait after a runner that never came to its work", () => {
    const output = planned({ runners: [after(fresh(1, own), [{ kind: "booted" }])], now: NOW + short.boot });
    expect(output.memory.pools["a"]).toMatchObject({ failures: 1, error: "the sandbox did not report within 10 s" });
  });

  it("makes the pool wait after a sandbox that ended before it came to a job, and after no other", () => {
    const ended: RunnerEvent = { kind: "sandbox-exited", exit };
    expect(at(after(booting(1, own), [ended]), NOW).memory.pools).toHaveProperty("a");
    expect(at(after(busy(1, own), [ended]), NOW).memory.pools).toEqual({});
    expect(at(after(busy(1, own), [{ kind: "job-finished" }, ended]), NOW).memory.pools).toEqual({});
  });

  it("does not make the pool wait after a job that hung", () => {
    expect(at(busy(1, own), NOW + short.job).memory.pools).toEqual({});
  });

  it("leaves a matched runner alone, however long it was idle", () => {
    const output = planned({ runners: [warm(1, own)], jobs: [job(1)], now: NOW + short.idle, pools: [poolView()] });
    expect(shown(output.steps)).toEqual(["register 1"]);
  });
});
