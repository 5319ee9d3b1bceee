import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it, onTestFinished } from "vitest";
import type { EngineContext } from "../../../src/agent/engines/engine.ts";
import { giteaRunner } from "../../../src/agent/engines/gitea-runner.ts";
import { findIdentity } from "../../../src/agent/identity.ts";
import { parseOptions } from "../../../src/agent/options.ts";
import { systemClock } from "../../../src/base/clock.ts";
import { silentLogger } from "../../../src/base/log.ts";
import type { TrustPolicy } from "../../../src/base/trust.ts";

const TRUST: TrustPolicy = { repositories: ["acme/site"], events: ["push"], branches: ["main"], allowForks: false };

/** A program that says its version, and what the agent would start it with. */
function place(says: string, more: { trust?: TrustPolicy; flags?: string[] } = { trust: TRUST }) {
  const folder = mkdtempSync(join(tmpdir(), "hook-engine-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const program = join(folder, "gitea-runner");
  writeFileSync(program, `#!/bin/sh\necho "${says}"\n`, { mode: 0o755 });
  const flags = [`--work-dir=${folder}`, `--config=${folder}/config.yaml`, ...(more.flags ?? [])];
  const credentials = { row: "1", uuid: "u", token: "t", address: "a", labels: [], ephemeral: true };
  const context: EngineContext = {
    assignment: { name: "r", pool: "p", engine: "gitea-runner", credentials, ...(more.trust && { trust: more.trust }) },
    options: parseOptions(flags),
    runnerFile: join(folder, ".runner"),
    identity: { ...findIdentity({ owner: "root", group: "root", log: silentLogger }), switches: false },
    environment: {},
    clock: systemClock,
    log: silentLogger,
    report: () => undefined,
  };
  const config = () => readFileSync(join(folder, "config.yaml"), "utf8");
  return { folder, config, prepare: () => giteaRunner.prepare(context, program) };
}

it("is written for gitea-runner 3, with the policy beside it, and only to be read", async () => {
  const { folder, config, prepare } = place("gitea-runner version v3.3.0");
  await prepare();
  expect(config()).toContain(`job_started: "${folder}/job-started"`);
  expect(JSON.parse(readFileSync(join(folder, "trust.json"), "utf8"))).toEqual(TRUST);
  expect(statSync(join(folder, "job-started")).mode & 0o777).toBe(0o555);
  expect(statSync(join(folder, "trust.json")).mode & 0o777).toBe(0o444);
});

it("is the one that the unit names, where it names one", async () => {
  const { config, prepare } = place("gitea-runner version v3.0.0", {
    trust: TRUST,
    flags: ["--job-started-hook=/usr/lib/hook"],
  });
  await prepare();
  expect(config()).toContain('job_started: "/usr/lib/hook"');
});

it.each([
  "gitea-runner version v2.3.0",
  "gitea-runner version 1.0.8",
  "act_runner version v0.2.13",
  "runner version dev",
])("%s has none, so that it is refused", async (says) => {
  const { prepare } = place(says);
  await expect(prepare()).rejects.toMatchObject({ code: "ENGINE_TOO_OLD" });
});

it("cannot be put into a configuration that somebody else wrote, which is refused too", async () => {
  const { folder, prepare } = place("gitea-runner version v3.3.0");
  writeFileSync(join(folder, "config.yaml"), "runner: {}\n");
  await expect(prepare()).rejects.toMatchObject({ code: "NO_JOB_HOOK" });
});

it("is not there where every job may run, whatever the version", async () => {
  const { config, prepare } = place("gitea-runner version v1.0.8", {});
  await prepare();
  expect(config()).not.toContain("hooks");
});
