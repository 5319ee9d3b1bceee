import * as z from "zod";
import { type Answer, empty, json, RestError, type SimulatedRequest } from "../http/message.ts";
import { type Params, type Route, route } from "../http/router.ts";
import { isForkPull } from "../pulls.ts";
import type { Job, Run, Runner } from "../records.ts";
import {
  addRunner,
  deleteRunner,
  driftRunners,
  findRunner,
  isBusy,
  isOnline,
  isOwnedAt,
  listRunners,
} from "../runners.ts";
import { cancelJobs, runIsDone, runStatus } from "../runs.ts";
import { scopeKey, type World } from "../world.ts";
import { authorize, type Grant, PLACES, type Place } from "./access.ts";
import { body } from "./gitea.ts";
import { pageHeaders, pageOf, slice } from "./paging.ts";
import { hookEvent, renderAccount, renderRepository } from "./render.ts";

const CreateRunner = z.object({
  name: z.string().min(1),
  description: z.string().default(""),
  ephemeral: z.boolean().default(false),
});

/** Queue and runners as Forgejo shows them in the version simulated. */
export function forgejoRoutes(world: World): Route[] {
  return [
    ...PLACES.flatMap((place) => [...queueRoutes(world, place), ...runnerRoutes(world, place)]),
    ...runRoutes(world),
    ...cancel(world),
  ];
}

function queueRoutes(world: World, place: Place): Route[] {
  const { queue } = world.traits;
  if (queue === "none") return [];
  const handler = (request: SimulatedRequest, params: Params): Answer => {
    const { covers } = authorize(world, request, params, place, "owner");
    const accepts = labelFilter(world, place, request.query.get("labels"));
    const rows = [...world.jobs.values()].filter(
      (job) => (job.status === "waiting" || job.status === "running") && covers(job.run.repository) && accepts(job),
    );
    return json(200, rows.length === 0 ? null : rows.map((job) => renderQueued(world, job)));
  };
  const paths = [`/api/v1${place.prefix}/actions/runners/jobs`];
  if (place.kind === "instance") {
    if (queue !== "empty-means-none") paths.pop();
    paths.push("/api/v1/admin/runners/jobs");
  }
  return paths.map((path) => route("GET", path, handler));
}

/** The three meanings that `labels` has had: wanted, optional, and empty for jobs without labels. */
function labelFilter(world: World, place: Place, given: string | null): (job: Job) => boolean {
  const labels = new Set((given ?? "").split(",").filter((label) => label !== ""));
  const subset = (job: Job) => job.runsOn.every((label) => labels.has(label));
  if (world.traits.queue === "empty-means-none") return given === null ? () => true : subset;
  if (labels.size > 0) return subset;
  return () => world.traits.queue === "labels-optional" || place.kind === "instance";
}

function renderQueued(world: World, job: Job): Record<string, unknown> {
  const { repository } = job.run;
  return {
    id: job.id,
    repo_id: repository.id,
    owner_id: repository.owner.id,
    name: job.name,
    needs: job.needs.length > 0 ? job.needs : null,
    runs_on: job.runsOn,
    task_id: job.task?.id ?? 0,
    status: job.status,
    ...(world.traits.queueShowsHandle ? { attempt: job.attempt, handle: job.handle } : {}),
    ...(world.traits.queueShowsRun ? { run_id: job.run.id } : {}),
  };
}

function runnerRoutes(world: World, place: Place): Route[] {
  if (!world.traits.managesRunners) return [];
  const path = `/api/v1${place.prefix}/actions/runners`;
  const owner = (request: SimulatedRequest, params: Params) => authorize(world, request, params, place, "owner");
  const one = (request: SimulatedRequest, params: Params) => {
    const grant = owner(request, params);
    const runner = findRunner(world, Number.parseInt(params["id"] ?? "", 10));
    if (runner === undefined || !mayTouch(runner, grant, place)) throw new RestError(404, "runner does not exist");
    return runner;
  };
  const routes = [
    route("GET", path, (request, params) => {
      const grant = owner(request, params);
      const wide = request.query.get("visible") === "true";
      const rows = listRunners(
        world,
        (runner) => isOwnedAt(runner, grant.scope) || (wide && isVisible(runner, grant, place)),
      );
      const page = pageOf(request);
      const shown = slice(rows, page).map((runner) => render(world, runner));
      if (world.behaviours.pageDrift) driftRunners(world, rows);
      return json(200, shown, pageHeaders(world.url, request, page, rows.length));
    }),
    route("GET", `${path}/:id`, (request, params) => json(200, render(world, one(request, params)))),
    route("DELETE", `${path}/:id`, (request, params) => {
      deleteRunner(world, one(request, params));
      return empty(204);
    }),
  ];
  if (world.traits.createsRunners) {
    routes.push(
      route("POST", path, (request, params) => {
        const { scope } = owner(request, params);
        const given = body(request, CreateRunner);
        const { runner, secret } = addRunner(world, { ...given, scope, labels: [], version: "" });
        return json(201, { id: runner.id, uuid: runner.uuid, token: secret });
      }),
    );
  }
  return routes;
}

