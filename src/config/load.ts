import { isUtf8 } from "node:buffer";
import { readFileSync, statSync } from "node:fs";
import { systemCode } from "../base/errors.ts";
import { LOG_LEVELS } from "../base/log.ts";
import { nearest } from "../base/suggest.ts";
import { type Settings, scopeText } from "../core/settings.ts";
import { type ConfigDocument, parseConfig } from "./document.ts";
import { type Draft, forgeKey, type Report } from "./draft.ts";
import { checkFiles } from "./files.ts";
import { Findings } from "./findings.ts";
import { issueMessage } from "./issues.ts";
import { hasNewKey, unknownKey } from "./known-keys.ts";
import { ConfigError, type Path, type Problem, quote } from "./problems.ts";
import { checkRules } from "./rules.ts";
import { fileSchema } from "./schema.ts";
import { reason } from "./secret.ts";
import { logLevel, scopeOf, toSettings } from "./settings.ts";

const LARGEST_FILE = 16 * 1024 * 1024;

export interface LoadedConfig {
  settings: Settings;
  /** What is allowed but probably not meant, in the file's order. */
  warnings: Problem[];
}

/**
 * Reads and checks the whole configuration, the files it names included.
 * @param env where `${NAME}` is looked up
 * @throws ConfigError with every problem of the file; nothing else, whatever the file holds
 */
export function loadConfig(file: string, env: NodeJS.ProcessEnv): LoadedConfig {
  const document = parseConfig(readText(file), env);
  const findings = new Findings(file, document);
  for (const { path, position, message } of document.syntax) findings.add("errors", path, message, position);
  findings.throwErrors();
  for (const { path, position, message } of document.findings) findings.add("errors", path, message, position);

  const value = document.value ?? {};
  const original = !hasNewKey(value);
  const draft = checkSchema(value, document, findings, original);
  const report: Report = {
    error: (path, message, ...also) => findings.rule("errors", path, message, also),
    warn: (path, message, ...also) => findings.rule("warnings", path, message, also),
    differs: (path, message) => original && findings.rule("warnings", path, message, []),
  };
  checkRules(draft, report);
  checkTargets(draft, report);
  checkLogLevel(draft, report);
  checkFiles(draft, file, report);
  findings.throwErrors();

  const config = fileSchema.parse(draft);
  const forge = config[forgeKey(draft)];
  if (forge === undefined) throw new Error("a configuration without a forge passed the rules");
  return { settings: toSettings(config, forge, file), warnings: findings.warnings() };
}

/** Reports everything that the schema refuses, and returns the rest. */
function checkSchema(value: unknown, document: ConfigDocument, findings: Findings, original: boolean): Draft {
  takeNumbersAsTexts(value, document);
  const issues = fileSchema.safeParse(value).error?.issues ?? [];
  for (const issue of issues) {
    const path = issue.path as Path;
    if (issue.code !== "unrecognized_keys") {
      if (!findings.isRefused(path)) findings.add("errors", path, issueMessage(issue, valueAt(value, path)));
      continue;
    }
    for (const key of issue.keys) {
      const place = [...path, key];
      findings.add(original ? "warnings" : "errors", place, unknownKey(path, key), document.locateKey(place));
    }
  }
  for (const issue of issues) {
    const path = issue.path as Path;
    if (issue.code !== "unrecognized_keys") remove(value, path);
    else for (const key of issue.keys) remove(value, [...path, key]);
  }
  return (typeof value === "object" && !Array.isArray(value) ? value : {}) as Draft;
}

/** Where a text is wanted, `22.04` and `true` without quotes are texts too, exactly as they were written. */
function takeNumbersAsTexts(value: unknown, document: ConfigDocument): void {
  for (const issue of fileSchema.safeParse(value).error?.issues ?? []) {
    const path = issue.path as Path;
    const source = document.source(path);
    if (issue.code === "invalid_type" && issue.expected === "string" && source !== undefined)
      replace(value, path, source);
  }
}

/** One scope is read with one token. */
function checkTargets(draft: Draft, report: Report): void {
  const forge = draft[forgeKey(draft)] ?? {};
  const files = new Map<string, { file: string | undefined; index: number }>();
  for (const [index, pool] of (draft.pools ?? []).entries()) {
    const own = pool?.forge ?? {};
    const scope = scopeText(scopeOf(pool ?? {}, forge));
    const earlier = files.get(scope);
    if (earlier === undefined) files.set(scope, { file: own.apiTokenFile, index });
    else if (earlier.file !== own.apiTokenFile) {
      const message = `pools[${earlier.index}] has the same scope, ${quote(scope)}, with another token; use one for both`;
      report.error(["pools", index, "forge", "apiTokenFile"], message, ["pools", index, "forge"]);
    }
  }
}

/** As in the original, a wrong level stops nothing. */
function checkLogLevel(draft: Draft, report: Report): void {
  const word = draft.logLevel ?? "info";
  if (logLevel(word) !== undefined) return;
  const meant = nearest(word, LOG_LEVELS);
  const hint = meant === undefined ? "" : `; did you mean ${meant}?`;
  report.warn(["logLevel"], `taken as info: must be one of ${LOG_LEVELS.join(", ")}, found ${quote(word)}${hint}`);
}

function readText(file: string): string {
  const fail = (message: string): never => {
    throw new ConfigError([{ file, key: "", message }]);
  };
  let bytes: Buffer;
  try {
    const size = statSync(file).size;
    if (size > LARGEST_FILE) return fail(`has ${size} bytes; a configuration has at most ${LARGEST_FILE}`);
    bytes = readFileSync(file);
  } catch (error) {
    if (systemCode(error) === undefined) throw error;
    return fail(reason(error));
  }
  if (!isUtf8(bytes)) return fail("is not UTF-8 text");
  return bytes.toString("utf8");
}

function valueAt(value: unknown, path: Path): unknown {
  return path.reduce<unknown>((inner, part) => (inner as Record<string | number, unknown> | undefined)?.[part], value);
}

function replace(value: unknown, path: Path, by: unknown): void {
  const parent = valueAt(value, path.slice(0, -1)) as Record<string | number, unknown> | undefined;
  const key = path.at(-1);
  if (key !== undefined && typeof parent === "object") parent[key] = by;
}

/** Takes a key out of its map; a list keeps its length, so that indexes stay what they are in the file. */
function remove(value: unknown, path: Path): void {
  const parent = valueAt(value, path.slice(0, -1)) as Record<string | number, unknown> | undefined;
  const key = path.at(-1);
  if (key === undefined || typeof parent !== "object" || !Object.hasOwn(parent, key)) return;
  if (Array.isArray(parent)) parent[Number(key)] = undefined;
  else delete parent[key];
}
