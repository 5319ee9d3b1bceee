import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { openPlace, startSandbox, until } from "./place.ts";
import { programs } from "./programs.ts";

const ENGINES = [
  { engine: "gitea-runner", flavour: "gitea", version: "1.25.1" },
  { engine: "forgejo-runner", flavour: "forgejo", version: "15.0.0+gitea-1.22.0" },
] as const;

const WAY = ["up", "starting", "listening", "assigned", "first-step", "job-finished", "engine-exited"];

const REPORT = "POST /api/actions/runner.v1.RunnerService/UpdateTask";
/** Lasts until the sandbox's files are removed, so that nothing is left running. */
const LAST = `while test -e "$HOME"; do sleep 0.1; done`;
const LASTING = `- run: ${LAST}`;

for (const { engine, flavour, version } of ENGINES) {
  const { found, reason } = programs(engine);
  if (found.length === 0) {
    process.stderr.write(`\nSKIPPED: no real ${engine} to try. ${reason}\n`);
    it.skip(`tries the real ${engine} (there is none: ${reason})`);
  }
  describe.each(found)(`the real ${engine}, $path`, (program) => {
    const open = () => openPlace(flavour, version);

    it("takes a job that waits, runs it with its secrets, tells everything in order, and leaves no row", async () => {
      const place = await open();
      const run = await place.push(`
- run: echo "hello from $(id -un) in $RUNNER_NAME"
- run: |
    echo "the password is \${{ secrets.PASSWORD }}"
    echo "word=done" >>"$GITHUB_OUTPUT"
  id: second
- run: for i in $(seq 1 300); do echo "line $i of many"; done
- run: test "\${{ steps.second.outputs.word }}" = done`);
      const sandbox = await startSandbox(place, program);
      expect(await sandbox.exitCode).toBe(0);
      await sandbox.until("engine-exited");
      expect(sandbox.kinds()).toEqual(WAY);

      const attempt = run.job("main").attempts[0];
      expect(run.job("main").attempts).toHaveLength(1);
      expect(attempt).toMatchObject({ status: "success", endedBy: "runner", logClosed: true });
      expect(attempt?.runner.id).toBe(sandbox.row);
      expect(await sandbox.until("assigned")).toMatchObject({ taskId: attempt?.task, repository: "acme/site" });
      expect(await sandbox.until("engine-exited")).toEqual({ kind: "engine-exited", code: 0 });

      const log = attempt?.log.map((line) => line.content).join("\n") ?? "";
      expect(log).toContain("hello from nobody");
      expect(log.match(/line \d+ of many/g)).toHaveLength(300);
      expect(log).toContain("the password is ***");
      expect(log).not.toContain("hidden-from-logs");
      expect(place.forge.runners("existing")).toEqual([]);
      expect(existsSync(join(sandbox.workDir, ".runner"))).toBe(false);
    });

    it("takes a job that comes later and fails; the engine's end is no failure", async () => {
      const place = await open();
      const sandbox = await startSandbox(place, program);
      await sandbox.until("listening");
      const run = await place.push(`
- run: echo before && exit 3
- run: echo never`);
      expect(await run.finished(AbortSignal.timeout(40_000))).toEqual({ main: "failure" });
      expect(await sandbox.exitCode).toBe(0);
      await sandbox.until("engine-exited");
      expect(sandbox.kinds()).toEqual(WAY);
      const log = run.job("main").attempts[0]?.log.map((line) => line.content) ?? [];
      expect(log).toContain("before");
      expect(log).not.toContain("never");
      expect(place.forge.runners("existing")).toEqual([]);
    });

    it("ends without a job when it is drained, and when it is told to stop", async () => {
      const place = await open();
      const drained = await startSandbox(place, program);
      await drained.until("listening");
      drained.channel.send({ kind: "drain" });
      expect(await drained.exitCode).toBe(0);
      await drained.until("engine-exited");
      expect(drained.kinds()).toEqual(["up", "starting", "listening", "drained", "engine-exited"]);

      const stopped = await startSandbox(place, program);
      await stopped.until("listening");
      stopped.agent.kill("SIGTERM");
      expect(await stopped.exitCode).toBe(0);

      const run = await place.push("- run: echo too late");
      expect(run.job("main").attempts).toEqual([]);
      // Rows of runners that had no job are the host's to delete.
      expect(place.forge.runners("existing").map((row) => row.id)).toEqual([drained.row, stopped.row]);
      for (const { row } of [drained, stopped]) await place.target.deleteRunner(row, AbortSignal.timeout(10_000));
      expect(place.forge.runners("existing")).toEqual([]);
    });

    it("goes on with its job when it is drained or the agent is asked once to stop", async () => {
      const place = await open();
      const run = await place.push(`
- run: until test -e "$HOME/go-on"; do sleep 0.1; done
- run: echo finished`);
      const sandbox = await startSandbox(place, program);
      await sandbox.until("first-step");
      sandbox.channel.send({ kind: "drain" });
      await until(
        () => sandbox.kinds().filter((kind) => kind === "assigned").length === 2,
        () => "the job told again",
      );
      sandbox.agent.kill("SIGTERM");
      writeFileSync(join(sandbox.home, "go-on"), "");
      expect(await run.finished(AbortSignal.timeout(40_000))).toEqual({ main: "success" });
      expect(await sandbox.exitCode).toBe(0);
    });

    it("ends its job when the forge says that it is cancelled", async () => {
      const place = await open();
      place.forge.behaviours.rowGoneAtCancel = false;
      const run = await place.push(LASTING);
      const sandbox = await startSandbox(place, program);
      await sandbox.until("first-step");
      place.forge.cancelRun(run.id);
      expect(await sandbox.exitCode).toBe(0);
      await sandbox.until("engine-exited");
      expect(sandbox.kinds()).toEqual(WAY);
      expect(run.job("main").status).toBe("cancelled");
    });

    it("knows nothing of a cancel where its row goes with it, and is ended by a shutdown within its grace", async () => {
      const place = await open();
      const run = await place.push(`- run: trap '' TERM INT HUP; ${LAST}`);
      const sandbox = await startSandbox(place, program);
      await sandbox.until("first-step");
      place.forge.cancelRun(run.id);
      expect(place.forge.runners("existing")).toEqual([]);
      const reports = () => place.forge.requests.counts()[REPORT] ?? 0;
      const before = reports();
      await until(
        () => reports() > before + 1,
        () => "two more reports",
      );
      expect(sandbox.kinds()).not.toContain("job-finished");
      const since = performance.now();
      sandbox.channel.send({ kind: "shutdown", graceMs: 1_000 });
      expect(await sandbox.exitCode).toBe(0);
      expect(performance.now() - since).toBeLessThan(6_000);
      await sandbox.until("engine-exited");
      expect(sandbox.kinds()).toEqual(WAY);
    });

    it("fails in the forge's words where its runner is not known", async () => {
      const place = await open();
      const sandbox = await startSandbox(place, program, { deleted: true });
      expect(await sandbox.exitCode).toBe(1);
      expect(await sandbox.until("engine-exited")).toMatchObject({
        code: 1,
        detail: expect.stringContaining("unregistered runner"),
      });
      expect(sandbox.kinds()).toEqual(["up", "starting", "engine-exited"]);
    });
  });
}
