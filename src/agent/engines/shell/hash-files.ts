import { createHash } from "node:crypto";
import { globSync, lstatSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** One hash over the contents of the matching files of the workspace, in the order of their names; empty without any. */
export function hashFiles(workspace: string, patterns: string[]): string {
  const exclude = patterns.filter((pattern) => pattern.startsWith("!")).map((pattern) => pattern.slice(1));
  const include = patterns.filter((pattern) => !pattern.startsWith("!"));
  const files = globSync(include, { cwd: workspace, exclude })
    .filter((name) => !name.startsWith("..") && !name.startsWith("/"))
    .sort()
    .map((name) => join(workspace, name))
    .filter((path) => lstatSync(path).isFile());
  if (files.length === 0) return "";
  const whole = createHash("sha256");
  for (const path of files) whole.update(createHash("sha256").update(readFileSync(path)).digest());
  return whole.digest("hex");
}
