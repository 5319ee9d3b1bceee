import { access } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "../../base/clock.ts";
import { describe, FireteactError } from "../../base/errors.ts";
import type { Logger } from "../../base/log.ts";
import type { Places } from "../../base/names.ts";
import type { GuestImage, Images, RootDisks } from "../../image/port.ts";
import type { MetadataPublisher } from "../../metadata/port.ts";
import type { GuestNetwork, Network } from "../../network/port.ts";
import { createCgroups } from "../microvm/cgroups.ts";
import { confine, MAX_TASKS } from "../microvm/confine.ts";
import { readConsole } from "../microvm/console.ts";
import { checkReadable, cloneDisk, giveTo, sizeOf } from "../microvm/files.ts";
import { forgetInitrd, ownInitrd } from "../microvm/initrd.ts";
import { kernelLine } from "../microvm/kernel-line.ts";
import type { SandboxPlaces } from "../microvm/places.ts";
import { preparePools } from "../microvm/prepare-pools.ts";
import { createSandboxes } from "../microvm/sandboxes.ts";
import { createShimLauncher, type Launcher } from "../microvm/shim.ts";
import { createWatches } from "../microvm/watches.ts";
import type { DriverCheck, SandboxDriver, SandboxSpec, StepContext } from "../port.ts";
import { qemuCommand } from "./command-line.ts";
import { findMachine, type HostMachine, qemuVersion, requireHost } from "./machine.ts";
import { keepGoing } from "./stalled.ts";
import { dialAgent, waitForMonitor } from "./start.ts";

/** What a pool's guests are made of. */
export interface QemuPool {
  /** Image reference. */
  image: string;
  /** Instead of the image's own. */
  kernelPath?: string;
  initrdPath?: string;
  /** Absent means searched in PATH. */
  binaryPath?: string;
  accelerator: "auto" | "kvm" | "tcg";
  disks: RootDisks;
}

export interface QemuDeps {
  places: Places;
  hostId: string;
  /** The pools that use this driver, as configured now. */
  pools(): ReadonlyMap<string, QemuPool>;
  images: Images;
  network: Network;
  metadata: MetadataPublisher;
  clock: Clock;
  log: Logger;
  /** Absent means the shim. */
  launcher?: Launcher;
  /** Most bytes of a guest's console kept on disk. */
  consoleBytes?: number;
  /** Milliseconds between two looks at the free space for scratch disks; for tests. */
  spaceEvery?: number;
}

/** Emulated guests get this much more time to boot. */
const TCG_BOOT_FACTOR = 5;
const CONSOLE_BYTES = 1024 * 1024;
/** What a monitor may take besides its guest's memory; an emulator translates code into a gigabyte. */
const BEYOND_GUEST_MIB = { kvm: 512, tcg: 1_536 };

