import { existsSync } from "node:fs";
import { FireteactError } from "../base/errors.ts";
import { type LoadedConfig, loadConfig } from "../config/load.ts";
import { checkUnits, nativeDifferences } from "./native.ts";

/** Drivers that this version can run. */
export const DRIVERS: string[] = ["firecracker", "qemu", "native", "fake"];

/** Reads the configuration and refuses what is right as such, but cannot be run by this version. */
export function loadServable(file: string): LoadedConfig {
  const loaded = loadConfig(file, process.env);
  const { pools } = loaded.settings;
  const refused = pools.filter((pool) => !DRIVERS.includes(pool.driver));
  if (refused.length > 0) {
    const list = refused.map((pool) => `${pool.name} (${pool.driver})`).join(", ");
    throw new FireteactError(
      "CONFIG_DRIVER",
      `this version cannot run the pools ${list}: their driver is not built yet`,
      { hint: "set 'driver: qemu' in these pools to run them in QEMU microVMs" },
    );
  }
  if (pools.some(({ driver }) => driver === "native")) {
    checkServiceManager();
    checkUnits(nativeDifferences(loaded.settings), file);
  }
  return loaded;
}

/** @throws FireteactError `NO_SYSTEMD` */
export function checkServiceManager(): void {
  if (existsSync("/run/systemd/system")) return;
  throw new FireteactError("NO_SYSTEMD", "native pools run their jobs as units of systemd, which does not run here", {
    hint: "run them on a host that was started by systemd, or take driver: qemu, which needs none",
  });
}
