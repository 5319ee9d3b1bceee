import type { Limits } from "../core/types.ts";
import { parseDuration } from "./duration.ts";

type Texts = { [K in keyof Limits]?: string | undefined };

const MINUTE = 60_000;
const ENGINE = 180 * MINUTE;
/** What the orchestrator gives a job beyond the engine, so that the engine can end it first and say so. */
const GRACE = 10 * MINUTE;

/** A pool's limits over the global ones over the defaults. Limits that are not set follow those that are. */
export function mergeLimits(global: Texts, own: Texts): Limits {
  const set = (key: keyof Limits) => parseDuration(own[key] ?? global[key] ?? "");
  const boot = set("boot") ?? 2 * MINUTE;
  const ready = set("ready") ?? MINUTE;
  const idle = set("idle") ?? 15 * MINUTE;
  const jobSet = set("job");
  const engine =
    set("engine") ?? (jobSet === undefined ? ENGINE : Math.min(ENGINE, jobSet - Math.min(GRACE, jobSet / 10)));
  const job = jobSet ?? engine + GRACE;
  return { boot, ready, idle, engine, job, lifetime: set("lifetime") ?? boot + ready + idle + job };
}