/** Makes guests with QEMU's `microvm` machine, with KVM where that works and emulated where it does not. */
export function createQemuDriver(deps: QemuDeps): SandboxDriver {
  const { places, network, metadata, clock, log } = deps;
  const cgroups = createCgroups(deps.hostId, clock);
  const sandboxes = createSandboxes({ driver: "qemu", ...deps, cgroups });
  network.onLost((hex, detail) => sandboxes.condemn(hex, detail));
  const launcher = deps.launcher ?? createShimLauncher(places.run);
  const watches = createWatches((hex) => sandboxes.places(hex), clock);
  const machines = new Map<string, Promise<HostMachine>>();

  const stopLooking = keepGoing({
    clock,
    log,
    directory: sandboxes.diskRoot,
    sockets: async () => {
      const running = (await sandboxes.list()).filter(({ state }) => state === "running");
      return new Map(running.map(({ hex }) => [hex, sandboxes.places(hex).qmp]));
    },
    every: deps.spaceEvery,
  });

  const poolOf = (name: string): QemuPool => {
    const pool = deps.pools().get(name);
    if (pool === undefined) throw new Error(`pool ${name} does not use the qemu driver`);
    return pool;
  };

  const imageOf = async (pool: QemuPool, context: StepContext): Promise<GuestImage> => {
    const image = await deps.images.resolve(pool.image, context.signal, (line) => context.log.info({ line }, "image"));
    return { ...image, kernel: pool.kernelPath ?? image.kernel, initrd: pool.initrdPath ?? image.initrd };
  };

  /** Found out once for each way of running; a failure is tried again. */
  const machineOf = (pool: QemuPool, image: GuestImage): Promise<HostMachine> => {
    const { binaryPath, accelerator } = pool;
    const wanted = { ...(binaryPath === undefined ? {} : { binaryPath }), accelerator, kernel: image.kernel };
    const key = JSON.stringify(wanted);
    const known = machines.get(key);
    if (known !== undefined) return known;
    const verdicts = join(places.state, "probe");
    // Shared by all that wait for it, so that none of them may end it.
    const found = findMachine({ ...wanted, verdicts }, log, new AbortController().signal);
    machines.set(key, found);
    found.catch(() => machines.delete(key));
    return found;
  };

  const prepare = async (context: StepContext): Promise<DriverCheck> => {
    // What is quick to find out comes before what may take minutes.
    requireHost();
    for (const { binaryPath } of deps.pools().values()) await qemuVersion(binaryPath, context.signal);
    const state = await network.check();
    if (!state.ok) return state;
    await context.step("prepare network", () => network.prepare(context.signal));
    await sandboxes.sweep();
    const preparePool = async (pool: QemuPool) => {
      const image = await context.step("resolve image", () => imageOf(pool, context));
      const machine = await context.step("find accelerator", () => machineOf(pool, image));
      await checkReadable([image.kernel, image.initrd, image.rootfs], sandboxes.diskRoot, context.signal);
      const { version, detail, accelerator } = machine;
      return {
        accelerator,
        detail: `QEMU ${version}, ${detail}; kernel ${image.kernelVersion}; image ${image.digest}`,
      };
    };
    const ready = await preparePools(deps.pools(), preparePool, { images: deps.images, log: context.log });
    const detail = [...new Set(ready.map((pool) => pool.detail))].join("; ");
    return {
      ok: true,
      detail,
      bootFactor: ready.some(({ accelerator }) => accelerator === "tcg") ? TCG_BOOT_FACTOR : 1,
    };
  };

  const create = async (spec: SandboxSpec, context: StepContext): Promise<{ address?: string }> => {
    const pool = poolOf(spec.pool);
    const { signal } = context;
    const image = await context.step("resolve image", () => imageOf(pool, context));
    const machine = await machineOf(pool, image);
    signal.throwIfAborted();
    const own = sandboxes.begin(spec, image.digest);
    try {
      const scratch = await context.step("clone disk", () => cloneDisk(pool.disks, spec.hex, own, signal));
      const guest = await context.step("attach network", () => network.attach(spec.hex, spec.pool, signal));
      sandboxes.update(spec.hex, { uid: guest.owner, address: guest.hostAddress });
      await giveTo(guest.owner, scratch, own);
      await context.step("publish metadata", () => publish(spec.hex, spec.metadata));
      await context.step("start vmm", () => start(spec, { image, machine, scratch, guest, own }));
      await context.step("wait for qmp", () => waitForMonitor(own, { clock, signal }));
      await forgetInitrd(own);
      return { address: guest.hostAddress };
    } catch (error) {
      await undo(spec.hex, context);
      throw error;
    }
  };

  interface Parts {
    image: GuestImage;
    machine: HostMachine;
    scratch: string;
    guest: GuestNetwork;
    own: SandboxPlaces;
  }

  const start = async (spec: SandboxSpec, { image, machine, scratch, guest, own }: Parts): Promise<void> => {
    const { hex, memoryMib, vcpus, hostname } = spec;
    const { binary, accelerator } = machine;
    const { kernel, rootfs } = image;
    const initrd =
      spec.files === undefined ? image.initrd : await ownInitrd(image.initrd, spec.files, guest.owner, own);
    const line = kernelLine({ network: guest, hostname, extra: machine.kernelWords });
    const command = qemuCommand({
      hex,
      binary,
      accelerator,
      memoryMib,
      vcpus,
      kernel,
      initrd,
      kernelLine: line,
      rootfs,
      scratch,
      tap: guest.tap,
      mac: guest.guestMac,
    });
    const limits = { memoryMib: memoryMib + BEYOND_GUEST_MIB[accelerator], tasks: MAX_TASKS };
    const groups = cgroups.make(hex, limits);
    if (groups.length > 0) sandboxes.update(hex, { cgroups: groups });
    const confinement = {
      namespace: guest.namespace,
      uid: guest.owner,
      groups: machine.groups,
      cgroups: groups,
    };
    await launcher.launch({
      directory: own.directory,
      command: confine(command, { ...confinement, fileBytes: await sizeOf(scratch) }),
      consoleBytes: deps.consoleBytes ?? CONSOLE_BYTES,
      onIdentity: (identity) => sandboxes.update(hex, { process: identity }),
    });
  };

  const publish = async (hex: string, document: SandboxSpec["metadata"]): Promise<void> => {
    await metadata.serve(hex);
    await metadata.publish(hex, document);
  };

  const remove = async (hex: string, context: StepContext): Promise<void> => {
    await context.step("stop metadata", () => metadata.stop(hex));
    await sandboxes.remove(hex, context);
  };

  /** The caller may have given up; what was made has to go all the same. What cannot go now is found by `list`. */
  const undo = async (hex: string, context: StepContext): Promise<void> => {
    try {
      await remove(hex, { ...context, signal: new AbortController().signal });
    } catch (error) {
      context.log.warn({ sandbox: hex, cause: describe(error) }, "a sandbox that failed could not be removed yet");
    }
  };

  return {
    name: "qemu",
    prepare: async (context) => {
      try {
        return await prepare(context);
      } catch (error) {
        context.signal.throwIfAborted();
        if (!(error instanceof FireteactError)) throw error;
        return { ok: false, detail: describe(error), ...(error.hint === undefined ? {} : { hint: error.hint }) };
      }
    },
    resume: async (context) => {
      requireHost();
      await network.prepare(context.signal);
    },
    verify: async () => {
      for (const pool of deps.pools().values()) {
        // A pulled image that is damaged is pulled again by the next guest, and concerns no other pool.
        if (!deps.images.isRemote(pool.image)) await deps.images.verify(pool.image);
        for (const path of [pool.kernelPath, pool.initrdPath]) if (path !== undefined) await access(path);
      }
    },
    create,
    list: (known) => sandboxes.list(known),
    remove,
    dial: (hex, signal) => dialAgent(sandboxes.places(hex).agent, signal),
    publish,
    watch: watches.watch,
    console: (hex, bytes) => readConsole(sandboxes.places(hex).directory, bytes),
    close: async () => {
      watches.stop();
      await stopLooking();
      await metadata.close();
    },
  };
}
