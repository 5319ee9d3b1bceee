import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { processes } from "../../../src/base/process.ts";
import { placesOf } from "../../../src/sandbox/microvm/places.ts";
import { readRecord, type SandboxRecord } from "../../../src/sandbox/microvm/record.ts";
import { dialled, firecrackerHost } from "../../support/firecracker/host.ts";
import { conversation } from "../../support/qemu.ts";
import { contextOf, exitOfSandbox, hexOf, specOf, until } from "../../support/sandboxes.ts";

const HEX = hexOf(9);
const root = process.getuid?.() === 0;
const ofUser = (uid: number) => Array.from(processes()).filter((view) => view.uid === uid);
type Host = Awaited<ReturnType<typeof firecrackerHost>>;

/** What is left of a guest anywhere on the host. */
async function traces(host: Host): Promise<string[]> {
  const own = placesOf(host.places, HEX);
  const sandboxes = join(host.places.run, "sandboxes");
  const users = Array.from({ length: 40 }, (_, index) => 81_000 + index);
  return [
    ...(existsSync(sandboxes) ? readdirSync(sandboxes) : []),
    ...(existsSync(own.disks) ? [own.disks] : []),
    ...(await host.network.list()),
    ...users.flatMap((uid) => ofUser(uid).map(({ pid }) => `process ${pid}`)),
    ...[...host.served.keys()].map((hex) => `metadata of ${hex}`),
    ...(await host.driver.list()).map(({ hex }) => `sandbox ${hex}`),
  ];
}

const calls = async ({ standIn }: Host) => (await standIn.journal()).map(({ method, path }) => `${method} ${path}`);

