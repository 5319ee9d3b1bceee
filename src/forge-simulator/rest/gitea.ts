import * as z from "zod";
import { type Answer, empty, json, RestError, type SimulatedRequest } from "../http/message.ts";
import { type Handler, type Params, type Route, route } from "../http/router.ts";
import { type Job, type JobStatus, type Run, type Runner } from "../records.ts";
import { deleteRunner, driftRunners, findRunner, isBusy, isOnline, isOwnedAt, listRunners } from "../runners.ts";
import { cancelJobs, runIsDone, runStatus } from "../runs.ts";
import type { World } from "../world.ts";
import { authorize, type Grant, PLACES, type Place } from "./access.ts";
import { pageHeaders, pageOf, slice } from "./paging.ts";
import { renderJob, renderRun } from "./render.ts";

/** Runners, jobs and runs as Gitea shows them in the version simulated. */
export function giteaRoutes(world: World): Route[] {
  const { traits } = world;
  const routes: Route[] = [];
  for (const place of PLACES) {
    const at = `/api/v1${place.prefix}/actions`;
    if (traits.managesRunners) routes.push(...runnerRoutes(world, place, `${at}/runners`));
    if (traits.listsJobs) {
      routes.push(
        route("GET", `${at}/jobs`, (request, params) => {
          const { covers } = authorize(world, request, params, place, "reader");
          return jobList(
            world,
            request,
            [...world.jobs.values()].filter((job) => covers(job.run.repository)),
          );
        }),
        route("GET", `${at}/runs`, (request, params) => {
          const { covers } = authorize(world, request, params, place, "reader");
          return runList(
            world,
            request,
            [...world.runs.values()].filter((run) => covers(run.repository)),
          );
        }),
      );
    }
  }
  return [...routes, ...repositoryRoutes(world)];
}

function runnerRoutes(world: World, place: Place, path: string): Route[] {
  const owner = (request: SimulatedRequest, params: Params) => authorize(world, request, params, place, "owner");
  const one = (request: SimulatedRequest, params: Params) =>
    ownedRunner(world, owner(request, params), place, params["id"] ?? "");
  const routes = [
    route("GET", path, (request, params) => {
      const { scope } = owner(request, params);
      return runnerList(world, request, (runner) => place.kind === "instance" || isOwnedAt(runner, scope));
    }),
    route("GET", `${path}/:id`, (request, params) => json(200, renderRunner(world, one(request, params)))),
    route("DELETE", `${path}/:id`, (request, params) => {
      deleteRunner(world, one(request, params));
      return empty(204);
    }),
  ];
  if (world.traits.disables) {
    routes.push(
      route("PATCH", `${path}/:id`, (request, params) => {
        const runner = one(request, params);
        runner.disabled = body(request, z.object({ disabled: z.boolean() })).disabled;
        return json(200, renderRunner(world, runner));
      }),
    );
  }
  return routes;
}

function repositoryRoutes(world: World): Route[] {
  const place = PLACES[3];
  const at = "/api/v1/repos/:owner/:repo/actions";
  const { traits } = world;
  const reading = (handle: (grant: Grant, params: Params, request: SimulatedRequest) => Answer): Handler => {
    return (request, params) => handle(authorize(world, request, params, place, "reader"), params, request);
  };
  const routes: Route[] = [];
  if (traits.jobLogs) {
    routes.push(
      route(
        "GET",
        `${at}/jobs/:id/logs`,
        reading((grant, params) => jobLog(jobOf(world, grant, params))),
      ),
    );
  }
  if (!traits.listsJobs) return routes;
  routes.push(
    route(
      "GET",
      `${at}/jobs/:id`,
      reading((grant, params) => json(200, renderJob(world, jobOf(world, grant, params)))),
    ),
    route(
      "GET",
      `${at}/runs/:run`,
      reading((grant, params) => json(200, renderRun(world, runOf(world, grant, params)))),
    ),
    route(
      "GET",
      `${at}/runs/:run/jobs`,
      reading((grant, params, request) => jobList(world, request, runOf(world, grant, params).jobs)),
    ),
    route("DELETE", `${at}/runs/:run`, (request, params) => {
      const run = runOf(world, authorize(world, request, params, place, "owner"), params);
      if (!runIsDone(run)) throw new RestError(400, "this workflow run is not done");
      world.runs.delete(run.id);
      for (const job of run.jobs) world.jobs.delete(job.id);
      return empty(204);
    }),
  );
  if (traits.cancels) {
    routes.push(
      route("POST", `${at}/runs/:run/cancel`, (request, params) => {
        const run = runOf(world, authorize(world, request, params, place, "owner"), params);
        if (runIsDone(run)) throw new RestError(409, "this workflow run is done");
        cancelJobs(world, run.jobs);
        return json(200, renderRun(world, run));
      }),
    );
  }
  return routes;
}

