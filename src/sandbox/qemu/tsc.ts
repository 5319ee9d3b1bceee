import { existsSync, readFileSync } from "node:fs";
import { exec } from "../../base/exec.ts";

/**
 * The rate of the host's time stamp counter in kHz, where it can be told. An emulated guest's counter runs at that rate,
 * and a third of all boots hang when the guest kernel has to measure it.
 */
export async function hostTscKhz(): Promise<number | undefined> {
  const log = await exec("dmesg", [], { accept: [0, 1], maxOutput: 4 * 1024 * 1024 });
  return tscFromKernelLog(log.stdout) ?? (scales() ? undefined : tscFromCpuinfo(readFileSync("/proc/cpuinfo", "utf8")));
}

/** The most exact of what the kernel found out at boot; its log loses old lines. */
export function tscFromKernelLog(log: string): number | undefined {
  const found = [
    /tsc: Refined TSC clocksource calibration: ([\d.]+) MHz/,
    /tsc: Detected ([\d.]+) MHz TSC/,
    /tsc: Detected ([\d.]+) MHz processor/,
  ].map((pattern) => pattern.exec(log)?.[1]);
  return khz(found.find((value) => value !== undefined));
}

/** Good enough where the clock rate never changes and is the same for all processors. */
export function tscFromCpuinfo(text: string): number | undefined {
  const rates = new Set(Array.from(text.matchAll(/^cpu MHz\s*: ([\d.]+)$/gm), (match) => match[1]));
  return rates.size === 1 ? khz([...rates][0]) : undefined;
}

const scales = (): boolean => existsSync("/sys/devices/system/cpu/cpu0/cpufreq");

function khz(mhz: string | undefined): number | undefined {
  const value = Math.round(Number(mhz) * 1000);
  return value > 100_000 && value < 20_000_000 ? value : undefined;
}
