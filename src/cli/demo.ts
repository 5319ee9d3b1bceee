import { defineCommand, textOption } from "./command.ts";
import type { DemoResult } from "./demo/report.ts";

export const demo = defineCommand<DemoResult>({
  name: "demo",
  summary: "run three jobs in fresh microVMs, on a forge simulator or on your forge",
  options: [
    {
      flags: "--forge <url>",
      description: "a real Gitea or Forgejo instead of the simulator; only runners are made there",
    },
    { flags: "--token-file <file>", description: "file with an API token for it" },
    {
      flags: "--scope <scope>",
      description: "where runners are registered: instance, org, user or repo",
      default: "instance",
    },
    { flags: "--owner <name>", description: "owner, for the scopes org and repo" },
    { flags: "--repo <name>", description: "repository, for the scope repo" },
    { flags: "--label <label>", description: "label of the runners", default: "fireteact-demo" },
  ],
  examples: [
    "fireteact demo",
    "fireteact demo --forge https://git.example.com --token-file token --scope org --owner me",
  ],
  run: async (context) => {
    const { runDemo } = await import("./demo/run.ts");
    return runDemo({
      forge: textOption(context, "forge"),
      tokenFile: textOption(context, "tokenFile"),
      scope: textOption(context, "scope") ?? "instance",
      owner: textOption(context, "owner"),
      repo: textOption(context, "repo"),
      label: textOption(context, "label") ?? "fireteact-demo",
      progress: context.progress,
    });
  },
  render: (result) => result.text,
  exitCode: (result) => (result.ok ? 0 : 1),
});
