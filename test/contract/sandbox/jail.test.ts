import { existsSync, mkdirSync, readdirSync, readFileSync, readlinkSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { kill, processes } from "../../../src/base/process.ts";
import { readConsole } from "../../../src/sandbox/microvm/console.ts";
import { installJailer } from "../../support/firecracker/install-jailer.ts";
import { JAILER_STEPS } from "../../support/firecracker/jailer/orders.ts";
import { hexOf, jails, NOTHING, UID } from "../../support/firecracker/jails.ts";
import { isRoot } from "../../support/firecracker/real.ts";
import { exitOfSandbox, temporaryPlaces, until } from "../../support/sandboxes.ts";

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

/** Jails by the stand-in for the jailer, with that monitor in them. */
async function toldJails() {
  const places = await temporaryPlaces();
  const install = join(places.root, "install");
  mkdirSync(install, { mode: 0o755 });
  const { jailer, order } = await installJailer(install);
  const binary = join(install, "firecracker");
  writeFileSync(binary, TELL.replaceAll("HOST", places.state), { mode: 0o755 });
  return { places, order, ...(await jails(places, { binary, jailer })) };
}

describe.skipIf(!isRoot)("a jail", () => {
  it("shows the monitor its own files and nothing else, and tells how it ended", async () => {
    const { prepare, launch, cgroups, namespace } = await toldJails();
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

  it("whose monitor is killed tells by which signal, though the monitor is the first of its namespace", async () => {
    const { prepare, launch } = await toldJails();
    const hex = hexOf(5);
    const { own, prepared } = await prepare(hex);
    await prepared.start([]);
    await until(() => existsSync(launch.sockets(hex).api));
    for (const { pid, uid } of processes()) if (uid === UID) kill(pid, "SIGKILL");
    expect(await exitOfSandbox(own.directory)).toMatchObject({ code: null, signal: "SIGKILL" });
  });

  it("is built of links, not of copies; only what lies elsewhere and is small is copied", async () => {
    const { places, prepare } = await toldJails();
    const { own, root } = await prepare(hexOf(2));
    const same = (path: string) => statSync(path).ino;
    expect(same(join(root, "files/kernel"))).toBe(same(join(places.state, "images/kernel")));
    expect(same(join(root, "files/scratch"))).toBe(same(join(own.disks, "scratch")));
    expect(statSync(join(root, "vm/initrd"))).toMatchObject({ uid: UID, gid: UID, mode: 0o100600 });
    expect(readlinkSync(own.vm)).toBe(join(root, "vm"));
  });

  it("is found without any store, and removing it twice is success", async () => {
    const { prepare, launch, remove } = await toldJails();
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
    const { prepare, order, remove, remains } = await toldJails();
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
