import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { bootProbe, probeKvm } from "../../../src/sandbox/qemu/probe.ts";
import { PROBE_DEVICE, probeInitrd } from "../../../src/sandbox/qemu/probe-guest.ts";
import { temporaryPlaces } from "../../support/sandboxes.ts";

const { signal } = new AbortController();

/** A QEMU that does what the script says, and counts how often it was started. */
async function fakeQemu(script: string) {
  const { root } = await temporaryPlaces();
  const binary = join(root, "qemu");
  const counter = join(root, "runs");
  const kernel = join(root, "vmlinux");
  const write = (text: string) =>
    writeFileSync(binary, `#!/bin/sh\necho "$*" >>${counter}\n${text}\n`, { mode: 0o755 });
  write(script);
  writeFileSync(kernel, "kernel one");
  writeFileSync(counter, "");
  const runs = () => readFileSync(counter, "utf8").split("\n").filter(Boolean);
  return { binary, kernel, runs, write, directory: join(root, "verdicts") };
}

describe("the proof that guests run with KVM", () => {
  it("is the exit code that only the guest's program can make", async () => {
    const { binary, kernel, runs, directory } = await fakeQemu("exit 33");
    expect(await probeKvm({ binary, version: "7.2", kernel, directory, signal })).toMatchObject({ works: true });
    expect(runs()[0]).toContain("-accel kvm");
    expect(runs()[0]).toContain(`-device ${PROBE_DEVICE}`);
    // A panic must not look like a reset.
    expect(runs()[0]).toContain("panic=0");
  });

  it.each([
    ["a reset, which a fault in the kernel makes too", "exit 0", /code 0/],
    ["an abort of QEMU", "echo 'failed to set MSR 0x10a' >&2; kill -ABRT $$", /SIGABRT.*MSR 0x10a/],
  ])("is not %s", async (_, script, detail) => {
    const { binary, kernel, directory } = await fakeQemu(script);
    expect(await probeKvm({ binary, version: "7.2", kernel, directory, signal })).toMatchObject({
      works: false,
      detail: expect.stringMatching(detail),
    });
  });

  it("is not waited for without end", async () => {
    const { binary, kernel } = await fakeQemu("exec sleep 600");
    const verdict = await bootProbe({ binary, kernel, accelerator: "kvm", deadline: 100, signal });
    expect(verdict).toEqual({
      works: false,
      detail: expect.stringContaining("did not reach its first program within 0.1 s"),
    });
  });

  it("is kept for the same kernel and QEMU, and made again for others or when it is damaged", async () => {
    const { binary, kernel, directory, runs, write } = await fakeQemu("exit 33");
    const probe = (version = "7.2") => probeKvm({ binary, version, kernel, directory, signal });
    const first = await probe();
    write("exit 1");
    expect(await probe()).toEqual(first);
    expect(runs()).toHaveLength(1);
    expect(await probe("8.0")).toMatchObject({ works: false });
    writeFileSync(kernel, "kernel two");
    expect(await probe("8.0")).toMatchObject({ works: false });
    expect(runs()).toHaveLength(3);
    rmSync(directory, { recursive: true });
    await probe();
    expect(runs()).toHaveLength(4);
  });

  it("is given up when the caller gives up, without a verdict", async () => {
    const { binary, kernel, directory } = await fakeQemu("exec sleep 600");
    const abort = AbortSignal.timeout(50);
    await expect(probeKvm({ binary, version: "7.2", kernel, directory, signal: abort })).rejects.toThrow();
    const working = await fakeQemu("exit 33");
    expect(await probeKvm({ ...working, directory, version: "7.2", signal })).toMatchObject({ works: true });
  });
});

describe("the probe's initramfs", () => {
  it("holds one program and the end, each aligned as the kernel wants it", () => {
    const archive = probeInitrd();
    const names = Array.from(archive.toString("latin1").matchAll(/070701[0-9a-f]{104}([^\0]+)/g), (match) => match[1]);
    expect(names).toEqual(["init", "TRAILER!!!"]);
    expect(archive.length % 4).toBe(0);
    expect(archive.indexOf("\x7fELF", 0, "latin1") % 4).toBe(0);
  });
});
