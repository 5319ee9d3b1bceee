import { createCommandReader } from "./commands.ts";
import type { JobLog } from "./job-log.ts";
import type { Masks } from "./masks.ts";

/** What a step's output does besides being logged. */
export interface StepOutput {
  /** One line of what the step prints. */
  line: (text: string) => void;
  /** Set by `::set-output::`, which newer workflows do through a file. */
  readonly outputs: Record<string, string>;
}

/** Commands that the forge's own log view understands: they stay in the log. */
const SHOWN = new Set(["group", "endgroup", "error", "warning", "notice"]);

export function createStepOutput(log: JobLog, masks: Masks, debug: boolean): StepOutput {
  const commands = createCommandReader();
  const outputs: Record<string, string> = {};
  return {
    outputs,
    line(text) {
      const command = commands.read(text);
      if (command === undefined || SHOWN.has(command.name)) return log.write(text);
      const name = command.properties["name"] ?? "";
      switch (command.name) {
        case "add-mask":
          return masks.add(command.message);
        case "set-output":
          if (name !== "") outputs[name] = command.message;
          return undefined;
        case "debug":
          return debug ? log.write(text) : undefined;
        case "set-env":
        case "add-path":
          return log.write(
            `::warning::The command ${command.name} is no longer allowed; write to $GITHUB_ENV or $GITHUB_PATH.`,
          );
        case "save-state":
        case "add-matcher":
        case "remove-matcher":
        case "echo":
          return undefined;
        default:
          return log.write(text);
      }
    },
  };
}
