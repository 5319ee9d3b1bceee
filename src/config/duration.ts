const UNITS: Record<string, number> = { ns: 1e-6, us: 1e-3, µs: 1e-3, ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };

/** A duration as Go writes it: `90s`, `1.5h`, `3h10m`. */
export const DURATION = /^(?:\d+(?:\.\d+)?(?:ns|us|µs|ms|s|m|h))+$/;

/** Milliseconds of a duration; undefined when the text is none. */
export function parseDuration(text: string): number | undefined {
  if (text.length > 64 || !DURATION.test(text)) return undefined;
  let milliseconds = 0;
  for (const [, amount, unit] of text.matchAll(/([\d.]+)(ns|us|µs|ms|s|m|h)/g)) {
    milliseconds += Number(amount) * (UNITS[unit ?? ""] ?? 0);
  }
  return milliseconds;
}

/** The shortest text for a duration, whole milliseconds at the finest. */
export function formatDuration(milliseconds: number): string {
  const parts: string[] = [];
  let rest = Math.round(milliseconds);
  for (const unit of ["h", "m", "s", "ms"]) {
    const size = UNITS[unit] ?? 1;
    const amount = Math.floor(rest / size);
    if (amount > 0) parts.push(`${amount}${unit}`);
    rest -= amount * size;
  }
  return parts.join("") || "0s";
}
