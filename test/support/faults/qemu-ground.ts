import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { systemClock } from "../../../src/base/clock.ts";
import { silentLogger } from "../../../src/base/log.ts";
import { diskDirectory } from "../../../src/base/names.ts";
import { findLeftovers } from "../../../src/cli/demo/leftovers.ts";
import { createEmbeddedNetwork } from "../../../src/network/embedded/network.ts";
import { hostId } from "../../../src/serve/host-id.ts";
import { addHostAddress, HOST_ADDRESS, MINUTE, PLACES, removeHostAddress } from "../e2e/host.ts";
import { buildTestImage } from "../e2e/program.ts";
import { type Host, openHost } from "../host.ts";
import { namesIn, remainsOf } from "../remains.ts";
import { loseStore } from "./act.ts";
import type { Ground } from "./ground.ts";

const LABELS = ["linux"];

/** Real guests on the host's own network: one host at a time, since its names are the product's. */
export async function qemuGround(): Promise<Ground> {
  const { reference, guest } = await buildTestImage();
  return {
    open: async (options, pool) => {
      const before = await findLeftovers(PLACES);
      if (before.length > 0) throw new Error(`is another fireteact running? There is already:\n${before.join("\n")}`);
      await addHostAddress();
      loseStore(PLACES);
      const host = await openHost({
        ...options,
        places: PLACES,
        timeout: 5 * MINUTE,
        forge: { ...options.forge, host: HOST_ADDRESS },
        config: {
          guest,
          shutdown: "drain",
          drainTimeout: "5m",
          // A machine that runs the tests beside other work gives guests a fraction of what they need.
          limits: { boot: "2m", ready: "2m", idle: "20s" },
          pools: [
            {
              name: "default",
              driver: "qemu",
              engine: "shell",
              minRunners: 0,
              ...pool,
              runner: { image: reference, labels: LABELS },
              qemu: { memSizeMib: 512, vcpuCount: 1, diskSizeMib: 1024 },
            },
          ],
        },
      });
      return {
        ...host,
        [Symbol.asyncDispose]: async () => {
          await host[Symbol.asyncDispose]();
          await clear();
          await removeHostAddress();
        },
      };
    },
    hold: (host) => `until git ls-remote --exit-code ${host.forge.url}/org/app.git refs/heads/go; do sleep 1; done`,
    letGo: (host) => {
      if (letGo.has(host)) return;
      letGo.add(host);
      void host.forge.commit("org/app", { go: "" }, "go");
    },
    remains: async (host) => [
      ...remainsOf(host.places, host.daemons()),
      ...(await findLeftovers(host.places)),
      ...mountsBelow(host.places.state),
    ],
    deadline: 600_000,
  };
}

/** After a failure, so that the next course begins with nothing. */
async function clear(): Promise<void> {
  if ((await findLeftovers(PLACES)).length === 0) return;
  const id = hostId(PLACES);
  const network = createEmbeddedNetwork({ places: PLACES, hostId: id, clock: systemClock, log: silentLogger });
  for (const hex of await network.list()) await network.release(hex);
  await network.close({ remove: true });
  for (const hex of namesIn(join(PLACES.run, "sandboxes"))) {
    rmSync(join(PLACES.run, "sandboxes", hex), { recursive: true, force: true });
    rmSync(diskDirectory(PLACES, hex), { recursive: true, force: true });
  }
}

const letGo = new WeakSet<Host>();

function mountsBelow(directory: string): string[] {
  const lines = readFileSync("/proc/self/mounts", "utf8").split("\n");
  return lines.filter((line) => line.split(" ")[1]?.startsWith(`${directory}/`)).map((line) => `mount ${line}`);
}
