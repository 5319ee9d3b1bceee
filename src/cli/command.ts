import { FireteactError } from "../base/errors.ts";
import { nearest } from "../base/suggest.ts";

/**
 * A command is a declaration; its handler returns data and prints nothing, `render` turns the data into text for people,
 * and `--json` prints the data itself. Handlers import what is heavy only when they run.
 */
export interface Command<T = unknown> {
  name: string;
  /** One line, for the list of commands. */
  summary: string;
  /** More about it, for its own help. */
  details?: string;
  /** Heading under which the list of commands shows it. */
  group?: string;
  /** Positional arguments in commander's form: `<needed>`, `[optional]`. */
  args?: { name: string; description: string }[];
  options?: { flags: string; description: string; default?: string | boolean }[];
  /** Shown below the options in `--help`. */
  examples?: string[];
  run(context: CommandContext): Promise<T>;
  render(result: T, context: CommandContext): string;
  /** 0 when absent. */
  exitCode?(result: T): number;
}

export interface CommandContext {
  args: (string | undefined)[];
  options: Record<string, string | boolean | undefined>;
  json: boolean;
  /** A line of progress for people; not part of the result. */
  progress: (line: string) => void;
}

/** Keeps the result's type inside the declaration. */
export function defineCommand<T>(command: Command<T>): Command {
  return command;
}

/** The documented exit codes. */
export const EXIT = {
  ok: 0,
  /** What was asked for failed, or a check found something. */
  failure: 1,
  /** The command line or the configuration is wrong. */
  usage: 2,
  /** No daemon answers. */
  unreachable: 3,
  /** The daemon refused: unknown name, busy runner, wrong token. */
  refused: 4,
} as const;

export function textOption(context: CommandContext, name: string): string | undefined {
  const value = context.options[name];
  return typeof value === "string" ? value : undefined;
}

/** A command line that cannot be meant. */
export function usage(message: string, hint?: string): FireteactError {
  return new FireteactError("USAGE", message, hint === undefined ? {} : { hint });
}

/** The action that a command's first argument names, the first one where there is none. @throws USAGE */
export function actionOf<const T extends string>(
  command: string,
  given: string | undefined,
  actions: readonly [T, ...T[]],
): T {
  const found = actions.find((action) => action === (given ?? actions[0]));
  if (found !== undefined) return found;
  const meant = nearest(given ?? "", actions);
  const hint = `${meant === undefined ? "" : `did you mean ${meant}? `}'fireteact ${command}' knows: ${actions.join(", ")}`;
  throw usage(`unknown action '${given ?? ""}'`, hint);
}
