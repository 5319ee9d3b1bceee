import type { Difference } from "../sandbox/native/install.ts";
import { actionOf, defineCommand, textOption } from "./command.ts";
import { DEFAULT_CONFIG } from "./places.ts";

interface NativeResult {
  /** Files that were written or removed. */
  changed?: string[];
  /** With `--check`: what would be. */
  differences?: Difference[];
}

export const native = defineCommand<NativeResult>({
  name: "native",
  summary: "install the systemd units of native pools",
  details:
    "Writes a template unit and a slice for each native pool of the configuration, the directories they share with the orchestrator, and for a user that is not root the polkit rule to start and stop these units; then systemd reads them. Packages call it with --root.",
  args: [{ name: "[action]", description: "install-units" }],
  options: [
    { flags: "-c, --config <file>", description: "configuration file", default: DEFAULT_CONFIG },
    { flags: "--user <name>", description: "whom serve runs as", default: "root" },
    { flags: "--root <directory>", description: "write below this directory, and leave the running system alone" },
    {
      flags: "--check",
      description: "change nothing; exit with 1 and the differences when something is not as it should be",
    },
  ],
  examples: ["sudo fireteact native install-units --user fireteact", "fireteact native install-units --check"],
  run: async (context) => {
    actionOf("native", context.args[0], ["install-units"]);
    const [{ loadConfig }, { nativeUnitFiles }, { compareUnits, installUnits }, { loadUnits }] = await Promise.all([
      import("../config/load.ts"),
      import("../serve/native.ts"),
      import("../sandbox/native/install.ts"),
      import("../sandbox/native/systemd.ts"),
    ]);
    const { settings } = loadConfig(textOption(context, "config") ?? DEFAULT_CONFIG, process.env);
    const files = nativeUnitFiles(settings, textOption(context, "user") ?? "root");
    const root = textOption(context, "root");
    if (context.options["check"] === true) return { differences: compareUnits(files, root) };
    const changed = installUnits(files, root);
    if (root === undefined) await loadUnits();
    return { changed };
  },
  render: ({ changed, differences }) => {
    if (differences !== undefined) return differences.flatMap(shown).join("\n") || "everything is installed";
    if (changed === undefined || changed.length === 0) return "everything was installed already";
    return changed.map((path) => `changed ${path}`).join("\n");
  },
  exitCode: ({ differences = [] }) => (differences.length > 0 ? 1 : 0),
});

function shown({ path, state, lines }: Difference): string[] {
  const words = {
    missing: "is missing",
    differs: "differs",
    stale: "is of a pool that the configuration does not name",
  };
  return [`${path} ${words[state]}`, ...lines];
}
