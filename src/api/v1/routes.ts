import { type Context, Hono } from "hono";
import * as z from "zod";
import { closedDetail } from "../compat/shapes.ts";
import { findClosed, findRunner, MAX_HISTORY } from "../find.ts";
import { healthOf } from "../health.ts";
import type { ApiDeps } from "../port.ts";
import { problem } from "../problem.ts";

const MAX_LOG_BYTES = 4 * 1024 * 1024;

/** Routes beyond the original's: commands, and reads that show more than it did. Behind `guarded`. */
export function v1Routes({ orchestrator, version, drain }: ApiDeps): Hono {
  const app = new Hono();
  const poolExists = (name: string) => orchestrator.pools().some(({ pool }) => pool.name === name);

  app.get("/api/v1/status", (context) =>
    context.json({ version, health: healthOf(orchestrator), jobs: orchestrator.reasons() }),
  );
  app.get("/api/v1/jobs", (context) => context.json({ jobs: orchestrator.reasons() }));
  app.get("/api/v1/history", (context) => {
    const limit = countFrom(context, "limit", { fallback: 50, most: MAX_HISTORY });
    if (limit === undefined) return notACount(context, "limit");
    return context.json({ runners: orchestrator.history(limit).map(closedDetail) });
  });
  app.get("/api/v1/runners/:id/logs", async (context) => {
    const id = context.req.param("id");
    const bytes = countFrom(context, "bytes", { fallback: 65_536, most: MAX_LOG_BYTES });
    if (bytes === undefined) return notACount(context, "bytes");
    const runner = findRunner(orchestrator.runners(), id) ?? findClosed(orchestrator, id)?.runner;
    const logs = runner === undefined ? undefined : await orchestrator.logs(runner.id, bytes);
    if (logs !== undefined) return context.json(logs);
    if (runner !== undefined) return context.json({ engine: "", console: "" });
    return problem(context, 404, "RUNNER_UNKNOWN", `there is no runner ${id}`, { hint: LISTS });
  });
  app.get("/api/v1/runners/:id/events", (context) => {
    const id = context.req.param("id");
    const runner = findRunner(orchestrator.runners(), id) ?? findClosed(orchestrator, id)?.runner;
    if (runner === undefined) {
      return problem(context, 404, "RUNNER_UNKNOWN", `there is no runner ${id}`, { hint: LISTS });
    }
    const events = orchestrator.story(runner.hex).map(({ at, change }) => ({ at: new Date(at).toISOString(), change }));
    return context.json({ id: runner.id, events });
  });
  for (const verb of ["pause", "resume"] as const) {
    app.post(`/api/v1/pools/:name/${verb}`, (context) => {
      const name = context.req.param("name");
      if (!poolExists(name)) {
        const hint = "GET /api/v1/pools ('fireteact pools') lists the pools";
        return problem(context, 404, "POOL_UNKNOWN", `there is no pool ${name}`, { hint });
      }
      orchestrator[verb](name);
      return context.json({ name, paused: verb === "pause" });
    });
  }
  app.delete("/api/v1/runners/:id", (context) => {
    const id = context.req.param("id");
    const force = ["", "1", "true"].includes(context.req.query("force") ?? "no");
    const runner = findRunner(orchestrator.runners(), id);
    const answer = runner === undefined ? "unknown" : orchestrator.stopRunner(runner.id, force);
    if (answer === "unknown") {
      return problem(context, 404, "RUNNER_UNKNOWN", `there is no running runner ${id}`, { hint: LISTS });
    }
    if (answer === "busy") {
      return problem(context, 409, "RUNNER_BUSY", `runner ${id} runs a job`, {
        hint: "wait for the job's end, or end it too: ?force=true ('fireteact runners stop --force')",
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

const LISTS =
  "GET /api/v1/runners ('fireteact runners') lists those that run, /api/v1/history ('fireteact runners history') the others";

const Count = z.coerce.number().int().positive();

/** A count from the query, cut to `most`; undefined where it is none. */
function countFrom(context: Context, name: string, { fallback, most }: { fallback: number; most: number }) {
  const count = Count.safeParse(context.req.query(name) ?? fallback);
  return count.success ? Math.min(count.data, most) : undefined;
}

function notACount(context: Context, name: string): Response {
  return problem(context, 400, "QUERY_INVALID", `'${name}' must be a whole number above 0`);
}
