import { defineCommand, textOption } from "./command.ts";
import { DEFAULT_CONFIG, placesFromEnvironment } from "./places.ts";
import { VERSION } from "./version.ts";

/** The original's flags, which also mean `serve` when no command is named. */
export const SERVE_OPTIONS = ["-c", "--config"];

export const serve = defineCommand<{ code: number }>({
  name: "serve",
  summary: "run the orchestrator (the default)",
  details:
    "SIGTERM ends it as 'shutdown' in the configuration says: by default running jobs go on and the next start takes them over. SIGHUP reads the configuration again.",
  examples: ["fireteact serve -c config.yaml", "fireteact -c config.yaml"],
  options: [{ flags: "-c, --config <file>", description: "configuration file", default: DEFAULT_CONFIG }],
  run: async (context) => {
    const { runServe } = await import("../serve/serve.ts");
    const configFile = textOption(context, "config") ?? DEFAULT_CONFIG;
    return { code: await runServe({ configFile, places: placesFromEnvironment(), version: VERSION }) };
  },
  render: () => "",
  exitCode: ({ code }) => code,
});
