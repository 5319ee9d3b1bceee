import { FireteactError } from "../base/errors.ts";
import { defineCommand, textOption } from "./command.ts";
import { askDaemon, DAEMON_OPTIONS } from "./daemon.ts";
import { duration, table } from "./render/table.ts";

interface PoolAnswer {
  name: string;
  driver: string;
  minRunners: number;
  maxRunners: number;
  currentRunners: number;
  idleRunners: number;
  busyRunners: number;
  paused: boolean;
  usable: boolean;
  detail?: string;
}

interface RunnerAnswer {
  id: string;
  pool: string;
  status: string;
  phase: string;
  started_at?: string;
  job_id?: string;
  ending?: { reason: string; detail: string };
}

export const pools = defineCommand<{ pools: PoolAnswer[] }>({
  name: "pools",
  summary: "list the pools, or pause and resume one",
  args: [
    { name: "[action]", description: "list (default), pause or resume" },
    { name: "[pool]", description: "the pool to pause or resume" },
  ],
  options: DAEMON_OPTIONS,
  run: async (context) => {
    const [action = "list", name] = context.args;
    if (action === "pause" || action === "resume") {
      if (name === undefined) throw usage(`name the pool: fireteact pools ${action} NAME`);
      await askDaemon(context, "POST", `/api/v1/pools/${encodeURIComponent(name)}/${action}`);
    } else if (action !== "list") throw usage(`unknown action '${action}': there are list, pause and resume`);
    return askDaemon(context, "GET", "/api/v1/pools");
  },
  render: ({ pools: list }) =>
    table(
      ["POOL", "DRIVER", "RUNNERS", "BUSY", "IDLE", "STATE"],
      list.map((pool) => [
        pool.name,
        pool.driver,
        `${pool.currentRunners}/${pool.maxRunners}`,
        String(pool.busyRunners),
        String(pool.idleRunners),
        pool.paused ? "paused" : pool.usable ? "active" : `unusable: ${pool.detail ?? ""}`,
      ]),
    ),
});

export const runners = defineCommand<{ runners: RunnerAnswer[] }>({
  name: "runners",
  summary: "list the runners, or stop one",
  args: [
    { name: "[action]", description: "list (default), history or stop" },
    { name: "[runner]", description: "the runner to stop" },
  ],
  options: [...DAEMON_OPTIONS, { flags: "--force", description: "stop a runner although it runs a job" }],
  run: async (context) => {
    const [action = "list", id] = context.args;
    if (action === "history") return askDaemon(context, "GET", "/api/v1/history");
    if (action === "stop") {
      if (id === undefined) throw usage("name the runner: fireteact runners stop ID");
      const force = context.options.force === true ? "?force=true" : "";
      await askDaemon(context, "DELETE", `/api/v1/runners/${encodeURIComponent(id)}${force}`);
    } else if (action !== "list") throw usage(`unknown action '${action}': there are list, history and stop`);
    const { runners: list } = await askDaemon<{ runners: { id: string }[] }>(context, "GET", "/api/v1/runners");
    const details = list.map(({ id: each }) => askDaemon<RunnerAnswer>(context, "GET", `/api/v1/runners/${each}`));
    return { runners: await Promise.all(details) };
  },
  render: ({ runners: list }) =>
    table(
      ["RUNNER", "STATUS", "PHASE", "AGE", "ENDING"],
      list.map((runner) => [
        runner.id,
        runner.status,
        runner.phase,
        runner.started_at === undefined ? "" : duration(Date.now() - Date.parse(runner.started_at)),
        runner.ending === undefined ? "" : `${runner.ending.reason}: ${runner.ending.detail}`,
      ]),
    ),
});

export const logs = defineCommand<{ engine: string; console: string }>({
  name: "logs",
  summary: "show a runner's log: engine and job, or its console",
  args: [{ name: "<runner>", description: "the runner's id" }],
  options: [
    ...DAEMON_OPTIONS,
    { flags: "--console", description: "the console of the sandbox instead" },
    { flags: "--bytes <n>", description: "how much of the end to show", default: "65536" },
  ],
  run: (context) =>
    askDaemon(
      context,
      "GET",
      `/api/v1/runners/${encodeURIComponent(context.args[0] ?? "")}/logs?bytes=${textOption(context, "bytes") ?? ""}`,
    ),
  render: (result, context) => (context.options.console === true ? result.console : result.engine),
});

export const jobs = defineCommand<{
  jobs: { job: { key: string; name: string; labels: string[]; at: number }; code: string; detail: string }[];
}>({
  name: "jobs",
  summary: "say for every queued job why it is not running yet",
  options: DAEMON_OPTIONS,
  run: (context) => askDaemon(context, "GET", "/api/v1/jobs"),
  render: ({ jobs: list }) =>
    list.length === 0
      ? "no job is waiting"
      : table(
          ["JOB", "LABELS", "WAITS", "WHY"],
          list.map(({ job, detail }) => [job.name, job.labels.join(","), duration(Date.now() - job.at), detail]),
        ),
});

export const drain = defineCommand<{ draining: boolean }>({
  name: "drain",
  summary: "create no more runners, wait for running jobs, then stop the daemon",
  options: DAEMON_OPTIONS,
  run: (context) => askDaemon(context, "POST", "/api/v1/drain"),
  render: () => "draining: running jobs go on to their end, then the daemon stops",
});

function usage(message: string): FireteactError {
  return new FireteactError("USAGE", message);
}
