/** What must not leave the sandbox in a log, and its replacement. */
export interface Masks {
  /** A value and, when it has several lines, each of them; also the usual encodings of a longer one. */
  add(value: string): void;
  apply(text: string): string;
  /** Length of the longest text that is replaced, in UTF-16 units. */
  readonly longest: number;
}

/** Lines such as `{` of a secret in several lines tell nothing, and hiding them would make logs unreadable. */
const SHORTEST_LINE = 3;
const SHORTEST_ENCODED = 6;
const STARS = "***";

export function createMasks(): Masks {
  const texts = new Set<string>();
  let pattern: RegExp | undefined;
  let longest = 0;

  return {
    add(value) {
      const known = texts.size;
      for (const text of formsOf(value)) texts.add(text);
      if (texts.size === known) return;
      // Longest first, so that a secret that begins like another is replaced as a whole.
      const sorted = [...texts].sort((a, b) => b.length - a.length);
      longest = sorted[0]?.length ?? 0;
      pattern = new RegExp(sorted.map((text) => RegExp.escape(text)).join("|"), "g");
    },
    apply: (text) => (pattern === undefined ? text : text.replace(pattern, STARS)),
    get longest() {
      return longest;
    },
  };
}

/** Logs are lines: a text that holds a line break would never be found in one. */
function formsOf(value: string): string[] {
  const whole = value.trim();
  if (whole === "") return [];
  const lines = whole.split(/\r?\n/).map((line) => line.trim());
  if (lines.length > 1) return [...lines.filter((line) => line.length >= SHORTEST_LINE), ...encodingsOf(value)];
  return [whole, ...encodingsOf(value)];
}

function encodingsOf(value: string): string[] {
  if (value.trim().length < SHORTEST_ENCODED) return [];
  const trimmed = value.trim();
  const encoded = [value, trimmed].flatMap((text) => [
    Buffer.from(text).toString("base64"),
    JSON.stringify(text).slice(1, -1),
  ]);
  return [...encoded, encodeURIComponent(trimmed.toWellFormed())].filter((text) => !text.includes("\n"));
}
