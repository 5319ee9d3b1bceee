import { constants } from "node:fs";
import { chmod, copyFile, link, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { build } from "esbuild";
import { systemCode } from "../../../src/base/errors.ts";
import { readDescription } from "./read-description.ts";
import type { Entry, Orders } from "./stand-in/orders.ts";

/** A stand-in for the firecracker binary. */
export interface StandIn {
  binary: string;
  /** How it behaves from now on. */
  order(orders: Orders): Promise<void>;
  /** The requests that all its processes were sent so far. */
  journal(): Promise<Entry[]>;
}

/**
 * Puts a stand-in into a directory that every user can enter: monitors run as users who need not be able to enter the
 * checkout, nor where Node is.
 */
export async function installStandIn(directory: string): Promise<StandIn> {
  await rm(directory, { recursive: true, force: true });
  await mkdir(directory, { recursive: true, mode: 0o755 });
  const place = (name: string): string => join(directory, name);
  const entry = join(import.meta.dirname, "stand-in/main.ts");
  await build({
    entryPoints: [entry],
    outfile: place("stand-in.cjs"),
    bundle: true,
    platform: "node",
    target: "node24",
    format: "cjs",
    logLevel: "warning",
  });
  await link(process.execPath, place("node")).catch(async (error: unknown) => {
    if (systemCode(error) === undefined) throw error;
    await copyFile(process.execPath, place("node"), constants.COPYFILE_FICLONE);
  });
  await writeFile(place("description.json"), JSON.stringify(readDescription()));
  await writeFile(place("journal"), "");
  await chmod(place("journal"), 0o666);
  const script = `#!/bin/sh\nexec ${place("node")} ${place("stand-in.cjs")} ${directory} "$@"\n`;
  await writeFile(place("firecracker"), script, { mode: 0o755 });
  const order = (orders: Orders) => writeFile(place("orders.json"), JSON.stringify(orders));
  await order({});
  return {
    binary: place("firecracker"),
    order,
    journal: async () =>
      (await readFile(place("journal"), "utf8"))
        .split("\n")
        .filter((line) => line !== "")
        .map((line) => JSON.parse(line) as Entry),
  };
}
