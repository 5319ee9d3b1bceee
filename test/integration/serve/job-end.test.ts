import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { kill } from "../../../src/base/process.ts";
import { runners } from "../../../src/cli/runners.ts";
import { createHost } from "../../support/daemon.ts";
import { monitorsBelow, remainsOf } from "../../support/remains.ts";

describe("a sandbox that is killed under its job", () => {
  it("ends the job in the forge at once, and the API and 'runners show' tell so", async () => {
    const host = await createHost({ shutdown: "kill" });
    const daemon = await host.serving();
    const yaml = "on: push\njobs:\n  one:\n    runs-on: linux\n    steps: [{ run: 'echo begun; sleep 600' }]\n";
    const run = await host.forge.pushWorkflow({ repository: "org/app", yaml });
    const lines = () => (run.job("one").attempts[0]?.log ?? []).map(({ content }) => content);
    await host.until("the job runs", () => lines().includes("begun"));
    const id = (await daemon.runners())[0]?.id ?? "";
    const monitors = monitorsBelow(join(host.places.run, "sandboxes"), host.daemons());
    expect(monitors).toHaveLength(1);
    for (const pid of monitors) kill(pid, "SIGKILL");
    const killedAt = performance.now();
    await host.until("the job ended", () => run.job("one").status !== "running");
    expect(performance.now() - killedAt).toBeLessThan(10_000);
    expect(run.job("one").attempts).toMatchObject([{ status: "failure", endedBy: "runner", logClosed: true }]);
    expect(lines().at(-1)).toMatch(/^::error::Fireteact: the runner ft-[0-9a-f]{24} ended before this job did: /);
    await host.until("no record is left", async () => (await daemon.runners()).length === 0);
    expect(host.forge.runners("existing")).toEqual([]);
    expect(remainsOf(host.places, host.daemons())).toEqual([]);
    const server = join(host.directory, "run", "api.sock");
    const context = { args: ["show", id], options: { server }, json: false, progress: () => undefined };
    const shown = await runners.run(context);
    const told = { ending: { reason: "sandbox-exited" }, job_outcome: { state: "failed" } };
    expect(shown).toMatchObject({ runner: told });
    expect(runners.render(shown, context)).toContain("was told that the job failed, and why");
    const { body } = await daemon.call("GET", "/api/v1/history");
    expect(JSON.parse(body)).toMatchObject({ runners: [{ id, ...told }] });
  });
});
