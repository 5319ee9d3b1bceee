import { createHash, timingSafeEqual } from "node:crypto";
import type { Context, MiddlewareHandler } from "hono";
import { problem } from "./problem.ts";

/** How a request came in: over the unix socket, whose file permissions guard it, or over TCP. */
export type Via = "socket" | "tcp";

/**
 * Lets a request through that came over the unix socket or carries the token. Without a token file a TCP listener
 * serves only the original's read routes, health and metrics.
 */
export function guarded(via: Via, token: (() => string) | undefined): MiddlewareHandler {
  return async (context, next) => {
    if (via === "socket") return next();
    if (token === undefined) {
      return problem(context, 403, "TOKEN_NOT_CONFIGURED", "this needs a token, and none is configured", {
        hint: "set server.tokenFile, or use the unix socket",
      });
    }
    const given = tokenOf(context);
    if (given === undefined || !sameText(given, token())) {
      context.header("WWW-Authenticate", "Bearer");
      return problem(context, 401, "TOKEN_WRONG", given === undefined ? "this needs a token" : "the token is wrong", {
        hint: "send the content of server.tokenFile as 'Authorization: Bearer ...'",
      });
    }
    return next();
  };
}

/** Whether `guarded` would let the request through: open routes then tell more. */
export function isTrusted(context: Context, via: Via, token: (() => string) | undefined): boolean {
  if (via === "socket") return true;
  const given = tokenOf(context);
  return given !== undefined && token !== undefined && sameText(given, token());
}

function tokenOf(context: Context): string | undefined {
  return /^Bearer (.+)$/i.exec(context.req.header("authorization") ?? "")?.[1]?.trim();
}

function sameText(a: string, b: string): boolean {
  const digest = (text: string) => createHash("sha256").update(text).digest();
  return timingSafeEqual(digest(a), digest(b));
}
