import { readFileSync } from "node:fs";
import { FireteactError } from "../../base/errors.ts";
import { BRIDGE, hexOf, type Places } from "../../base/names.ts";
import { unixRequest } from "../../base/unix-http.ts";
import { buildImage } from "../../image/build/build.ts";
import { imageSources } from "../../serve/programs.ts";
import { placesFromEnvironment } from "../places.ts";
import { duration } from "../render/table.ts";
import { type DemoDaemon, lastLines, startDaemon } from "./daemon.ts";
import { EXPECTED, pushDemo, startDemoForge } from "./forge.ts";
import { findLeftovers } from "./leftovers.ts";
import { type DemoJob, type DemoResult, report } from "./report.ts";
import { watchRunners } from "./watch.ts";

export interface DemoOptions {
  forge: string | undefined;
  tokenFile: string | undefined;
  scope: string;
  owner: string | undefined;
  repo: string | undefined;
  label: string;
  progress: (line: string) => void;
}

interface ClosedRunner {
  id: string;
  name: string;
  timeline: Record<string, string>;
  result?: string;
}

const JOBS_TIMEOUT = 15 * 60_000;
/** The last record is closed a moment after the forge knows the last result. */
const CLOSE_TIMEOUT = 30_000;

/** Three jobs from a forge to nothing left. Needs root. */
export async function runDemo(options: DemoOptions): Promise<DemoResult> {
  if (process.getuid?.() !== 0) {
    throw new FireteactError("NOT_ROOT", "the demo makes networks and microVMs, which only root may", {
      hint: "run it with sudo",
    });
  }
  const began = performance.now();
  const places = demoPlaces();
  await refuseWhereInUse(places);
  await prepareImage(places, options.progress);
  const jobs = options.forge === undefined ? await onSimulator(options, places) : await onRealForge(options, places);
  return report(jobs.jobs, [...jobs.rows, ...(await findLeftovers(places))], performance.now() - began);
}

/** Two fireteacts would share one bridge. What a stopped one left of it is taken over, and removed at the end. */
async function refuseWhereInUse(places: Places): Promise<void> {
  const hint = "stop the other fireteact ('fireteact drain') and try again";
  const socketPath = `${placesFromEnvironment().run}/api.sock`;
  if (await unixRequest({ socketPath, path: "/healthz" }).then(Boolean, () => false)) {
    throw new FireteactError("DEMO_IN_USE", `a fireteact serves at ${socketPath}`, { hint });
  }
  const found = (await findLeftovers(places)).filter((line) => !isShared(line));
  if (found.length === 0) return;
  throw new FireteactError("DEMO_NOT_CLEAN", `before it began, the demo found:\n  ${found.join("\n  ")}`, { hint });
}

const isShared = (line: string): boolean => line === `interface ${BRIDGE}` || line.startsWith("nftables ");

/** The daemon would build a missing image itself; here people can watch, and it is always made of this very program. */
async function prepareImage(places: Places, progress: DemoOptions["progress"]): Promise<void> {
  const { signal } = new AbortController();
  const { changed, milliseconds, bytes } = await buildImage(imageSources(), {
    places,
    signal,
    progress,
  });
  const size = `${Math.round(bytes / 2 ** 20)} MiB`;
  progress(
    changed ? `guest image built in ${duration(milliseconds)} (${size})` : `guest image is up to date (${size})`,
  );
}

/** Apart from a real installation; the image is kept for the next run. */
function demoPlaces(): Places {
  const { state, run } = placesFromEnvironment();
  return { state: `${state}/demo`, run: `${run}/demo` };
}

async function onSimulator(options: DemoOptions, places: Places): Promise<{ jobs: DemoJob[]; rows: string[] }> {
  const { forge, token, remove } = await startDemoForge();
  try {
    options.progress(`forge simulator (Gitea 1.25.1) at ${forge.url}`);
    const daemon = await startDaemon(
      places,
      configuration(options, { instanceURL: forge.url, apiToken: token, runnerScope: "instance" }),
    );
    try {
      const run = await pushDemo(forge, options.label);
      options.progress("pushed a workflow of three jobs: package waits for build, broken fails on purpose");
      const finished = run.finished(AbortSignal.timeout(JOBS_TIMEOUT));
      await watchWhile(daemon, finished, options.progress);
      await finished;
      const closed = await closedRunners(daemon, 3);
      const jobs = run.jobs().map((job): DemoJob => {
        const attempt = job.attempts.at(-1);
        const runner = closed.find(({ name }) => name === attempt?.runner.name);
        return {
          name: job.key,
          result: job.status,
          expected: EXPECTED[job.key as keyof typeof EXPECTED],
          runner: runner?.id ?? "an unknown runner",
          timeline: runner?.timeline ?? {},
          log: attempt?.log.map(({ content }) => content).join("\n") ?? "",
        };
      });
      await daemon.stop();
      return { jobs, rows: forge.runners("existing").map(({ name }) => `runner ${name} in the forge`) };
    } finally {
      await daemon.stop();
    }
  } finally {
    await forge.close();
    await remove();
  }
}

