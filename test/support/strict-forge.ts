import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { type RegisterRequest, RegisterRequestSchema, RegisterResponseSchema } from "../../gen/runner/v1/runner_pb.js";

/** A request as it arrived, kept for assertions. */
export interface SeenRequest {
  method: string;
  path: string;
  query: URLSearchParams;
  headers: IncomingMessage["headers"];
  body: Buffer;
}

export type Handler = (request: SeenRequest, response: ServerResponse) => unknown;

export interface StrictForge {
  url: string;
  seen: SeenRequest[];
  /** `METHOD /path` to handler; what is not listed is answered with 404 as a forge does. */
  routes: Map<string, Handler>;
  on(route: string, handler: Handler): void;
  count(route: string): number;
  close(): Promise<void>;
}

interface StrictForgeOptions {
  /** What `/api/v1/version` says. */
  version: string;
  /** Below which path the forge lives. */
  subPath?: string;
  /** Makes the server, for TLS. */
  serve?: (listener: (request: IncomingMessage, response: ServerResponse) => void) => Server;
  scheme?: "http" | "https";
  token?: string;
}

/** A forge that knows only the routes a test gives it, and wants the token on each REST request. */
export async function startStrictForge(options: StrictForgeOptions): Promise<StrictForge> {
  const { subPath = "", token = "secret-token" } = options;
  const routes = new Map<string, Handler>();
  const seen: SeenRequest[] = [];
  routes.set("GET /api/v1/version", (_, response) => json(response, 200, { version: options.version }));
  const listener = async (incoming: IncomingMessage, response: ServerResponse): Promise<void> => {
    const url = new URL(incoming.url ?? "/", "http://forge");
    const chunks: Buffer[] = [];
    for await (const chunk of incoming) chunks.push(chunk as Buffer);
    const path = url.pathname.startsWith(subPath) ? url.pathname.slice(subPath.length) : `outside:${url.pathname}`;
    const request = {
      method: incoming.method ?? "",
      path,
      query: url.searchParams,
      headers: incoming.headers,
      body: Buffer.concat(chunks),
    };
    seen.push(request);
    if (path.startsWith("/api/v1/") && incoming.headers.authorization !== `token ${token}`) {
      json(response, 401, { message: "token is required", url: "" });
      return;
    }
    const handler = routes.get(`${request.method} ${path}`);
    if (handler === undefined) json(response, 404, { message: "not found", errors: null, url: "" });
    else await handler(request, response);
  };
  const serve = options.serve ?? createServer;
  const server = serve((incoming, response) => {
    listener(incoming, response).catch((error: unknown) => response.destroy(error as Error));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `${options.scheme ?? "http"}://127.0.0.1:${port}${subPath}`,
    seen,
    routes,
    on: (route, handler) => routes.set(route, handler),
    count: (route) => seen.filter((request) => `${request.method} ${request.path}` === route).length,
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

export function json(
  response: ServerResponse,
  status: number,
  body: unknown,
  headers: Record<string, string> = {},
): void {
  response.writeHead(status, { "content-type": "application/json", ...headers }).end(JSON.stringify(body));
}

export const REGISTER_ROUTE = "POST /api/actions/runner.v1.RunnerService/Register";

export interface RegisterBehaviour {
  /** Tokens that are accepted at the moment. */
  accepted: Set<string>;
  ephemeralEcho: boolean;
  registered: RegisterRequest[];
}

/** The Register call in binary protobuf with Gitea's errors: everything is code `unknown` and status 500. */
export function serveRegister(forge: StrictForge, behaviour: RegisterBehaviour): void {
  forge.on(REGISTER_ROUTE, (request, response) => {
    if (request.headers["content-type"] !== "application/proto") {
      response.writeHead(415).end();
      return;
    }
    const message = fromBinary(RegisterRequestSchema, request.body);
    if (!behaviour.accepted.has(message.token)) {
      json(response, 500, {
        code: "unknown",
        message: "runner registration token has been invalidated, please use the latest one",
      });
      return;
    }
    behaviour.registered.push(message);
    const id = BigInt(behaviour.registered.length);
    const runner = {
      id,
      uuid: `00000000-0000-4000-8000-${id.toString().padStart(12, "0")}`,
      token: `runner-secret-${id}`,
      name: message.name,
      labels: message.labels,
      ephemeral: message.ephemeral && behaviour.ephemeralEcho,
    };
    const bytes = toBinary(RegisterResponseSchema, create(RegisterResponseSchema, { runner }));
    response.writeHead(200, { "content-type": "application/proto" }).end(bytes);
  });
}
