import * as z from "zod";
import { duration } from "./fields.ts";

const HOUR = 3_600_000;

/** Together they stay below the 24 days that a timer can count. Defaults depend on each other: see limits.ts. */
export const limitsSchema = z.strictObject({
  boot: duration(HOUR)
    .optional()
    .describe("From the start of a sandbox to its agent's first word. Default: 2m, five times that under emulation."),
  ready: duration(HOUR)
    .optional()
    .describe("From the hand-over of credentials to a runner that waits for a job. Default: 1m."),
  idle: duration().optional().describe("How long a runner above the pool's minimum waits without a job. Default: 15m."),
  engine: duration().optional().describe("What the engine allows a job. Default: 3h."),
  job: duration()
    .optional()
    .describe("What Fireteact allows a job, a little more than the engine. Default: engine plus 10m."),
  lifetime: duration(400 * HOUR)
    .optional()
    .describe("A runner's whole life. Default: boot, ready, idle and job together."),
});
