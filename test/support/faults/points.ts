import { POINTS, RECORD_POINTS } from "../../../src/orchestrator/execute/run.ts";
import { EXECUTORS, RECORD_STEPS } from "../../../src/orchestrator/execute/table.ts";
import type { Point } from "./orders.ts";

/** Every moment of every step at which a crash must do no harm, made from the table of executors. */
export const ALL_POINTS: readonly Point[] = [
  ...RECORD_STEPS.flatMap((step) => RECORD_POINTS.map((point) => ({ step, point }))),
  ...(Object.keys(EXECUTORS) as (keyof typeof EXECUTORS)[]).flatMap((step) => POINTS.map((point) => ({ step, point }))),
];
