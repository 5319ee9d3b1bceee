import type {
  AgentState,
  ClaimedJob,
  EndReason,
  Job,
  JobOutcome,
  JobResult,
  Phase,
  Runner,
  RunnerStatus,
  SandboxExit,
  SandboxState,
  SandboxUsage,
} from "./types.ts";

/** Whatever changes a runner's record. `now` is uptime, `at` wall clock. */
export type RunnerEvent =
  | { kind: "register-asked" }
  | { kind: "registered"; row: number; uuid: string }
  | { kind: "row-gone" }
  | { kind: "boot-asked" }
  | { kind: "booted"; address?: string }
  | { kind: "adopted" }
  | { kind: "agent-up" }
  /** What came from the agent was cut off. */
  | { kind: "agent-trouble"; detail: string }
  | { kind: "engine-starting" }
  | { kind: "credentials-given" }
  | { kind: "credentials-withdrawn" }
  | { kind: "listening" }
  /** Somebody wants it gone once it is known to hold no job. */
  | { kind: "removal-asked"; reason: EndReason; detail: string }
  | { kind: "draining"; reason: EndReason; detail: string }
  | { kind: "drained" }
  | { kind: "assigned"; job: ClaimedJob }
  | { kind: "first-step" }
  | { kind: "job-finished"; result?: JobResult }
  | { kind: "engine-exited"; code: number }
  | { kind: "sandbox-exited"; exit: SandboxExit }
  | { kind: "sandbox-gone"; usage?: SandboxUsage }
  | { kind: "matched"; job: Job }
  | { kind: "ending"; reason: EndReason; detail: string }
  /** The job that the runner ended under is settled with the forge, or given up. */
  | { kind: "job-settled"; outcome: JobOutcome }
  | { kind: "kept" };

/**
 * A runner after an event. Events may repeat or arrive late (channel replay, adoption): the record never goes back, and
 * an event that brings nothing new returns the same object.
 */
export function applyEvent(runner: Runner, event: RunnerEvent, time: { now: number; at: number }): Runner {
  const since = time.now;
  const at = time.at;
  switch (event.kind) {
    case "register-asked":
      return runner.registration.phase === "none" ? { ...runner, registration: { phase: "pending", since } } : runner;
    case "registered": {
      if (runner.registration.phase === "active" || runner.registration.phase === "gone") return runner;
      const registration = { phase: "active", row: event.row, uuid: event.uuid, since } as const;
      return reach({ ...runner, registration }, "registered", at);
    }
    case "row-gone":
      return runner.registration.phase === "gone" ? runner : { ...runner, registration: { phase: "gone" } };

    case "boot-asked":
      return withSandbox(runner, { phase: "starting", since });
    case "booted": {
      const started = reach(withSandbox(runner, { phase: "running", since }), "started", at);
      if (event.address === undefined || started.address !== undefined) return started;
      return { ...started, address: event.address };
    }
    case "adopted":
      return { ...runner, adopted: { since } };
    case "sandbox-exited":
      return withSandbox(runner, { phase: "exited", exit: event.exit, since });
    case "sandbox-gone": {
      const used = event.usage === undefined || runner.usage !== undefined ? runner : { ...runner, usage: event.usage };
      return reach(withSandbox(used, { phase: "gone" }), "destroyed", at);
    }

    case "credentials-given":
      return runner.credentials === "none" ? { ...runner, credentials: "given", given: { since } } : runner;
    case "credentials-withdrawn":
      return runner.credentials === "given" ? { ...runner, credentials: "withdrawn" } : runner;

    case "agent-up":
      return withAgent(runner, { phase: "up", since });
    case "agent-trouble":
      return runner.trouble === event.detail ? runner : { ...runner, trouble: event.detail };
    case "engine-starting":
      return withAgent(runner, { phase: "starting", since });
    case "listening":
      return reach(withAgent(runner, { phase: "listening", since }), "ready", at);
    case "removal-asked": {
      const isSettled = runner.ending !== undefined || runner.removal !== undefined;
      if (isSettled || AGENT_ORDER[runner.agent.phase] > AGENT_ORDER.drained) return runner;
      return { ...runner, removal: { reason: event.reason, detail: event.detail, since } };
    }
    case "draining": {
      // The agent's answer may be recorded before the question.
      const asked = withAgent(runner, { phase: "draining", since });
      if (asked.removal !== undefined || AGENT_ORDER[asked.agent.phase] > AGENT_ORDER.drained) return asked;
      return { ...asked, removal: { reason: event.reason, detail: event.detail, since } };
    }
    case "drained":
      return withAgent(runner, { phase: "drained", since });
    case "assigned":
      return reach(withAgent(runner, { phase: "busy", since, job: event.job }), "assigned", at);
    case "first-step":
      return reach(runner, "first_step", at);
    case "job-finished": {
      const result = event.result === undefined ? {} : { result: event.result };
      return reach(
        withAgent(runner, { phase: "finished", since, job: jobOf(runner) ?? {}, ...result }),
        "finished",
        at,
      );
    }
    case "engine-exited": {
      const job = jobOf(runner);
      const ended = withAgent(runner, {
        phase: "finished",
        since,
        ...(job === undefined ? {} : { job }),
        code: event.code,
      });
      return job === undefined ? ended : reach(ended, "finished", at);
    }

    case "matched":
      return matched(runner, event.job);
    case "ending": {
      const { reason, detail } = event;
      return runner.ending === undefined ? { ...runner, ending: { reason, detail, since } } : runner;
    }
    case "job-settled":
      return runner.outcome === undefined ? { ...runner, outcome: event.outcome } : runner;
    case "kept": {
      if (runner.removal === undefined) return runner;
      const { removal: _, ...kept } = runner;
      return kept;
    }
  }
}

