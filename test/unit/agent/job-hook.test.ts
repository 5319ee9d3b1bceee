import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { readAssignment } from "../../../src/agent/assignment.ts";
import { hookScript } from "../../../src/agent/engines/job-hook.ts";
import { checkKeepsTrust } from "../../../src/agent/engines/trust.ts";
import { engineConfigContent } from "../../../src/agent/files.ts";
import type { TrustPolicy } from "../../../src/base/trust.ts";

const MAIN = join(import.meta.dirname, "../../../src/agent/main.ts");
const TRUST: TrustPolicy = { repositories: ["acme/site"], events: ["push"], branches: ["main"], allowForks: false };
const JOB = { GITHUB_REPOSITORY: "acme/site", GITHUB_EVENT_NAME: "push", GITHUB_REF: "refs/heads/main" };

/** Runs the hook as gitea-runner does: with the job's environment, and the event in a file. */
function runHook(job: Record<string, string>, policy: unknown = TRUST, event: unknown = {}) {
  const folder = mkdtempSync(join(tmpdir(), "it's a hook-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const [hook, trust, eventPath] = ["job-started", "trust.json", "event.json"].map((name) => join(folder, name)) as [
    string,
    string,
    string,
  ];
  writeFileSync(trust, JSON.stringify(policy));
  writeFileSync(eventPath, JSON.stringify(event));
  writeFileSync(hook, hookScript([process.execPath, MAIN, "job-started", trust]), { mode: 0o555 });
  const { status, stdout } = spawnSync(hook, [], { env: { GITHUB_EVENT_PATH: eventPath, ...job }, encoding: "utf8" });
  return { status, stdout, folder };
}

describe("the hook before a job's first step", () => {
  it("lets a trusted job go on, and says nothing", () => {
    expect(runHook(JOB)).toMatchObject({ status: 0, stdout: "" });
  });

  it.each<[string, Record<string, string>, unknown, RegExp]>([
    [
      "another branch",
      { ...JOB, GITHUB_REF: "refs/heads/x" },
      TRUST,
      /::error::.*\(untrusted-branch\): branch x is not one of main/,
    ],
    ["another repository", { ...JOB, GITHUB_REPOSITORY: "evil/site" }, TRUST, /untrusted-repository/],
    ["nothing known", {}, TRUST, /origin-unknown/],
    ["no payload", { ...JOB, GITHUB_EVENT_PATH: "/nowhere" }, TRUST, /ENOENT/],
    ["a policy that makes no sense", JOB, "all of them", /untrusted-repository/],
  ])("fails one with %s, and says why", (_, job, policy, says) => {
    const { status, stdout } = runHook(job, policy);
    expect(status).toBe(1);
    expect(stdout).toMatch(says);
  });

  it("looks into the payload for a fork", () => {
    const pull = { head: { repo: { id: 2 }, ref: "topic" }, base: { repo: { id: 1 }, ref: "main" } };
    const job = { ...JOB, GITHUB_EVENT_NAME: "pull_request_target" };
    const policy = { ...TRUST, events: ["pull_request_target"] };
    expect(runHook(job, policy, { pull_request: pull }).stdout).toMatch(/untrusted-fork/);
    expect(runHook(job, { ...policy, allowForks: true }, { pull_request: pull }).status).toBe(0);
  });

  it("runs nothing that the job's environment names", () => {
    const marker = join(tmpdir(), `hook-marker-${process.pid}`);
    onTestFinished(() => rmSync(marker, { force: true }));
    const script = join(tmpdir(), `hook-script-${process.pid}`);
    onTestFinished(() => rmSync(script, { force: true }));
    writeFileSync(script, `touch ${marker}\n`);
    const { status } = runHook({
      ...JOB,
      GITHUB_REF: "refs/heads/x",
      NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(`process.getBuiltinModule("fs").writeFileSync(${JSON.stringify(marker)},"")`)}`,
      BASH_ENV: script,
      ENV: script,
      "BASH_FUNC_exec%%": `() { touch ${marker}; }`,
      PATH: "/nowhere",
      SHELLOPTS: "xtrace",
      PS4: `$(touch ${marker})`,
    });
    expect(status).toBe(1);
    expect(existsSync(marker)).toBe(false);
  });
});

describe("an agent that may run only some jobs", () => {
  const tree = (trust: unknown) => ({
    runner_name: "r",
    gitea_instance_url: "https://forge.test",
    engine: "shell",
    credentials: { uuid: "u", token: "t" },
    trust,
  });
  const trustIn = (trust: unknown) => {
    const found = readAssignment(tree(trust));
    return found.kind === "complete" ? found.assignment.trust : found;
  };

  it("reads which from the metadata; what makes no sense trusts nothing", () => {
    expect(trustIn(JSON.stringify(TRUST))).toEqual(TRUST);
    const nothing = { repositories: [], events: [], allowForks: false };
    expect(trustIn("{")).toEqual(nothing);
    expect(trustIn(7)).toEqual(nothing);
    expect(trustIn('{"repositories":["a/b",7],"branches":"all"}')).toEqual({ ...nothing, branches: [] });
    expect(trustIn(undefined)).toBeUndefined();
  });

  it("names the hook in gitea-runner's configuration, and none without need", () => {
    const config = { workDir: "/w", runnerFile: "/w/.runner", timeout: 1_000 };
    expect(engineConfigContent({ ...config, jobStarted: "/w/job-started" })).toContain(
      '\n  fetch_interval: 2s\n  hooks:\n    job_started: "/w/job-started"\ncache:\n',
    );
    expect(engineConfigContent(config)).not.toContain("hooks");
  });

  it("starts forgejo-runner only where it is bound to its job", () => {
    const credentials = { row: "1", uuid: "u", token: "t", address: "a", labels: [], ephemeral: true };
    const assignment = { name: "r", pool: "p", engine: "forgejo-runner", credentials, trust: TRUST };
    expect(() => checkKeepsTrust(assignment)).toThrow("forgejo-runner is not bound to a job");
    expect(() => checkKeepsTrust({ ...assignment, credentials: { ...credentials, handle: "h" } })).not.toThrow();
    expect(() => checkKeepsTrust({ ...assignment, engine: "shell" })).not.toThrow();
  });
});
