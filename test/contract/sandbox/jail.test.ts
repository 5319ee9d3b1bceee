import { existsSync, mkdirSync, readdirSync, readFileSync, readlinkSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { systemClock } from "../../../src/base/clock.ts";
import { exec } from "../../../src/base/exec.ts";
import { processes } from "../../../src/base/process.ts";
import { createJailLaunch } from "../../../src/sandbox/firecracker/jail.ts";
import { createCgroups } from "../../../src/sandbox/microvm/cgroups.ts";
import { readConsole } from "../../../src/sandbox/microvm/console.ts";
import { endProcesses } from "../../../src/sandbox/microvm/end.ts";
import { placesOf } from "../../../src/sandbox/microvm/places.ts";
import { readRecord } from "../../../src/sandbox/microvm/record.ts";
import { createSandboxes } from "../../../src/sandbox/microvm/sandboxes.ts";
import { createShimLauncher } from "../../../src/sandbox/microvm/shim.ts";
import { installJailer } from "../../support/firecracker/install-jailer.ts";
import { JAILER_STEPS } from "../../support/firecracker/jailer/orders.ts";
import { contextOf, exitOfSandbox, specOf, temporaryPlaces, until } from "../../support/sandboxes.ts";

/** Of this process alone: control groups and users are the whole host's. */
const HOST_ID = `a${(process.pid & 0xfffff).toString(16).padStart(5, "0")}`;
const UID = 1_000_000 + process.pid;
const hexOf = (number: number): string => HOST_ID + number.toString(16).padStart(18, "0");

/** A monitor that tells what it sees, and stays until it is told to go. */
const TELL = `#!/bin/sh
exec 2>&1
echo "args $*"
echo "user $(id -u):$(id -g):$(id -G)"
echo "pid $$"
echo "net $(stat -L -c %i /proc/self/ns/net)"
[ -e HOST ] && echo "sees the host"
echo "files $(ulimit -n) size $(ulimit -f) core $(ulimit -c)"
cat files/kernel >vm/copy
: >vm/api.sock
while [ ! -e vm/stop ]; do sleep 0.05; done
exit "$(cat vm/stop)"
`;

const NOTHING = { jails: [], sandboxes: [], disks: [], processes: [], mounts: false, groups: [] };

/** Groups of the host id, in whichever hierarchy. */
const groupsOf = (hostId: string): string[] =>
  readFileSync("/proc/mounts", "utf8")
    .split("\n")
    .map((line) => line.split(" "))
    .filter(([, , type]) => type?.startsWith("cgroup"))
    .map(([, mount = ""]) => join(mount, `fireteact-${hostId}`))
    .filter((group) => existsSync(group));

async function jails() {
  const places = await temporaryPlaces();
  const install = join(places.root, "install");
  mkdirSync(install, { mode: 0o755 });
  const { jailer, order } = await installJailer(install);
  const binary = join(install, "firecracker");
  writeFileSync(binary, TELL.replaceAll("HOST", places.state), { mode: 0o755 });
  const cgroups = createCgroups(HOST_ID, systemClock);
  const base = join(places.state, "jails");
  const launch = createJailLaunch({
    base,
    sources: [join(places.state, "images")],
    programs: () => [{ binary }],
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
    clock: systemClock,
    graceMs: 0,
  });
  const remove = async (hex: string) => {
    const record = readRecord(placesOf(places, hex).directory);
    if (record !== undefined && record !== "damaged") {
      await endProcesses(record, placesOf(places, hex).directory, { clock: systemClock, graceMs: 0 });
    }
    await launch.remove(hex);
    await sandboxes.remove(hex, contextOf());
  };
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
        binary,
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
    return { own, prepared, root: join(base, "firecracker", hex, "root") };
  };
  return { places, base, jailer, order, launch, cgroups, sandboxes, prepare, remove, remains, namespace };
}

describe("a jail", () => {
  it("shows the monitor its own files and nothing else, and tells how it ended", async () => {
    const { prepare, launch, cgroups, namespace } = await jails();
    const hex = hexOf(1);
    const { own, prepared, root } = await prepare(hex);
    expect([prepared.seen("kernel"), prepared.seen("initrd"), prepared.seen("scratch")]).toEqual([
      "files/kernel",
      "vm/initrd",
      "files/scratch",
    ]);
    await prepared.start(["--level", "Warn"]);
    const { api } = launch.sockets(hex);
    await until(() => existsSync(api));
    const told = readFileSync(join(own.directory, "console/log"), "utf8");
    expect(told).toMatch(/args --id a\S+ --start-time-us \d+ .*--api-sock vm\/api.sock --level Warn\n/);
    expect(told).toContain(`user ${UID}:${UID}:${UID}\n`);
    expect(told).toContain("pid 1\n");
    expect(told).not.toContain("sees the host");
    expect(told).toContain(`net ${statSync(`/run/netns/${namespace}`).ino}\n`);
    expect(told).toContain("files 512 size 2048 core 0\n");
    expect(readFileSync(join(own.vm, "copy"), "utf8")).toBe("the kernel");
    expect(readdirSync(root).sort()).toEqual(["dev", "files", "firecracker", "firecracker.pid", "run", "vm"]);
    expect(cgroups.problem() === undefined ? cgroups.list() : [hex]).toContain(hex);
    await prepared.seal();
    for (const name of [".", "vm", "dev", "dev/net", "run", "files"]) {
      expect(statSync(join(root, name)), name).toMatchObject({ uid: 0, mode: 0o40711 });
    }
    writeFileSync(join(root, "vm/stop"), "7");
    expect(await exitOfSandbox(own.directory)).toMatchObject({ code: 7, signal: null });
  });

  it("is built of links, not of copies; only what lies elsewhere and is small is copied", async () => {
    const { places, prepare } = await jails();
    const { own, root } = await prepare(hexOf(2));
    const same = (path: string) => statSync(path).ino;
    expect(same(join(root, "files/kernel"))).toBe(same(join(places.state, "images/kernel")));
    expect(same(join(root, "files/scratch"))).toBe(same(join(own.disks, "scratch")));
    expect(statSync(join(root, "vm/initrd"))).toMatchObject({ uid: UID, gid: UID, mode: 0o100600 });
    expect(readlinkSync(own.vm)).toBe(join(root, "vm"));
  });

  it("is found without any store, and removing it twice is success", async () => {
    const { prepare, launch, remove } = await jails();
    const hex = hexOf(3);
    const { prepared } = await prepare(hex);
    await prepared.start([]);
    await until(() => existsSync(launch.sockets(hex).api));
    expect(launch.list()).toEqual([hex]);
    await remove(hex);
    await remove(hex);
    expect(launch.list()).toEqual([]);
  });

  it.each(JAILER_STEPS)("of which the jailer fails to %s says so, and leaves nothing", async (failAt) => {
    const { prepare, order, remove, remains } = await jails();
    const hex = hexOf(4);
    const { own, prepared } = await prepare(hex);
    await order({ failAt });
    await prepared.start([]);
    expect(await exitOfSandbox(own.directory)).toMatchObject({ code: 1 });
    expect(await readConsole(own.directory, 4_096)).toContain(`Failed to ${failAt}`);
    await remove(hex);
    expect(remains()).toEqual(NOTHING);
  });
});
