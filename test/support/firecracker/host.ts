import { existsSync } from "node:fs";
import { chmod, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { systemClock } from "../../../src/base/clock.ts";
import { silentLogger } from "../../../src/base/log.ts";
import {
  createFirecrackerDriver,
  type FirecrackerDeps,
  type FirecrackerPool,
} from "../../../src/sandbox/firecracker/driver.ts";
import { recordedMetadata } from "../qemu.ts";
import { contextOf, HOST_ID, temporaryPlaces } from "../sandboxes.ts";
import { stubNetwork } from "../stub-network.ts";
import { tinyGuest } from "../tiny-guest.ts";
import { installStandIn } from "./install.ts";

/** What an emulator takes besides its guest, and Firecracker does not. */
export const EMULATOR_MIB = 1_024;

const KVM = "/dev/kvm";

/** The stand-in needs no KVM, but the driver looks for its device; returns what takes a made one away again. */
export async function provideKvm(): Promise<() => Promise<void>> {
  if (existsSync(KVM)) return async () => undefined;
  await writeFile(KVM, "", { mode: 0o666 });
  await chmod(KVM, 0o666);
  return () => rm(KVM, { force: true });
}

/** A driver whose guests the stand-in emulates, on a network that leads nowhere. All is removed when the test ends. */
export async function firecrackerHost(pool: Partial<FirecrackerPool> = {}, deps: Partial<FirecrackerDeps> = {}) {
  onTestFinished(await provideKvm());
  const places = await temporaryPlaces();
  await chmod(places.root, 0o755);
  const standIn = await installStandIn(join(places.root, "stand-in"));
  const { image, images, disks } = await tinyGuest(places.root);
  const network = stubNetwork();
  const { served, publisher } = recordedMetadata();
  const settings: FirecrackerPool = {
    image: "tiny",
    binaryPath: standIn.binary,
    kernelArgs: "console=ttyS0 reboot=k panic=1 pci=off quiet",
    jailer: false,
    overheadMib: EMULATOR_MIB,
    hugePages: false,
    balloon: false,
    mmds: "off",
    imdsCompat: false,
    rates: {},
    disks,
    ...pool,
  };
  const all: FirecrackerDeps = {
    places,
    hostId: HOST_ID,
    pools: () => new Map([["p", settings]]),
    images,
    network,
    metadata: publisher,
    jailDirectory: join(places.state, "jails"),
    clock: systemClock,
    log: silentLogger,
    ...deps,
  };
  const driver = createFirecrackerDriver(all);
  onTestFinished(async () => {
    for (const { hex } of await driver.list()) await driver.remove(hex, contextOf());
    await driver.close();
    await network.close({ remove: true });
  });
  return { places, image, network, served, standIn, driver, again: () => createFirecrackerDriver(all) };
}

/** Connects to the guest's agent as soon as it listens. */
export async function dialled(driver: Pick<ReturnType<typeof createFirecrackerDriver>, "dial">, hex: string) {
  const signal = AbortSignal.timeout(60_000);
  for (;;) {
    try {
      return await driver.dial(hex, signal);
    } catch {
      signal.throwIfAborted();
      await systemClock.sleep(50, signal);
    }
  }
}
