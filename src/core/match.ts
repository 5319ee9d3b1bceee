import type { Pool } from "./types.ts";

/** What decides whether jobs can go somewhere: a pool, or the labels a runner was registered with. */
export type Acceptor = Pick<Pool, "target" | "labels" | "driver"> & {
  trust?: unknown;
  repository?: string;
};

/** A label as forges match it: `name:host` and `name:docker://image` are written for engines only. */
export function labelName(label: string): string {
  const colon = label.indexOf(":");
  return colon < 0 ? label : label.slice(0, colon);
}

/** Label names without repetitions. */
export function labelNames(labels: readonly string[]): Set<string> {
  return new Set(labels.map(labelName));
}

/** Whether every label that the job asks for is there; exact case, as forges compare them. */
export function covers(offered: readonly string[], asked: readonly string[]): boolean {
  const names = labelNames(offered);
  return [...labelNames(asked)].every((label) => names.has(label));
}

/**
 * A job without labels would run anywhere, so it never goes to a pool that runs jobs on the host itself, or that trusts
 * only some. Whether it is trusted is asked apart: see trust.ts.
 */
export function accepts(acceptor: Acceptor, job: { targets: ReadonlySet<string>; labels: readonly string[] }): boolean {
  if (!job.targets.has(acceptor.target)) return false;
  return job.labels.length === 0 ? isForAnyJob(acceptor) : covers(acceptor.labels, job.labels);
}

/** The pools a job may go to, best first: fewest labels beyond the job's own, then the order of the configuration. */
export function rankPools<P extends Pool>(pools: readonly P[], job: Parameters<typeof accepts>[1]): P[] {
  const fitting = pools.filter((pool) => accepts(pool, job));
  const inOrder = fitting.sort((a, b) => a.order - b.order);
  if (job.labels.length === 0) return inOrder;
  return inOrder.sort((a, b) => labelNames(a.labels).size - labelNames(b.labels).size);
}

/** Of the labels a job asks for, those that no pool at its target offers. */
export function unknownLabels(pools: readonly Pool[], job: Parameters<typeof accepts>[1]): string[] {
  const offered = pools.filter((pool) => job.targets.has(pool.target)).flatMap((pool) => pool.labels);
  const names = labelNames(offered);
  return [...labelNames(job.labels)].filter((label) => !names.has(label));
}

function isForAnyJob({ driver, trust, repository }: Acceptor): boolean {
  return driver !== "native" && trust === undefined && repository === undefined;
}
