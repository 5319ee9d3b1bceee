import { once } from "node:events";
import { createServer, type Server, type Socket } from "node:net";
import { FireteactError, systemCode } from "../../base/errors.ts";

/**
 * The one listener behind every guest's 169.254.169.254:80. A connection belongs to the guest whose address it comes
 * from; the host's rules tie addresses to ports of the bridge, so a guest cannot send from another's.
 */
export interface MetadataListener {
  /** Hands the guest's connections to a server, and ends them when it is stopped. */
  serve(hex: string, server: Server): () => void;
  /** Ends a guest's connections and forgets its server. */
  drop(hex: string): void;
  close(): Promise<void>;
}

interface Listening {
  server: Server;
  sockets: Set<Socket>;
}

/** `guestAt` says which guest has an address now; `onError` is told of connections that could not be taken. */
export async function listen(
  address: { host: string; port: number },
  guestAt: (address: string) => string | undefined,
  onError: (error: unknown) => void,
): Promise<MetadataListener> {
  const guests = new Map<string, Listening>();
  const listener = createServer({ noDelay: true }, (socket) => {
    // Replaced by the server that takes the connection; until then an error must not end the program.
    socket.on("error", () => undefined);
    const hex = guestAt(socket.remoteAddress ?? "");
    const guest = hex === undefined ? undefined : guests.get(hex);
    if (guest === undefined) {
      socket.resetAndDestroy();
      return;
    }
    guest.sockets.add(socket);
    socket.once("close", () => guest.sockets.delete(socket));
    guest.server.emit("connection", socket);
  });
  listener.listen({ ...address, exclusive: true });
  await once(listener, "listening").catch((cause: unknown) => {
    throw cannotListen(address, cause);
  });
  listener.on("error", onError);
  const drop = (hex: string): void => {
    const guest = guests.get(hex);
    guests.delete(hex);
    for (const socket of guest?.sockets ?? []) socket.destroy();
  };
  return {
    serve(hex, server) {
      drop(hex);
      const guest = { server, sockets: new Set<Socket>() };
      guests.set(hex, guest);
      return () => {
        if (guests.get(hex) === guest) drop(hex);
      };
    },
    drop,
    async close() {
      const closed = once(listener, "close");
      listener.close();
      for (const hex of guests.keys()) drop(hex);
      await closed;
    },
  };
}

function cannotListen(address: { host: string; port: number }, cause: unknown): FireteactError {
  const where = `${address.host}:${address.port}`;
  const taken = systemCode(cause) === "EADDRINUSE";
  return new FireteactError("NETWORK_METADATA_LISTEN", `the guests' metadata cannot be served at ${where}`, {
    hint: taken
      ? `another program has that port (see "ss -ltnp"); is fireteact serve running already?`
      : "see the cause",
    cause,
  });
}
