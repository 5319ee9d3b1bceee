import { type Clock, systemClock, type Timer } from "../base/clock.ts";
import { pushPayload } from "./context.ts";
import { createDirectory, type Directory } from "./directory.ts";
import { createFaults, type Faults } from "./faults.ts";
import { createGitStore, type Files } from "./git.ts";
import { type JobView, type RunHandle, type RunnerView, runHandle, viewJob, viewRunner } from "./handle.ts";
import { createRequestLog, type RequestLog } from "./http/request-log.ts";
import { startServer, type TlsFiles } from "./http/server.ts";
import { keepPull, type NewPull, pullPayload, pullRef } from "./pulls.ts";
import { simulatorRoutes } from "./routes.ts";
import { deleteRunner, registrationToken, resetRegistrationToken } from "./runners.ts";
import { cancelJobs, rerunJob, startRun } from "./runs.ts";
import { runServerTimers, type ServerTimers } from "./tasks.ts";
import { type Flavour, traitsOf } from "./traits.ts";
import { createWebhooks, type Webhooks } from "./webhooks.ts";
import { type Behaviours, createWorld, newToken } from "./world.ts";

const MINUTE = 60_000;
const DEFAULT_TIMERS: ServerTimers & { checkEveryMs: number } = {
  zombieMs: 10 * MINUTE,
  endlessMs: 3 * 60 * MINUTE,
  abandonedMs: 24 * 60 * MINUTE,
  checkEveryMs: 5 * MINUTE,
};

export interface ForgeSimulatorOptions {
  flavour: Flavour;
  /** As the forge writes it: `1.25.1`, `15.0.0+gitea-1.22.0`. */
  version: string;
  /** Default 127.0.0.1. */
  host?: string;
  /** Default: any free one. */
  port?: number;
  /** For installs below a path: `/git`. */
  basePath?: string;
  tls?: TlsFiles;
  /** Address that the forge writes into its answers, where that differs from where it listens. */
  publicUrl?: string;
  /** Added to every request; `latencyMs` of the handle changes it. */
  latencyMs?: number;
  /** Where jobs find actions without an address; default https://github.com, `self` for this forge. */
  defaultActionsUrl?: string;
  clock?: Clock;
  timers?: Partial<typeof DEFAULT_TIMERS>;
  behaviours?: Partial<Behaviours>;
}

export interface Push {
  /** `owner/name`. */
  repository: string;
  yaml: string;
  /** File name; default `ci.yaml`. */
  workflow?: string;
  /** Default `push`. */
  event?: string;
  /** Starts the run as this pull request does; `event` is then `pull_request`, unless given. */
  pull?: NewPull;
  /** `github.event`; default: what a push carries, or the pull request. */
  payload?: Record<string, unknown>;
  /** Default: the default branch. */
  ref?: string;
  /** Default: the ref's commit, or an invented id where the repository has no files. */
  sha?: string;
  actor?: string;
  secrets?: Record<string, string>;
  variables?: Record<string, string>;
}

