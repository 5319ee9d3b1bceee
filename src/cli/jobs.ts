import { defineCommand } from "./command.ts";
import { askDaemon, DAEMON_GROUP, DAEMON_OPTIONS } from "./daemon.ts";
import { duration } from "./render/table.ts";
import { fill } from "./render/text.ts";

interface Waiting {
  job: { key: string; name: string; repository?: string; labels: string[]; at: number };
  code: string;
  detail: string;
}

export const jobs = defineCommand<{ jobs: Waiting[] }>({
  name: "jobs",
  summary: "say of every waiting job why it is not running yet",
  group: DAEMON_GROUP,
  options: DAEMON_OPTIONS,
  run: (context) => askDaemon(context, "GET", "/api/v1/jobs"),
  render: ({ jobs: list }) => (list.length === 0 ? "no job is waiting" : list.map(paragraph).join("\n")),
});

function paragraph({ job, detail }: Waiting): string {
  const name = job.repository === undefined ? job.name : `${job.name} of ${job.repository}`;
  const wants = job.labels.length === 0 ? "no runs-on" : `runs-on ${job.labels.join(", ")}`;
  return [fill("", `${name}, ${wants}, waits ${duration(Date.now() - job.at)}`), fill("    ", detail)].join("\n");
}
