import { Hono } from "hono";
import { findRunner } from "../compat/routes.ts";
import { runnerDetail } from "../compat/shapes.ts";
import { healthOf } from "../health.ts";
import type { ApiDeps } from "../port.ts";
import { problem } from "../problem.ts";

const MAX_LOG_BYTES = 4 * 1024 * 1024;
const MAX_HISTORY = 1_000;

/** Routes beyond the original's: commands, and reads that show more than it did. Behind `guarded`. */
export function v1Routes({ orchestrator, version, drain }: ApiDeps): Hono {
  const app = new Hono();
  const poolExists = (name: string) => orchestrator.pools().some(({ pool }) => pool.name === name);

  app.get("/api/v1/status", (context) =>
    context.json({
      version,
      health: healthOf(orchestrator),
      jobs: orchestrator.reasons().map(({ job, ...reason }) => ({ job, ...reason })),
    }),
  );
  app.get("/api/v1/jobs", (context) => context.json({ jobs: orchestrator.reasons() }));
  app.get("/api/v1/history", (context) => {
    const limit = Math.min(Number(context.req.query("limit") ?? 50) || 50, MAX_HISTORY);
    const entries = orchestrator.history(limit);
    return context.json({
      runners: entries.map(({ runner, closedAt }) => ({
        ...runnerDetail(runner),
        closed_at: new Date(closedAt).toISOString(),
      })),
    });
  });
  app.get("/api/v1/runners/:id/logs", async (context) => {
    const id = context.req.param("id");
    const bytes = Math.min(Number(context.req.query("bytes") ?? 65_536) || 65_536, MAX_LOG_BYTES);
    const runner = findRunner(orchestrator.runners(), id);
    const logs = await orchestrator.logs(runner?.id ?? id, bytes);
    if (logs === undefined) return problem(context, 404, "RUNNER_UNKNOWN", `there is no log of a runner ${id}`);
    return context.json(logs);
  });
  for (const verb of ["pause", "resume"] as const) {
    app.post(`/api/v1/pools/:name/${verb}`, (context) => {
      const name = context.req.param("name");
      if (!poolExists(name)) return problem(context, 404, "POOL_UNKNOWN", `there is no pool ${name}`);
      orchestrator[verb](name);
      return context.json({ name, paused: verb === "pause" });
    });
  }
  app.delete("/api/v1/runners/:id", (context) => {
    const id = context.req.param("id");
    const force = ["", "1", "true"].includes(context.req.query("force") ?? "no");
    const runner = findRunner(orchestrator.runners(), id);
    const answer = runner === undefined ? "unknown" : orchestrator.stopRunner(runner.id, force);
    if (answer === "unknown") return problem(context, 404, "RUNNER_UNKNOWN", `there is no runner ${id}`);
    if (answer === "busy") {
      return problem(context, 409, "RUNNER_BUSY", `runner ${id} runs a job`, {
        hint: "wait for the job's end, or add ?force=true to end it",
      });
    }
    return context.json({ id: runner?.id ?? id, status: "stopping" }, 202);
  });
  app.post("/api/v1/drain", (context) => {
    drain();
    return context.json({ draining: true }, 202);
  });
  return app;
}
