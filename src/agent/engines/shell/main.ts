import { rmSync } from "node:fs";
import { parseArgs } from "node:util";
import { systemClock } from "../../../base/clock.ts";
import { describe, FireteactError } from "../../../base/errors.ts";
import { createLogger } from "../../../base/log.ts";
import { AGENT_VERSION } from "../../version.ts";
import { createShellEngine } from "./engine.ts";
import { tellAgent } from "./records.ts";
import { readRunnerFile } from "./runner-file.ts";

// A program of its own that the agent starts: `shell-engine --runner-file FILE --work-dir FOLDER --job-limit MS`, with a
// pipe to the agent as descriptor 3. SIGTERM drains it, SIGINT ends its job too.
void main().then((code) => process.exit(code));

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: { "runner-file": { type: "string" }, "work-dir": { type: "string" }, "job-limit": { type: "string" } },
  });
  try {
    const runnerFile = required(values["runner-file"], "--runner-file");
    const runner = readRunnerFile(runnerFile);
    // The job runs as the same user, and has no use for the runner's own token.
    rmSync(runnerFile, { force: true });
    const engine = createShellEngine({
      runner,
      workDir: required(values["work-dir"], "--work-dir"),
      jobLimit: Number(required(values["job-limit"], "--job-limit")),
      environment: environmentOfJobs(),
      version: AGENT_VERSION,
      clock: systemClock,
      log: createLogger("info"),
      tell: tellAgent,
    });
    process.on("SIGTERM", () => engine.drain());
    process.on("SIGINT", () => engine.cancel());
    await engine.run();
    return 0;
  } catch (error) {
    const hint = error instanceof FireteactError && error.hint !== undefined ? ` (${error.hint})` : "";
    process.stderr.write(`${describe(error)}${hint}\n`);
    return 1;
  }
}

function required(value: string | undefined, name: string): string {
  if (value === undefined || value === "") throw new FireteactError("BAD_ARGUMENTS", `${name} is missing`);
  return value;
}

/** The engine's own environment was made for its jobs. Node itself is there for `shell: node`. */
function environmentOfJobs(): Record<string, string> {
  const own = Object.entries(process.env).filter((entry): entry is [string, string] => entry[1] !== undefined);
  const node = process.execPath.slice(0, process.execPath.lastIndexOf("/"));
  return { ...Object.fromEntries(own), PATH: `${process.env["PATH"] ?? ""}:${node}` };
}
