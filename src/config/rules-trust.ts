import { isPullEvent } from "../base/trust.ts";
import type { DraftPool, Report } from "./draft.ts";

/** Whether a native pool trusts anything, and what it should rather not. */
export function checkTrust(pool: DraftPool, index: number, report: Report): void {
  if (pool.driver !== "native") return;
  const { trusted = [], events = [], allowForks = false } = pool.native ?? {};
  const at = (key: string) => ["pools", index, "native", key];
  const pulls = events.some((event) => event !== undefined && isPullEvent(event));
  if (trusted.length === 0) {
    report.warn(at("trusted"), "none: the pool takes no job; name the repositories whose jobs may run on this host");
  }
  if (allowForks && !pulls) report.warn(at("allowForks"), "not used: events has no pull_request");
  if (allowForks && pulls) {
    report.warn(at("allowForks"), "whoever may open a pull request in a trusted repository runs code on this host");
  }
}
