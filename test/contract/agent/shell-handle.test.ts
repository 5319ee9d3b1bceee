import { describe, expect, it } from "vitest";
import { forgeWith, startEngine, workflowOf } from "./shell-world.ts";

describe("an engine that is bound to a job", () => {
  it("takes that job, not the oldest", async () => {
    const forge = await forgeWith({ flavour: "forgejo", version: "15.0.0+gitea-1.22.0" });
    const push = () => forge.pushWorkflow({ repository: "acme/site", yaml: workflowOf("- run: echo done") });
    const [older, wanted] = [await push(), await push()];
    const engine = await startEngine(forge, { handle: wanted.job("main").handle });
    expect(await engine.exited).toBe(0);
    expect(wanted.job("main").status).toBe("success");
    expect(older.job("main")).toMatchObject({ status: "waiting", attempts: [] });
  });
});
