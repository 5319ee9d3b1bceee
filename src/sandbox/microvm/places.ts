import { join } from "node:path";
import { FireteactError } from "../../base/errors.ts";
import { diskDirectory, type Places, sandboxDirectory } from "../../base/names.ts";

export const HEX = /^[0-9a-f]{24}$/;

/** Where the parts of one microVM lie. Only what is in `vm` and `disks` belongs to the monitor's user. */
export interface SandboxPlaces {
  /** Holds record, exit and console; the monitor's working directory, which it cannot write to. */
  directory: string;
  /** Holds the monitor's sockets, and files that only it reads. */
  vm: string;
  qmp: string;
  agent: string;
  /** On a file system that can clone files: holds the scratch disk. */
  disks: string;
}

/** The monitor is given its sockets relative to its working directory. */
export const QMP_SOCKET = "vm/qmp.sock";
export const AGENT_SOCKET = "vm/agent.sock";

/** Bytes of a unix socket's address, without the byte that ends it. */
const MAX_SOCKET_PATH = 107;

/** @throws FireteactError `BAD_SANDBOX_NAME`, `SOCKET_PATH_TOO_LONG` */
export function placesOf(places: Places, hex: string): SandboxPlaces {
  if (!HEX.test(hex)) throw new FireteactError("BAD_SANDBOX_NAME", "A sandbox is named by 24 hexadecimal digits");
  const directory = sandboxDirectory(places, hex);
  const agent = join(directory, AGENT_SOCKET);
  if (Buffer.byteLength(agent) > MAX_SOCKET_PATH) {
    throw new FireteactError(
      "SOCKET_PATH_TOO_LONG",
      `The socket path ${agent} has more than ${MAX_SOCKET_PATH} bytes`,
      {
        hint: "Use a shorter run directory",
      },
    );
  }
  return {
    directory,
    vm: join(directory, "vm"),
    qmp: join(directory, QMP_SOCKET),
    agent,
    disks: diskDirectory(places, hex),
  };
}
