import { describe, expect, it } from "vitest";
import { emptyMemory } from "../../../src/core/plan-types.ts";
import type { JobOutcome, Runner } from "../../../src/core/types.ts";
import type { Orchestrator, OrchestratorEvent } from "../../../src/orchestrator/port.ts";
import { createMetrics, type ForgeRequest } from "../../../src/telemetry/metrics.ts";
import { standIn } from "../../support/stand-in-orchestrator.ts";
import { after, busy, ending, fresh, job, poolView, ready, WALL, warm } from "../core/build.ts";

function world(over: Partial<Orchestrator> = {}) {
  const listeners: ((event: OrchestratorEvent) => void)[] = [];
  const metrics = createMetrics(
    standIn({
      pools: () => [poolView({ name: "a", maxRunners: 5, minRunners: 2 }), poolView({ name: "b" }, { paused: true })],
      subscribe: (listener) => {
        listeners.push(listener);
        return () => undefined;
      },
      ...over,
    }),
  );
  return {
    emit: (...events: OrchestratorEvent[]) => {
      for (const event of events) for (const listener of listeners) listener(event);
    },
    forgeRequest: (request: ForgeRequest) => metrics.forgeRequest(request),
    /** Sample line to value, of our own metrics that are not 0. */
    read: async (): Promise<Record<string, number>> => {
      const { body } = await metrics.scrape();
      const lines = body.split("\n").filter((line) => line.startsWith("fireteact_") && !line.includes("_bucket"));
      const samples = lines.map((line): [string, number] => {
        const at = line.lastIndexOf(" ");
        return [line.slice("fireteact_".length, at), Number(line.slice(at + 1))];
      });
      return Object.fromEntries(samples.filter(([, value]) => value !== 0));
    },
  };
}

const changed = (change: string, runner: Runner): OrchestratorEvent => ({ kind: "runner", change, runner, at: WALL });

