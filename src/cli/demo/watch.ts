import { setTimeout as sleep } from "node:timers/promises";
import { FireteactError } from "../../base/errors.ts";
import { duration } from "../render/table.ts";
import type { DemoDaemon } from "./daemon.ts";

interface RunnerState {
  id: string;
  phase: string;
  ending?: { reason: string; detail: string };
}

/** A driver that failed is tried again after five seconds; one that still fails will go on failing. */
const PATIENCE = 12_000;

/** Prints each runner's way through the phases while `until` is not reached. */
export async function watchRunners(
  daemon: DemoDaemon,
  until: Promise<unknown>,
  progress: (line: string) => void,
): Promise<void> {
  const began = performance.now();
  const seen = new Map<string, string>();
  const done = new AbortController();
  const end = () => done.abort();
  until.then(end, end);
  let pool = "";
  let unusableSince: number | undefined;
  while (!done.signal.aborted) {
    const { pools } = await daemon.get<{ pools: { usable: boolean; detail?: string }[] }>("/api/v1/pools");
    const detail = pools.find(({ usable }) => !usable)?.detail ?? "ready";
    if (detail !== pool) progress(`${stamp(began)} pool demo: ${detail}`);
    pool = detail;
    if (detail === "ready" || detail === "being prepared") unusableSince = undefined;
    else unusableSince ??= performance.now();
    if (unusableSince !== undefined && performance.now() - unusableSince > PATIENCE)
      throw new FireteactError("DEMO_POOL", `the pool cannot be used: ${detail}`);
    const { runners } = await daemon.get<{ runners: { id: string }[] }>("/api/v1/runners");
    for (const { id } of runners) {
      // It may be gone between the two questions.
      const runner = await daemon.get<RunnerState>(`/api/v1/runners/${id}`).catch(() => undefined);
      if (runner === undefined || seen.get(id) === stateOf(runner)) continue;
      seen.set(id, stateOf(runner));
      progress(`${stamp(began)} ${id}: ${stateOf(runner)}`);
    }
    await Promise.race([sleep(200), until.catch(() => undefined)]);
  }
}

const stateOf = ({ phase, ending }: RunnerState): string =>
  ending === undefined || ending.reason === "finished"
    ? phase
    : `${phase}, ending: ${ending.reason} (${ending.detail})`;

const stamp = (began: number): string => duration(performance.now() - began).padStart(8);
