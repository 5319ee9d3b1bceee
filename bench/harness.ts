import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { cpus, loadavg, release, tmpdir, totalmem } from "node:os";
import { dirname, join } from "node:path";
import { type Statistic, type Summary, summarise } from "./statistics.ts";

/** What a figure has to keep below, and in which statistic. */
export interface Aim {
  statistic: Statistic;
  under: number;
  /** How `under` comes about where the issue does not give the number itself. */
  because?: string;
}

/** One measured quantity with every sample that was taken. */
export interface Figure {
  name: string;
  unit: "ms" | "s" | "MB" | "%" | "/min" | "x";
  samples: number[];
  aims: Aim[];
}

/** What a bench hands back: its figures, and in plain words what was run. */
export interface Measured {
  figures: Figure[];
  notes: string[];
}

export interface BenchOptions {
  /** A short run that shows that the bench works; its figures say little. */
  quick: boolean;
  progress: (line: string) => void;
}

export interface Bench {
  name: string;
  /** One line for people. */
  what: string;
  run(options: BenchOptions): Promise<Measured>;
}

/** A result as it is kept, `bench/results/<name>.json`. */
export interface Result {
  name: string;
  what: string;
  at: string;
  quick: boolean;
  seconds: number;
  commit: string;
  command: string;
  node: string;
  machine: { cpu: string; cpus: number; memoryMb: number; kernel: string; system: string };
  /** Load averages of one minute at begin and end: above the number of processors something else wanted them too. */
  load: { before: number; after: number };
  notes: string[];
  figures: (Figure & { summary: Summary })[];
}

export const ROOT = join(import.meta.dirname, "..");

/** Runs a bench and adds what its figures cannot be judged without. */
export async function measure(bench: Bench, options: BenchOptions, command: string): Promise<Result> {
  const before = oneMinuteLoad();
  const began = performance.now();
  const { figures, notes } = await bench.run(options);
  return {
    name: bench.name,
    what: bench.what,
    at: new Date().toISOString(),
    quick: options.quick,
    seconds: Math.round((performance.now() - began) / 1000),
    commit: commit(),
    command,
    node: process.version,
    machine: machine(),
    load: { before, after: oneMinuteLoad() },
    notes,
    figures: figures.map((figure) => ({
      ...figure,
      samples: figure.samples.map((sample) => Math.round(sample * 1000) / 1000),
      summary: summarise(figure.samples),
    })),
  };
}

export function writeResult(directory: string, result: Result): string {
  const path = join(directory, `${result.name}.json`);
  mkdirSync(dirname(path), { recursive: true });
  // Samples on one line each figure: the file is for diffs as well as for programs.
  const text = JSON.stringify(result, null, 2).replaceAll(
    /\[\n\s+(-?[\d.]+(?:,\n\s+-?[\d.]+)*)\n\s+\]/g,
    (_, list: string) => `[${list.replaceAll(/\s+/g, " ")}]`,
  );
  writeFileSync(path, `${text}\n`);
  return path;
}

export const readResult = (path: string): Result => JSON.parse(readFileSync(path, "utf8")) as Result;

/** A directory that vanishes at the end of the scope; short, since sockets lie in it. */
export function scratchDirectory(): Disposable & { path: string } {
  const path = mkdtempSync(join(tmpdir(), "ftb-"));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
}

/** Milliseconds on a clock that all processes of the host share. */
export const sharedNow = (): number => Number(process.hrtime.bigint()) / 1e6;

/** Waits until `condition` holds; throws with what was expected. */
export async function until(
  expected: string,
  condition: () => boolean | Promise<boolean>,
  { timeout = 60_000, pause = 5 }: { timeout?: number; pause?: number } = {},
): Promise<void> {
  const end = performance.now() + timeout;
  while (!(await condition())) {
    if (performance.now() > end) throw new Error(`not within ${timeout / 1000} s: ${expected}`);
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}

const oneMinuteLoad = (): number => Math.round((loadavg()[0] ?? 0) * 100) / 100;

function machine(): Result["machine"] {
  const processors = cpus();
  const system = /^PRETTY_NAME="?([^"\n]*)/m.exec(readFileSync("/etc/os-release", "utf8"))?.[1] ?? "unknown";
  return {
    cpu: processors[0]?.model ?? "unknown",
    cpus: processors.length,
    memoryMb: Math.round(totalmem() / 2 ** 20),
    kernel: release(),
    system,
  };
}

function commit(): string {
  const git = (...args: string[]) => execFileSync("git", args, { cwd: ROOT, encoding: "utf8" }).trim();
  const changed =
    git("status", "--porcelain", "--", "src", "bench", "gen", "images", ":!bench/results") === ""
      ? ""
      : " with local changes";
  return git("rev-parse", "--short", "HEAD") + changed;
}
