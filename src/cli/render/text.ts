import { clean } from "./table.ts";

/** Words after a `lead`, filled into lines of the terminal's width; further lines begin under the first word. */
export function fill(lead: string, text: string, width = process.stdout.columns ?? 80): string {
  const indent = " ".repeat(lead.length);
  const lines: string[] = [];
  let line = lead;
  for (const word of clean(text).split(/ +/)) {
    const fresh = line === lead || line === indent;
    if (!fresh && line.length + 1 + word.length > width) {
      lines.push(line);
      line = indent + word;
    } else line += fresh ? word : ` ${word}`;
  }
  return [...lines, line].join("\n");
}
