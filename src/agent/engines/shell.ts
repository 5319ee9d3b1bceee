import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { engineTimeout } from "../files.ts";
import type { Engine, EngineContext } from "./engine.ts";

/** The engine that comes with Fireteact: a program of its own beside the agent, under the same Node. */
export const shellEngine: Engine = {
  find: () => {
    const here = dirname(process.argv[1] ?? "");
    return [join(here, "shell-engine.cjs"), join(here, "engines/shell/main.ts")].find((path) => existsSync(path));
  },

  prepare: async (context, program) => ({
    command: [process.execPath, ...NODE_FLAGS, program, ...shellArguments(context)],
    drainSignal: "SIGTERM",
    stopSignal: "SIGINT",
    speaksRecords: true,
    understand: () => undefined,
  }),
};

/** The image's proxies and certificates are for the engine's own requests too. */
const NODE_FLAGS = ["--use-env-proxy", "--use-system-ca"];

function shellArguments({ assignment, options, runnerFile }: EngineContext): string[] {
  const limit = String(engineTimeout(assignment));
  return ["--runner-file", runnerFile, "--work-dir", options.workDir, "--job-limit", limit];
}