describe.skipIf(!root)("a guest in the stand-in for Firecracker", { timeout: 180_000 }, () => {
  it("starts as described, talks over vsock, is confined, ends by itself and leaves nothing", async () => {
    const host = await firecrackerHost();
    const { driver } = host;
    expect(await driver.prepare(contextOf())).toMatchObject({
      ok: true,
      detail: expect.stringMatching(/^Firecracker 1\.16\.1, without jailer; kernel .*; image sha256:tiny$/),
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
      "prepare launch",
      "start vmm",
      "wait for api",
      "configure vmm",
      "publish metadata",
      "boot guest",
    ]);
    expect(made.address).toMatch(/^10\.200\./);
    expect(host.served.get(HEX)).toEqual(document);
    const journal = await host.standIn.journal();
    expect(journal.every(({ id, status }) => id === HEX && status < 300)).toBe(true);
    expect((await calls(host)).filter((call) => call !== "GET /version")).toEqual([
      "PUT /machine-config",
      "PUT /boot-source",
      "PUT /drives/root",
      "PUT /drives/scratch",
      "PUT /network-interfaces/eth0",
      "PUT /vsock",
      "PUT /entropy",
      "PUT /actions",
    ]);

    const guest = conversation(await dialled(driver, HEX));
    guest.say("echo hello");
    await until(() => guest.lines.includes("hello"));
    const own = placesOf(host.places, HEX);
    const record = readRecord(own.directory) as SandboxRecord;
    for (const { pid } of ofUser(record.uid!)) {
      const status = readFileSync(`/proc/${pid}/status`, "utf8");
      expect(status).toMatch(/^NoNewPrivs:\s1$/m);
      expect(status).toMatch(/^CapEff:\s0+$/m);
    }
    // Nothing it could replace is its own any more, but for the content of its disk.
    for (const path of [own.directory, own.vm, own.disks]) expect(statSync(path).uid).toBe(0);
    guest.say("line");
    guest.say("root");
    guest.say("scratch 4096");
    await until(() => guest.lines.includes("written"));
    expect(guest.lines).toContain("refused");
    expect(guest.lines.join("\n")).toContain(
      "console=ttyS0 reboot=k panic=1 pci=off quiet fireteact.address=172.31.0.2/30",
    );
    expect(await driver.console(HEX, 4096)).toContain("tiny guest on the console");

    const exit = exitOfSandbox(own.directory);
    guest.say("reset");
    expect(await exit).toMatchObject({ code: 0, signal: null });
    await driver.remove(HEX, contextOf());
    await driver.remove(HEX, contextOf());
    expect(await traces(host)).toEqual([]);
  });

  it("goes on without its maker, and a panic is told from a clean end by its console", async () => {
    const host = await firecrackerHost();
    await host.driver.create(specOf(HEX), contextOf());
    const first = conversation(await dialled(host.driver, HEX));
    first.say("echo first");
    await until(() => first.lines.includes("first"));
    first.end();
    await host.driver.close();

    const next = host.again();
    expect(await next.list()).toMatchObject([{ hex: HEX, state: "running" }]);
    await next.publish(HEX, { new: "document" });
    expect(host.served.get(HEX)).toEqual({ new: "document" });
    const second = conversation(await dialled(next, HEX));
    second.say("echo still here");
    await until(() => second.lines.includes("still here"));
    const exits: unknown[] = [];
    next.watch(HEX, (exit) => exits.push(exit));
    second.say("panic");
    await until(() => exits.length > 0);
    const reason = expect.stringMatching(/^the guest's kernel panicked: sysrq/i);
    expect(exits).toMatchObject([{ code: 0, signal: null, reason }]);
  });

  it("finds files of its own, of which nothing stays on the host; one that still runs is asked to reset", async () => {
    const host = await firecrackerHost();
    const files = { "/opt/runner/.runner": { content: "of this guest", mode: 0o600 } };
    await host.driver.create({ ...specOf(HEX), files }, contextOf());
    expect(readdirSync(placesOf(host.places, HEX).vm)).not.toContain("initrd");
    const guest = conversation(await dialled(host.driver, HEX));
    guest.say("file /opt/runner/.runner");
    await until(() => guest.lines.includes("600:0 of this guest"));
    await host.driver.remove(HEX, contextOf());
    const { body } = (await host.standIn.journal()).at(-1) ?? {};
    expect(body).toEqual({ action_type: "SendCtrlAltDel" });
    expect(await traces(host)).toEqual([]);
  });
});

describe.skipIf(!root)("a guest that cannot be made", { timeout: 180_000 }, () => {
  it("leaves nothing, whichever step fails", async () => {
    const host = await firecrackerHost();
    const steps: string[] = [];
    await host.driver.create(
      specOf(HEX),
      contextOf((name) => steps.push(name)),
    );
    await host.driver.remove(HEX, contextOf());
    for (const failing of steps) {
      const context = contextOf((name) => {
        if (name === failing) throw new Error(`${name} failed`);
      });
      await expect(host.driver.create(specOf(HEX), context)).rejects.toThrow(`${failing} failed`);
      expect(await traces(host)).toEqual([]);
    }
  });

  it("leaves nothing and says which request was refused, whichever it is", async () => {
    const host = await firecrackerHost({ mmds: "V2" });
    const requests = [
      "PUT /machine-config",
      "PUT /boot-source",
      "PUT /drives/root",
      "PUT /drives/scratch",
      "PUT /network-interfaces/eth0",
      "PUT /mmds/config",
      "PUT /vsock",
      "PUT /entropy",
      "PUT /mmds",
    ];
    for (const request of requests) {
      await host.standIn.order({ trouble: { [request]: { fault: "as ordered" } } });
      const reason = request === "PUT /mmds" ? "the metadata was not taken" : "as ordered";
      await expect(host.driver.create(specOf(HEX), contextOf())).rejects.toMatchObject({
        code: "FIRECRACKER_REFUSED",
        message: `Firecracker refused ${request} (400): ${reason}`,
      });
      expect(await traces(host)).toEqual([]);
    }
    await host.standIn.order({
      trouble: { InstanceStart: { fault: "Kvm error: Error creating KVM object. [Permission denied (os error 13)]" } },
    });
    await expect(host.driver.create(specOf(HEX), contextOf())).rejects.toMatchObject({
      code: "KVM_UNUSABLE",
      hint: expect.stringContaining("/dev/kvm"),
    });
    expect(await traces(host)).toEqual([]);
  });

  it("leaves nothing when the monitor ends: at its start, while it is configured, at the guest's start", async () => {
    const host = await firecrackerHost();
    await host.standIn.order({ exitAtStart: 153 });
    await expect(host.driver.create(specOf(HEX), contextOf())).rejects.toMatchObject({
      code: "VMM_FAILED",
      message: expect.stringMatching(/bad arguments.*as ordered/),
    });
    expect(await traces(host)).toEqual([]);
    for (const where of ["PUT /drives/scratch", "InstanceStart"]) {
      await host.standIn.order({ trouble: { [where]: { exit: 148 } } });
      await expect(host.driver.create(specOf(HEX), contextOf())).rejects.toMatchObject({
        code: "FIRECRACKER_UNREACHABLE",
      });
      expect(await traces(host)).toEqual([]);
    }
  });

  it("leaves nothing when its maker gives up while the monitor does not answer", async () => {
    const host = await firecrackerHost();
    await host.standIn.order({ trouble: { "PUT /vsock": { hang: true } } });
    const abort = new AbortController();
    const making = host.driver.create(specOf(HEX), contextOf(undefined, abort.signal));
    const failed = expect(making).rejects.toThrow("given up");
    await until(async () => (await calls(host)).includes("PUT /network-interfaces/eth0"));
    abort.abort(new Error("given up"));
    await failed;
    expect(await traces(host)).toEqual([]);
  });
});

describe.skipIf(!root)("what Firecracker needs", { timeout: 180_000 }, () => {
  const refusal = async (pool: Parameters<typeof firecrackerHost>[0], version?: string) => {
    const host = await firecrackerHost(pool);
    if (version !== undefined) await host.standIn.order({ version });
    return await host.driver.prepare(contextOf());
  };

  it("is checked: program, version", async () => {
    expect(await refusal({ binaryPath: "/no/such/firecracker" })).toMatchObject({
      ok: false,
      detail: expect.stringContaining("/no/such/firecracker cannot be run"),
      hint: expect.stringContaining("firecracker.binaryPath"),
    });
    expect(await refusal({}, "1.6.0")).toMatchObject({
      ok: false,
      detail: "Firecracker 1.6.0 is too old",
      hint: expect.stringContaining("1.7"),
    });
    expect(await refusal({ binaryPath: "/bin/true" })).toMatchObject({
      ok: false,
      detail: expect.stringContaining("no version of Firecracker"),
    });
    expect(await refusal({}, "1.7.0")).toMatchObject({ ok: true });
  });

  it("is checked: a kernel of the right kind, which finds its devices", async () => {
    expect(await refusal({ kernelPath: "/etc/passwd" })).toMatchObject({
      ok: false,
      detail: "/etc/passwd is no uncompressed kernel",
      hint: expect.stringContaining("vmlinux"),
    });
    // Node is an ELF file, but no kernel; an initrd without modules does not help it.
    const host = await firecrackerHost({ kernelPath: "/bin/sh" });
    const { initrd } = host.image;
    expect(await host.driver.prepare(contextOf())).toMatchObject({ ok: true });
    expect(readFileSync(initrd).includes("virtio_mmio")).toBe(true);
  });

  it("may be newer than what a setting asks for", async () => {
    const host = await firecrackerHost({ balloon: true });
    await host.standIn.order({ version: "1.13.1" });
    await expect(host.driver.create(specOf(HEX), contextOf())).rejects.toMatchObject({
      code: "FIRECRACKER_VERSION",
      message: "firecracker.balloon does not work with Firecracker 1.13",
    });
    expect(await traces(host)).toEqual([]);
  });
});