describe("metrics", () => {
  it("tell what the snapshot shows, and forget what it shows no more", async () => {
    let runners = [busy(1), ready(2), warm(3), ending(ready(4)), ready(5, { pool: "b" })];
    const { read } = world({
      runners: () => runners,
      reasons: () => [1, 2].map((id) => ({ job: job(id), code: "pool-at-max", detail: "" })),
      targets: () => [
        { key: "x", url: "", health: "ok" },
        { key: "y", url: "", health: "frozen" },
      ],
      memory: () => ({ ...emptyMemory(), pools: { b: { failures: 3, since: 0, until: 0, error: "" } } }),
    });
    expect(await read()).toEqual({
      server_up: 1,
      pool_total: 2,
      pools_total: 2,
      'pool_max_runners_count{pool="a"}': 5,
      'pool_max_runners_count{pool="b"}': poolView().pool.maxRunners,
      'pool_min_runners_count{pool="a"}': 2,
      'pool_current_runners_count{pool="a"}': 4,
      'pool_current_runners_count{pool="b"}': 1,
      'pool_idle_runners_count{pool="a"}': 2,
      'pool_idle_runners_count{pool="b"}': 1,
      'pool_busy_runners_count{pool="a"}': 1,
      'pool_status{pool="a"}': 1,
      'pool_usable{pool="a"}': 1,
      'pool_usable{pool="b"}': 1,
      'pool_failures_in_a_row{pool="b"}': 3,
      'runners_total{pool="a",state="busy"}': 1,
      'runners_total{pool="a",state="idle"}': 2,
      'runners_total{pool="a",state="stopping"}': 1,
      'runners_total{pool="b",state="idle"}': 1,
      'jobs_waiting{reason="pool-at-max"}': 2,
      'forge_up{target="x"}': 1,
    });
    runners = [];
    expect(Object.keys(await read()).filter((name) => name.startsWith("runners_total"))).toEqual([]);
  });

  it("count each runner once as asked for, and once as made or not", async () => {
    const { emit, read } = world();
    const failed = after(fresh(2), [{ kind: "ending", reason: "boot-failed", detail: "no" }]);
    const unneeded = after(fresh(3), [{ kind: "ending", reason: "scale-down", detail: "no" }]);
    const late = after(busy(1), [{ kind: "ending", reason: "sandbox-exited", detail: "no" }]);
    emit(
      changed("created", fresh(1)),
      changed("agent-up", warm(1)),
      changed("ending", late),
      changed("created", fresh(2)),
      changed("ending", failed),
      changed("created", fresh(3)),
      changed("ending", unneeded),
      { kind: "step", step: "boot", pool: "a", milliseconds: 1500, ok: true },
      { kind: "step", step: "boot", pool: "a", milliseconds: 10, ok: false },
      { kind: "step", step: "register", pool: "a", milliseconds: 20, ok: false },
    );
    expect(await read()).toMatchObject({
      'pool_scale_requests_total{pool="a"}': 3,
      'pool_scale_successes_total{pool="a"}': 1,
      'pool_scale_failures_total{pool="a"}': 1,
      'runner_spawn_total{pool="a"}': 1,
      'runner_spawn_errors_total{pool="a"}': 1,
      'pool_vm_creation_duration_seconds_sum{pool="a"}': 1.5,
      'pool_vm_creation_duration_seconds_count{pool="a"}': 1,
      vm_creation_duration_seconds_sum: 1.5,
      'step_duration_seconds_count{step="register",outcome="failure"}': 1,
    });
  });

  it("count the job of a runner that ended under it by what the forge knows", async () => {
    const { emit, read } = world();
    const outcomes: JobOutcome[] = [
      { state: "failed" },
      { state: "over", result: "success" },
      { state: "over" },
      { state: "left", detail: "why" },
    ];
    for (const outcome of outcomes) {
      const runner = after(ending(busy(1)), [{ kind: "job-settled", outcome }]);
      emit({ kind: "closed", runner: { ...runner, timeline: {} }, at: WALL });
    }
    expect(await read()).toMatchObject({
      'jobs_total{pool="a",result="failure"}': 1,
      'jobs_total{pool="a",result="success"}': 1,
      'jobs_total{pool="a",result="unknown"}': 2,
    });
  });

  it("take the times of a runner that is gone from its timeline", async () => {
    const { emit, read } = world();
    const timeline = {
      queued: WALL - 2000,
      observed: WALL,
      registered: WALL + 500,
      // Earlier than the phase before, as with a warm sandbox: no time, not a negative one.
      started: WALL + 400,
      ready: WALL + 1000,
      assigned: WALL + 1500,
      first_step: WALL + 2000,
      finished: WALL + 62_000,
      destroyed: WALL + 62_400,
    };
    const finished = after(busy(1), [{ kind: "job-finished", result: "failure" }]);
    emit({ kind: "closed", runner: { ...finished, timeline }, at: WALL });
    emit({ kind: "closed", runner: { ...ending(busy(2)), timeline: {} }, at: WALL });
    emit({ kind: "closed", runner: { ...ending(ready(3)), timeline: {} }, at: WALL });
    const samples = await read();
    expect(samples).toMatchObject({
      'jobs_total{pool="a",result="failure"}': 1,
      'jobs_total{pool="a",result="unknown"}': 1,
      'runners_ended_total{pool="a",reason="finished"}': 1,
      'runners_ended_total{pool="a",reason="scale-down"}': 2,
      'pool_vm_lifetime_duration_seconds_sum{pool="a"}': 62,
      'pool_vm_lifetime_duration_seconds_count{pool="a"}': 1,
      'job_wait_duration_seconds_sum{pool="a"}': 2,
      'job_phase_duration_seconds_sum{pool="a",phase="observed"}': 2,
      'job_phase_duration_seconds_sum{pool="a",phase="finished"}': 60,
      'job_phase_duration_seconds_count{pool="a",phase="started"}': 1,
    });
    expect(samples).not.toHaveProperty('job_phase_duration_seconds_sum{pool="a",phase="started"}');
  });

  it("count requests to forges by status, and plans", async () => {
    const { emit, forgeRequest, read } = world();
    forgeRequest({ target: "x", operation: "jobs", status: "200" });
    forgeRequest({ target: "x", operation: "jobs", status: "error" });
    emit({ kind: "plan", milliseconds: 2, steps: 0 });
    emit({ kind: "part", step: "boot", part: "clone disk", milliseconds: 5, ok: true });
    expect(await read()).toMatchObject({
      'forge_requests_total{target="x",operation="jobs",status="200"}': 1,
      'forge_requests_total{target="x",operation="jobs",status="error"}': 1,
      plan_duration_seconds_sum: 0.002,
      'step_part_duration_seconds_count{step="boot",part="clone disk",outcome="success"}': 1,
    });
  });

  it("have the original's names and types", async () => {
    const scrape = await createMetrics(standIn()).scrape();
    const types = Object.fromEntries(
      [...scrape.body.matchAll(/^# TYPE fireteact_(\S+) (\S+)$/gm)].map((row) => row.slice(1)),
    );
    expect(scrape.contentType).toMatch(/^text\/plain; version=0\.0\.4/);
    expect(types).toMatchObject({
      server_up: "gauge",
      pool_max_runners_count: "gauge",
      pool_min_runners_count: "gauge",
      pool_current_runners_count: "gauge",
      pool_idle_runners_count: "gauge",
      pool_busy_runners_count: "gauge",
      pool_scale_requests_total: "counter",
      pool_scale_failures_total: "counter",
      pool_scale_successes_total: "counter",
      pool_total: "gauge",
      pool_status: "gauge",
      pool_vm_creation_duration_seconds: "histogram",
      pool_vm_lifetime_duration_seconds: "histogram",
      pools_total: "gauge",
      runners_total: "gauge",
      runner_spawn_total: "counter",
      runner_spawn_errors_total: "counter",
      vm_creation_duration_seconds: "histogram",
    });
  });
});
