import type { SandboxPlaces } from "../microvm/places.ts";
import type { SandboxRecord } from "../microvm/record.ts";

/** A file of the host that a monitor has to open. */
export interface VisibleFile {
  /** What the monitor's configuration calls it: `kernel`, `initrd`, `root`, `scratch`... Letters only. */
  name: string;
  /** Absolute. */
  path: string;
  /** `write`: the file is this sandbox's alone and belongs to the monitor's user already. */
  access: "read" | "write";
}

/** Everything that a monitor is started with but its own arguments. */
export interface LaunchPlan {
  hex: string;
  own: SandboxPlaces;
  /** The firecracker binary, absolute. */
  binary: string;
  files: readonly VisibleFile[];
  /** User and group id that only this monitor has; the tap's owner. */
  uid: number;
  /** Supplementary groups, for device nodes, where the way of starting does not make nodes of its own. */
  groups: readonly number[];
  /** Path of the network namespace. */
  namespace: string;
  /** `memoryMib` is the guest's and what the monitor may take besides; `fileBytes` the largest file it may write. */
  limits: { memoryMib: number; vcpus: number; tasks: number; fileBytes: number };
  /** Most bytes of the console kept on disk. */
  consoleBytes: number;
  /** Puts on record what has to be taken apart (control groups, process) before it is used. */
  record(change: Pick<Partial<SandboxRecord>, "cgroups" | "process">): void;
}

/** A monitor for which everything is in place but that does not run yet. */
export interface PreparedLaunch {
  /** The path by which the monitor opens a file of the plan. */
  seen(name: string): string;
  /** The path by which the monitor makes and opens its vsock's socket. */
  vsock: string;
  /**
   * Starts it. It outlives this process, its standard output is the bounded console and its exit is recorded, as with
   * the shim. Resolves once what runs it is on record; whether the API answers is the driver's to find out.
   *
   * @param args Firecracker's arguments besides `--id` and `--api-sock`.
   */
  start(args: readonly string[]): Promise<void>;
  /**
   * Takes the directories of its sockets and logs away from the monitor's user, once the monitor is configured and has
   * opened all of them: nothing in there can be replaced by what a guest that broke out would like us to open.
   */
  seal(): Promise<void>;
}

/** A monitor's sockets as the host opens them, each at most 107 bytes long, also after a restart of this process. */
export interface LaunchSockets {
  api: string;
  vsock: string;
}

/** A way of starting Firecracker: as it is (see launch-direct.ts), or in a jail. */
export interface Launch {
  /** Whether monitors can be started in this way here, in one line, with the fix where they cannot. */
  check(signal: AbortSignal): Promise<{ ok: boolean; detail: string; hint?: string }>;
  /** Makes what the monitor needs around it. What a failure leaves is found by `list` and taken away by `remove`. */
  prepare(plan: LaunchPlan, signal: AbortSignal): Promise<PreparedLaunch>;
  sockets(hex: string): LaunchSockets;
  /** Hexes of all sandboxes for which something is here that this made outside of the sandbox's directory. */
  list(): string[];
  /** Removes that, once no process of the sandbox is left. Twice is success. */
  remove(hex: string): Promise<void>;
}