/** Runs of a repository with what started them; the list takes several statuses. */
function runRoutes(world: World): Route[] {
  if (!world.traits.showsRuns) return [];
  const at = "/api/v1/repos/:owner/:repo/actions/runs";
  const own = (request: SimulatedRequest, params: Params) => {
    const { repository } = authorize(world, request, params, PLACES[3], "reader");
    return [...world.runs.values()].filter((run) => run.repository === repository).reverse();
  };
  return [
    route("GET", at, (request, params) => {
      const wanted = request.query.getAll("status");
      const rows = own(request, params).filter((run) => wanted.length === 0 || wanted.includes(runStatus(run)));
      const page = pageOf(request);
      const shown = slice(rows, page).map((run) => renderRun(world, run));
      return json(200, { workflow_runs: shown, total_count: rows.length });
    }),
    route("GET", `${at}/:run`, (request, params) => {
      const run = own(request, params).find(({ id }) => id === Number(params["run"]));
      if (run === undefined) throw new RestError(404, "not found");
      return json(200, renderRun(world, run));
    }),
  ];
}

function renderRun(world: World, run: Run): Record<string, unknown> {
  const { pull, repository, ref } = run;
  const short = ref.replace(/^refs\/(heads|tags)\//, "").replace(/^refs\/pull\/(\d+)\/head$/, "#$1");
  return {
    id: run.id,
    title: run.title,
    repository: renderRepository(world, repository),
    workflow_id: run.workflow,
    index_in_repo: run.number,
    trigger_user: renderAccount(world, run.actor),
    prettyref: short,
    commit_sha: run.sha,
    is_fork_pull_request: pull !== undefined && isForkPull(pull, repository),
    need_approval: false,
    event: hookEvent(run),
    event_payload: JSON.stringify(run.payload),
    trigger_event: run.event,
    status: runStatus(run),
    html_url: `${world.url}/${repository.fullName}/actions/runs/${run.number}`,
  };
}

/** Cancel over REST came after the rest of the management. */
function cancel(world: World): Route[] {
  if (!world.traits.cancels) return [];
  return [
    route("POST", "/api/v1/repos/:owner/:repo/actions/runs/:run/cancel", (request, params) => {
      const { repository } = authorize(world, request, params, PLACES[3], "owner");
      const run = world.runs.get(Number(params["run"]));
      if (run === undefined || run.repository !== repository) throw new RestError(404, "not found");
      if (runIsDone(run)) throw new RestError(409, "the run is done");
      cancelJobs(world, run.jobs);
      return empty(204);
    }),
  ];
}

function render(world: World, runner: Runner): Record<string, unknown> {
  const status = () => {
    if (!isOnline(world, runner)) return "offline";
    return isBusy(world, runner) ? "active" : "idle";
  };
  return {
    id: runner.id,
    uuid: runner.uuid,
    name: runner.name,
    version: runner.version,
    description: runner.description,
    owner_id: runner.scope.ownerId,
    repo_id: runner.scope.repositoryId,
    status: status(),
    labels: runner.labels,
    ...(world.traits.ephemeral ? { ephemeral: runner.ephemeral } : {}),
  };
}

const mayTouch = (runner: Runner, grant: Grant, place: Place): boolean =>
  place.kind === "instance" || isOwnedAt(runner, grant.scope);

/** Runners that jobs of the place may use; an administrator sees all of them. */
function isVisible(runner: Runner, grant: Grant, place: Place): boolean {
  if (place.kind === "instance") return true;
  const owner = grant.repository?.owner.id ?? grant.scope.ownerId;
  return scopeKey(runner.scope) === "0/0" || runner.scope.ownerId === owner;
}
