import type { Problem } from "../config/problems.ts";
import { actionOf, defineCommand, EXIT } from "./command.ts";
import { DEFAULT_CONFIG } from "./places.ts";
import { fill } from "./render/text.ts";

interface ConfigResult {
  file?: string;
  pools?: string[];
  problems?: Problem[];
  warnings?: Problem[];
  schema?: unknown;
}

export const config = defineCommand<ConfigResult>({
  name: "config",
  summary: "check a configuration file, or print its JSON schema",
  args: [
    { name: "[action]", description: "check (default) or schema" },
    { name: "[file]", description: `the file to check (default ${DEFAULT_CONFIG})` },
  ],
  examples: ["fireteact config check config.yaml", "fireteact config schema > fireteact.schema.json"],
  run: async ({ args: [given, file = DEFAULT_CONFIG] }) => {
    if (actionOf("config", given, ["check", "schema"]) === "schema") {
      const { configSchema } = await import("../config/schema.ts");
      return { schema: configSchema() };
    }
    const [{ loadConfig }, { ConfigError }] = await Promise.all([
      import("../config/load.ts"),
      import("../config/problems.ts"),
    ]);
    try {
      const { settings, warnings } = loadConfig(file, process.env);
      return { file, pools: settings.pools.map((pool) => pool.name), problems: [], warnings };
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      return { file, problems: [...error.problems], warnings: [...error.warnings] };
    }
  },
  render: ({ file, pools = [], problems = [], warnings = [], schema }) => {
    if (schema !== undefined) return JSON.stringify(schema, undefined, 2);
    const lines = [...warnings.map((one) => line("warning", one)), ...problems.map((one) => line("error", one))];
    const found = `${problems.length} ${problems.length === 1 ? "problem" : "problems"}`;
    const verdict =
      problems.length > 0 ? found : `good, with ${pools.length === 1 ? "pool" : "pools"} ${pools.join(", ")}`;
    return [...lines, fill(`${file}: `, verdict)].join("\n");
  },
  exitCode: ({ problems = [] }) => (problems.length > 0 ? EXIT.usage : EXIT.ok),
});

/** The place alone first, so that editors and terminals find it. */
function line(kind: string, { file, line: row, column, key, message }: Problem): string {
  if (row === undefined) return fill("", `${file}: ${kind}: ${message}`);
  return `${file}:${row}:${column ?? 1}: ${kind}\n${fill("    ", key === "" ? message : `${key}: ${message}`)}`;
}
