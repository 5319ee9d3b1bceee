import { writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { createHost } from "../../support/daemon.ts";
import type { Daemon, Host } from "../../support/host.ts";
import { FAKE_POOL } from "../../support/orchestrator.ts";
import { remainsOf } from "../../support/remains.ts";

const ENOUGH = () => AbortSignal.timeout(40_000);
const goFile = (host: Host) => join(host.directory, "go");

/** Jobs that run until `go` is called. */
async function waitingJobs(host: Host, names: string[]) {
  const step = `until [ -e ${goFile(host)} ]; do sleep 0.05; done; echo done`;
  const jobs = names.map(
    (name) => `  ${name}:\n    runs-on: linux\n    steps:\n      - run: ${JSON.stringify(step)}\n`,
  );
  const run = await host.forge.pushWorkflow({ repository: "org/app", yaml: `on: push\njobs:\n${jobs.join("")}` });
  const go = () => writeFileSync(goFile(host), "");
  const allRun = () => run.jobs().every(({ status }) => status === "running");
  return { run, go, allRun };
}

const isEmpty = async (host: Host, daemon: Daemon) => {
  await host.until("no record is left", async () => (await daemon.runners()).length === 0);
  await host.until("no row is left", () => host.forge.runners("existing").length === 0);
  await host.until("nothing is left on the host", () => remainsOf(host.places, host.daemons()).length === 0);
};

const once = (host: Host) =>
  host.forge.jobs().map(({ status, attempts }) => [status, attempts.map(({ endedBy }) => endedBy)]);

describe("the daemon as a process", () => {
  it("runs a real job through shim, agent and shell engine, and leaves nothing", async () => {
    const host = await createHost();
    const daemon = await host.serving();
    const { run, go } = await waitingJobs(host, ["one"]);
    go();
    expect(await run.finished(ENOUGH())).toEqual({ one: "success" });
    await isEmpty(host, daemon);
    expect(run.job("one").attempts[0]?.log.map(({ content }) => content)).toContain("done");
    daemon.process.kill("SIGTERM");
    expect(await daemon.exit).toEqual({ code: 0, signal: null });
  });

  it("killed with jobs running, and started again: each job ends once, and nothing is left", async () => {
    const host = await createHost();
    const first = await host.serving();
    const { run, go, allRun } = await waitingJobs(host, ["one", "two", "three"]);
    await host.until("all run", allRun);
    first.process.kill("SIGKILL");
    expect(await first.exit).toEqual({ code: null, signal: "SIGKILL" });
    const second = await host.serving();
    await host.until(
      "they are known",
      async () => (await second.runners()).filter((r) => r.status === "busy").length === 3,
    );
    go();
    expect(await run.finished(ENOUGH())).toEqual({ one: "success", two: "success", three: "success" });
    await isEmpty(host, second);
    expect(once(host)).toEqual(Array.from({ length: 3 }, () => ["success", ["runner"]]));
  });

  it("killed while runners are being made: no job is lost and no runner left over", async () => {
    const host = await createHost();
    const { run, go } = await waitingJobs(host, ["one", "two"]);
    go();
    for (let round = 0; round < 3; round++) {
      const rows = host.forge.runners("all").length;
      const daemon = host.daemon();
      await host.until(
        "it registers another, or the jobs are done",
        () =>
          host.forge.runners("all").length > rows ||
          daemon.process.exitCode !== null ||
          run.jobs().every(({ status }) => status === "success"),
      );
      daemon.process.kill("SIGKILL");
      await daemon.exit;
      if (run.jobs().every(({ status }) => status === "success")) break;
    }
    const last = await host.serving();
    expect(await run.finished(ENOUGH())).toEqual({ one: "success", two: "success" });
    await isEmpty(host, last);
    expect(once(host)).toEqual(Array.from({ length: 2 }, () => ["success", ["runner"]]));
  });

  it("with shutdown: detach leaves running jobs to the next one", async () => {
    const host = await createHost({ shutdown: "detach" });
    const first = await host.serving();
    const { run, go, allRun } = await waitingJobs(host, ["one"]);
    await host.until("it runs", allRun);
    const asked = performance.now();
    first.process.kill("SIGTERM");
    expect(await first.exit).toEqual({ code: 0, signal: null });
    expect(performance.now() - asked).toBeLessThan(10_000);
    expect(remainsOf(host.places, host.daemons())).not.toEqual([]);
    const second = await host.serving();
    go();
    expect(await run.finished(ENOUGH())).toEqual({ one: "success" });
    await isEmpty(host, second);
  });

  it("with shutdown: drain waits for running jobs and takes no other", async () => {
    const host = await createHost({ shutdown: "drain", pools: [{ ...FAKE_POOL, minIdle: 1 }] });
    const daemon = await host.serving();
    const { run, go, allRun } = await waitingJobs(host, ["one"]);
    await host.until("it runs", allRun);
    daemon.process.kill("SIGTERM");
    await host.until("only the busy one is left", async () => (await daemon.runners()).length === 1);
    const { run: other } = await waitingJobs(host, ["other"]);
    go();
    expect(await run.finished(ENOUGH())).toEqual({ one: "success" });
    expect(await daemon.exit).toEqual({ code: 0, signal: null });
    expect(other.job("other").attempts).toEqual([]);
    expect(remainsOf(host.places, host.daemons())).toEqual([]);
    expect(host.forge.runners("existing")).toEqual([]);
  });

  it("with shutdown: drain waits no longer than drainTimeout, and leaves a job that still runs to the next one", async () => {
    const host = await createHost({ shutdown: "drain", drainTimeout: "1s" });
    const first = await host.serving();
    const { run, go, allRun } = await waitingJobs(host, ["one"]);
    await host.until("it runs", allRun);
    first.process.kill("SIGTERM");
    expect(await first.exit).toEqual({ code: 0, signal: null });
    expect(first.output()).toContain("runners are left to the next start");
    expect(allRun()).toBe(true);
    const second = await host.serving();
    go();
    expect(await run.finished(ENOUGH())).toEqual({ one: "success" });
    await isEmpty(host, second);
    expect(once(host)).toEqual([["success", ["runner"]]]);
  });

  it("with shutdown: kill ends everything at once", async () => {
    const host = await createHost({ shutdown: "kill" });
    const daemon = await host.serving();
    const { allRun } = await waitingJobs(host, ["one"]);
    await host.until("it runs", allRun);
    daemon.process.kill("SIGTERM");
    expect(await daemon.exit).toEqual({ code: 0, signal: null });
    expect(remainsOf(host.places, host.daemons())).toEqual([]);
    expect(host.forge.runners("existing")).toEqual([]);
  });

  it("reads its configuration again on SIGHUP, and keeps the old one when the new one is wrong", async () => {
    const host = await createHost();
    const daemon = await host.serving();
    writeFileSync(host.config, "pools: [");
    daemon.process.kill("SIGHUP");
    await host.until("it says so", () => daemon.output().includes("the old one stays in force"));
    host.configure({ pools: [{ ...FAKE_POOL, name: "other" }], server: { address: "127.0.0.1:1" } });
    daemon.process.kill("SIGHUP");
    await host.until("it says so", () => daemon.output().includes("configuration read again"));
    const { body } = await daemon.call("GET", "/api/v1/pools");
    expect(body).toContain('"name":"other"');
    expect(daemon.output()).toContain("takes effect at the next restart");
  });
});

describe("a daemon that cannot serve", () => {
  it("refuses to be the second, and does not disturb the first", async () => {
    const host = await createHost();
    const first = await host.serving();
    const second = host.daemon();
    expect((await second.exit).code).toBe(1);
    expect(second.output()).toMatch(/^fireteact: another fireteact works on .*\n {2}> stop it first/s);
    expect((await first.call("GET", "/health")).status).toBe(200);
    expect(first.process.exitCode).toBe(null);
  });

  it("refuses a port that is taken, names the key, and leaves nothing", async () => {
    const host = await createHost();
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as { port: number };
    host.configure({ server: { address: "127.0.0.1:0", metricsAddress: `127.0.0.1:${port}` } });
    const daemon = host.daemon();
    expect((await daemon.exit).code).toBe(1);
    expect(daemon.output()).toContain(`server.metricsAddress: cannot listen on 127.0.0.1:${port} (EADDRINUSE)`);
    expect(daemon.output()).toContain("another program listens there");
    server.close();
    await expect(daemon.call("GET", "/health")).rejects.toThrow(/ENOENT|ECONNREFUSED/);
  });

  it.each([
    { what: "no YAML", text: "pools: [", line: /config\.yaml:1:\d+:/ },
    { what: "an unknown key", text: "pollInterval: 5s\npollIntervall: 6s", line: /2:1: pollIntervall.*pollInterval/s },
    {
      what: "no pools",
      text: "gitea: {instanceURL: 'http://127.0.0.1:1', apiToken: x, runnerScope: instance}",
      line: /pools/,
    },
  ])("refuses $what with the place and the cause", async ({ text, line }) => {
    const host = await createHost();
    writeFileSync(host.config, text);
    const daemon = host.daemon();
    expect((await daemon.exit).code).toBe(2);
    expect(daemon.output()).toMatch(line);
    expect(daemon.output()).not.toMatch(/\n\s+at /);
  });
});
