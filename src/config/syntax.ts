import type { YAMLError } from "yaml";
import { type Finding, type Position, quote } from "./problems.ts";

/** One error for each line: the library reports what follows from the first as well. */
export function syntaxErrors(errors: YAMLError[], text: string, position: (offset: number) => Position): Finding[] {
  const lines = new Map<number, Finding>();
  for (const { code, pos } of errors) {
    const place = position(pos[0]);
    const isVariable = text.slice(pos[0] - 1, pos[0] + 1) === "${";
    const message = isVariable
      ? "not valid YAML: a ${NAME} inside of braces or brackets needs quotes"
      : syntaxMessage(code);
    if (!lines.has(place.line)) lines.set(place.line, { path: [], position: place, message });
  }
  return [...lines.values()];
}

/** Own words, since the library's can contain what stood in the file. */
function syntaxMessage(code: string): string {
  const known: Record<string, string> = {
    BAD_INDENT: "the indentation does not fit the lines above",
    TAB_AS_INDENT: "indented with a tab; YAML wants spaces",
    MISSING_CHAR: "a character is missing: a closing quote or bracket, a colon or a comma",
    BAD_ALIAS: "an alias is * and the name of an anchor",
    BAD_DQ_ESCAPE: "a backslash sequence that YAML does not know; use single quotes for a plain backslash",
    BAD_PROP_ORDER: "an anchor or tag stands in the wrong place",
    BAD_SCALAR_START: "a value cannot start with this character; put it in quotes",
    BLOCK_AS_IMPLICIT_KEY: "a colon too much on this line; put texts that contain one in quotes",
    BLOCK_IN_FLOW: "an indented block cannot stand inside brackets",
    DUPLICATE_KEY: "this key is there twice; keep one",
    KEY_OVER_1024_CHARS: "a key is longer than 1024 characters; a quote may be missing",
    MULTILINE_IMPLICIT_KEY: "a colon is missing after this key, or a quote does not end",
    MULTIPLE_ANCHORS: "one value has several anchors",
    MULTIPLE_TAGS: "one value has several tags",
    RESOURCE_EXHAUSTION: "nested too deeply",
    MULTIPLE_DOCS: "there are several documents (---) in the file; keep one",
    UNEXPECTED_TOKEN: "something stands here that does not belong here; a quote, colon or bracket may be missing",
  };
  return `not valid YAML: ${known[code] ?? `see ${quote(code)} in the YAML specification`}`;
}
