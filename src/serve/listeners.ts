import { chmodSync, mkdirSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { connect } from "node:net";
import { dirname } from "node:path";
import { getRequestListener } from "@hono/node-server";
import { FireteactError, systemCode } from "../base/errors.ts";
import type { ListenAddress } from "../core/settings.ts";

/** What answers requests; a Hono app is one. */
export interface App {
  fetch(request: Request, env: unknown): Response | Promise<Response>;
}

/** Serves an app over TCP. Throws LISTEN_FAILED with the address and the fix. */
export async function listenTcp(app: App, address: ListenAddress, key: string): Promise<Server> {
  const server = serverFor(app);
  await listening(server, () => server.listen(address.port, address.host)).catch((error: unknown) => {
    throw new FireteactError(
      "LISTEN_FAILED",
      `${key}: cannot listen on ${address.host}:${address.port} (${systemCode(error) ?? "error"})`,
      {
        cause: error,
        hint:
          systemCode(error) === "EADDRINUSE"
            ? `another program listens there; end it or set ${key} to another port`
            : `set ${key} to an address of this host`,
      },
    );
  });
  return server;
}

/** Serves an app over a unix socket that only its owner may open. Throws ALREADY_RUNNING when somebody answers there. */
export async function listenSocket(app: App, path: string): Promise<Server> {
  mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
  if (await answers(path)) {
    throw new FireteactError("ALREADY_RUNNING", `another fireteact serves at ${path}`, {
      hint: "stop it first, or give this one another configuration with server.socket and its own state directory",
    });
  }
  rmSync(path, { force: true });
  const server = serverFor(app);
  await listening(server, () => server.listen(path));
  chmodSync(path, 0o600);
  return server;
}

export async function closeServer(server: Server): Promise<void> {
  server.closeAllConnections();
  await new Promise<void>((resolve) => server.close(() => resolve()));
}

function serverFor(app: App): Server {
  const listener = getRequestListener((request, env) => app.fetch(request, env));
  const server = createServer((request, response) => void listener(request, response));
  server.requestTimeout = 30_000;
  server.headersTimeout = 10_000;
  server.maxConnections = 256;
  return server;
}

async function listening(server: Server, listen: () => void): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.once("listening", () => {
      server.off("error", reject);
      resolve();
    });
    listen();
  });
}

async function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}
