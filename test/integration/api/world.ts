import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { createApi, createMetricsApp } from "../../../src/api/app.ts";
import type { ApiDeps } from "../../../src/api/port.ts";
import { type HttpAnswer, unixRequest } from "../../../src/base/unix-http.ts";
import type { Orchestrator } from "../../../src/orchestrator/port.ts";
import { closeServer, listenSocket, listenTcp } from "../../../src/serve/listeners.ts";

export type Ask = (
  method: string,
  path: string,
  more?: { headers?: Record<string, string>; body?: string },
) => Promise<HttpAnswer>;

/** The API on real listeners: a unix socket, a TCP port, and the metrics' port. */
export async function serveApi(directory: string, deps: ApiDeps) {
  const path = join(directory, "api.sock");
  const local = { host: "127.0.0.1", port: 0 };
  const servers = [
    await listenSocket(createApi(deps, "socket"), path),
    await listenTcp(createApi(deps, "tcp"), local, "server.address"),
    await listenTcp(createMetricsApp(deps), local, "server.metricsAddress"),
  ] as const;
  const at = (server: Server): string => `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const [tcpUrl, metricsUrl] = [at(servers[1]), at(servers[2])];
  const socket: Ask = (method, route, more) => unixRequest({ socketPath: path, method, path: route, ...more });
  const tcp: Ask = (method, route, more) => unixRequest({ url: tcpUrl, method, path: route, ...more });
  const metrics: Ask = (method, route, more) => unixRequest({ url: metricsUrl, method, path: route, ...more });
  return {
    socket,
    tcp,
    metrics,
    tcpUrl,
    [Symbol.asyncDispose]: async () => {
      await Promise.all(servers.map(closeServer));
    },
  };
}

export function depsOf(orchestrator: Orchestrator, over: Partial<ApiDeps> = {}): ApiDeps {
  return {
    orchestrator,
    version: { version: "1.2.3", commit: "abc", built: "today" },
    metrics: () => Promise.resolve({ contentType: "text/plain; version=0.0.4", body: "up 1\n" }),
    drain: () => undefined,
    ...over,
  };
}

export const json = (answer: HttpAnswer): unknown => JSON.parse(answer.body);

export function problemOf(answer: HttpAnswer): { code: string; message: string; hint?: string } {
  return (json(answer) as { error: { code: string; message: string; hint?: string } }).error;
}
