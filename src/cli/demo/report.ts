import { PHASES } from "../../core/types.ts";
import { clean, duration, table } from "../render/table.ts";

/** One job of the demo, as the report shows it. */
export interface DemoJob {
  name: string;
  result: string;
  expected?: string;
  runner: string;
  /** Phase to ISO time. */
  timeline: Record<string, string>;
  log: string;
}

export interface DemoResult {
  ok: boolean;
  jobs: DemoJob[];
  leftovers: string[];
  seconds: number;
  text: string;
}

const LOG_LINES = 30;

export function report(jobs: DemoJob[], leftovers: string[], milliseconds: number): DemoResult {
  const wrong = jobs.filter(({ result, expected }) => expected !== undefined && result !== expected);
  const ok = jobs.length > 0 && wrong.length === 0 && leftovers.length === 0;
  const parts = jobs.map(jobText);
  parts.push(
    leftovers.length === 0
      ? "nothing is left: no process, tap, namespace, rule, disk or runner"
      : `LEFT BEHIND:\n${leftovers.map((line) => `  ${line}`).join("\n")}`,
  );
  for (const { name, result, expected } of wrong)
    parts.push(`job ${name} ended as ${result}, ${expected ?? ""} was expected`);
  parts.push(
    `${ok ? "demo passed" : "demo FAILED"}: ${jobs.length} jobs, each in a microVM of its own, in ${duration(milliseconds)}`,
  );
  return { ok, jobs, leftovers, seconds: Math.round(milliseconds / 100) / 10, text: parts.join("\n\n") };
}

function jobText({ name, result, expected, runner, timeline, log }: DemoJob): string {
  const note = expected === "failure" && result === "failure" ? " (as it should)" : "";
  return `== job ${clean(name)}: ${result}${note}, on ${runner}\n${phases(timeline)}\n${logText(log)}`;
}

/** Each phase with the time it took since the one before. */
function phases(timeline: Record<string, string>): string {
  let before: number | undefined;
  const rows: string[][] = [];
  for (const phase of PHASES) {
    const text = timeline[phase];
    if (text === undefined) continue;
    const at = Date.parse(text);
    rows.push([`  ${phase}`, text.slice(11, 23), before === undefined ? "" : `+${duration(Math.max(at - before, 0))}`]);
    before = at;
  }
  return table(["  PHASE", "AT", "AFTER"], rows);
}

function logText(log: string): string {
  const lines = log.trimEnd().split("\n").map(clean);
  const shown = lines.slice(-LOG_LINES).map((line) => `  | ${line}`);
  return [...(lines.length > LOG_LINES ? [`  | (${lines.length - LOG_LINES} lines before)`] : []), ...shown].join("\n");
}
