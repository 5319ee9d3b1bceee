import { join } from "node:path";
import type { Clock } from "../base/clock.ts";
import type { Logger } from "../base/log.ts";
import type { Places } from "../base/names.ts";
import type { Settings } from "../core/settings.ts";
import type { DriverName } from "../core/types.ts";
import type { RootDisks } from "../image/port.ts";
import { createRootDisks } from "../image/store/root-disks.ts";
import { createMetadataPublisher } from "../metadata/publisher.ts";
import type { Egress } from "../network/port.ts";
import { createFakeDriver } from "../sandbox/fake/driver.ts";
import { createFirecrackerDriver, type FirecrackerPool } from "../sandbox/firecracker/driver.ts";
import { createNativeDriver } from "../sandbox/native/driver.ts";
import type { SandboxDriver } from "../sandbox/port.ts";
import { createQemuDriver, type QemuPool } from "../sandbox/qemu/driver.ts";
import { createNetworks } from "./build-networks.ts";
import { hostImages } from "./host-images.ts";
import { createImageUpdates, DEFAULT_IMAGE } from "./image-updates.ts";
import { agentCommand } from "./programs.ts";

interface BuildDeps {
  /** Drivers of sandboxes that live on, whether a pool still names them or not. */
  inUse: readonly DriverName[];
  /** Read whenever a driver needs them, so that a reload takes effect. */
  settings: () => Settings;
  places: Places;
  hostId: string;
  clock: Clock;
  log: Logger;
  /** Called when an image became another one. */
  changed: () => void;
}

export interface Drivers {
  byName: Map<DriverName, SandboxDriver>;
  /** Takes over what the drivers keep of the settings; after every change of them. */
  apply(): Promise<void>;
  /** What pools boot: a digest, as far as it is known. */
  digest(image: string | undefined): string | undefined;
  /** Finds out anew which images there are. */
  look(): Promise<void>;
  /** Sandboxes go on; with `remove` what they share goes too, once none is left. */
  close(options: { remove: boolean }): Promise<void>;
}

/** One driver for every kind that a pool names. */
export function buildDrivers(deps: BuildDeps): Drivers {
  const byName = new Map<DriverName, SandboxDriver>();
  const names = new Set([...deps.settings().pools.map((pool) => pool.driver), ...deps.inUse]);
  const images = hostImages(deps.places, deps.settings);
  const networks = createNetworks(deps);
  const sharedBy = (driver: DriverName) => {
    const network = networks.of(driver);
    return { ...deps, images, network, metadata: createMetadataPublisher({ network, clock: deps.clock }) };
  };
  const disksOf = sharedDisks(deps.places);
  if (names.has("fake")) byName.set("fake", createFakeDriver({ ...deps, command: fakeCommand }));
  if (names.has("native")) byName.set("native", createNativeDriver(deps));
  if (names.has("qemu")) {
    byName.set("qemu", createQemuDriver({ ...sharedBy("qemu"), pools: () => qemuPools(deps.settings(), disksOf) }));
  }
  if (names.has("firecracker")) {
    const jailDirectory = deps.settings().host.jailDir ?? join(deps.places.state, "jails");
    const pools = () => firecrackerPools(deps.settings(), disksOf);
    byName.set("firecracker", createFirecrackerDriver({ ...sharedBy("firecracker"), pools, jailDirectory }));
  }
  const hasGuests = byName.has("qemu") || byName.has("firecracker");
  const update = hasGuests ? createImageUpdates({ ...deps, images }) : undefined;
  return {
    byName,
    digest: (image = DEFAULT_IMAGE) => update?.digest(image),
    look: async () => await update?.look(),
    apply: async () => {
      const updated = update?.begin();
      await networks.allow(egress(deps.settings()));
      await updated;
    },
    close: async (options) => {
      await update?.stop();
      await images.close();
      for (const driver of byName.values()) await driver.close();
      await networks.close(options);
    },
  };
}

type DisksOf = (sizeMib: number) => RootDisks;

/** Pools with disks of one size share what is made once for them. */
function sharedDisks(places: Places): DisksOf {
  const disks = new Map<number, RootDisks>();
  return (sizeMib) => {
    const known = disks.get(sizeMib) ?? createRootDisks({ places, sizeMib });
    disks.set(sizeMib, known);
    return known;
  };
}

function qemuPools(settings: Settings, disksOf: DisksOf): Map<string, QemuPool> {
  const pools = new Map<string, QemuPool>();
  for (const { name, image = DEFAULT_IMAGE, qemu } of settings.pools) {
    if (qemu === undefined) continue;
    const { diskSizeMib, ...own } = qemu;
    pools.set(name, { ...own, image, disks: disksOf(diskSizeMib) });
  }
  return pools;
}

function firecrackerPools(settings: Settings, disksOf: DisksOf): Map<string, FirecrackerPool> {
  const pools = new Map<string, FirecrackerPool>();
  for (const { name, image = DEFAULT_IMAGE, firecracker, egress } of settings.pools) {
    if (firecracker === undefined) continue;
    const { diskSizeMib, metadata: _, ...own } = firecracker;
    pools.set(name, { ...own, image, disks: disksOf(diskSizeMib), rates: egress.rates });
  }
  return pools;
}

/** What guests may reach. */
function egress(settings: Settings): Egress {
  const pools = Object.fromEntries(settings.pools.map((pool) => [pool.name, pool.egress]));
  return { allow: alwaysReachable(settings), pools };
}

/** The forges, and the proxies through which guests reach them. */
function alwaysReachable(settings: Settings): { host: string; port: number }[] {
  const proxies = Object.entries(settings.guest.env).filter(([name]) => /^https?_proxy$/i.test(name));
  const urls = [...settings.targets.map(({ url }) => url), ...proxies.map(([, url]) => url)];
  return urls
    .filter((url) => URL.canParse(url))
    .map((text) => {
      const url = new URL(text);
      return {
        host: url.hostname.replace(/^\[|\]$/g, ""),
        port: Number(url.port) || (url.protocol === "https:" ? 443 : 80),
      };
    });
}

/** Benches put a smaller program in the agent's place: a thousand of them have to fit on one machine. */
function fakeCommand(own: { channel: string; metadata: string; work: string }): string[] {
  const instead = process.env["FIRETEACT_FAKE_AGENT"];
  return [
    ...(instead === undefined ? agentCommand() : [instead]),
    "runner",
    `--channel=unix:${own.channel}`,
    `--metadata=unix:${own.metadata}`,
    `--work-dir=${own.work}`,
    `--config=${own.work}/config.yaml`,
    "--owner=root",
    "--group=root",
  ];
}
