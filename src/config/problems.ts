import { FireteactError } from "../base/errors.ts";

/** Where something lies in the file: map keys and list indexes. */
export type Path = readonly (string | number)[];

export interface Position {
  line: number;
  column: number;
}

/** What was found at a place, before it has a file name. */
export interface Finding {
  path: Path;
  position: Position;
  message: string;
}

/** One thing to say about a configuration file. */
export interface Problem {
  file: string;
  /** Counted from 1; absent when the file as a whole is meant. */
  line?: number;
  column?: number;
  /** `pools[0].runner.labels[2]`; empty for the whole file. */
  key: string;
  /** What was found, what is allowed. Never a secret. */
  message: string;
}

/** Everything that is wrong with a configuration file, at once. */
export class ConfigError extends FireteactError {
  readonly problems: readonly Problem[];
  readonly warnings: readonly Problem[];

  constructor(problems: readonly Problem[], warnings: readonly Problem[] = []) {
    const file = problems[0]?.file ?? "configuration";
    const count = problems.length === 1 ? "1 problem" : `${problems.length} problems`;
    super("CONFIG_INVALID", [`${file}: ${count} in the configuration`, ...problems.map(renderProblem)].join("\n"), {
      hint: `correct the file and check it with: fireteact config check ${file}`,
      facts: { file, problems: problems.length },
    });
    this.name = "ConfigError";
    this.problems = problems;
    this.warnings = warnings;
  }
}

/** `file:line:column: key: message`, one line. */
export function renderProblem(problem: Problem): string {
  const place = problem.line === undefined ? problem.file : `${problem.file}:${problem.line}:${problem.column ?? 1}`;
  return [place, problem.key, problem.message].filter((part) => part !== "").join(": ");
}

/** `pools[0].runner.name`; long or odd keys are shortened and quoted. */
export function renderPath(path: Path): string {
  return path
    .map((part, index) =>
      typeof part === "number"
        ? `[${part}]`
        : `${index === 0 ? "" : "."}${/^[\w-]{1,64}$/.test(part) ? part : quote(part)}`,
    )
    .join("");
}

const SHOWN = 40;

/** A text from the file as it may be shown: one line, bounded, quoted. */
export function quote(text: string): string {
  const shown = JSON.stringify(text.slice(0, SHOWN));
  return text.length > SHOWN ? `${shown.slice(0, -1)}..." (${text.length} characters)` : shown;
}

/** Whether a value may be or hold a secret and is never shown. */
export function isSecret(path: Path, value: unknown): boolean {
  if (path.some((part) => typeof part === "string" && SECRET_KEYS.test(part))) return true;
  if (typeof value !== "string") return false;
  // A password in an address, or the secret itself where the name of its file belongs.
  return /:\/\/[^/]*@/.test(value) || (SECRET_FILES.test(String(path.at(-1))) && !value.includes("/"));
}

const SECRET_KEYS = /token$|secret$|password|proxy|^metadata$|^env$/i;
const SECRET_FILES = /(?:token|secret)file$/i;
