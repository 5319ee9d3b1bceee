import { FireteactError } from "../base/errors.ts";
import { defineCommand } from "./command.ts";

interface ConfigResult {
  file?: string;
  /** Rendered as `file:line:column: key: message`. */
  warnings?: string[];
  pools?: string[];
  schema?: unknown;
}

export const config = defineCommand<ConfigResult>({
  name: "config",
  summary: "check a configuration file, or print the schema",
  args: [
    { name: "<action>", description: "check or schema" },
    { name: "[file]", description: "the file to check (default /etc/fireteact/config.yaml)" },
  ],
  examples: ["fireteact config check config.yaml", "fireteact config schema > fireteact.schema.json"],
  run: async ({ args: [action, file = "/etc/fireteact/config.yaml"] }) => {
    if (action === "schema") {
      const { configSchema } = await import("../config/schema.ts");
      return { schema: configSchema() };
    }
    if (action !== "check")
      throw new FireteactError("USAGE", `unknown action '${action ?? ""}': there are check and schema`);
    const [{ loadConfig }, { renderProblem }] = await Promise.all([
      import("../config/load.ts"),
      import("../config/problems.ts"),
    ]);
    const { settings, warnings } = loadConfig(file, process.env);
    return { file, warnings: warnings.map(renderProblem), pools: settings.pools.map((pool) => pool.name) };
  },
  render: ({ file, warnings = [], pools = [], schema }) => {
    if (schema !== undefined) return JSON.stringify(schema, undefined, 2);
    const count = pools.length === 1 ? "1 pool" : `${pools.length} pools`;
    return [...warnings.map((line) => `warning: ${line}`), `${file}: good, with ${count}: ${pools.join(", ")}`].join(
      "\n",
    );
  },
});
