import { createSocket } from "node:dgram";
import { once } from "node:events";
import { type AddressInfo, connect, createServer } from "node:net";

/** A service of the host that guests must not reach: TCP and UDP on all addresses, on one port. */
export interface HostListener {
  port: number;
  /** Addresses that reached it, in order. */
  visitors: string[];
  close(): Promise<void>;
}

export async function startHostListener(): Promise<HostListener> {
  const visitors: string[] = [];
  const server = createServer((socket) => {
    visitors.push(socket.remoteAddress ?? "");
    socket.on("error", () => undefined);
    socket.end("host");
  });
  server.listen(0, "0.0.0.0");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const datagrams = createSocket("udp4", (_, { address, port: from }) => {
    visitors.push(address);
    datagrams.send("host", from, address);
  });
  datagrams.bind(port, "0.0.0.0");
  await once(datagrams, "listening");
  return {
    port,
    visitors,
    close: async () => {
      datagrams.close();
      server.close();
      await once(server, "close");
    },
  };
}

/** Whether a TCP connection comes about from here. */
export function connects(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, timeout: 3_000 });
    const end = (answer: boolean) => {
      socket.destroy();
      resolve(answer);
    };
    socket.once("connect", () => end(true));
    socket.once("timeout", () => end(false));
    socket.once("error", () => end(false));
  });
}

/** Whether a datagram is answered here. */
export async function answers(host: string, port: number): Promise<boolean> {
  const socket = createSocket("udp4");
  try {
    socket.send("hello", port, host);
    await once(socket, "message", { signal: AbortSignal.timeout(3_000) });
    return true;
  } catch {
    return false;
  } finally {
    socket.close();
  }
}
