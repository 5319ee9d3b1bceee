import type { Answer, SimulatedRequest } from "./message.ts";

export type Params = Record<string, string>;
export type Handler = (request: SimulatedRequest, params: Params) => Answer | Promise<Answer>;

/** A pattern has `:name` for one segment and a final `*` (param `rest`) for all that follow. */
export interface Route {
  method: string;
  pattern: string;
  handler: Handler;
}

export interface Match {
  route: Route;
  params: Params;
}

export const route = (method: string, pattern: string, handler: Handler): Route => ({ method, pattern, handler });

/** The first route that fits, several slashes counting as one; `wrong method` when only the path fits. */
export function findRoute(routes: Route[], method: string, path: string): Match | "wrong method" | undefined {
  const segments = path.replaceAll(/\/+/g, "/").split("/").map(decode);
  if (segments.includes(undefined)) return undefined;
  let known = false;
  for (const candidate of routes) {
    const params = matchPattern(candidate.pattern, segments as string[]);
    if (params === undefined) continue;
    if (candidate.method === method) return { route: candidate, params };
    known = true;
  }
  return known ? "wrong method" : undefined;
}

function matchPattern(pattern: string, segments: string[]): Params | undefined {
  const parts = pattern.split("/");
  const open = parts.at(-1) === "*";
  if (open ? segments.length < parts.length : segments.length !== parts.length) return undefined;
  const params: Params = {};
  for (const [index, part] of parts.entries()) {
    const segment = segments[index] ?? "";
    if (open && index === parts.length - 1) params["rest"] = segments.slice(index).join("/");
    else if (part.startsWith(":")) {
      if (segment === "") return undefined;
      params[part.slice(1)] = segment;
    } else if (part !== segment) return undefined;
  }
  return params;
}

function decode(segment: string): string | undefined {
  try {
    return decodeURIComponent(segment);
  } catch (error) {
    if (error instanceof URIError) return undefined;
    throw error;
  }
}
