import { access } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Clock } from "../../base/clock.ts";
import { describe, FireteactError } from "../../base/errors.ts";
import type { Logger } from "../../base/log.ts";
import type { Places } from "../../base/names.ts";
import type { GuestImage, Images, RootDisks } from "../../image/port.ts";
import type { MetadataPublisher } from "../../metadata/port.ts";
import type { GuestNetwork, Network } from "../../network/port.ts";
import { awaitMonitor } from "../microvm/await-monitor.ts";
import { createCgroups } from "../microvm/cgroups.ts";
import { MAX_TASKS } from "../microvm/confine.ts";
import { readConsole } from "../microvm/console.ts";
import { openDevices } from "../microvm/devices.ts";
import { checkReadable, cloneDisk, giveTo, sizeOf } from "../microvm/files.ts";
import { forgetInitrd, ownInitrd } from "../microvm/initrd.ts";
import { kernelLine } from "../microvm/kernel-line.ts";
import { placesOf, type SandboxPlaces } from "../microvm/places.ts";
import { preparePools } from "../microvm/prepare-pools.ts";
import { readRecord } from "../microvm/record.ts";
import { createSandboxes } from "../microvm/sandboxes.ts";
import { createShimLauncher } from "../microvm/shim.ts";
import { createWatches } from "../microvm/watches.ts";
import type { DriverCheck, SandboxDriver, SandboxSpec, StepContext } from "../port.ts";
import { type Api, createApi } from "./api.ts";
import { askToReset } from "./end.ts";
import { type Binary, findBinary, requireHost } from "./host.ts";
import { createJailLaunch } from "./jail.ts";
import { checkKernel } from "./kernel.ts";
import type { Launch, PreparedLaunch } from "./launch.ts";
import { createDirectLaunch } from "./launch-direct.ts";
import { type MachineOptions, machineRequests } from "./machine.ts";
import { createMmdsPublisher, eitherMetadata } from "./metadata.ts";
import { requests } from "./requests.ts";
import { parseVersion } from "./version.ts";
import { AGENT_VSOCK_PORT, dialVsock } from "./vsock.ts";

/** What a pool's guests are made of. */
export interface FirecrackerPool extends MachineOptions {
  /** Image reference. */
  image: string;
  /** Instead of the image's own. */
  kernelPath?: string;
  initrdPath?: string;
  /** Words for the kernel, separated by spaces. */
  kernelArgs: string;
  /** Absent means searched in the usual places. */
  binaryPath?: string;
  /** Started through Firecracker's jailer. */
  jailer: boolean;
  /** Absent means beside the binary. */
  jailerPath?: string;
  /** What a monitor may take besides its guest's memory. */
  overheadMib: number;
  disks: RootDisks;
}

export interface FirecrackerDeps {
  places: Places;
  hostId: string;
  /** The pools that use this driver, as configured now. */
  pools(): ReadonlyMap<string, FirecrackerPool>;
  images: Images;
  network: Network;
  metadata: MetadataPublisher;
  clock: Clock;
  log: Logger;
  /** Where jails are built: on the file system of images and disks. */
  jailDirectory: string;
  /** Most bytes of a guest's console, and of what its monitor logs, kept on disk. */
  consoleBytes?: number;
}

const CONSOLE_BYTES = 1024 * 1024;

