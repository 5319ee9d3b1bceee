import { rmSync } from "node:fs";
import { createServer, type Socket } from "node:net";
import { FireteactError } from "../../base/errors.ts";
import type { Logger } from "../../base/log.ts";

/** A connection or two at a time are the host's; more are somebody's mistake. */
const MOST_CONNECTIONS = 4;

/** Listens on a unix socket for the host, for sandboxes that share the host's file system. */
export async function listenUnix(
  path: string,
  attach: (stream: Socket) => void,
  log: Logger,
  access: { writableAll?: boolean } = {},
): Promise<() => void> {
  rmSync(path, { force: true });
  const server = createServer(attach);
  server.maxConnections = MOST_CONNECTIONS;
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once("error", reject);
  server.listen({ path, ...access }, resolve);
  try {
    await promise;
  } catch (error) {
    throw new FireteactError("CHANNEL_FAILED", `the channel's socket ${path} cannot be opened`, { cause: error });
  }
  server.on("error", (error) => log.warn({ err: error.message }, "the channel's socket failed"));
  return () => {
    server.close();
    rmSync(path, { force: true });
  };
}
