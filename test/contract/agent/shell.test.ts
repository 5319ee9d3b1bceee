import { describe, expect, it } from "vitest";
import { forgeWith, runJob, startEngine, until, workflowOf } from "./shell-world.ts";

describe("the shell engine", () => {
  it("runs a job and tells forge and agent", async () => {
    const forge = await forgeWith();
    const { code, engine, job, attempt, text } = await runJob(forge, workflowOf("- run: echo hello $FROM_WORKFLOW"));
    expect({ code, output: engine.output() }).toEqual({ code: 0, output: "" });
    expect(job?.status).toBe("success");
    expect(attempt?.logClosed).toBe(true);
    expect(text).toContain("\nhello workflow\n");
    expect(engine.kinds()).toEqual(["listening", "assigned", "first-step", "job-finished"]);
    expect(engine.events.find((event) => event.kind === "assigned")).toMatchObject({
      name: "main",
      repository: "acme/site",
    });
    expect(engine.events.at(-1)).toEqual({ kind: "job-finished", result: "success" });
    expect(forge.runners("existing")).toEqual([]);
  });

  it("ends with 0 when the job fails, and skips what follows the failed step", async () => {
    const forge = await forgeWith();
    const steps =
      "- run: exit 3\n- run: echo not reached\n- if: failure()\n  run: echo after failure\n- if: always()\n  run: echo always";
    const { code, job, text } = await runJob(forge, workflowOf(steps));
    expect(code).toBe(0);
    expect(job?.status).toBe("failure");
    expect(text).toContain("Process completed with exit code 3.");
    expect(text).not.toContain("\nnot reached\n");
    expect(text).toContain("\nafter failure\n");
    expect(text).toContain("\nalways\n");
  });
});
