import { hearsay } from "../core/hearsay.ts";
import type { ForgeView } from "../core/plan-types.ts";
import type { Records } from "./records.ts";

/** Notes what the forges tell of mute runners, before every plan. */
export function listenToForges(records: Records, forges: Record<string, ForgeView>): void {
  for (const runner of records.all()) {
    if (runner.mute !== true) continue;
    for (const event of hearsay(runner, forges[runner.target])) records.apply(runner.id, event);
  }
}
