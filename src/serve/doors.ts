import type { Server } from "node:http";
import type { Hono } from "hono";
import { createApi, createMetricsApp } from "../api/app.ts";
import type { ApiDeps } from "../api/port.ts";
import type { ServerSettings } from "../core/settings.ts";
import { type App, closeServer, listenSocket, listenTcp } from "./listeners.ts";

/** The daemon's addresses: taken before anything else is done, they answer 503 until there is something behind them. */
export interface Doors {
  open(deps: ApiDeps): void;
  /** Twice is harmless. */
  close(): Promise<void>;
}

/** Takes all of the addresses or none. Throws ALREADY_RUNNING or LISTEN_FAILED. */
export async function takeDoors(settings: ServerSettings, socketPath: string): Promise<Doors> {
  let apps: { socket: Hono; tcp: Hono; metrics: Hono } | undefined;
  const door = (name: "socket" | "tcp" | "metrics"): App => ({
    fetch: (request, env) => apps?.[name].fetch(request, env) ?? new Response("starting\n", { status: 503 }),
  });
  const servers: Server[] = [];
  const close = async () => void (await Promise.all(servers.map(closeServer)));
  try {
    servers.push(await listenSocket(door("socket"), socketPath));
    servers.push(await listenTcp(door("tcp"), settings.address, "server.address"));
    servers.push(await listenTcp(door("metrics"), settings.metricsAddress, "server.metricsAddress"));
  } catch (error) {
    await close();
    throw error;
  }
  return {
    open: (deps) => {
      apps = { socket: createApi(deps, "socket"), tcp: createApi(deps, "tcp"), metrics: createMetricsApp(deps) };
    },
    close,
  };
}
