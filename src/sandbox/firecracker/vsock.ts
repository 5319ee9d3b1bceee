import { connect, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import { FireteactError } from "../../base/errors.ts";

/** The port on which a guest's end of the channel listens. */
export const AGENT_VSOCK_PORT = 9_001;
/** `OK` and a port number. */
const MOST_ANSWER = 32;

/**
 * Connects to a port of a guest through its monitor's vsock socket. The monitor closes the connection where nothing in
 * the guest listens.
 *
 * @throws FireteactError `VSOCK_REFUSED`
 */
export async function dialVsock(path: string, port: number, signal: AbortSignal): Promise<Duplex> {
  signal.throwIfAborted();
  const socket = connect(path);
  const abort = () => socket.destroy();
  signal.addEventListener("abort", abort);
  try {
    socket.write(`CONNECT ${port}\n`);
    await accepted(socket, port);
    return socket;
  } catch (error) {
    socket.destroy();
    signal.throwIfAborted();
    throw error;
  } finally {
    signal.removeEventListener("abort", abort);
  }
}

function accepted(socket: Socket, port: number): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const refused = (why: string) =>
    reject(new FireteactError("VSOCK_REFUSED", `The guest's port ${port} cannot be reached: ${why}`));
  let answer = Buffer.alloc(0);
  const settle = () => {
    socket.off("readable", onReadable);
    socket.off("error", onError);
    socket.off("close", onClose);
  };
  const onError = (error: Error) => {
    settle();
    reject(error);
  };
  const onClose = () => {
    settle();
    refused("nothing listens there");
  };
  const onReadable = () => {
    for (;;) {
      const chunk = socket.read() as Buffer | null;
      if (chunk === null) return;
      answer = Buffer.concat([answer, chunk]);
      const end = answer.indexOf("\n");
      if (end < 0 && answer.length <= MOST_ANSWER) continue;
      settle();
      if (!/^OK \d{1,10}$/.test(answer.toString("latin1", 0, Math.max(end, 0)))) {
        refused("the monitor's answer cannot be understood");
        return;
      }
      // What follows the line is the guest's already.
      const rest = answer.subarray(end + 1);
      if (rest.length > 0) socket.unshift(rest);
      resolve();
      return;
    }
  };
  socket.on("readable", onReadable);
  socket.once("error", onError);
  socket.once("close", onClose);
  return promise;
}
