import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Step } from "./world.ts";

/** A step that runs a program of the folder `guest` in the guest's node. */
export function guestScript(name: string, env: Record<string, string>): Step {
  return { shell: "node", run: readFileSync(join(import.meta.dirname, "guest", `${name}.cjs`), "utf8"), env };
}

/** What such a program found: the JSON behind the word RESULT, on a line of the job's log. */
export function resultIn(log: string): unknown {
  const line = log.split("\n").findLast((text) => text.startsWith("RESULT "));
  if (line === undefined) throw new Error(`the program told no result:\n${log.slice(-4_000)}`);
  return JSON.parse(line.slice("RESULT ".length));
}
