import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { systemClock } from "../src/base/clock.ts";
import { createLogger } from "../src/base/log.ts";
import { connectChannel, type HostChannel } from "../src/channel/host.ts";
import { placesFromEnvironment } from "../src/cli/places.ts";
import { buildImage } from "../src/image/build/build.ts";
import { createImages } from "../src/image/store/images.ts";
import { createRootDisks } from "../src/image/store/root-disks.ts";
import { guestDocument } from "../src/metadata/document.ts";
import { createMetadataPublisher } from "../src/metadata/publisher.ts";
import { createEmbeddedNetwork } from "../src/network/embedded/network.ts";
import type { SandboxDriver, SandboxSpec, StepContext } from "../src/sandbox/port.ts";
import { createQemuDriver } from "../src/sandbox/qemu/driver.ts";
import { findMachine } from "../src/sandbox/qemu/machine.ts";
import { type BareGuest, bootBare } from "./bare-guest.ts";
import { type Bench, ROOT, sharedNow } from "./harness.ts";
import { summarise } from "./statistics.ts";

const HOST_ID = "be9c40";
const MEMORY_MIB = 512;
const GIVE_UP = 120_000;
const log = createLogger("error");

export const coldStart: Bench = {
  name: "cold-start",
  what: "spawn to the agent's first byte through the product, against the bare qemu-system-x86_64 with the same guest",
  run: async ({ quick, progress }) => {
    const runs = quick ? 2 : 20;
    const host = await prepareHost(progress);
    const product: number[] = [];
    const bare: number[] = [];
    const create: number[] = [];
    try {
      for (let run = 0; run <= runs; run++) {
        // The first pair only fills the page cache; who begins takes turns.
        const first = run % 2 === 0;
        const one = first ? await host.product() : undefined;
        const other = await host.bare();
        const two = one ?? (await host.product());
        progress(
          `${run === 0 ? "warm-up" : `run ${run}`}: product ${two.hello.toFixed(0)} ms, bare ${other.toFixed(0)} ms`,
        );
        if (run === 0) continue;
        product.push(two.hello);
        create.push(two.create);
        bare.push(other);
      }
    } finally {
      await host.close();
    }
    const ratio = summarise(product).p50 / summarise(bare).p50;
    return {
      figures: [
        { name: "through the product", unit: "ms", samples: product, aims: [] },
        { name: "bare", unit: "ms", samples: bare, aims: [] },
        {
          name: "product / bare, by the medians",
          unit: "x",
          samples: [ratio],
          aims: [{ statistic: "max", under: 1.1 }],
        },
        {
          name: "pairs, product / bare",
          unit: "x",
          samples: product.map((time, run) => time / (bare[run] ?? time)),
          aims: [],
        },
        { name: "of it the driver's create", unit: "ms", samples: create, aims: [] },
      ],
      notes: [
        `One guest at a time, ${MEMORY_MIB} MiB, 1 processor, the default image (kernel ${host.kernel}), ${host.how}; ${runs} runs of each in turn, who begins alternates; one pair before them is not counted.`,
        "Product: from the call of the qemu driver's `create` (disk, network, metadata, shim, user of its own, QEMU's sandbox, QMP) to the answer of the agent's channel to `hello`. Network places are made ahead, as in the daemon.",
        "Bare: from the spawn of `qemu-system-x86_64` as root with the same machine, kernel, initrd, kernel line, disks, network card and serial port, to the first byte on the agent's port. Its disk and network place are made before the clock starts; it has no QMP and no sandbox.",
        ...(host.emulated
          ? [
              "Emulated: there is no usable KVM on this machine, so the guest's own boot is many times slower than with it, and the product's share in it smaller.",
            ]
          : []),
      ],
    };
  },
};

async function prepareHost(progress: (line: string) => void) {
  if (process.getuid?.() !== 0)
    throw new Error("cold-start makes networks and microVMs, which only root may: run it with sudo");
  if (!existsSync(join(ROOT, "dist", "agent.cjs")))
    throw new Error("dist/agent.cjs is missing: run 'npm run build' first");
  const base = placesFromEnvironment();
  const places = { state: join(base.state, "bench"), run: join(base.run, "bench") };
  const { signal } = new AbortController();
  const sources = {
    node: process.execPath,
    agent: join(ROOT, "dist", "agent.cjs"),
    shellEngine: join(ROOT, "dist", "shell-engine.cjs"),
    caFiles: [],
    env: {},
    files: join(ROOT, "images"),
  };
  const { image } = await buildImage(sources, { places, signal, progress });
  const network = createEmbeddedNetwork({ hostId: HOST_ID, places, log, clock: systemClock });
  const disks = createRootDisks({ places, sizeMib: 2048 });
  const driver = createQemuDriver({
    places,
    hostId: HOST_ID,
    pools: () => new Map([["p", { image: "local:default", accelerator: "auto", disks }]]),
    images: createImages({ places }),
    network,
    metadata: createMetadataPublisher({ network, clock: systemClock }),
    clock: systemClock,
    log,
  });
  await network.allow({ allow: [] });
  const check = await driver.prepare(contextOf());
  if (!check.ok) throw new Error(`${check.detail}${check.hint === undefined ? "" : `: ${check.hint}`}`);
  const machine = await findMachine(
    { accelerator: "auto", kernel: image.kernel, verdicts: join(places.state, "probe") },
    log,
    signal,
  );
  const guest: BareGuest = { image, machine, network, disks, memoryMib: MEMORY_MIB };
  return {
    kernel: image.kernelVersion,
    emulated: machine.accelerator === "tcg",
    how: `QEMU ${machine.version}, ${machine.detail}`,
    product: () => bootThroughProduct(driver),
    bare: () => bootBare(guest, newHex()),
    close: async () => {
      for (const { hex } of await driver.list()) await driver.remove(hex, contextOf());
      await driver.close();
      await network.close({ remove: true });
    },
  };
}

/** Milliseconds to the end of `create`, and to the agent's answer on the channel. */
async function bootThroughProduct(driver: SandboxDriver): Promise<{ create: number; hello: number }> {
  const hex = newHex();
  const began = sharedNow();
  await driver.create(specOf(hex), contextOf());
  const create = sharedNow() - began;
  const { promise, resolve } = Promise.withResolvers<number>();
  const channel: HostChannel = connectChannel({
    dial: (signal) => driver.dial(hex, signal),
    onEvent: () => undefined,
    onState: ({ phase }) => {
      if (phase === "connected") resolve(sharedNow() - began);
    },
    nextSeq: 0,
    clock: systemClock,
    log,
  });
  const deadline = systemClock.after(GIVE_UP, () => resolve(Number.NaN));
  const hello = await promise;
  deadline.cancel();
  if (Number.isNaN(hello)) throw new Error(`the guest did not say a word: ${await driver.console(hex, 2_000)}`);
  await channel.close();
  await driver.remove(hex, contextOf());
  return { create, hello };
}

const newHex = (): string => HOST_ID + randomBytes(9).toString("hex");

const specOf = (hex: string): SandboxSpec => ({
  hex,
  runnerId: `p-${hex}`,
  pool: "p",
  memoryMib: MEMORY_MIB,
  vcpus: 1,
  hostname: `bench-${hex}`,
  metadata: guestDocument({
    runnerId: `p-${hex}`,
    runnerName: `bench-${hex}`,
    pool: "p",
    labels: ["linux:host"],
    forgeUrl: "http://forge.invalid",
    engine: "shell",
    engineTimeoutSeconds: 60,
  }),
});

const contextOf = (): StepContext => ({
  signal: AbortSignal.timeout(300_000),
  log,
  step: (_, work) => work(),
});
