import { Hono } from "hono";
import { hexOf } from "../../base/names.ts";
import type { Runner } from "../../core/types.ts";
import { healthOf } from "../health.ts";
import type { ApiDeps } from "../port.ts";
import { poolRunnerShape, poolShape, runnerDetail, runnerShape } from "./shapes.ts";

/** The original's read routes, open to everyone who reaches the listener. Like the original they accept any method. */
export function compatRoutes({ orchestrator, metrics }: ApiDeps): Hono {
  const app = new Hono();
  const byName = (a: { name: string }, b: { name: string }) => a.name.localeCompare(b.name);
  const pools = () => orchestrator.pools().sort((a, b) => byName(a.pool, b.pool));
  const runnersOf = (pool: string) => runners().filter((runner) => runner.pool === pool);
  const runners = () => orchestrator.runners().sort(byName);

  for (const path of ["/health", "/healthz"]) {
    app.all(path, (context) => {
      const health = healthOf(orchestrator);
      const verbose = context.req.query("verbose") !== undefined;
      return context.json(verbose ? health : { status: health.status }, health.status === "unhealthy" ? 503 : 200);
    });
  }
  app.all("/api/v1/pools", (context) =>
    context.json({ pools: pools().map((view) => poolShape(view, orchestrator.runners())) }),
  );
  app.all("/api/v1/pools/", (context) => context.text("pool name is required\n", 400));
  app.all("/api/v1/pools/:name", (context) => {
    const view = pools().find(({ pool }) => pool.name === context.req.param("name"));
    if (view === undefined) return context.text("pool not found\n", 404);
    return context.json({
      ...poolShape(view, orchestrator.runners()),
      runners: runnersOf(view.pool.name).map(poolRunnerShape),
    });
  });
  app.get("/api/v1/pools/:name/runners", (context) => {
    const name = context.req.param("name");
    if (!pools().some(({ pool }) => pool.name === name)) return context.text("pool not found\n", 404);
    return context.json({ runners: runnersOf(name).map(poolRunnerShape) });
  });
  app.all("/api/v1/runners", (context) => context.json({ runners: runners().map(runnerShape) }));
  app.get("/api/v1/runners/:id", (context) => {
    const runner = findRunner(orchestrator.runners(), context.req.param("id"));
    return runner === undefined ? context.text("runner not found\n", 404) : context.json(runnerDetail(runner));
  });
  app.get("/metrics", async (context) => {
    const { contentType, body } = await metrics();
    return context.body(body, 200, { "Content-Type": contentType });
  });
  return app;
}

/** By id, by the name in the forge, or by the hex alone. */
export function findRunner(runners: Runner[], id: string): Runner | undefined {
  return runners.find((runner) => runner.id === id || runner.name === id || runner.hex === (hexOf(`-${id}`) ?? id));
}
