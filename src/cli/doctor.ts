import type { Finding } from "../serve/doctor.ts";
import { defineCommand, textOption } from "./command.ts";
import { DEFAULT_CONFIG, placesFromEnvironment } from "./places.ts";
import { fill } from "./render/text.ts";

export const doctor = defineCommand<{ findings: Finding[] }>({
  name: "doctor",
  summary: "check everything that serve needs, and name each fix",
  details:
    "Looks at configuration, host, virtualisation, network, forge, token and webhook; changes nothing. Exits with 1 when something does not work.",
  options: [{ flags: "-c, --config <file>", description: "configuration file", default: DEFAULT_CONFIG }],
  examples: ["sudo fireteact doctor -c config.yaml"],
  run: async (context) => {
    const { examine } = await import("../serve/doctor.ts");
    const file = textOption(context, "config") ?? DEFAULT_CONFIG;
    return { findings: await examine(file, placesFromEnvironment(), context.progress) };
  },
  render: ({ findings }) => [...findings.map(paragraph), "", summary(findings)].join("\n"),
  exitCode: ({ findings }) => (findings.some(({ state }) => state === "bad") ? 1 : 0),
});

const WORDS: Record<Finding["state"], string> = { good: "good", warning: "WARNING", bad: "BAD" };

function paragraph({ state, subject, detail, hint }: Finding): string {
  const found = fill(WORDS[state].padEnd(9), `${subject}: ${detail}`);
  return hint === undefined ? found : `${found}\n${fill(" ".repeat(9) + "> ", hint)}`;
}

function summary(findings: Finding[]): string {
  const count = (state: Finding["state"]) => findings.filter((finding) => finding.state === state).length;
  const [warnings, wrong] = [count("warning"), count("bad")];
  if (wrong > 0) return `${wrong} of ${findings.length} checks found something that does not work`;
  if (warnings > 0) return `it works, with ${warnings} ${warnings === 1 ? "warning" : "warnings"}`;
  return "all is well";
}
