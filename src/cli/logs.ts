import { stripVTControlCharacters } from "node:util";
import { defineCommand, textOption } from "./command.ts";
import { askDaemon, DAEMON_GROUP, DAEMON_OPTIONS } from "./daemon.ts";

export const logs = defineCommand<{ engine: string; console: string }>({
  name: "logs",
  summary: "show what a runner's engine and job said, or its console",
  details: "The newest 500 logs are kept when their runners are gone; a console goes with its sandbox.",
  group: DAEMON_GROUP,
  args: [{ name: "<runner>", description: "its id, its name in the forge, or the 24 digits" }],
  options: [
    ...DAEMON_OPTIONS,
    { flags: "--console", description: "the console of the sandbox instead, for trouble at boot" },
    { flags: "--bytes <n>", description: "how much of the end to show", default: "65536" },
  ],
  examples: ["fireteact logs small-abc123d41e0f6a7b8c9d0e1f"],
  run: async (context) => {
    const id = encodeURIComponent(context.args[0] ?? "");
    const bytes = encodeURIComponent(textOption(context, "bytes") ?? "");
    const found = await askDaemon<{ engine: string; console: string }>(
      context,
      "GET",
      `/api/v1/runners/${id}/logs?bytes=${bytes}`,
    );
    const { engine, console } = found;
    if (context.options["console"] === true && console === "") context.progress("nothing is kept of its console");
    if (context.options["console"] !== true && engine === "") {
      context.progress(console === "" ? "it has said nothing" : "its engine has said nothing; --console has more");
    }
    return found;
  },
  render: (result, context) => harmless(context.options["console"] === true ? result.console : result.engine),
});

/** Jobs write what they like: nothing in it may steer the terminal. */
function harmless(text: string): string {
  return stripVTControlCharacters(text.replaceAll("\r\n", "\n")).replaceAll(/[^\P{Cc}\n\t]/gu, "");
}
