import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { qemuVersion, requireHost } from "../../../src/sandbox/qemu/machine.ts";
import { temporaryPlaces } from "../../support/sandboxes.ts";

describe("the host that the qemu driver needs", () => {
  it("is an x86-64 one on which we are root", () => {
    expect(() => requireHost({ arch: "x64", uid: 0 })).not.toThrow();
    expect(() => requireHost({ arch: "arm64", uid: 0 })).toThrow(/cannot make guests on arm64/);
    expect(() => requireHost({ arch: "x64", uid: 1000 })).toThrow(/needs root/);
  });

  const versionOf = async (said: string) => {
    const { root } = await temporaryPlaces();
    const binary = join(root, "qemu");
    writeFileSync(binary, `#!/bin/sh\necho "${said}"\n`, { mode: 0o755 });
    return qemuVersion(binary);
  };

  it.each([
    ["QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)", "7.2.22"],
    ["QEMU emulator version 10.0.2", "10.0.2"],
    ["QEMU emulator version 8.0", "8.0"],
  ])("has a QEMU that is new enough: %s", async (said, version) => {
    expect(await versionOf(said)).toBe(version);
  });

  it.each(["QEMU emulator version 7.1.9", "QEMU emulator version 6.9.0", "hello"])("refuses %s", async (said) => {
    await expect(versionOf(said)).rejects.toMatchObject({ code: "QEMU_TOO_OLD", hint: expect.stringContaining("7.2") });
  });

  it("says how to get one", async () => {
    await expect(qemuVersion("/no/such/qemu")).rejects.toMatchObject({
      code: "QEMU_MISSING",
      hint: expect.stringContaining("apt-get install qemu-system-x86"),
    });
  });
});
