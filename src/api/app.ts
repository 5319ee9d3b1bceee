import { type Context, Hono } from "hono";
import { bodyLimit } from "hono/body-limit";
import { describe, FireteactError } from "../base/errors.ts";
import { guarded, type Via } from "./auth.ts";
import { compatRoutes } from "./compat/routes.ts";
import type { ApiDeps } from "./port.ts";
import { problem } from "./problem.ts";
import { v1Routes } from "./v1/routes.ts";

const MAX_BODY = 1024 * 1024;

/** The API as seen through one listener; `via` says how requests reach it. */
export function createApi(deps: ApiDeps, via: Via): Hono {
  const app = new Hono();
  const counted = bodyLimit({
    maxSize: MAX_BODY,
    onError: (context) => problem(context, 413, "BODY_TOO_LARGE", "the body is over 1 MiB"),
  });
  app.use((context, next) => (saysItsSize(context) ? next() : counted(context, next)));
  app.route("/", compatRoutes(deps, via));

  const { webhook } = deps;
  if (webhook !== undefined) {
    app.post("/webhooks/forge", async (context) => {
      const { status, message, code, hint } = webhook(
        context.req.raw.headers,
        new Uint8Array(await context.req.arrayBuffer()),
      );
      if (status === 202) return context.json({ message }, status);
      return problem(context, status, code ?? "WEBHOOK_REFUSED", message, hint === undefined ? {} : { hint });
    });
  }

  app.use("/api/v1/*", guarded(via, deps.token));
  app.route("/", v1Routes(deps));
  app.notFound((context) =>
    problem(context, 404, "ROUTE_UNKNOWN", `there is nothing at ${context.req.method} ${context.req.path}`),
  );
  app.onError((error, context) => {
    deps.failed?.(error, `${context.req.method} ${context.req.path}`);
    // Its file permissions say who is on the socket; over TCP it may be anybody.
    if (via === "tcp") return problem(context, 500, "INTERNAL", "the request failed", { hint: "see the daemon's log" });
    const known = error instanceof FireteactError ? error : undefined;
    const hint = known?.hint === undefined ? {} : { hint: known.hint };
    return problem(context, 500, known?.code ?? "INTERNAL", describe(error), hint);
  });
  return app;
}

/** The HTTP server takes no byte more than announced; only a body of unknown size has to be counted, which is slow. */
function saysItsSize({ req }: Context): boolean {
  return req.header("transfer-encoding") === undefined && Number(req.header("content-length") ?? 0) <= MAX_BODY;
}

/** The metrics listener answers on every path, as the original's did. */
export function createMetricsApp({ metrics, failed }: Pick<ApiDeps, "metrics" | "failed">): Hono {
  const app = new Hono();
  app.all("*", async (context) => {
    const { contentType, body } = await metrics();
    return context.body(body, 200, { "Content-Type": contentType });
  });
  app.onError((error, context) => {
    failed?.(error, "metrics");
    return context.text("the metrics could not be read\n", 500);
  });
  return app;
}
