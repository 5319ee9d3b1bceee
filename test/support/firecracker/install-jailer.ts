import { constants, existsSync } from "node:fs";
import { copyFile, link, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { build } from "esbuild";
import { ignore } from "../../../src/base/errors.ts";
import { JAILER_ORDERS, type JailerOrders } from "./jailer/orders.ts";

/** A stand-in for the jailer binary. */
export interface StandInJailer {
  jailer: string;
  /** How it behaves from now on. */
  order: (orders: JailerOrders) => Promise<void>;
}

/** Puts a stand-in for the jailer into a directory, that of the one for Firecracker. */
export async function installJailer(directory: string): Promise<StandInJailer> {
  const place = (name: string): string => join(directory, name);
  await build({
    entryPoints: [join(import.meta.dirname, "jailer/main.ts")],
    outfile: place("jailer.cjs"),
    bundle: true,
    platform: "node",
    target: "node24",
    format: "cjs",
    logLevel: "warning",
  });
  await copyFile(join(import.meta.dirname, "jailer/jail.sh"), place("jail.sh"));
  if (!existsSync(place("node"))) await link(process.execPath, place("node")).catch(ignore("EXDEV"));
  if (!existsSync(place("node"))) await copyFile(process.execPath, place("node"), constants.COPYFILE_FICLONE);
  const order = (orders: JailerOrders) => writeFile(place(JAILER_ORDERS), JSON.stringify(orders));
  await order({});
  const script = `#!/bin/sh\nexec ${place("node")} --no-warnings ${place("jailer.cjs")} ${directory} "$@"\n`;
  await writeFile(place("jailer"), script, { mode: 0o755 });
  return { jailer: place("jailer"), order };
}
