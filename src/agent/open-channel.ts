import type { Duplex } from "node:stream";
import type { Clock } from "../base/clock.ts";
import { FireteactError } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import { listenUnix } from "./transport/unix.ts";
import { openVirtioPort } from "./transport/virtio.ts";

/**
 * Makes the sandbox's end of the channel reachable: `virtio:<port name>`, `unix:<path>`, `unix-shared:<path>` (every
 * user may connect: who reaches the directory is the host's decision) or `none`. Each byte stream on
 * which a host may appear is given to `attach`. Returns what closes it.
 */
export async function openChannel(
  address: string,
  attach: (stream: Duplex) => void,
  clock: Clock,
  log: Logger,
): Promise<() => void> {
  const colon = address.indexOf(":");
  const [scheme, place] = colon < 0 ? [address, ""] : [address.slice(0, colon), address.slice(colon + 1)];
  if (scheme === "none") return () => undefined;
  if (scheme === "virtio" && place !== "") return openVirtioPort(place, attach, clock, log);
  if (scheme === "unix-shared" && place !== "") return await listenUnix(place, attach, log, { writableAll: true });
  if (scheme === "unix" && place !== "") return await listenUnix(place, attach, log);
  throw new FireteactError("BAD_ARGUMENTS", `--channel: "${address}" is no address of a channel`, {
    hint: "write virtio:NAME, unix:PATH, unix-shared:PATH or none",
  });
}
