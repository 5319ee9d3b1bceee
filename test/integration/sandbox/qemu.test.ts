import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { readlink } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { systemClock } from "../../../src/base/clock.ts";
import { exec } from "../../../src/base/exec.ts";
import { processes } from "../../../src/base/process.ts";
import { placesOf } from "../../../src/sandbox/microvm/places.ts";
import { readRecord, type SandboxRecord } from "../../../src/sandbox/microvm/record.ts";
import { connectQmp } from "../../../src/sandbox/qemu/qmp.ts";
import { conversation, qemuHost } from "../../support/qemu.ts";
import { contextOf, exitOfSandbox, hexOf, specOf, until } from "../../support/sandboxes.ts";
import { FIRST_UID } from "../../support/stub-network.ts";

const HEX = hexOf(7);
const root = process.getuid?.() === 0;
const ofUser = (uid: number) => Array.from(processes()).filter((view) => view.uid === uid);
const signal = () => AbortSignal.timeout(60_000);

/** What is left of a guest anywhere on the host. */
async function traces(host: Awaited<ReturnType<typeof qemuHost>>, uid: number | undefined): Promise<string[]> {
  const own = placesOf(host.places, HEX);
  const sandboxes = join(host.places.run, "sandboxes");
  return [
    ...(existsSync(sandboxes) ? readdirSync(sandboxes) : []),
    ...(existsSync(own.disks) ? [own.disks] : []),
    ...(await host.network.list()),
    ...(uid === undefined ? [] : ofUser(uid).map(({ pid }) => `process ${pid}`)),
    ...[...host.served.keys()].map((hex) => `metadata of ${hex}`),
  ];
}

