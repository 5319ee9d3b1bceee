import { data, Evaluator, Lexer, Parser } from "@actions/expressions";
import { describe, FireteactError } from "../../../base/errors.ts";
import { hashFiles } from "./hash-files.ts";

/** Status of the job while its steps run, for the status functions. */
export type JobStatus = "success" | "failure" | "cancelled";

/** What an expression may refer to. Values are plain JSON. */
export interface Scope {
  contexts: Record<string, unknown>;
  status: JobStatus;
  workspace: string;
}

type Value = data.ExpressionData;
type ExpressionFunction = { name: string; minArgs: number; maxArgs: number; call: (...args: Value[]) => Value };

const STATUS_FUNCTIONS: Record<string, (status: JobStatus) => boolean> = {
  success: (status) => status === "success",
  failure: (status) => status === "failure",
  cancelled: (status) => status === "cancelled",
  always: () => true,
};

/** Evaluates the text between the braces. Throws `EXPRESSION`. */
export function evaluate(expression: string, scope: Scope): Value {
  const functions = functionsOf(scope);
  try {
    const { tokens } = new Lexer(expression).lex();
    const tree = new Parser(tokens, Object.keys(scope.contexts), functions).parse();
    const byName = new Map(functions.map((one) => [one.name.toLowerCase(), one]));
    return new Evaluator(tree, toDictionary(scope.contexts), byName).evaluate();
  } catch (error) {
    throw new FireteactError("EXPRESSION", `\${{ ${expression.trim()} }}: ${describe(error)}`, { cause: error });
  }
}

/** Replaces every `${{ }}` in the text. */
export function interpolate(text: string, scope: Scope): string {
  return splitTemplate(text)
    .map((part) => (part.kind === "text" ? part.text : evaluate(part.text, scope).coerceString()))
    .join("");
}

/** A value of the workflow in which strings may hold expressions; one that is nothing but an expression keeps its type. */
export function resolve(value: unknown, scope: Scope): unknown {
  if (typeof value === "string") {
    const parts = splitTemplate(value.trim());
    const [only] = parts;
    return parts.length === 1 && only?.kind === "expression"
      ? fromData(evaluate(only.text, scope))
      : interpolate(value, scope);
  }
  if (Array.isArray(value)) return value.map((item) => resolve(item, scope));
  if (typeof value === "object" && value !== null) {
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, resolve(item, scope)]));
  }
  return value;
}

/** An `if`: an expression with or without braces, which implies `success()` unless it asks for the status itself. */
export function evaluateCondition(condition: unknown, scope: Scope): boolean {
  if (typeof condition === "boolean") return condition && scope.status === "success";
  const text = typeof condition === "string" ? unwrap(condition) : "";
  if (text === "") return scope.status === "success";
  if (!asksForStatus(text) && scope.status !== "success") return false;
  return isTrue(evaluate(text, scope));
}

function unwrap(condition: string): string {
  const parts = splitTemplate(condition.trim());
  if (parts.length === 1 && parts[0]?.kind === "expression") return parts[0].text.trim();
  return condition.trim();
}

function asksForStatus(expression: string): boolean {
  const withoutTexts = expression.replaceAll(/'(?:[^']|'')*'/g, "''");
  return Object.keys(STATUS_FUNCTIONS).some((name) => new RegExp(`\\b${name}\\s*\\(`, "i").test(withoutTexts));
}

interface Part {
  kind: "text" | "expression";
  text: string;
}

/** Texts and expressions in turn; braces inside an expression's quoted texts do not end it. */
function splitTemplate(template: string): Part[] {
  const parts: Part[] = [];
  let at = 0;
  for (;;) {
    const start = template.indexOf("${{", at);
    const text = template.slice(at, start < 0 ? undefined : start);
    if (text !== "") parts.push({ kind: "text", text });
    if (start < 0) return parts;
    const end = endOfExpression(template, start + 3);
    parts.push({ kind: "expression", text: template.slice(start + 3, end) });
    at = end + 2;
  }
}

function endOfExpression(template: string, from: number): number {
  let quoted = false;
  for (let at = from; at < template.length; at++) {
    if (template[at] === "'") quoted = !quoted;
    else if (!quoted && template.startsWith("}}", at)) return at;
  }
  throw new FireteactError("EXPRESSION", `no }} ends ${template.slice(from - 3, from + 40)}`);
}

function functionsOf(scope: Scope): ExpressionFunction[] {
  const status = Object.entries(STATUS_FUNCTIONS).map(([name, test]) => ({
    name,
    minArgs: 0,
    maxArgs: 0,
    call: () => new data.BooleanData(test(scope.status)),
  }));
  const hash = (...patterns: Value[]) =>
    new data.StringData(
      hashFiles(
        scope.workspace,
        patterns.map((pattern) => pattern.coerceString()),
      ),
    );
  return [...status, { name: "hashFiles", minArgs: 1, maxArgs: 255, call: hash }];
}

function toDictionary(value: Record<string, unknown>): data.Dictionary {
  return new data.Dictionary(...Object.entries(value).map(([key, item]) => ({ key, value: toData(item) })));
}

function toData(value: unknown): Value {
  if (value === null || value === undefined) return new data.Null();
  if (typeof value === "string") return new data.StringData(value);
  if (typeof value === "number") return new data.NumberData(value);
  if (typeof value === "boolean") return new data.BooleanData(value);
  if (Array.isArray(value)) return new data.Array(...value.map(toData));
  return toDictionary(value as Record<string, unknown>);
}

function fromData(value: Value): unknown {
  return JSON.parse(JSON.stringify(value, data.replacer) ?? "null");
}

function isTrue(value: Value): boolean {
  const plain = fromData(value);
  return plain !== false && plain !== 0 && plain !== "" && plain !== null && !Number.isNaN(plain);
}
