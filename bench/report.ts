import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { table } from "../src/cli/render/table.ts";
import { BENCHES } from "./all.ts";
import { type Aim, type Figure, type Result, ROOT, readResult } from "./harness.ts";
import { summarise } from "./statistics.ts";

const DOCUMENT = join(ROOT, "docs", "performance.md");
const BEGIN = "<!-- results: begin; written by npm run bench -- --keep -->";
const END = "<!-- results: end -->";

export const verdictOf = (figure: Figure, aim: Aim): "kept" | "missed" =>
  summarise(figure.samples)[aim.statistic] < aim.under ? "kept" : "missed";

/** For a terminal: one row for each figure, its aims behind it. */
export function tableOf(results: readonly Result[]): string {
  const rows = results.flatMap(({ figures }) => figures.map((figure) => cells(figure)));
  return table(HEADINGS, rows, 200);
}

const HEADINGS = ["FIGURE", "SAMPLES", "MIN", "P50", "P90", "P99", "MAX", "AIM"];

function cells(figure: Figure): string[] {
  const { count, min, p50, p90, p99, max } = summarise(figure.samples);
  const values =
    count === 1 ? ["", show(p50, figure), "", "", ""] : [min, p50, p90, p99, max].map((value) => show(value, figure));
  return [figure.name, String(count), ...values, figure.aims.map((aim) => aimText(figure, aim)).join("; ")];
}

function aimText(figure: Figure, aim: Aim): string {
  const statistic = figure.samples.length === 1 ? "" : `${aim.statistic} `;
  const because = aim.because === undefined ? "" : ` (${aim.because})`;
  return `${statistic}under ${show(aim.under, figure)}${because}: ${verdictOf(figure, aim)}`;
}

function show(value: number, { unit }: Figure): string {
  const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2;
  const separator = unit === "%" || unit === "/min" ? "" : " ";
  return `${value.toFixed(digits)}${separator}${unit}`;
}

/** The kept results, in the order of the benches. */
export function keptResults(): Result[] {
  return BENCHES.map(({ name }) => join(ROOT, "bench", "results", `${name}.json`))
    .filter((path) => existsSync(path))
    .map(readResult);
}

/** What docs/performance.md says between its two marks. */
export function documentPart(results: readonly Result[]): string {
  return results.map(chapter).join("\n\n");
}

function chapter(result: Result): string {
  const { machine, load } = result;
  const rows = result.figures.map((figure) => `| ${cells(figure).join(" | ")} |`);
  return [
    `### ${result.name}`,
    `${capital(result.what)}.`,
    [
      `| ${HEADINGS.map((heading) => capital(heading.toLowerCase())).join(" | ")} |`,
      `|${" --- |".repeat(HEADINGS.length)}`,
      ...rows,
    ].join("\n"),
    result.notes.map((note) => `- ${note}`).join("\n"),
    `Measured ${result.at.slice(0, 16).replace("T", " ")} UTC at commit ${result.commit} by \`${result.command}\` in ${result.seconds} s: ` +
      `Node ${result.node}, ${machine.cpus} processors (${machine.cpu}), ${(machine.memoryMb / 1024).toFixed(0)} GB, ${machine.system}, Linux ${machine.kernel}; ` +
      `load average ${load.before} before and ${load.after} after. Every sample: [bench/results/${result.name}.json](../bench/results/${result.name}.json).`,
  ].join("\n\n");
}

const capital = (text: string): string => text.slice(0, 1).toUpperCase() + text.slice(1);

/** The document with the part between the marks made anew. */
export function renewedDocument(document: string, results: readonly Result[]): string {
  const [begin, end] = [document.indexOf(BEGIN), document.indexOf(END)];
  if (begin < 0 || end < begin) throw new Error(`docs/performance.md lacks the marks ${BEGIN} and ${END}`);
  return `${document.slice(0, begin + BEGIN.length)}\n\n${documentPart(results)}\n\n${document.slice(end)}`;
}

export const readDocument = (): string => readFileSync(DOCUMENT, "utf8");

export function renewDocument(): void {
  writeFileSync(DOCUMENT, renewedDocument(readDocument(), keptResults()));
}
