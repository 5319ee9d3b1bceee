import type { Readable } from "node:stream";
import { StringDecoder } from "node:string_decoder";

/** Calls back for each line of the stream, without its end. A line longer than `longest` units comes in pieces. */
export function readLines(stream: Readable, longest: number, onLine: (line: string) => void): void {
  const decoder = new StringDecoder("utf8");
  let rest = "";
  const take = (text: string): void => {
    const lines = (rest + text).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) emit(line.endsWith("\r") ? line.slice(0, -1) : line);
    while (rest.length > longest) {
      onLine(rest.slice(0, longest));
      rest = rest.slice(longest);
    }
  };
  const emit = (line: string): void => {
    for (let from = 0; from === 0 || from < line.length; from += longest) onLine(line.slice(from, from + longest));
  };
  stream.on("data", (chunk: Buffer) => take(decoder.write(chunk)));
  stream.on("close", () => {
    const last = rest + decoder.end();
    rest = "";
    if (last !== "") emit(last);
  });
  // A pipe whose other end died is simply at its end.
  stream.on("error", () => undefined);
}
