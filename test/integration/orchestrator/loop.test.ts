import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { describe, expect, it } from "vitest";
import type { Runner } from "../../../src/core/types.ts";
import type { SandboxDriver } from "../../../src/sandbox/port.ts";
import {
  eventually,
  FAKE_POOL,
  giteaWithRepository,
  startOrchestrator,
  temporaryDirectory,
} from "../../support/orchestrator.ts";
import { createScriptedDriver } from "../../support/scripted/driver.ts";

const THREE_JOBS = `
on: push
jobs:
  build:
    runs-on: linux
    steps: [{ run: "true" }]
  test:
    runs-on: linux
    steps: [{ run: "true" }]
  deploy:
    needs: [build, test]
    runs-on: linux
    steps: [{ run: "true" }]
`;

describe("the loop, on a forge simulator", () => {
  it("runs every job on a runner of its own and leaves nothing", async () => {
    using directory = temporaryDirectory();
    const { forge, token } = await giteaWithRepository();
    await using _ = forge;
    const scripted = createScriptedDriver({ bootTime: 5, fetchInterval: 10, jobTime: 20 });
    const orchestrator = await startOrchestrator({
      directory: directory.path,
      forge,
      token,
      pools: [FAKE_POOL],
      drivers: new Map([["fake", scripted.driver]]),
    });
    const run = await forge.pushWorkflow({ repository: "org/app", yaml: THREE_JOBS });
    expect(await run.finished(AbortSignal.timeout(20_000))).toEqual({
      build: "success",
      test: "success",
      deploy: "success",
    });
    await eventually("all records closed", () => orchestrator.orchestrator.runners().length === 0);

    const names = forge.jobs().flatMap((job) => job.attempts.map((attempt) => attempt.runner.name));
    expect(new Set(names).size).toBe(3);
    expect(forge.runners("existing")).toEqual([]);
    expect(scripted.running()).toBe(0);
    const history = orchestrator.orchestrator.history(10);
    expect(history.map(({ runner }) => runner.ending?.reason)).toEqual(["finished", "finished", "finished"]);
    for (const { runner } of history) {
      expect(Object.keys(runner.timeline)).toEqual(
        expect.arrayContaining([
          "observed",
          "registered",
          "started",
          "ready",
          "assigned",
          "first_step",
          "finished",
          "destroyed",
        ]),
      );
    }
    await orchestrator.stop("detach", 0);
    await orchestrator.close();
  });

  it("reads the queue when a job ends, since others may have waited for it", async () => {
    using directory = temporaryDirectory();
    const { forge, token } = await giteaWithRepository();
    await using _ = forge;
    const run = await forge.pushWorkflow({ repository: "org/app", yaml: THREE_JOBS });
    const scripted = createScriptedDriver({ bootTime: 5, fetchInterval: 10, jobTime: 20 });
    const orchestrator = await startOrchestrator({
      directory: directory.path,
      forge,
      token,
      pools: [FAKE_POOL],
      drivers: new Map([["fake", scripted.driver]]),
      extra: { pollInterval: "10m" },
    });
    expect(await run.finished(AbortSignal.timeout(30_000))).toMatchObject({ deploy: "success" });
    await orchestrator.stop("detach", 0);
    await orchestrator.close();
  });

  it("has the intents of a whole plan on disk before the first sandbox is begun", async () => {
    using directory = temporaryDirectory();
    const { forge, token } = await giteaWithRepository();
    await using _ = forge;
    const run = await forge.pushWorkflow({ repository: "org/app", yaml: THREE_JOBS });
    const scripted = createScriptedDriver({ bootTime: 5, fetchInterval: 10, jobTime: 20 });
    const seen: { lanes: string[]; begun: string[] }[] = [];
    const driver: SandboxDriver = {
      ...scripted.driver,
      create: (spec, context) => {
        seen.push(onDisk(directory.path));
        return scripted.driver.create(spec, context);
      },
    };
    const orchestrator = await startOrchestrator({
      directory: directory.path,
      forge,
      token,
      pools: [FAKE_POOL],
      drivers: new Map([["fake", driver]]),
    });
    expect(await run.finished(AbortSignal.timeout(30_000))).toMatchObject({ deploy: "success" });
    // Build and test can run at once; deploy waits for both.
    expect(seen[0]?.lanes.toSorted()).toEqual(["forge", "forge", "host", "host"]);
    expect(seen[0]?.begun).toEqual(["starting pending", "starting pending"]);
    await orchestrator.stop("detach", 0);
    await orchestrator.close();
  });
});

/** What another process would find after a crash at this moment. */
function onDisk(directory: string) {
  const database = new DatabaseSync(join(directory, "state", "state.db"), { readOnly: true });
  const lanes = database.prepare("SELECT lane FROM intents").all();
  const records = database.prepare("SELECT record FROM runners").all();
  database.close();
  return {
    lanes: lanes.map(({ lane }) => String(lane).split(":").at(-1) ?? ""),
    begun: records.map(({ record }) => {
      const { sandbox, registration } = JSON.parse(String(record)) as Runner;
      return `${sandbox.phase} ${registration.phase}`;
    }),
  };
}
