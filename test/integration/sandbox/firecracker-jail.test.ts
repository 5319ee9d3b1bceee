import { existsSync, lstatSync, readdirSync, readFileSync, readlinkSync, statSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { processes } from "../../../src/base/process.ts";
import { placesOf } from "../../../src/sandbox/microvm/places.ts";
import { readRecord, type SandboxRecord } from "../../../src/sandbox/microvm/record.ts";
import { dialled, firecrackerHost } from "../../support/firecracker/host.ts";
import { installJailer } from "../../support/firecracker/install-jailer.ts";
import { JAILER_STEPS } from "../../support/firecracker/jailer/orders.ts";
import { conversation } from "../../support/qemu.ts";
import { contextOf, hexOf, specOf, until } from "../../support/sandboxes.ts";

const HEX = hexOf(77);

/** A driver whose guests run in the stand-in for Firecracker, in jails that the stand-in for its jailer makes. */
async function jailedHost() {
  const host = await firecrackerHost({ jailer: true });
  const jailer = await installJailer(join(host.places.root, "stand-in"));
  const jails = join(host.places.state, "jails");
  /** What is left of the guest anywhere on the host. */
  const remains = async () => ({
    sandboxes: await host.driver.list(),
    jails: existsSync(jails) ? readdirSync(jails).flatMap((binary) => readdirSync(join(jails, binary))) : [],
    directories: readdirSync(join(host.places.run, "sandboxes")),
    networks: await host.network.list(),
    metadata: [...host.served.keys()],
    mounts: readFileSync("/proc/self/mountinfo", "utf8").includes(host.places.root),
  });
  return { ...host, jailer, jails, remains };
}

const NOTHING = { sandboxes: [], jails: [], directories: [], networks: [], metadata: [], mounts: false };

describe("a guest in a jail", { timeout: 180_000 }, () => {
  it("runs as without, sees the jail alone, goes on without its maker, and leaves nothing", async () => {
    const { driver, places, jails, remains, again } = await jailedHost();
    expect(await driver.prepare(contextOf())).toMatchObject({ ok: true, detail: expect.stringContaining("jailed in") });
    await driver.create(specOf(HEX), contextOf());
    const first = conversation(await dialled(driver, HEX));
    first.say("echo hello");
    await until(() => first.lines.includes("hello"));
    first.end();

    const own = placesOf(places, HEX);
    const root = join(jails, "firecracker", HEX, "root");
    expect(lstatSync(own.vm).isSymbolicLink()).toBe(true);
    expect(readlinkSync(own.vm)).toBe(join(root, "vm"));
    const [disk = ""] = readdirSync(own.disks);
    expect(statSync(join(root, "files/scratch")).ino).toBe(statSync(join(own.disks, disk)).ino);
    // Nothing it could replace is its own any more.
    for (const name of ["", "vm", "run", "dev", "files"]) expect(statSync(join(root, name)).uid).toBe(0);
    const { uid } = readRecord(own.directory) as SandboxRecord;
    const monitors = Array.from(processes()).filter((view) => view.uid === uid);
    expect(monitors.length).toBeGreaterThan(0);
    for (const { pid } of monitors) {
      const status = readFileSync(`/proc/${pid}/status`, "utf8");
      expect(status).toMatch(/^CapEff:\s0+$/m);
      // Numbers in two namespaces: the host's and its own.
      expect(status).toMatch(/^NSpid:\s\d+\s\d+$/m);
      expect(existsSync(`/proc/${pid}/root${places.state}`)).toBe(false);
    }

    await driver.close();
    const next = again();
    expect(await next.list()).toMatchObject([{ hex: HEX, state: "running" }]);
    const second = conversation(await dialled(next, HEX));
    second.say("echo still here");
    await until(() => second.lines.includes("still here"));
    await next.remove(HEX, contextOf());
    await next.remove(HEX, contextOf());
    expect(await remains()).toEqual(NOTHING);
  });

  it.each([...JAILER_STEPS, "boot"])("whose start fails (%s) says why, and leaves nothing", async (step) => {
    const { driver, jailer, standIn, remains } = await jailedHost();
    if (step === "boot") await standIn.order({ trouble: { InstanceStart: { fault: "as ordered" } } });
    else await jailer.order({ failAt: step as (typeof JAILER_STEPS)[number] });
    await expect(driver.create(specOf(HEX), contextOf())).rejects.toThrow(/as ordered/);
    expect(await remains()).toEqual(NOTHING);
  });
});