function runnerList(world: World, request: SimulatedRequest, accept: (runner: Runner) => boolean): Answer {
  const asked = world.traits.disables ? request.query.get("disabled") : null;
  const rows = listRunners(world, (runner) => accept(runner) && (asked === null || String(runner.disabled) === asked));
  const page = slice(rows, pageOf(request));
  const answer = json(200, {
    runners: page.map((runner) => renderRunner(world, runner)),
    total_count: rows.length,
  });
  if (world.behaviours.pageDrift) driftRunners(world, rows);
  return answer;
}

function renderRunner(world: World, runner: Runner): Record<string, unknown> {
  return {
    id: runner.id,
    name: runner.name,
    status: isOnline(world, runner) ? "online" : "offline",
    busy: isBusy(world, runner),
    ...(world.traits.disables ? { disabled: runner.disabled } : {}),
    ephemeral: runner.ephemeral,
    labels: runner.labels.map((name, id) => ({ id, name, type: "custom" })),
  };
}

function ownedRunner(world: World, grant: Grant, place: Place, id: string): Runner {
  const runner = findRunner(world, Number.parseInt(id, 10));
  if (runner === undefined) throw new RestError(404, "Runner not found");
  if (place.kind !== "instance" && !isOwnedAt(runner, grant.scope))
    throw new RestError(404, "No permission to access this runner");
  return runner;
}

function jobList(world: World, request: SimulatedRequest, jobs: Job[]): Answer {
  const wanted = statusFilter(request);
  const rows = jobs.filter((job) => wanted === undefined || wanted.has(job.status));
  const page = pageOf(request);
  const headers = world.traits.pageHeaders ? pageHeaders(world.url, request, page, rows.length) : {};
  const shown = slice(rows, page).map((job) => renderJob(world, job));
  return json(200, { jobs: shown, total_count: rows.length }, headers);
}

function runList(world: World, request: SimulatedRequest, runs: Run[]): Answer {
  const wanted = statusFilter(request);
  const fits = (name: string, value: string) => [null, "", value].includes(request.query.get(name));
  const rows = runs
    .filter((run) => wanted === undefined || wanted.has(runStatus(run)))
    .filter((run) => fits("event", run.event) && fits("actor", run.actor.name) && fits("head_sha", run.sha))
    .filter((run) => fits("branch", run.ref.replace(/^refs\/heads\//, "")))
    .reverse();
  const page = pageOf(request);
  const headers = world.traits.pageHeaders ? pageHeaders(world.url, request, page, rows.length) : {};
  const shown = slice(rows, page).map((run) => renderRun(world, run));
  return json(200, { workflow_runs: shown, total_count: rows.length }, headers);
}

const STATUS_WORDS: Record<string, JobStatus[]> = {
  queued: ["waiting"],
  waiting: ["blocked"],
  pending: ["blocked"],
  requested: ["blocked"],
  action_required: ["blocked"],
  in_progress: ["running"],
  completed: ["success", "failure", "skipped", "cancelled"],
  success: ["success"],
  failure: ["failure"],
  skipped: ["skipped"],
  neutral: ["skipped"],
  cancelled: ["cancelled"],
  timed_out: ["cancelled"],
};

/** Several `status` parameters are OR-ed. */
function statusFilter(request: SimulatedRequest): Set<JobStatus> | undefined {
  const words = request.query.getAll("status").filter((word) => word !== "");
  if (words.length === 0) return undefined;
  return new Set(
    words.flatMap((word) => {
      const statuses = Object.hasOwn(STATUS_WORDS, word) ? STATUS_WORDS[word] : undefined;
      if (statuses === undefined) throw new RestError(400, `Invalid status ${word}`);
      return statuses;
    }),
  );
}

function jobLog(job: Job): Answer {
  if (job.task === undefined) throw new RestError(404, "job is not started");
  const lines = job.task.log.map(
    (line) => `${new Date(line.time).toISOString().replace("Z", "0000Z")} ${line.content}\n`,
  );
  return { status: 200, headers: { "content-type": "text/plain; charset=utf-8" }, body: lines.join("") };
}

function jobOf(world: World, grant: Grant, params: Params): Job {
  const job = world.jobs.get(Number(params["id"]));
  if (job === undefined || !grant.covers(job.run.repository)) throw new RestError(404, "not found");
  return job;
}

function runOf(world: World, grant: Grant, params: Params): Run {
  const run = world.runs.get(Number(params["run"]));
  if (run === undefined || !grant.covers(run.repository)) throw new RestError(404, "not found");
  return run;
}

/** A JSON body of a shape; anything else is a validation error. */
export function body<T>(request: SimulatedRequest, schema: z.ZodType<T>): T {
  let value: unknown;
  try {
    value = JSON.parse(request.body.toString("utf8"));
  } catch {
    throw new RestError(422, "the body is not JSON");
  }
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  throw new RestError(
    422,
    result.error.issues.map((issue) => `[${issue.path.join(".")}]: ${issue.message}`).join("; "),
  );
}
