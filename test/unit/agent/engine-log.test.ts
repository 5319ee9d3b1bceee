import { spawn } from "node:child_process";
import { once } from "node:events";
import { describe, expect, it, onTestFinished } from "vitest";
import { watchPrograms } from "../../../src/agent/engines/first-program.ts";
import { understandRunnerLog } from "../../../src/agent/engines/runner-log.ts";
import { systemClock } from "../../../src/base/clock.ts";

const line = (message: string) => `time="2026-11-22T06:18:10Z" level=info msg="${message}"`;

describe("the published runners' log", () => {
  it.each([
    ["runner: r, with version: v1.0.8, with labels: [linux], declare successfully", { kind: "listening" }],
    [
      "runner: r, with version: v12.8.2, with labels: [x], ephemeral: true, declared successfully",
      { kind: "listening" },
    ],
    [
      "task 10 repo is acme/site https://github.com http://127.0.0.1:3000",
      { kind: "assigned", taskId: 10, repository: "acme/site" },
    ],
    ["Starting runner daemon", undefined],
    ["single task poller successfully fetched one task from http://127.0.0.1:3000", undefined],
    ["runner: r shutdown initiated, waiting 1m0s for running jobs to complete before shutting down", undefined],
  ])("%s", (message, event) => {
    expect(understandRunnerLog(line(message))).toEqual(event);
  });
});

describe("watchPrograms", () => {
  /** A shell that says "ready" after each line that it carries out. */
  async function shell() {
    const child = spawn("sh", ["-c", 'while read line; do eval "$line"; echo ready; done'], {
      stdio: ["pipe", "pipe", "ignore"],
    });
    onTestFinished(() => void child.kill("SIGKILL"));
    const run = async (command: string) => {
      child.stdin.write(`${command}\n`);
      await once(child.stdout, "data");
    };
    await run(":");
    return { pid: child.pid as number, run };
  }

  it("sees a program that runs, and one that came and went before it looked", async () => {
    for (const command of ["sleep 5 & :", "/bin/true"]) {
      const { pid, run } = await shell();
      const programs = watchPrograms(pid, systemClock);
      await run(command);
      const seen = Promise.withResolvers<void>();
      programs.begin(seen.resolve);
      await seen.promise;
      await run("kill $! 2>/dev/null || :");
    }
  });

  it("counts none from before, and tells only once", async () => {
    const { pid, run } = await shell();
    await run("/bin/true");
    const programs = watchPrograms(pid, systemClock);
    let seen = 0;
    programs.begin(() => seen++);
    await systemClock.sleep(70);
    expect(seen).toBe(0);
    await run("/bin/true");
    await run("/bin/true");
    await expect.poll(() => seen).toBe(1);
    await systemClock.sleep(70);
    expect(seen).toBe(1);
  });

  it("is silent once it ended, and about a process that is gone", async () => {
    const { pid, run } = await shell();
    const programs = watchPrograms(pid, systemClock);
    let seen = 0;
    programs.begin(() => seen++);
    programs.end();
    await run("/bin/true");
    const gone = watchPrograms(2 ** 22 + 1, systemClock);
    gone.begin(() => seen++);
    await systemClock.sleep(70);
    gone.end();
    expect(seen).toBe(0);
  });
});
