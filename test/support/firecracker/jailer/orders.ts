import { readFileSync } from "node:fs";
import { join } from "node:path";

/** What a jailer does, in its order. */
export const JAILER_STEPS = [
  "make the directory",
  "copy the binary",
  "join the network namespace",
  "set control groups",
  "enter control groups",
  "change the root",
  "make directories",
  "make devices",
  "write the process id",
  "run the binary",
] as const;
export type JailerStep = (typeof JAILER_STEPS)[number];

/** How a test has the stand-in behave. */
export interface JailerOrders {
  version?: string;
  /** Ends before this is done. */
  failAt?: JailerStep;
}

export const JAILER_ORDERS = "jailer-orders.json";

export function readJailerOrders(directory: string): JailerOrders {
  return JSON.parse(readFileSync(join(directory, JAILER_ORDERS), "utf8")) as JailerOrders;
}
