import { constants, mkdirSync, writeFileSync } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { FireteactError } from "../../../base/errors.ts";

/** Files through which a step speaks to the job, by the variable that names each. */
export const STEP_FILES = [
  "GITHUB_ENV",
  "GITHUB_PATH",
  "GITHUB_OUTPUT",
  "GITHUB_STATE",
  "GITHUB_STEP_SUMMARY",
] as const;
export type StepFiles = Record<(typeof STEP_FILES)[number], string>;

const LARGEST_FILE = 4 * 1024 * 1024;

/** Makes a step's files, empty. */
export function createStepFiles(folder: string): StepFiles {
  mkdirSync(folder, { recursive: true });
  const entries = STEP_FILES.map((name) => {
    const path = join(folder, name.toLowerCase());
    writeFileSync(path, "");
    return [name, path] as const;
  });
  return Object.fromEntries(entries) as StepFiles;
}

/**
 * What the step wrote, or nothing if it removed the file. The step may have put anything in its place: only an ordinary
 * file of bounded length is read. Throws `STEP_FILE`.
 */
export async function readStepFile(path: string): Promise<string> {
  let file: Awaited<ReturnType<typeof open>>;
  try {
    file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return "";
    throw new FireteactError("STEP_FILE", `${path} cannot be read`, { cause: error });
  }
  try {
    const stat = await file.stat();
    if (!stat.isFile()) throw new FireteactError("STEP_FILE", `${path} is no ordinary file`);
    if (stat.size > LARGEST_FILE) {
      throw new FireteactError("STEP_FILE", `${path} is longer than ${LARGEST_FILE} bytes`);
    }
    return await file.readFile("utf8");
  } finally {
    await file.close();
  }
}

/** `NAME=value` lines, and `NAME<<word`, lines, `word` for values of several lines. Throws `STEP_FILE`. */
export function parseAssignments(text: string, what: string): [string, string][] {
  const lines = text.split(/\r?\n/);
  const found: [string, string][] = [];
  for (let index = 0; index < lines.length; index++) {
    const line = lines[index] ?? "";
    if (line === "") continue;
    const equals = line.indexOf("=");
    const heredoc = line.indexOf("<<");
    if (equals >= 0 && (heredoc < 0 || equals < heredoc)) {
      found.push([nameOf(line.slice(0, equals), what), line.slice(equals + 1)]);
      continue;
    }
    const word = heredoc < 0 ? "" : line.slice(heredoc + 2);
    if (heredoc < 0 || word === "") throw invalid(what, `"${line.slice(0, 100)}" is neither NAME=value nor NAME<<word`);
    const end = lines.indexOf(word, index + 1);
    if (end < 0) throw invalid(what, `no line "${word.slice(0, 100)}" ends the value`);
    found.push([nameOf(line.slice(0, heredoc), what), lines.slice(index + 1, end).join("\n")]);
    index = end;
  }
  return found;
}

function nameOf(text: string, what: string): string {
  const name = text.trim();
  if (name === "") throw invalid(what, "a value has no name");
  return name;
}

const invalid = (what: string, detail: string): FireteactError => new FireteactError("STEP_FILE", `${what}: ${detail}`);