async function onRealForge(options: DemoOptions, places: Places): Promise<{ jobs: DemoJob[]; rows: string[] }> {
  const { forge, tokenFile, label, progress } = options;
  if (tokenFile === undefined) throw new FireteactError("USAGE", "a real forge needs a token: add --token-file FILE");
  readFileSync(tokenFile);
  const gitea = {
    instanceURL: forge,
    apiTokenFile: tokenFile,
    runnerScope: options.scope,
    ...(options.owner === undefined ? {} : { runnerOwner: options.owner }),
    ...(options.repo === undefined ? {} : { runnerRepo: options.repo }),
  };
  const daemon = await startDaemon(places, configuration(options, gitea));
  try {
    progress(`waiting for a job with 'runs-on: ${label}' on ${forge}: start a workflow that has one`);
    const first = firstJobs(daemon, label);
    await watchWhile(daemon, first, progress);
    const closed = await first;
    const jobs = await Promise.all(
      closed.map(async (runner): Promise<DemoJob> => {
        const { engine } = await daemon.get<{ engine: string }>(`/api/v1/runners/${runner.id}/logs`);
        return {
          name: hexOf(runner.id) ?? runner.id,
          result: runner.result ?? "unknown",
          runner: runner.id,
          timeline: runner.timeline,
          log: engine,
        };
      }),
    );
    return { jobs, rows: [] };
  } finally {
    await daemon.stop();
  }
}

/** Rejects when a signal asks the demo to end, so that everything is taken down in order. */
function interrupted(): Promise<never> {
  return new Promise((_, reject) => {
    for (const signal of ["SIGINT", "SIGTERM"] as const) {
      process.once(signal, () => reject(new FireteactError("INTERRUPTED", `ended by ${signal}`)));
    }
  });
}

/** Shows progress; a daemon that ends by itself ends the demo with its last words. */
async function watchWhile(
  daemon: DemoDaemon,
  until: Promise<unknown>,
  progress: (line: string) => void,
): Promise<void> {
  const died = daemon.ended.then((code) => {
    throw new FireteactError("DEMO_DAEMON", `'fireteact serve' ended with code ${code}`, {
      hint: lastLines(daemon.logFile),
    });
  });
  await Promise.race([watchRunners(daemon, until, progress), died, interrupted()]);
}

function configuration({ label }: DemoOptions, gitea: Record<string, unknown>): Record<string, unknown> {
  return {
    gitea,
    logLevel: "info",
    shutdown: "drain",
    drainTimeout: "2m",
    pollInterval: "1s",
    pools: [
      {
        name: "demo",
        driver: "qemu",
        engine: "shell",
        minRunners: 0,
        maxRunners: 2,
        runner: { name: "fireteact-demo", image: "local:default", labels: [label] },
        qemu: { memSizeMib: 512, vcpuCount: 1, diskSizeMib: 2048 },
      },
    ],
  };
}

async function closedRunners(daemon: DemoDaemon, count: number): Promise<ClosedRunner[]> {
  const end = performance.now() + CLOSE_TIMEOUT;
  for (;;) {
    const { runners } = await daemon.get<{ runners: ClosedRunner[] }>("/api/v1/history?limit=20");
    const { runners: open } = await daemon.get<{ runners: unknown[] }>("/api/v1/runners");
    if ((runners.length >= count && open.length === 0) || performance.now() > end) return runners;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/** Waits until runners have finished jobs, none is left, and no job waits for one: others may wait for the first. */
async function firstJobs(daemon: DemoDaemon, label: string): Promise<ClosedRunner[]> {
  const end = performance.now() + JOBS_TIMEOUT;
  let closed: ClosedRunner[] = [];
  while (performance.now() < end) {
    ({ runners: closed } = await daemon.get<{ runners: ClosedRunner[] }>("/api/v1/history?limit=20"));
    const { runners: open } = await daemon.get<{ runners: unknown[] }>("/api/v1/runners");
    const { jobs } = await daemon.get<{ jobs: { job: { labels: string[] } }[] }>("/api/v1/jobs");
    const waits = jobs.some(({ job }) => job.labels.includes(label));
    if (closed.length > 0 && open.length === 0 && !waits) return closed;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  if (closed.length > 0) return closed;
  throw new FireteactError("DEMO_NO_JOB", "no job came within 15 minutes", {
    hint: "does a workflow name the label in 'runs-on'?",
  });
}
