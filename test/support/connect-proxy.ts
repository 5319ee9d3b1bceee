import { createServer, request } from "node:http";
import { type AddressInfo, connect } from "node:net";

export interface ConnectProxy {
  url: string;
  /** `host:port` of tunnels, and whole URLs of forwarded requests. */
  seen: string[];
  close(): Promise<void>;
}

interface ProxyOptions {
  /** Answers every request with this status. */
  refuse?: number;
  /** Where it listens; default any port on loopback. */
  host?: string;
  port?: number;
}

/** A small HTTP proxy that tunnels and forwards to `127.0.0.1`, whatever host is asked for. */
export async function startConnectProxy(options: ProxyOptions = {}): Promise<ConnectProxy> {
  const { host = "127.0.0.1" } = options;
  const seen: string[] = [];
  const server = createServer((incoming, response) => {
    const url = new URL(incoming.url ?? "/");
    seen.push(url.href);
    const { method, headers } = incoming;
    const forwarded = request(
      { host: "127.0.0.1", port: url.port, path: url.pathname + url.search, method, headers },
      (answer) => {
        response.writeHead(answer.statusCode ?? 502, answer.headers);
        answer.pipe(response);
      },
    );
    forwarded.on("error", () => response.destroy());
    incoming.pipe(forwarded);
  });
  const sockets = new Set<{ destroy(): void }>();
  server.on("connect", (incoming, client, head) => {
    seen.push(incoming.url ?? "");
    sockets.add(client);
    if (options.refuse !== undefined) {
      client.end(`HTTP/1.1 ${options.refuse} Refused\r\n\r\n`);
      return;
    }
    const port = Number(incoming.url?.split(":").at(-1));
    const upstream = connect(port, "127.0.0.1", () => {
      client.write("HTTP/1.1 200 Connection established\r\n\r\n");
      upstream.write(head);
      upstream.pipe(client).pipe(upstream);
    });
    sockets.add(upstream);
    upstream.on("error", () => client.destroy());
    client.on("error", () => upstream.destroy());
  });
  await new Promise<void>((resolve) => server.listen(options.port ?? 0, host, resolve));
  return {
    url: `http://${host}:${(server.address() as AddressInfo).port}`,
    seen,
    close: async () => {
      for (const socket of sockets) socket.destroy();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
