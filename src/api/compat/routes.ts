import { type Context, Hono } from "hono";
import { isTrusted, type Via } from "../auth.ts";
import { findClosed, findRunner } from "../find.ts";
import { healthOf } from "../health.ts";
import type { ApiDeps } from "../port.ts";
import { problem } from "../problem.ts";
import { closedDetail, poolRunnerShape, poolShape, runnerDetail, runnerShape } from "./shapes.ts";

/** The original's read routes, open to everyone who reaches the listener. Like the original they accept any method. */
export function compatRoutes({ orchestrator, metrics, token }: ApiDeps, via: Via): Hono {
  const app = new Hono();
  const pools = () => orchestrator.pools().toSorted((a, b) => a.pool.name.localeCompare(b.pool.name));
  const runners = () => orchestrator.runners().toSorted((a, b) => a.name.localeCompare(b.name));
  const shapeFor = (context: Context) => (isTrusted(context, via, token) ? runnerDetail : runnerShape);
  const runnersOf = (pool: string) => runners().filter((runner) => runner.pool === pool);

  for (const path of ["/health", "/healthz"]) {
    app.all(path, (context) => {
      const health = healthOf(orchestrator);
      const code = health.status === "unhealthy" ? 503 : 200;
      if (context.req.query("verbose") !== undefined) return context.json(health, code);
      // A forge that is away is no reason for a watchdog to restart a program that works.
      return context.json({ status: health.status === "degraded" ? "healthy" : health.status }, code);
    });
  }
  app.all("/api/v1/pools", (context) => {
    const all = runners();
    return context.json({ pools: pools().map((view) => poolShape(view, all)) });
  });
  app.all("/api/v1/pools/", (context) => context.text("pool name is required\n", 400));
  app.all("/api/v1/pools/:name", (context) => {
    const view = pools().find(({ pool }) => pool.name === context.req.param("name"));
    if (view === undefined) return context.text("pool not found\n", 404);
    const own = runnersOf(view.pool.name);
    return context.json({ ...poolShape(view, own), runners: own.map(poolRunnerShape) });
  });
  app.all("/api/v1/runners", (context) => context.json({ runners: runners().map(shapeFor(context)) }));

  // The original's README names these three; its program had none of them.
  app.get("/api/v1/pools/:name/runners", (context) => {
    const name = context.req.param("name");
    if (!pools().some(({ pool }) => pool.name === name)) return context.text("pool not found\n", 404);
    return context.json({ runners: runnersOf(name).map(poolRunnerShape) });
  });
  app.get("/api/v1/runners/:id", (context) => {
    const id = context.req.param("id");
    const runner = findRunner(orchestrator.runners(), id);
    if (runner !== undefined) return context.json(shapeFor(context)(runner));
    const closed = isTrusted(context, via, token) ? findClosed(orchestrator, id) : undefined;
    if (closed !== undefined) return context.json(closedDetail(closed));
    return problem(context, 404, "RUNNER_UNKNOWN", `there is no runner ${id}`);
  });
  app.get("/metrics", async (context) => {
    const { contentType, body } = await metrics();
    return context.body(body, 200, { "Content-Type": contentType });
  });
  return app;
}
