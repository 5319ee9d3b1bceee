import { chmod } from "node:fs/promises";
import type { Duplex } from "node:stream";
import { onTestFinished } from "vitest";
import { systemClock } from "../../src/base/clock.ts";
import { silentLogger } from "../../src/base/log.ts";
import type { MetadataPublisher } from "../../src/metadata/port.ts";
import type { MetadataDocument } from "../../src/sandbox/port.ts";
import { createQemuDriver, type QemuDeps, type QemuPool } from "../../src/sandbox/qemu/driver.ts";
import { contextOf, HOST_ID, temporaryPlaces, until } from "./sandboxes.ts";
import { stubNetwork } from "./stub-network.ts";
import { tinyGuest } from "./tiny-guest.ts";

/** Remembers what each guest is served. */
export function recordedMetadata() {
  const served = new Map<string, MetadataDocument>();
  const publisher: MetadataPublisher = {
    serve: async (hex) => void (served.has(hex) || served.set(hex, {})),
    publish: async (hex, document) => void served.set(hex, document),
    stop: async (hex) => void served.delete(hex),
    close: async () => served.clear(),
  };
  return { served, publisher };
}

/** A driver of real, emulated guests on a network that leads nowhere. Everything is removed when the test ends. */
export async function qemuHost(pool: Partial<QemuPool> = {}, deps: Partial<QemuDeps> = {}) {
  const places = await temporaryPlaces();
  await chmod(places.root, 0o755);
  const { image, images, disks } = await tinyGuest(places.root);
  const network = stubNetwork();
  const { served, publisher } = recordedMetadata();
  const settings: QemuPool = { image: "tiny", accelerator: "tcg", disks, ...pool };
  const all: QemuDeps = {
    places,
    hostId: HOST_ID,
    pools: () => new Map([["p", settings]]),
    images,
    network,
    metadata: publisher,
    clock: systemClock,
    log: silentLogger,
    ...deps,
  };
  const driver = createQemuDriver(all);
  onTestFinished(async () => {
    for (const { hex } of await driver.list()) await driver.remove(hex, contextOf());
    await driver.close();
    await network.close({ remove: true });
  });
  return { places, image, network, served, driver, again: () => createQemuDriver(all) };
}

/** The lines a guest sends, and how to send it some. */
export function conversation(stream: Duplex) {
  const lines: string[] = [];
  let rest = "";
  stream.setEncoding("utf8");
  stream.on("data", (chunk: string) => {
    const parts = (rest + chunk).split("\n");
    rest = parts.pop() ?? "";
    lines.push(...parts);
  });
  const say = (line: string) => void stream.write(`${line}\n`);
  return {
    lines,
    say,
    /** Resolves when the guest answers. What it says before anybody has dialled is lost, so it has to be asked. */
    answers: async () => {
      say("echo here");
      await until(() => lines.includes("here"));
    },
    end: () => void stream.destroy(),
  };
}
