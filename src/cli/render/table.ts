import { stripVTControlCharacters } from "node:util";

/** Columns aligned for a terminal of `width` characters; the widest column gives way, cells never wrap. */
export function table(head: string[], rows: string[][], width = process.stdout.columns ?? 80): string {
  const cells = [head, ...rows].map((row) => row.map(clean));
  const widths = head.map((_, column) => Math.max(...cells.map((row) => row[column]?.length ?? 0)));
  const total = () => widths.reduce((sum, each) => sum + each, 0) + (widths.length - 1) * 2;
  while (total() > width) {
    const widest = widths.indexOf(Math.max(...widths));
    if ((widths[widest] ?? 0) <= 8) break;
    widths[widest] = Math.max((widths[widest] ?? 0) - (total() - width), 8);
  }
  const line = (row: string[]) => row.map((cell, column) => fit(cell, widths[column] ?? 0)).join("  ");
  return cells.map((row) => line(row).trimEnd()).join("\n");
}

function fit(cell: string, width: number): string {
  return cell.length > width ? `${cell.slice(0, Math.max(width - 1, 0))}…` : cell.padEnd(width);
}

/** Names and details come from forges and guests: nothing in them may steer the terminal. */
export function clean(cell: string): string {
  return stripVTControlCharacters(cell).replaceAll(/\p{Cc}+/gu, " ");
}

/** `420 ms`, `1.2 s`, `3 m 20 s`, `2 h 5 m`. */
export function duration(milliseconds: number): string {
  if (Math.round(milliseconds) < 1000) return `${Math.round(milliseconds)} ms`;
  if (milliseconds < 99_950) return `${(milliseconds / 1000).toFixed(1)} s`;
  const seconds = Math.round(milliseconds / 1000);
  const minutes = Math.floor(seconds / 60);
  return minutes < 100 ? `${minutes} m ${seconds % 60} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} m`;
}
