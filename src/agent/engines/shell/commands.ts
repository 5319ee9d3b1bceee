/** A workflow command in a line of output: `::name key=value,key=value::message`. */
export interface WorkflowCommand {
  name: string;
  properties: Record<string, string>;
  message: string;
}

/** Reads lines; between `::stop-commands::word` and `::word::` nothing is a command. */
export interface CommandReader {
  read: (line: string) => WorkflowCommand | undefined;
}

const COMMAND = /^::([a-z][a-z-]*)(?: (.*?))?::(.*)$/i;

export function createCommandReader(): CommandReader {
  let resumeWord: string | undefined;
  return {
    read(line) {
      const trimmed = line.trimStart();
      if (!trimmed.startsWith("::")) return undefined;
      if (resumeWord !== undefined) {
        if (trimmed.trimEnd() === `::${resumeWord}::`) resumeWord = undefined;
        return undefined;
      }
      const match = COMMAND.exec(trimmed);
      if (match === null) return undefined;
      const name = (match[1] ?? "").toLowerCase();
      const message = unescape(match[3] ?? "");
      if (name === "stop-commands") {
        if (message !== "") resumeWord = message;
        return undefined;
      }
      return { name, properties: readProperties(match[2] ?? ""), message };
    },
  };
}

function readProperties(text: string): Record<string, string> {
  const pairs = text.split(",").flatMap((part) => {
    const equals = part.indexOf("=");
    if (equals <= 0) return [];
    const value = unescape(
      part
        .slice(equals + 1)
        .replaceAll("%3A", ":")
        .replaceAll("%2C", ","),
    );
    return [[part.slice(0, equals).trim(), value] as const];
  });
  return Object.fromEntries(pairs);
}

const unescape = (text: string): string => text.replaceAll("%0D", "\r").replaceAll("%0A", "\n").replaceAll("%25", "%");
