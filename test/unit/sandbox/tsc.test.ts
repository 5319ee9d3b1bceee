import { describe, expect, it } from "vitest";
import { tscFromCpuinfo, tscFromKernelLog } from "../../../src/sandbox/qemu/tsc.ts";

const LOG = `[    0.000000] Linux version 6.1.0
[    0.000026] tsc: Detected 2600.000 MHz processor
[    0.000026] tsc: Detected 2596.140 MHz TSC
[    1.800000] tsc: Refined TSC clocksource calibration: 2596.098 MHz
`;

describe("the host's time stamp counter", () => {
  it("is read from the kernel's log, the most exact line first", () => {
    const lines = LOG.split("\n");
    expect(tscFromKernelLog(LOG)).toBe(2_596_098);
    expect(tscFromKernelLog(lines.slice(0, 3).join("\n"))).toBe(2_596_140);
    expect(tscFromKernelLog(lines.slice(0, 2).join("\n"))).toBe(2_600_000);
    expect(tscFromKernelLog(lines.slice(0, 1).join("\n"))).toBeUndefined();
  });

  it("is taken from the processors where they all say the same", () => {
    const cpu = (mhz: string) => `processor\t: 0\ncpu MHz\t\t: ${mhz}\ncache size\t: 1 KB\n`;
    expect(tscFromCpuinfo(cpu("2000.000") + cpu("2000.000"))).toBe(2_000_000);
    expect(tscFromCpuinfo(cpu("2000.000") + cpu("1200.123"))).toBeUndefined();
    expect(tscFromCpuinfo("")).toBeUndefined();
  });

  it("is unknown rather than absurd", () => {
    expect(tscFromKernelLog("tsc: Detected 0.000 MHz processor")).toBeUndefined();
    expect(tscFromKernelLog("tsc: Detected 99999.0 MHz processor")).toBeUndefined();
  });
});
