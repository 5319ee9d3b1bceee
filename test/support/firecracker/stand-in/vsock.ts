import { createServer, type Socket } from "node:net";
import { AGENT_VSOCK_PORT } from "../../../../src/sandbox/firecracker/vsock.ts";
import type { Guest } from "./guest.ts";
import { Fault } from "./state.ts";

/**
 * Firecracker's socket for connections to a guest's vsock ports: `CONNECT port`, `OK port`, and then the stream. The
 * guest's end is a virtio-serial port, which is one stream for ever: the newest connection has it. Returns what ends it once
 * everything is handed on.
 */
export async function listenVsock(path: string, guestOf: () => Guest | undefined): Promise<() => Promise<void>> {
  let current: Socket | undefined;
  let hostPort = 1_073_741_824;
  const server = createServer((client) => {
    client.on("error", () => client.destroy());
    client.once("data", (chunk) => {
      const guest = guestOf();
      const end = chunk.indexOf("\n");
      const port = /^CONNECT (\d+)$/.exec(chunk.toString("latin1", 0, end))?.[1];
      if (Number(port) !== AGENT_VSOCK_PORT || guest?.isListening() !== true) {
        client.destroy();
        return;
      }
      current?.destroy();
      current = client;
      client.write(`OK ${hostPort++}\n`);
      const { agent } = guest;
      const rest = chunk.subarray(end + 1);
      if (rest.length > 0) agent.write(rest);
      const toClient = (bytes: Buffer) => void client.write(bytes);
      agent.on("data", toClient);
      client.on("data", (bytes) => void agent.write(bytes));
      client.once("close", () => {
        agent.off("data", toClient);
        // Without a reader what the guest says is lost, as where nobody is connected.
        agent.resume();
      });
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", (error) =>
      reject(
        new Fault(
          `Cannot create backend for vsock device: Error binding to the host-side Unix socket: ${error.message}`,
        ),
      ),
    );
    server.listen(path, resolve);
  });
  return async () => {
    if (current === undefined || current.destroyed) return;
    await new Promise<void>((resolve) => current?.end(resolve).once("close", resolve));
  };
}
