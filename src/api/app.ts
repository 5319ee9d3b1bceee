import { Hono } from "hono";
import { bodyLimit } from "hono/body-limit";
import { guarded, type Via } from "./auth.ts";
import { compatRoutes } from "./compat/routes.ts";
import type { ApiDeps } from "./port.ts";
import { problem } from "./problem.ts";
import { v1Routes } from "./v1/routes.ts";

const MAX_BODY = 1024 * 1024;

/** The API as seen through one listener; `via` says how requests reach it. */
export function createApi(deps: ApiDeps, via: Via): Hono {
  const app = new Hono();
  app.use(
    bodyLimit({
      maxSize: MAX_BODY,
      onError: (context) => problem(context, 413, "BODY_TOO_LARGE", "the body is over 1 MiB"),
    }),
  );
  app.route("/", compatRoutes(deps));

  const { webhook } = deps;
  if (webhook !== undefined) {
    app.post("/webhooks/forge", async (context) => {
      const answer = webhook(context.req.raw.headers, new Uint8Array(await context.req.arrayBuffer()));
      return context.json({ message: answer.message }, answer.status);
    });
  }

  app.use("/api/v1/*", guarded(via, deps.token));
  app.route("/", v1Routes(deps));
  app.notFound((context) =>
    problem(context, 404, "ROUTE_UNKNOWN", `there is nothing at ${context.req.method} ${context.req.path}`),
  );
  app.onError((error, context) => problem(context, 500, "INTERNAL", error.message));
  return app;
}

/** The metrics listener answers on every path, as the original's did. */
export function createMetricsApp(deps: Pick<ApiDeps, "metrics">): Hono {
  const app = new Hono();
  app.all("*", async (context) => {
    const { contentType, body } = await deps.metrics();
    return context.body(body, 200, { "Content-Type": contentType });
  });
  return app;
}
