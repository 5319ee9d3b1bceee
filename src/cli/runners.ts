import type { JobOutcome } from "../core/types.ts";
import { actionOf, defineCommand, usage } from "./command.ts";
import { askDaemon, DAEMON_GROUP, DAEMON_OPTIONS } from "./daemon.ts";
import { duration, table } from "./render/table.ts";
import { fill } from "./render/text.ts";

interface RunnerAnswer {
  id: string;
  pool: string;
  name: string;
  status: string;
  phase: string;
  forge?: string;
  labels?: string[];
  ip_address?: string;
  created_at: string;
  closed_at?: string;
  timeline: Record<string, string>;
  job?: { name?: string; repository?: string };
  result?: string;
  ending?: { reason: string; detail: string };
  /** What the forge knows of a job that the runner ended under. */
  job_outcome?: JobOutcome;
}

interface RunnersResult {
  runners?: RunnerAnswer[];
  /** Runners that are gone, newest first. */
  history?: RunnerAnswer[];
  runner?: RunnerAnswer;
}

export const runners = defineCommand<RunnersResult>({
  name: "runners",
  summary: "list the runners; show or stop one",
  details:
    "A runner can be named by its id, by its name in the forge, or by the 24 digits alone; runners that are gone can be shown too.",
  group: DAEMON_GROUP,
  args: [
    { name: "[action]", description: "list (default), history, show or stop" },
    { name: "[runner]", description: "the runner to show or stop" },
  ],
  options: [
    ...DAEMON_OPTIONS,
    { flags: "--force", description: "stop a runner although it runs a job, which then fails" },
    { flags: "--limit <n>", description: "how many of the history to list", default: "50" },
  ],
  examples: ["fireteact runners", "fireteact runners history --limit 10", "fireteact runners stop ID --force"],
  run: async (context) => {
    const [given, id] = context.args;
    const action = actionOf("runners", given, ["list", "history", "show", "stop"]);
    if (action === "list") return askDaemon(context, "GET", "/api/v1/runners");
    if (action === "history") {
      const limit = encodeURIComponent(String(context.options["limit"]));
      const { runners: history } = await askDaemon<{ runners: RunnerAnswer[] }>(
        context,
        "GET",
        `/api/v1/history?limit=${limit}`,
      );
      return { history };
    }
    if (id === undefined) throw usage(`${action} which runner?`, `fireteact runners ${action} ID`);
    const path = `/api/v1/runners/${encodeURIComponent(id)}`;
    if (action === "stop")
      await askDaemon(context, "DELETE", context.options["force"] === true ? `${path}?force` : path);
    return { runner: await askDaemon<RunnerAnswer>(context, "GET", path) };
  },
  render: ({ runners: list, history, runner }) => {
    if (runner !== undefined) return one(runner);
    return history === undefined ? current(list ?? []) : closed(history);
  },
});

function current(list: RunnerAnswer[]): string {
  if (list.length === 0) return "there are no runners now; 'fireteact runners history' lists those that were";
  return table(
    ["RUNNER", "STATUS", "PHASE", "AGE", "JOB"],
    list.map((runner) => [
      runner.id,
      runner.status,
      runner.phase,
      duration(Date.now() - at(runner.created_at)),
      what(runner),
    ]),
  );
}

function closed(list: RunnerAnswer[]): string {
  if (list.length === 0) return "no runner has ended yet";
  return table(
    ["RUNNER", "RESULT", "ENDED", "LIVED", "JOB"],
    list.map((runner) => {
      const end = at(runner.closed_at ?? runner.created_at);
      const ago = `${duration(Date.now() - end)} ago`;
      return [runner.id, resultOf(runner), ago, duration(end - at(runner.created_at)), what(runner)];
    }),
  );
}

function one(runner: RunnerAnswer): string {
  const { ending, job, job_outcome: outcome } = runner;
  const facts: [string, string | undefined][] = [
    ["runner", runner.id],
    ["in the forge", runner.name],
    ["forge", runner.forge],
    ["labels", runner.labels?.join(", ")],
    ["status", runner.closed_at === undefined ? runner.status : resultOf(runner)],
    ["job", job === undefined ? undefined : what(runner)],
    ["address", runner.ip_address],
    ["ended by", ending === undefined ? undefined : `${ending.reason}: ${ending.detail}`],
    ["the forge", outcome === undefined ? undefined : told(outcome)],
  ];
  const head = facts.map(([name, value]) => (value === undefined ? [] : fill(`${name}:`.padEnd(14), value))).flat();
  const times = Object.entries(runner.timeline).sort(([, a], [, b]) => at(a) - at(b));
  const rows = times.map(([phase, time], index) => {
    const before = times[index - 1]?.[1];
    return [phase, time, before === undefined ? "" : `+${duration(at(time) - at(before))}`];
  });
  return [...head, "", table(["PHASE", "AT", "AFTER"], rows)].join("\n");
}

/** Its job, or why it ended without one. */
function what({ job, ending }: RunnerAnswer): string {
  if (job !== undefined) return [job.name ?? "a job", job.repository].filter((part) => part !== undefined).join(" of ");
  return ending === undefined ? "" : `(${ending.detail})`;
}

function told(outcome: JobOutcome): string {
  switch (outcome.state) {
    case "failed":
      return "was told that the job failed, and why";
    case "over":
      return `had ended the job already${outcome.result === undefined ? "" : `: ${outcome.result}`}`;
    case "left":
      return `was not told: the job waits for the forge's own timer, since ${outcome.detail}`;
  }
}

const resultOf = ({ result, ending, status }: RunnerAnswer): string =>
  result ?? (ending === undefined || ending.reason === "finished" ? status : ending.reason);

const at = (time: string): number => Date.parse(time);
