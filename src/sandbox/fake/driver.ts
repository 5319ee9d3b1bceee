import { readlinkSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import type { Clock } from "../../base/clock.ts";
import { ignore } from "../../base/errors.ts";
import type { Places } from "../../base/names.ts";
import { kill, processes } from "../../base/process.ts";
import { readConsole } from "../microvm/console.ts";
import { createSandboxes } from "../microvm/sandboxes.ts";
import { createShimLauncher } from "../microvm/shim.ts";
import { watchExit } from "../microvm/watch.ts";
import type { SandboxDriver } from "../port.ts";
import { createMetadataSockets } from "./metadata.ts";

interface FakeDriverDeps {
  places: Places;
  hostId: string;
  clock: Clock;
  /** What runs in a sandbox; `channel`, `metadata` and `work` are its own paths. */
  command: (own: { channel: string; metadata: string; work: string }) => readonly string[];
}

const CONSOLE_BYTES = 256 * 1024;

/**
 * Sandboxes that are ordinary child processes, for tests, benches and trying things out: the same records, shim, channel
 * and agent as a microVM, and no isolation whatsoever.
 */
export function createFakeDriver(deps: FakeDriverDeps): SandboxDriver {
  const { places, clock } = deps;
  const sandboxes = createSandboxes({ driver: "fake", places, hostId: deps.hostId, clock, network: NO_NETWORK });
  const launcher = createShimLauncher(join(places.run, "fake"));
  const metadata = createMetadataSockets();
  const pathsOf = (hex: string) => {
    const { directory, disks } = sandboxes.places(hex);
    return { channel: join(directory, "agent.sock"), metadata: join(directory, "metadata.sock"), work: disks };
  };

  return {
    name: "fake",
    prepare: async () => {
      await sandboxes.sweep();
      return { ok: true, detail: "child processes without isolation, for tests only" };
    },
    create: async (spec, context) => {
      const { directory } = sandboxes.begin(spec);
      try {
        const own = pathsOf(spec.hex);
        await context.step("make directories", () => mkdir(own.work, { recursive: true, mode: 0o700 }));
        await context.step("publish metadata", () => metadata.publish(spec.hex, own.metadata, spec.metadata));
        await context.step("start process", () =>
          launcher.launch({
            directory,
            command: deps.command(own),
            consoleBytes: CONSOLE_BYTES,
            onIdentity: (identity) => sandboxes.update(spec.hex, { process: identity }),
          }),
        );
        return {};
      } catch (error) {
        await metadata.stop(spec.hex);
        await sandboxes.remove(spec.hex, context);
        throw error;
      }
    },
    list: (known) => sandboxes.list(known),
    remove: async (hex, context) => {
      await metadata.stop(hex);
      endWorkers(pathsOf(hex).work);
      await sandboxes.remove(hex, context);
    },
    dial: (hex, signal) => dialSocket(pathsOf(hex).channel, signal),
    publish: (hex, document) => metadata.publish(hex, pathsOf(hex).metadata, document),
    watch: (hex, onExit) => watchExit(sandboxes.places(hex).directory, clock, onExit),
    console: (hex, bytes) => readConsole(sandboxes.places(hex).directory, bytes),
    close: () => metadata.close(),
  };
}

const NO_NETWORK = {
  list: () => Promise.resolve([]),
  find: () => Promise.resolve(undefined),
  release: () => Promise.resolve(),
};

/** An agent that was killed leaves its engine and its job, which have sessions of their own; a machine would not. */
function endWorkers(work: string): void {
  for (const { pid } of processes()) if (placeOf(pid).startsWith(work)) kill(pid, "SIGKILL");
}

function placeOf(pid: number): string {
  try {
    return readlinkSync(`/proc/${pid}/cwd`);
  } catch (error) {
    return ignore("ENOENT", "ESRCH", "EACCES")(error) ?? "";
  }
}

function dialSocket(path: string, signal: AbortSignal): Promise<Duplex> {
  const { promise, resolve, reject } = Promise.withResolvers<Duplex>();
  const socket = connect(path);
  const abort = () => socket.destroy(new Error("dialling was given up"));
  signal.addEventListener("abort", abort, { once: true });
  socket.once("connect", () => {
    socket.off("error", reject);
    resolve(socket);
  });
  socket.once("error", reject);
  return promise.finally(() => signal.removeEventListener("abort", abort));
}
