import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createServer as createTlsServer, type Server as TlsServer } from "node:https";
import type { AddressInfo, Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { TLSSocket } from "node:tls";
import type { createFaults } from "../faults.ts";
import { type Answer, empty, html, type SimulatedRequest } from "./message.ts";
import type { createRequestLog } from "./request-log.ts";
import { findRoute, type Route } from "./router.ts";

const MAX_BODY_BYTES = 64 * 1024 * 1024;
const IDLE_CONNECTION_MS = 120_000;

export interface TlsFiles {
  key: string;
  cert: string;
}

export interface ServerOptions {
  host: string;
  port: number;
  /** `/git`, or empty. */
  basePath: string;
  tls: TlsFiles | undefined;
  /** Added before every request is handled; asked each time. */
  latencyMs: () => number;
  routes: Route[];
  faults: ReturnType<typeof createFaults>;
  log: ReturnType<typeof createRequestLog>;
  now: () => number;
}

export interface RunningServer {
  port: number;
  setTls: (tls: TlsFiles) => void;
  close(): Promise<void>;
}

/** Serves routes below a base path. Bodies are read and sent whole, so that faults can do to them what they like. */
export async function startServer(options: ServerOptions): Promise<RunningServer> {
  const open = new Set<AbortController>();
  const listener = (request: IncomingMessage, response: ServerResponse) => {
    const gone = new AbortController();
    open.add(gone);
    response.once("close", () => {
      open.delete(gone);
      gone.abort();
    });
    answer(options, request, response, gone.signal).catch((error: unknown) => {
      // A defect of the simulator must be seen by the test that hits it.
      if (response.headersSent) response.destroy();
      else send(response, { ...html(500, "defect in the simulator"), body: String(error) });
    });
  };
  const server: Server | TlsServer =
    options.tls === undefined ? createServer(listener) : createTlsServer(options.tls, listener);
  // Real forges keep idle connections; closing them early would race with a client that polls.
  server.keepAliveTimeout = IDLE_CONNECTION_MS;
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(options.port, options.host, () => resolve());
  });
  return {
    port: (server.address() as AddressInfo).port,
    setTls: (tls) => {
      if ("setSecureContext" in server) server.setSecureContext(tls);
      server.closeAllConnections();
    },
    close: async () => {
      for (const gone of open) gone.abort();
      await new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      });
    },
  };
}

async function answer(
  options: ServerOptions,
  incoming: IncomingMessage,
  response: ServerResponse,
  signal: AbortSignal,
): Promise<void> {
  const started = performance.now();
  const at = options.now();
  const method = incoming.method ?? "GET";
  const target = new URL(`http://simulator${incoming.url ?? "/"}`);
  const inside = target.pathname.startsWith(`${options.basePath}/`);
  const path = inside ? target.pathname.slice(options.basePath.length) : target.pathname;
  const found = inside ? findRoute(options.routes, method, path) : undefined;
  const finish = (status: number) =>
    options.log.add({
      at,
      method,
      path,
      query: target.search,
      route: `${method} ${typeof found === "object" ? found.route.pattern : "(no route)"}`,
      status,
      milliseconds: performance.now() - started,
    });

  const body = await readBody(incoming);
  if (body === undefined) {
    finish(0);
    response.destroy();
    return;
  }
  const headers = new Headers();
  for (const [name, value] of Object.entries(incoming.headers)) {
    if (value !== undefined) headers.set(name, Array.isArray(value) ? value.join(", ") : value);
  }
  const request: SimulatedRequest = { method, path, query: target.searchParams, headers, body, signal };
  const latency = options.latencyMs();
  if (latency > 0) await sleep(latency);
  const outcome = await options.faults.around(`${method} ${path}`, signal, async () => {
    if (found === "wrong method") return empty(405);
    return found === undefined ? html(404, "Not Found") : found.route.handler(request, found.params);
  });
  if (outcome === "cut") {
    finish(0);
    cut(incoming.socket);
  } else if ("truncated" in outcome) {
    finish(0);
    await sendHalf(response, outcome.truncated);
    incoming.socket.destroy();
  } else {
    finish(outcome.status);
    send(response, outcome);
  }
}

/** A reset where the socket can send one; under TLS there is only an end. */
function cut(socket: Socket): void {
  if (socket instanceof TLSSocket) socket.destroy();
  else socket.resetAndDestroy();
}

/** Undefined when it is too large or never arrives whole. */
async function readBody(incoming: IncomingMessage): Promise<Buffer | undefined> {
  const parts: Buffer[] = [];
  let size = 0;
  try {
    for await (const part of incoming as AsyncIterable<Buffer>) {
      size += part.length;
      if (size > MAX_BODY_BYTES) return undefined;
      parts.push(part);
    }
  } catch {
    return undefined;
  }
  return Buffer.concat(parts);
}

function send(response: ServerResponse, answer: Answer): void {
  const body = Buffer.from(answer.body);
  const bodiless = answer.status === 204 || answer.status === 304;
  response.writeHead(answer.status, { ...answer.headers, ...(bodiless ? {} : { "content-length": body.length }) });
  response.end(bodiless ? undefined : body);
}

async function sendHalf(response: ServerResponse, answer: Answer): Promise<void> {
  const body = Buffer.from(answer.body);
  response.writeHead(answer.status, { ...answer.headers, "content-length": body.length + 1 });
  const half = body.subarray(0, Math.ceil(body.length / 2));
  await new Promise<void>((resolve) => {
    response.write(half.length > 0 ? half : " ", () => resolve());
  });
}