/** Makes guests with Firecracker. */
export function createFirecrackerDriver(deps: FirecrackerDeps): SandboxDriver {
  const { places, network, clock, log } = deps;
  const cgroups = createCgroups(deps.hostId, clock);
  const launching = {
    launcher: createShimLauncher(places.run),
    cgroups,
    places: (hex: string) => placesOf(places, hex),
  };
  const direct = createDirectLaunch(launching);
  const jailed = createJailLaunch({
    base: deps.jailDirectory,
    sources: [join(places.state, "images"), dirname(placesOf(places, "0".repeat(24)).disks)],
    programs: () => jailPrograms(),
    ...launching,
  });
  const launchOf = (pool: FirecrackerPool): Launch => (pool.jailer ? jailed : direct);
  // Sockets are at the same places in and out of a jail, and what removes jails removes control groups, too.
  const sandboxes = createSandboxes({ driver: "firecracker", ...deps, cgroups: jailed, graceMs: 0 });
  network.onLost((hex, detail) => sandboxes.condemn(hex, detail));
  const watches = createWatches((hex) => sandboxes.places(hex), clock);
  const apiOf = (hex: string): Api => createApi(jailed.sockets(hex).api);
  const metadata = eitherMetadata(
    (hex) => {
      const record = readRecord(sandboxes.places(hex).directory);
      return record !== undefined && record !== "damaged" && record.mmds === true;
    },
    createMmdsPublisher((hex) => jailed.sockets(hex).api),
    deps.metadata,
  );

  const poolOf = (name: string): FirecrackerPool => {
    const pool = deps.pools().get(name);
    if (pool === undefined) throw new Error(`pool ${name} does not use the firecracker driver`);
    return pool;
  };

  const imageOf = async (pool: FirecrackerPool, context: StepContext): Promise<GuestImage> => {
    const image = await deps.images.resolve(pool.image, context.signal, (line) => context.log.info({ line }, "image"));
    return { ...image, kernel: pool.kernelPath ?? image.kernel, initrd: pool.initrdPath ?? image.initrd };
  };

  /** What pools with one binary share; a failure is tried again. */
  const hosts = new Map<string, Promise<Binary & { groups: number[] }>>();
  const hostOf = (pool: FirecrackerPool): Promise<Binary & { groups: number[] }> => {
    const key = pool.binaryPath ?? "";
    const known = hosts.get(key);
    if (known !== undefined) return known;
    const find = async () => {
      // Shared by all that wait for it, so that none of them may end it.
      const binary = await findBinary(pool.binaryPath, new AbortController().signal);
      return { ...binary, groups: await openDevices(["/dev/net/tun", "/dev/kvm"], log) };
    };
    const found = find();
    hosts.set(key, found);
    found.then(
      ({ path }) => binaries.set(key, path),
      () => hosts.delete(key),
    );
    return found;
  };
  /** Paths of binaries by what pools call them. */
  const binaries = new Map<string, string>();
  const jailPrograms = () =>
    [...deps.pools().values()].flatMap(({ jailer, jailerPath, binaryPath = "" }) => {
      const binary = binaries.get(binaryPath);
      if (!jailer || binary === undefined) return [];
      return [{ binary, ...(jailerPath === undefined ? {} : { jailer: jailerPath }) }];
    });

  const prepare = async (context: StepContext): Promise<DriverCheck> => {
    const { signal } = context;
    requireHost();
    // The binary may have been replaced since.
    hosts.clear();
    for (const pool of deps.pools().values()) await hostOf(pool);
    const ways = new Map<Launch, string>();
    for (const launch of new Set([...deps.pools().values()].map(launchOf))) {
      const way = await launch.check(signal);
      if (!way.ok) return way;
      ways.set(launch, way.detail);
    }
    const state = await network.check();
    if (!state.ok) return state;
    await context.step("prepare network", () => network.prepare(signal));
    await sandboxes.sweep();
    const preparePool = async (pool: FirecrackerPool): Promise<string> => {
      const image = await context.step("resolve image", () => imageOf(pool, context));
      await checkKernel(image.kernel, image.initrd);
      await checkReadable([image.kernel, image.initrd, image.rootfs], sandboxes.diskRoot, signal);
      const { text } = await hostOf(pool);
      const way = ways.get(launchOf(pool));
      return `Firecracker ${text}, ${way}; kernel ${image.kernelVersion}; image ${image.digest}`;
    };
    const ready = await preparePools(deps.pools(), preparePool, { images: deps.images, log: context.log });
    return { ok: true, detail: [...new Set(ready)].join("; ") };
  };

  const create = async (spec: SandboxSpec, context: StepContext): Promise<{ address?: string }> => {
    const pool = poolOf(spec.pool);
    const { signal } = context;
    const { hex } = spec;
    const image = await context.step("resolve image", () => imageOf(pool, context));
    const host = await hostOf(pool);
    signal.throwIfAborted();
    const own = sandboxes.begin(spec, image.digest);
    try {
      const scratch = await context.step("clone disk", () => cloneDisk(pool.disks, hex, own, signal));
      const guest = await context.step("attach network", () => network.attach(hex, spec.pool, signal));
      sandboxes.update(hex, { uid: guest.owner, address: guest.hostAddress, mmds: pool.mmds !== "off" });
      await giveTo(guest.owner, scratch, own);
      const parts = { pool, image, host, scratch, guest, own };
      const monitor = await context.step("prepare launch", () => prepareLaunch(spec, parts, signal));
      await context.step("start vmm", () => monitor.start(["--level", "Warn"]));
      const api = apiOf(hex);
      const limits = { clock, signal };
      const version = await context.step("wait for api", () => awaitMonitor(own, limits, (end) => api.version(end)));
      await context.step("configure vmm", () => configure(spec, parts, monitor, version, signal));
      await context.step("publish metadata", () => metadata.publish(hex, spec.metadata));
      await context.step("boot guest", () => boot(api, signal));
      await monitor.seal();
      await forgetInitrd(own);
      return { address: guest.hostAddress };
    } catch (error) {
      await undo(hex, context);
      throw error;
    }
  };

  interface Parts {
    pool: FirecrackerPool;
    image: GuestImage;
    host: Binary & { groups: number[] };
    scratch: string;
    guest: GuestNetwork;
    own: SandboxPlaces;
  }

  const prepareLaunch = async (spec: SandboxSpec, parts: Parts, signal: AbortSignal): Promise<PreparedLaunch> => {
    const { pool, image, host, scratch, guest, own } = parts;
    const { hex, files, memoryMib, vcpus } = spec;
    const initrd = files === undefined ? image.initrd : await ownInitrd(image.initrd, files, guest.owner, own);
    const plan = {
      hex,
      own,
      binary: host.path,
      files: [
        { name: "kernel", path: image.kernel, access: "read" as const },
        { name: "initrd", path: initrd, access: "read" as const },
        { name: "root", path: image.rootfs, access: "read" as const },
        { name: "scratch", path: scratch, access: "write" as const },
      ],
      uid: guest.owner,
      groups: host.groups,
      namespace: guest.namespace,
      limits: {
        memoryMib: memoryMib + pool.overheadMib,
        vcpus,
        tasks: MAX_TASKS,
        fileBytes: await sizeOf(scratch),
      },
      consoleBytes: deps.consoleBytes ?? CONSOLE_BYTES,
      record: (change: Parameters<typeof sandboxes.update>[1]) => sandboxes.update(hex, change),
    };
    return await launchOf(pool).prepare(plan, signal);
  };

  const configure = async (
    { hex, memoryMib, vcpus, hostname }: SandboxSpec,
    { pool, guest }: Parts,
    monitor: PreparedLaunch,
    version: string,
    signal: AbortSignal,
  ): Promise<void> => {
    const machine = {
      ...pool,
      memoryMib,
      vcpus,
      kernel: monitor.seen("kernel"),
      initrd: monitor.seen("initrd"),
      kernelLine: kernelLine({ network: guest, hostname, own: kernelWords(pool.kernelArgs) }),
      root: monitor.seen("root"),
      scratch: monitor.seen("scratch"),
      network: guest,
      vsock: monitor.vsock,
    };
    const api = apiOf(hex);
    for (const { request } of machineRequests(machine, parseVersion(version))) await api.send(request, signal);
  };

  const remove = async (hex: string, context: StepContext): Promise<void> => {
    const { directory } = sandboxes.places(hex);
    await context.step("ask guest to reset", () => askToReset(directory, jailed.sockets(hex).api, clock, context));
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
    name: "firecracker",
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
    dial: (hex, signal) => dialVsock(jailed.sockets(hex).vsock, AGENT_VSOCK_PORT, signal),
    publish: (hex, document) => metadata.publish(hex, document),
    watch: watches.watch,
    console: (hex, bytes) => readConsole(sandboxes.places(hex).directory, bytes),
    close: async () => {
      watches.stop();
      await metadata.close();
    },
  };
}

/** A guest waits for each letter that it writes to its serial console, so that it writes few unless it is told to. */
function kernelWords(args: string): string[] {
  const words = args.split(/\s+/).filter((word) => word !== "");
  const isTold = words.some((word) => /^(quiet|debug|ignore_loglevel|loglevel=.*)$/.test(word));
  return isTold ? words : [...words, "quiet", "loglevel=3"];
}

/** What the host lacks shows only now, since Firecracker opens KVM with the guest's start. */
async function boot(api: Api, signal: AbortSignal): Promise<void> {
  try {
    await api.send(requests.action("InstanceStart"), signal);
  } catch (error) {
    if (!(error instanceof FireteactError) || !/kvm/i.test(error.message)) throw error;
    throw new FireteactError("KVM_UNUSABLE", `KVM cannot be used: ${error.message}`, {
      cause: error,
      hint: "Check the rights on /dev/kvm and that virtualisation is on; without it driver: qemu emulates guests",
    });
  }
}