/** How far each state has come; a record moves only to a higher one. */
const SANDBOX_ORDER: Record<SandboxState["phase"], number> = { none: 0, starting: 1, running: 2, exited: 3, gone: 4 };
const AGENT_ORDER: Record<AgentState["phase"], number> = {
  silent: 0,
  up: 1,
  starting: 2,
  listening: 3,
  draining: 4,
  drained: 5,
  // Above `drained`: a runner that says it holds a job is believed, whatever it said before.
  busy: 6,
  finished: 7,
};

function withSandbox(runner: Runner, sandbox: SandboxState): Runner {
  return SANDBOX_ORDER[sandbox.phase] > SANDBOX_ORDER[runner.sandbox.phase] ? { ...runner, sandbox } : runner;
}

function withAgent(runner: Runner, agent: AgentState): Runner {
  return AGENT_ORDER[agent.phase] > AGENT_ORDER[runner.agent.phase] ? { ...runner, agent } : runner;
}

/** Notes when a phase was reached; the first time counts. */
function reach(runner: Runner, phase: Phase, at: number): Runner {
  return reached(runner, phase) ? runner : { ...runner, timeline: { ...runner.timeline, [phase]: at } };
}

/** The job that a runner says it holds or held. */
export function jobOf(runner: Runner): ClaimedJob | undefined {
  return runner.agent.phase === "busy" || runner.agent.phase === "finished" ? runner.agent.job : undefined;
}

/** How its job ended: by the agent's word, or where the runner ended under its job, by the forge's. */
export function resultOf({ agent, ending, outcome }: Runner): JobResult | undefined {
  if (agent.phase === "finished") return agent.result;
  if (ending?.reason === "cancelled-by-forge") return "cancelled";
  if (outcome?.state === "failed") return "failure";
  return outcome?.state === "over" ? outcome.result : undefined;
}

/** Only a runner that no forge knows yet can still be meant for a job: later the forge decides what it gets. */
function matched(runner: Runner, job: Job): Runner {
  if (runner.jobKey === job.key || runner.registration.phase !== "none") return runner;
  const { handle: _, ...free } = runner;
  const { queued: __, ...times } = runner.timeline;
  return {
    ...free,
    jobKey: job.key,
    ...(job.handle === undefined || runner.mute === true ? {} : { handle: job.handle }),
    timeline: { ...times, observed: job.at, ...(job.queuedAt === undefined ? {} : { queued: job.queuedAt }) },
  };
}

/** Reasons that mean that something went wrong, rather than that the runner was not needed any more. */
const FAILURES: ReadonlySet<EndReason> = new Set([
  "register-failed",
  "boot-failed",
  "boot-timeout",
  "ready-timeout",
  "job-timeout",
  "engine-failed",
  "sandbox-exited",
]);

/** The original's six words, for the API. */
export function statusOf(runner: Runner): RunnerStatus {
  if (!isLive(runner)) return runner.ending !== undefined && FAILURES.has(runner.ending.reason) ? "failed" : "stopped";
  if (runner.ending !== undefined || runner.sandbox.phase === "exited") return "stopping";
  switch (runner.agent.phase) {
    case "silent":
    case "starting":
      return "starting";
    case "up":
      return runner.registration.phase === "none" ? "idle" : "starting";
    case "listening":
      return "idle";
    case "busy":
      return "busy";
    case "draining":
    case "drained":
    case "finished":
      return "stopping";
  }
}

/** Whether its credentials are in its sandbox from the start, so that it is registered before that is made. */
export function isBornRegistered({ mute, driver }: Pick<Runner, "mute" | "driver">): boolean {
  return mute === true || driver === "native";
}

/** Whether the runner holds a job: the agent's word, never guessed. */
export function isBusy(runner: Runner): boolean {
  return runner.agent.phase === "busy";
}

/** Whether the runner may still take a job: starting or ready, and not ending. */
export function isAvailable(runner: Runner): boolean {
  if (runner.ending !== undefined || runner.removal !== undefined) return false;
  if (runner.registration.phase === "gone") return false;
  if (SANDBOX_ORDER[runner.sandbox.phase] > SANDBOX_ORDER.running) return false;
  return AGENT_ORDER[runner.agent.phase] <= AGENT_ORDER.listening;
}

/** Whether the runner still holds resources of the host or may do so. */
export function isLive(runner: Runner): boolean {
  return runner.sandbox.phase !== "gone" && !(runner.sandbox.phase === "none" && runner.ending !== undefined);
}

/** Whether something in the runner's sandbox runs, or may. */
export function mayAct(runner: Runner): boolean {
  return isLive(runner) && runner.sandbox.phase !== "exited";
}

export function reached(runner: Runner, phase: Phase): boolean {
  return runner.timeline[phase] !== undefined;
}
