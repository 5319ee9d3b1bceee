export type Statistic = "min" | "p50" | "p90" | "p99" | "max";
export type Summary = { count: number } & Record<Statistic, number>;

/** Percentiles are samples that were measured (nearest rank), never something between two. */
export function summarise(samples: readonly number[]): Summary {
  if (samples.length === 0) throw new Error("a figure without samples says nothing");
  const sorted = [...samples].sort((a, b) => a - b);
  const rank = (share: number) => round(sorted[Math.max(Math.ceil(share * sorted.length) - 1, 0)] ?? 0);
  return { count: sorted.length, min: rank(0), p50: rank(0.5), p90: rank(0.9), p99: rank(0.99), max: rank(1) };
}

const round = (value: number): number => Math.round(value * 1000) / 1000;
