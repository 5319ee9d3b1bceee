import type { Context } from "hono";
import type { ContentfulStatusCode } from "hono/utils/http-status";

/** The one shape of an error: a stable code, what happened, what to do next. */
export function problem(
  context: Context,
  status: ContentfulStatusCode,
  code: string,
  message: string,
  extra: { hint?: string } = {},
): Response {
  return context.json({ error: { code, message, ...extra } }, status);
}
