import type * as z from "zod";
import { nearest } from "../base/suggest.ts";
import { describeKey } from "./known-keys.ts";
import { isSecret, type Path, quote } from "./problems.ts";

type Issue = z.core.$ZodIssue;

const EXPECTED: Record<string, string> = {
  string: "a text",
  int: "a whole number",
  number: "a whole number",
  boolean: "true or false",
  array: "a list",
  object: "a map of keys",
  record: "a map of keys",
};

/** One sentence: what was found and what is allowed. */
export function issueMessage(issue: Issue, found: unknown): string {
  const path = issue.path as Path;
  const shown = show(found, isSecret(path, found));
  switch (issue.code) {
    case "invalid_type":
      if (found === undefined && typeof path.at(-1) === "string") return missing(path);
      return `must be ${EXPECTED[issue.expected] ?? issue.expected}, found ${shown}`;
    case "invalid_value":
      return notOneOf(issue.values.map(String), found, shown);
    case "too_small":
    case "too_big":
      return outOfRange(issue, shown);
    case "invalid_key":
      return issue.issues[0]?.message ?? issue.message;
    case "invalid_format":
    case "custom":
      return withFound(issue.message, shown);
    case "invalid_union":
    case "invalid_element":
    case "not_multiple_of":
    case "unrecognized_keys":
      break;
  }
  return issue.message;
}

function notOneOf(values: string[], found: unknown, shown: string): string {
  if (found === undefined) return `missing; must be one of ${values.join(", ")}`;
  const meant = typeof found === "string" ? nearest(found, values) : undefined;
  return `must be one of ${values.join(", ")}, found ${shown}${meant === undefined ? "" : `; did you mean ${meant}?`}`;
}

function outOfRange(issue: Extract<Issue, { code: "too_small" | "too_big" }>, shown: string): string {
  // Bounds with a reason carry it as their message; the library's own say "Too big".
  if (!issue.message.startsWith("Too")) return withFound(issue.message, shown);
  const bound = issue.code === "too_small" ? `at least ${issue.minimum}` : `at most ${issue.maximum}`;
  if (issue.origin === "string") return `must have ${bound} characters, found ${shown}`;
  if (issue.origin === "array") return `must have ${bound} entries, found ${shown}`;
  return `must be ${bound}, found ${shown}`;
}

const withFound = (message: string, shown: string): string =>
  message.startsWith("must") && shown !== "nothing" ? `${message}, found ${shown}` : message;

/** `missing: the pool's name`: the key's description says what belongs there. */
function missing(path: Path): string {
  const description = describeKey(path) ?? "required";
  const plain = /^[A-Z][a-z]/.test(description)
    ? (description[0] ?? "").toLowerCase() + description.slice(1)
    : description;
  return `missing: ${plain.replace(/\.$/, "")}`;
}

/** A value as it may be shown: bounded, and nothing of it where it may be a secret. */
function show(value: unknown, secret: boolean): string {
  if (value === undefined || value === null || value === "") return "nothing";
  if (Array.isArray(value)) return value.length === 1 ? "a list of 1" : `a list of ${value.length}`;
  if (typeof value === "object") return "a map of keys";
  if (secret) return typeof value === "string" ? "a text (not shown)" : `a ${typeof value} (not shown)`;
  return typeof value === "string" ? quote(value) : `${value as number | boolean}`;
}