describe.skipIf(!root)("a guest in QEMU", { timeout: 120_000 }, () => {
  it("starts, talks over its channel, is confined, ends by itself and leaves nothing", async () => {
    const host = await qemuHost();
    const { driver } = host;
    expect(await driver.prepare(contextOf())).toMatchObject({
      ok: true,
      bootFactor: 5,
      detail: expect.stringContaining("emulation"),
    });
    const steps: string[] = [];
    const document = { "meta-data": { "instance-id": "x" } };
    const made = await driver.create(
      { ...specOf(HEX), metadata: document },
      contextOf((name) => steps.push(name)),
    );
    expect(steps).toEqual([
      "resolve image",
      "clone disk",
      "attach network",
      "publish metadata",
      "start vmm",
      "wait for qmp",
    ]);
    expect(made.address).toMatch(/^10\.200\./);
    expect(await driver.list()).toMatchObject([
      { hex: HEX, state: "running", pool: "p", runnerId: `p-${HEX}`, address: made.address },
    ]);
    expect(host.served.get(HEX)).toEqual(document);

    const guest = conversation(await driver.dial(HEX, signal()));
    guest.say("echo sent before the guest was there");
    await until(() => guest.lines.length === 2);
    expect(guest.lines).toEqual(["up", "sent before the guest was there"]);

    const own = placesOf(host.places, HEX);
    const record = readRecord(own.directory) as SandboxRecord;
    const monitors = ofUser(record.uid!);
    expect(monitors).toHaveLength(1);
    const pid = monitors[0]!.pid;
    const status = readFileSync(`/proc/${pid}/status`, "utf8");
    expect(status).toMatch(/^NoNewPrivs:\s1$/m);
    expect(status).toMatch(/^Seccomp:\s2$/m);
    for (const set of ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"])
      expect(status).toMatch(new RegExp(`^${set}:\\s0+$`, "m"));
    expect(status).toMatch(/^Groups:\s*$/m);
    expect(await readlink(`/proc/${pid}/ns/net`)).not.toBe(await readlink("/proc/self/ns/net"));
    const environment = readFileSync(`/proc/${pid}/environ`, "utf8").split("\0").filter(Boolean);
    const names = new Set(environment.map((entry) => entry.split("=")[0]));
    expect(names).toEqual(new Set(["LC_ALL", "PATH", "PWD"]));
    // Nothing it could replace is its own any more, but for the content of its disk.
    for (const path of [own.directory, own.vm, own.disks]) expect(statSync(path).uid).toBe(0);
    expect(statSync(join(own.disks, "scratch.img"))).toMatchObject({ uid: record.uid, mode: 0o100600 });

    guest.say("root");
    guest.say("scratch 4096");
    await until(() => guest.lines.length === 4);
    expect(guest.lines.slice(2)).toEqual(["refused", "written"]);
    expect(await driver.console(HEX, 4096)).toContain("tiny guest on the console");

    const exit = exitOfSandbox(own.directory);
    guest.say("reset");
    expect(await exit).toMatchObject({ code: 0, signal: null });
    expect(await driver.list()).toMatchObject([{ state: "exited", exit: { code: 0 } }]);
    await driver.remove(HEX, contextOf());
    await driver.remove(HEX, contextOf());
    expect(await traces(host, record.uid)).toEqual([]);
  });

  it("goes on without its maker: the next one dials, publishes, watches and removes it", async () => {
    const host = await qemuHost();
    await host.driver.create(specOf(HEX), contextOf());
    const first = conversation(await host.driver.dial(HEX, signal()));
    await first.answers();
    first.end();
    await host.driver.close();

    const next = host.again();
    expect(await next.list()).toMatchObject([{ hex: HEX, state: "running" }]);
    await next.publish(HEX, { new: "document" });
    expect(host.served.get(HEX)).toEqual({ new: "document" });
    const second = conversation(await next.dial(HEX, signal()));
    second.say("echo still here");
    await until(() => second.lines.includes("still here"));

    const exits: unknown[] = [];
    next.watch(HEX, (exit) => exits.push(exit));
    second.say("panic");
    await until(() => exits.length > 0);
    // A panic ends in a reset, which the monitor takes for a clean end.
    const reason = expect.stringMatching(/^the guest's kernel panicked: sysrq/i);
    expect(exits).toMatchObject([{ code: 0, signal: null, reason }]);
    expect(await next.console(HEX, 10_000)).toMatch(/panic/i);
  });

  it("that floods its console fills no disk, and its channel still answers", async () => {
    const consoleBytes = 64 * 1024;
    const host = await qemuHost({}, { consoleBytes });
    await host.driver.create(specOf(HEX), contextOf());
    const guest = conversation(await host.driver.dial(HEX, signal()));
    guest.say("flood");
    const { directory } = placesOf(host.places, HEX);
    await until(() => existsSync(join(directory, "console/old")));
    for (let round = 1; round <= 5; round++) {
      guest.say(`echo round ${round}`);
      await until(() => guest.lines.includes(`round ${round}`));
      const sizes = ["log", "old"].map(
        (name) => statSync(join(directory, "console", name), { throwIfNoEntry: false })?.size ?? 0,
      );
      expect(sizes[0]! + sizes[1]!).toBeLessThanOrEqual(consoleBytes);
    }
  });

  it("that fills its disk gets no more of the host's than that may hold, and goes on", async () => {
    const host = await qemuHost();
    await host.driver.create(specOf(HEX), contextOf());
    const guest = conversation(await host.driver.dial(HEX, signal()));
    const disk = join(placesOf(host.places, HEX).disks, "scratch.img");
    const { size } = statSync(disk);
    guest.say("fill");
    await until(() => guest.lines.includes("full"));
    guest.say("echo it goes on");
    await until(() => guest.lines.includes("it goes on"));
    expect(statSync(disk).size).toBe(size);
  });

  it("answers the last of several dials, whichever was given up before the guest was there", async () => {
    const host = await qemuHost();
    await host.driver.create(specOf(HEX), contextOf());
    for (let round = 1; round <= 3; round++) {
      const early = conversation(await host.driver.dial(HEX, signal()));
      early.say(`echo early ${round}`);
      await systemClock.sleep(200);
      early.end();
    }
    const last = conversation(await host.driver.dial(HEX, signal()));
    last.say("echo last");
    await until(() => last.lines.includes("last"));
  });

  it("finds files of its own, of which nothing stays on the host", async () => {
    const host = await qemuHost();
    const files = { "/opt/runner/.runner": { content: "of this guest", mode: 0o600 } };
    await host.driver.create({ ...specOf(HEX), files }, contextOf());
    expect(readdirSync(placesOf(host.places, HEX).vm).toSorted((a, b) => (a < b ? -1 : 1))).toEqual([
      "agent.sock",
      "qmp.sock",
    ]);
    const guest = conversation(await host.driver.dial(HEX, signal()));
    guest.say("file /opt/runner/.runner");
    await until(() => guest.lines.length === 2);
    expect(guest.lines[1]).toBe("600:0 of this guest");
  });

  it("whose making fails at any step leaves nothing", async () => {
    const host = await qemuHost();
    const steps = ["resolve image", "clone disk", "attach network", "publish metadata", "start vmm", "wait for qmp"];
    for (const failing of steps) {
      const context = contextOf((name) => {
        if (name === failing) throw new Error(`${name} failed`);
      });
      await expect(host.driver.create(specOf(HEX), context)).rejects.toThrow(`${failing} failed`);
      expect(await traces(host, undefined)).toEqual([]);
    }
    for (let uid = FIRST_UID; uid < FIRST_UID + 10; uid++) expect(ofUser(uid)).toEqual([]);
  });

  it("whose making is given up leaves nothing", async () => {
    const host = await qemuHost();
    const abort = new AbortController();
    const context = contextOf((name) => {
      if (name === "start vmm") abort.abort(new Error("given up"));
    }, abort.signal);
    await expect(host.driver.create(specOf(HEX), context)).rejects.toThrow("given up");
    expect(await traces(host, FIRST_UID)).toEqual([]);
  });

  it("that cannot start says why", async () => {
    const host = await qemuHost({ kernelPath: "/etc/passwd" });
    await expect(host.driver.create(specOf(HEX), contextOf())).rejects.toMatchObject({
      code: "VMM_FAILED",
      message: expect.stringMatching(/status 1.*kernel/i),
    });
    expect(await traces(host, FIRST_UID)).toEqual([]);
  });

  it("answers on its control socket", async () => {
    const host = await qemuHost();
    await host.driver.create(specOf(HEX), contextOf());
    const qmp = await connectQmp(placesOf(host.places, HEX).qmp, signal());
    expect(qmp.version).toMatch(/^\d+\.\d+/);
    expect(await qmp.execute("query-status")).toMatchObject({ status: "running" });
    await expect(qmp.execute("no-such-command")).rejects.toMatchObject({ code: "QMP_COMMAND_FAILED" });
    const opened = new Promise((resolve) =>
      qmp.onEvent((event) => event.event === "VSERPORT_CHANGE" && resolve(event.data)),
    );
    expect(await opened).toEqual({ open: true, id: "agent" });
    await qmp.execute("quit");
    expect(await exitOfSandbox(placesOf(host.places, HEX).directory)).toMatchObject({ code: 0 });
    await expect(qmp.execute("query-status")).rejects.toMatchObject({ code: "QMP_CLOSED" });
  });
});

describe.skipIf(!root)("what QEMU needs", () => {
  it("is checked: program, version, files that monitors can read", { timeout: 60_000 }, async () => {
    const missing = await qemuHost({ binaryPath: "/no/such/qemu" });
    expect(await missing.driver.prepare(contextOf())).toMatchObject({
      ok: false,
      detail: expect.stringContaining("/no/such/qemu"),
      hint: expect.stringContaining("apt-get install qemu-system-x86"),
    });
    const old = await qemuHost({ binaryPath: join(import.meta.dirname, "../../support/fixtures/vmm/old-qemu") });
    expect(await old.driver.prepare(contextOf())).toMatchObject({
      ok: false,
      detail: expect.stringContaining("6.2.0"),
      hint: expect.stringContaining("7.2"),
    });
    const hidden = await qemuHost();
    await exec("chmod", ["700", hidden.places.root]);
    expect(await hidden.driver.prepare(contextOf())).toMatchObject({
      ok: false,
      hint: expect.stringContaining("chmod o+x"),
    });
  });
});
