import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { systemClock } from "../../src/base/clock.ts";
import { silentLogger } from "../../src/base/log.ts";
import type { Places } from "../../src/base/names.ts";
import { processes } from "../../src/base/process.ts";
import type { SandboxExit } from "../../src/core/types.ts";
import { createSandboxes } from "../../src/sandbox/microvm/sandboxes.ts";
import { createShimLauncher } from "../../src/sandbox/microvm/shim.ts";
import { watchExit } from "../../src/sandbox/microvm/watch.ts";
import type { SandboxSpec, StepContext } from "../../src/sandbox/port.ts";

/** Of this process alone, so that two runs on one machine do not take each other's control groups for their own. */
export const HOST_ID = (0xa0_00_00 + process.pid).toString(16);
export const hexOf = (number: number): string => HOST_ID + number.toString(16).padStart(18, "0");

export const specOf = (hex: string): SandboxSpec => ({
  hex,
  runnerId: `p-${hex}`,
  pool: "p",
  memoryMib: 256,
  vcpus: 1,
  hostname: "guest",
  metadata: {},
});

/** A context without limits; `onStep` sees each step after its work. */
export function contextOf(onStep: (name: string) => void = () => undefined, signal?: AbortSignal): StepContext {
  return {
    signal: signal ?? new AbortController().signal,
    log: silentLogger,
    step: async (name, work) => {
      const result = await work();
      onStep(name);
      return result;
    },
  };
}

export const fakeMonitor = (name: string): string => join(import.meta.dirname, "fixtures/vmm", name);

export async function temporaryPlaces(): Promise<Places & { root: string }> {
  const root = await mkdtemp(join(tmpdir(), "fireteact-sandbox-"));
  onTestFinished(() => rm(root, { recursive: true, force: true }));
  return { root, state: join(root, "state"), run: join(root, "run") };
}

/** Sandboxes with fake monitors, in directories of their own; what is left when the test ends is removed. */
export async function fakeSandboxes() {
  const places = await temporaryPlaces();
  const released: string[] = [];
  const network = {
    list: async () => [] as string[],
    find: async () => undefined,
    release: async (hex: string) => void released.push(hex),
  };
  const sandboxes = createSandboxes({ driver: "qemu", places, hostId: HOST_ID, network, clock: systemClock });
  const launcher = createShimLauncher(places.run);
  onTestFinished(async () => {
    for (const { hex } of await sandboxes.list()) await sandboxes.remove(hex, contextOf());
  });

  const start = async (hex: string, command: string[], consoleBytes = 64 * 1024) => {
    const own = sandboxes.begin(specOf(hex));
    await launcher.launch({
      directory: own.directory,
      command,
      consoleBytes,
      onIdentity: (identity) => sandboxes.update(hex, { process: identity }),
    });
    return own;
  };
  return { places, network, released, sandboxes, start };
}

export const exitOfSandbox = (directory: string): Promise<SandboxExit> =>
  new Promise((resolve) => watchExit(directory, systemClock, resolve));

/** Waits until the condition holds; vitest's time limit ends it. */
export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) await systemClock.sleep(10);
}

export const sessionOf = (session: number): number[] =>
  Array.from(processes())
    .filter((view) => view.session === session)
    .map((view) => view.pid);