/** A forge of our own, for demo, tests and benches; see docs/forge-simulator.md. */
export interface ForgeSimulator extends Directory {
  /** With base path, without a final slash. */
  readonly url: string;
  readonly port: number;
  readonly behaviours: Behaviours;
  readonly faults: Faults;
  readonly requests: RequestLog;
  readonly webhooks: Webhooks;
  latencyMs: number;
  /** Starts a run as a push (or another event) does. */
  pushWorkflow(push: Push): Promise<RunHandle>;
  /** Adds a commit to a branch. @returns its id */
  commit(repository: string, files: Files, branch?: string): Promise<string>;
  jobs(): JobView[];
  job(id: number): JobView;
  /** @param which `existing` leaves deleted rows out */
  runners(which: "existing" | "all"): RunnerView[];
  cancelRun(id: number): void;
  cancelJob(id: number): void;
  /** A new attempt of a finished job and of those that depend on it. */
  rerunJob(id: number): void;
  deleteRunner(id: number): void;
  /** @param scope empty for the instance, an owner's name, or `owner/name` */
  registrationToken(scope: string): string;
  resetRegistrationToken(scope: string): string;
  /** What the server's cron does, now. */
  runTimers(): void;
  /** Another certificate for new connections; existing ones are closed. */
  setTls(tls: TlsFiles): void;
  /** Ends everything; no connection, timer or file is left. */
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

export async function createForgeSimulator(options: ForgeSimulatorOptions): Promise<ForgeSimulator> {
  const clock = options.clock ?? systemClock;
  const world = createWorld(traitsOf(options.flavour, options.version), clock, options.behaviours ?? {});
  const timers = { ...DEFAULT_TIMERS, ...options.timers };
  const git = createGitStore();
  const faults = createFaults();
  const requests = createRequestLog();
  const webhooks = createWebhooks(world);
  const directory = createDirectory(world, git);
  let latencyMs = options.latencyMs ?? 0;

  const host = options.host ?? "127.0.0.1";
  const basePath = (options.basePath ?? "").replace(/\/+$/, "");
  const server = await startServer({
    host,
    port: options.port ?? 0,
    basePath,
    tls: options.tls,
    latencyMs: () => latencyMs,
    routes: simulatorRoutes(world, git),
    faults,
    log: requests,
    now: () => clock.now(),
  });
  const shownHost = host.includes(":") ? `[${host}]` : host;
  const url = `${options.tls === undefined ? "http" : "https"}://${shownHost}:${server.port}${basePath}`;
  world.url = (options.publicUrl ?? url).replace(/\/+$/, "");
  const actionsUrl = options.defaultActionsUrl ?? "https://github.com";
  world.actionsUrl = actionsUrl === "self" ? world.url : actionsUrl;

  let cron: Timer = clock.after(timers.checkEveryMs, tick);
  function tick(): void {
    runServerTimers(world, timers);
    cron = clock.after(timers.checkEveryMs, tick);
  }

  const found = <T>(row: T | undefined, what: string): T => {
    if (row === undefined) throw new Error(`the simulator has no ${what}`);
    return row;
  };
  const findJob = (id: number) => found(world.jobs.get(id), `job ${id}`);

  async function close(): Promise<void> {
    cron.cancel();
    await webhooks.close();
    await server.close();
    await git.close();
  }

  return {
    ...directory,
    url,
    port: server.port,
    behaviours: world.behaviours,
    faults,
    requests,
    webhooks,
    get latencyMs() {
      return latencyMs;
    },
    set latencyMs(milliseconds: number) {
      latencyMs = milliseconds;
    },
    pushWorkflow: async (push) => {
      const repository = directory.repository(push.repository);
      const actor = push.actor === undefined ? repository.owner : directory.account(push.actor);
      const from = push.pull?.from === undefined ? repository : directory.repository(push.pull.from);
      const pull = push.pull === undefined ? undefined : keepPull(repository, push.pull, from, actor);
      const event = push.event ?? (pull === undefined ? "push" : "pull_request");
      const ref = push.ref ?? (pull === undefined ? `refs/heads/${repository.defaultBranch}` : pullRef(event, pull));
      const sha = push.sha ?? (await git.resolve(repository, ref)) ?? newToken();
      const run = startRun(world, {
        repository,
        actor,
        yaml: push.yaml,
        workflow: push.workflow ?? "ci.yaml",
        event,
        pull,
        payload:
          push.payload ??
          (pull === undefined
            ? pushPayload(world, { repository, actor: actor.name, ref, sha })
            : pullPayload(world, repository, pull)),
        ref,
        sha,
        secrets: push.secrets ?? {},
        variables: push.variables ?? {},
      });
      return runHandle(world, run);
    },
    commit: (name, files, branch) => {
      const repository = directory.repository(name);
      return git.commit(repository, branch ?? repository.defaultBranch, files, "change");
    },
    jobs: () => [...world.jobs.values()].map((job) => viewJob(job)),
    job: (id) => viewJob(findJob(id)),
    runners: (which) =>
      [...world.runners.values()]
        .filter((runner) => which === "all" || runner.deletedAt === 0)
        .map((runner) => viewRunner(runner)),
    cancelRun: (id) => cancelJobs(world, found(world.runs.get(id), `run ${id}`).jobs),
    cancelJob: (id) => cancelJobs(world, [findJob(id)]),
    rerunJob: (id) => rerunJob(world, findJob(id)),
    deleteRunner: (id) => deleteRunner(world, found(world.runners.get(id), `runner ${id}`)),
    registrationToken: (scope) => registrationToken(world, directory.scope(scope)),
    resetRegistrationToken: (scope) => resetRegistrationToken(world, directory.scope(scope)),
    runTimers: () => runServerTimers(world, timers),
    setTls: server.setTls,
    close,
    [Symbol.asyncDispose]: close,
  };
}
