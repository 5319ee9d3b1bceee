import { describe, expect, it } from "vitest";
import { bootProbe } from "../../../src/sandbox/qemu/probe.ts";
import { hostTscKhz } from "../../../src/sandbox/qemu/tsc.ts";
import { temporaryPlaces } from "../../support/sandboxes.ts";
import { tinyGuest } from "../../support/tiny-guest.ts";

const binary = "qemu-system-x86_64";
const { signal } = new AbortController();

describe("booting a kernel to its first program", { timeout: 120_000 }, () => {
  it("succeeds with a real kernel under emulation", async () => {
    const { image } = await tinyGuest((await temporaryPlaces()).root);
    const khz = await hostTscKhz();
    const words = khz === undefined ? [] : [`tsc_early_khz=${khz}`];
    const verdict = await bootProbe({
      binary,
      kernel: image.kernel,
      accelerator: "tcg",
      deadline: 60_000,
      signal,
      words,
    });
    expect(verdict).toEqual({ works: true, detail: expect.stringMatching(/ran within \d+ ms/) });
  });

  it("fails with what is no kernel, and says so", async () => {
    const verdict = await bootProbe({ binary, kernel: "/etc/passwd", accelerator: "tcg", deadline: 20_000, signal });
    expect(verdict).toMatchObject({ works: false, detail: expect.stringMatching(/code 1.*kernel/i) });
  });
});
