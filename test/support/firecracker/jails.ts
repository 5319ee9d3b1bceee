import { existsSync, mkdirSync, readdirSync, readFileSync, realpathSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { systemClock } from "../../../src/base/clock.ts";
import { exec } from "../../../src/base/exec.ts";
import type { Places } from "../../../src/base/names.ts";
import { processes } from "../../../src/base/process.ts";
import { createJailLaunch } from "../../../src/sandbox/firecracker/jail.ts";
import { jailPlaces } from "../../../src/sandbox/firecracker/jail-places.ts";
import { createCgroups } from "../../../src/sandbox/microvm/cgroups.ts";
import { placesOf } from "../../../src/sandbox/microvm/places.ts";
import { createSandboxes } from "../../../src/sandbox/microvm/sandboxes.ts";
import { createShimLauncher } from "../../../src/sandbox/microvm/shim.ts";
import { contextOf, specOf } from "../sandboxes.ts";

/** Of this process alone: control groups and users are the whole host's. */
const HOST_ID = `a${(process.pid & 0xfffff).toString(16).padStart(5, "0")}`;
export const UID = 1_000_000 + process.pid;
export const hexOf = (number: number): string => HOST_ID + number.toString(16).padStart(18, "0");

/** What `remains` says when nothing is left. */
export const NOTHING = { jails: [], sandboxes: [], disks: [], processes: [], mounts: false, groups: [] };

/** Groups of the host id, in whichever hierarchy. */
const groupsOf = (hostId: string): string[] =>
  readFileSync("/proc/mounts", "utf8")
    .split("\n")
    .map((line) => line.split(" "))
    .filter(([, , type]) => type?.startsWith("cgroup"))
    .map(([, mount = ""]) => join(mount, `fireteact-${hostId}`))
    .filter((group) => existsSync(group));

/** Jails made by the product for sandboxes without a driver, with these programs; all are removed when the test ends. */
export async function jails(places: Places & { root: string }, programs: { binary: string; jailer: string }) {
  const cgroups = createCgroups(HOST_ID, systemClock);
  const base = join(places.state, "jails");
  const launch = createJailLaunch({
    base,
    sources: [join(places.state, "images")],
    programs: () => [programs],
    launcher: createShimLauncher(places.run),
    cgroups,
    places: (hex) => placesOf(places, hex),
  });
  const namespace = `fttest-${process.pid}`;
  await exec("ip", ["netns", "add", namespace]);
  onTestFinished(async () => void (await exec("ip", ["netns", "delete", namespace])));
  const network = { list: async () => [], find: async () => undefined, release: async () => undefined };
  const sandboxes = createSandboxes({
    driver: "firecracker",
    places,
    hostId: HOST_ID,
    network,
    cgroups: launch,
    clock: systemClock,
    graceMs: 0,
  });
  const remove = (hex: string) => sandboxes.remove(hex, contextOf());
  /** What is left of anything on the host. */
  const remains = () => ({
    jails: launch.list(),
    sandboxes: readdirSync(join(places.run, "sandboxes")),
    disks: readdirSync(join(places.state, "disks")),
    processes: Array.from(processes()).filter(({ uid }) => uid === UID),
    mounts: readFileSync("/proc/self/mountinfo", "utf8").includes(places.root),
    groups: groupsOf(HOST_ID),
  });

  const prepare = async (hex: string) => {
    const own = sandboxes.begin(specOf(hex));
    onTestFinished(() => remove(hex));
    const images = join(places.state, "images");
    mkdirSync(images, { recursive: true });
    writeFileSync(join(images, "kernel"), "the kernel", { mode: 0o644 });
    mkdirSync(own.disks, { recursive: true });
    writeFileSync(join(own.disks, "scratch"), "empty", { mode: 0o600 });
    await exec("chown", [`${UID}:${UID}`, join(own.disks, "scratch")]);
    mkdirSync(own.vm);
    writeFileSync(join(own.vm, "initrd"), "secret", { mode: 0o600 });
    sandboxes.update(hex, { uid: UID });
    const prepared = await launch.prepare(
      {
        hex,
        own,
        binary: programs.binary,
        files: [
          { name: "kernel", path: join(images, "kernel"), access: "read" },
          { name: "initrd", path: join(own.vm, "initrd"), access: "read" },
          { name: "scratch", path: join(own.disks, "scratch"), access: "write" },
        ],
        uid: UID,
        groups: [],
        namespace: `/run/netns/${namespace}`,
        limits: { memoryMib: 256, vcpus: 1, tasks: 64, fileBytes: 1024 * 1024 },
        consoleBytes: 64 * 1024,
        record: (change) => sandboxes.update(hex, change),
      },
      new AbortController().signal,
    );
    return { own, prepared, root: jailPlaces(base, realpathSync(programs.binary), hex).root };
  };
  return { launch, cgroups, prepare, remove, remains, namespace };
}
