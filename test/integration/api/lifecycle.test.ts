import { describe, expect, it } from "vitest";
import {
  eventually,
  FAKE_POOL,
  giteaWithRepository,
  startOrchestrator,
  temporaryDirectory,
} from "../../support/orchestrator.ts";
import { createScriptedDriver } from "../../support/scripted/driver.ts";
import { depsOf, json, serveApi } from "./world.ts";

const job = (name: string) => `
on: push
jobs:
  ${name}:
    runs-on: linux
    steps: [{ run: "true" }]
`;

describe("the API of the whole orchestrator", () => {
  it("shows a job's way, refuses to end it, ends it by force, and holds a paused pool back", async () => {
    using directory = temporaryDirectory();
    const { forge, token } = await giteaWithRepository();
    await using _ = forge;
    const script = { bootTime: 5, fetchInterval: 5, jobTime: 600_000 };
    const scripted = createScriptedDriver(script);
    const composition = await startOrchestrator({
      directory: directory.path,
      forge,
      token,
      pools: [FAKE_POOL],
      drivers: new Map([["fake", scripted.driver]]),
    });
    const { orchestrator } = composition;
    await using api = await serveApi(
      directory.path,
      depsOf(orchestrator, { metrics: () => composition.metrics.scrape() }),
    );
    const get = async (path: string) => json(await api.socket("GET", path)) as Record<string, unknown>;
    const list = async (path: string, key: string) => (await get(path))[key] as Record<string, unknown>[];

    await forge.pushWorkflow({ repository: "org/app", yaml: job("long") });
    await eventually("the job runs", () => orchestrator.runners().some(({ agent }) => agent.phase === "busy"));
    const [runner] = await list("/api/v1/runners", "runners");
    const path = `/api/v1/runners/${String(runner?.["id"])}`;
    expect(runner).toMatchObject({ pool: "default", status: "busy", phase: "first_step" });
    expect((await get("/api/v1/pools/default"))["runners"]).toMatchObject([{ status: "busy", job_id: "1" }]);
    expect(await list("/api/v1/pools", "pools")).toMatchObject([{ currentRunners: 1, busyRunners: 1, idleRunners: 0 }]);
    expect((await api.socket("DELETE", path)).status).toBe(409);
    expect((await get(path))["status"], "a refusal changes nothing").toBe("busy");
    expect((await api.socket("DELETE", `${path}?force=true`)).status).toBe(202);
    await eventually("the runner is gone", () => orchestrator.runners().length === 0);
    expect(await get(path)).toMatchObject({ status: "stopped", ending: { reason: "forced" } });
    const story = (await list(`${path}/events`, "events")).map(({ change }) => change);
    expect(story).toEqual(
      expect.arrayContaining(["created", "registered", "booted", "assigned", "ending", "row-gone"]),
    );
    expect([story[0], story.includes("sandbox-gone")]).toEqual(["created", true]);
    expect(scripted.running()).toBe(0);

    script.jobTime = 5;
    expect((await api.socket("POST", "/api/v1/pools/default/pause")).status).toBe(200);
    const run = await forge.pushWorkflow({ repository: "org/app", yaml: job("waits") });
    await eventually("the job waits for the pool", () => orchestrator.reasons().some(({ code }) => code === "paused"));
    expect(await list("/api/v1/jobs", "jobs")).toMatchObject([{ code: "paused", job: { name: "waits" } }]);
    expect(await list("/api/v1/pools", "pools")).toMatchObject([{ paused: true, currentRunners: 0 }]);
    expect((await api.socket("POST", "/api/v1/pools/default/resume")).status).toBe(200);
    expect(await run.finished(AbortSignal.timeout(20_000))).toEqual({ waits: "success" });
    await eventually("all records closed", () => orchestrator.runners().length === 0);
    expect((await list("/api/v1/history", "runners")).map(({ result }) => result)).toEqual(["success", "failure"]);

    const { body } = await api.metrics("GET", "/");
    const value = (sample: string) =>
      Number(new RegExp(`^fireteact_${RegExp.escape(sample)} (\\S+)$`, "m").exec(body)?.[1]);
    expect({
      asked: value('pool_scale_requests_total{pool="default"}'),
      made: value('pool_scale_successes_total{pool="default"}'),
      failed: value('pool_scale_failures_total{pool="default"}'),
      spawned: value('runner_spawn_total{pool="default"}'),
      good: value('jobs_total{pool="default",result="success"}'),
      forced: value('runners_ended_total{pool="default",reason="forced"}'),
      current: value('pool_current_runners_count{pool="default"}'),
      waited: value('job_wait_duration_seconds_count{pool="default"}'),
      lived: value('pool_vm_lifetime_duration_seconds_count{pool="default"}'),
    }).toEqual({ asked: 2, made: 2, failed: 0, spawned: 2, good: 1, forced: 1, current: 0, waited: 2, lived: 2 });
    expect(value("vm_creation_duration_seconds_sum")).toBeGreaterThan(0);
    expect(value(`forge_requests_total{target="${forge.url}#instance",operation="register",status="200"}`)).toBe(2);
    await composition.stop("detach", 0);
    await composition.close();
  });
});
