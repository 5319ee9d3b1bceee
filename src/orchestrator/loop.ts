import type { Clock, Timer } from "../base/clock.ts";
import { describe } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import type { Fleet } from "../core/fleet.ts";
import { plan, recordFailure, recordRetry, recordSuccess } from "../core/plan.ts";
import {
  emptyMemory,
  type HostCapacity,
  type Mode,
  type PlanMemory,
  type PlanOutput,
  type PoolView,
} from "../core/plan-types.ts";
import { LANES, laneKey, retryKey, type Step } from "../core/steps.ts";
import type { DriverName } from "../core/types.ts";
import type { SandboxDriver } from "../sandbox/port.ts";
import type { Retention, Store } from "../store/port.ts";
import type { Attendance } from "./attendance.ts";
import { commandsOf } from "./commands.ts";
import type { ExecuteDeps } from "./execute/context.ts";
import { type BegunStep, createStepRunner, type FaultPoint, isOutside, type Outside } from "./execute/run.ts";
import type { RecordStep } from "./execute/table.ts";
import { listenToForges } from "./hearsay.ts";
import type { LogBook } from "./logs.ts";
import type { ForgeWatcher } from "./observe.ts";
import type { Orchestrator } from "./port.ts";
import type { Records } from "./records.ts";
import { createStrays } from "./strays.ts";
import { joinCalls, workThrough } from "./turns.ts";
import { createUnmatchedWarner } from "./unmatched.ts";

export interface LoopDeps {
  /** Hexes for new runners, see base/names.ts. */
  freshHex: () => string;
  clock: Clock;
  log: Logger;
  store: Store;
  records: Records;
  attendance: Attendance;
  logs: LogBook;
  execute: ExecuteDeps;
  drivers: Map<DriverName, SandboxDriver>;
  /** Read at every plan, so that a reload only swaps what this returns. */
  desired: () => {
    pools: PoolView[];
    host: HostCapacity;
    fleet: Fleet;
    watchers: Map<string, ForgeWatcher>;
    history: Retention;
  };
  /** See `StraysDeps`. */
  housekeeping?: number;
  /** Called at every point at which a crash must do no harm; tests kill the process there. */
  faultPoint?: FaultPoint;
}

/** Steps that have begun may end within this time at a shutdown. */
const FINISH_STEPS = 7_000;
/** And those that were given up, within this. */
const GIVE_UP_STEPS = 2_000;
/** When the plan is tried again after a failure of its own. */
const AFTER_FAILURE = 1_000;
/** What comes within this time, one turn of the event loop after the other, is planned for together. */
const JOIN_WAKES = 10;
/** The forge is asked when nothing else is to do, but no later than this. */
const FORGE_WAITS = 100;
const FORGE_STEPS_A_TURN = 8;

export interface Loop extends Orchestrator {
  /** Adopts what is there and begins to plan. */
  start(): Promise<void>;
  wake(): void;
  /** Changes what the loop strives for; resolves when no runner is left, for `drain` and `kill`. */
  windDown(how: "drain" | "kill", signal: AbortSignal): Promise<void>;
  /** Stops planning and waits for the steps that have begun. Sandboxes go on. */
  stop(): Promise<void>;
}

/**
 * The one loop of the host. It alone plans and records; steps run outside it, at most one per runner and lane, and come
 * back as changes of records. Everything else (polls, webhooks, agents, exits, the API) only wakes it.
 */
export function createLoop(deps: LoopDeps): Loop {
  const { clock, log, store, records } = deps;
  const paused = new Set(store.pausedPools());
  const inFlight = new Set<string>();
  let memory: PlanMemory = store.loadMemory() ?? emptyMemory();
  let output: PlanOutput = { steps: [], readAgain: {}, rowsWanted: [], reasons: [], memory };
  const strays = createStrays(deps);
  let mode: Mode = "detach";
  let planned = false;
  let alarm: Timer | undefined;
  const settled: (() => void)[] = [];
  const stopping = new AbortController();
  const warnOfUnmatched = createUnmatchedWarner(log);

  const stepRunner = createStepRunner({
    ...deps.execute,
    records,
    store,
    stopping: stopping.signal,
    ...(deps.faultPoint === undefined ? {} : { faultPoint: deps.faultPoint }),
  });

  let planFailure = "";
  const planSoon = joinCalls(clock, JOIN_WAKES, () => {
    if (mode === "detach") return;
    try {
      tick();
      planFailure = "";
    } catch (error) {
      // Runners go on without us; a full disk, say, passes.
      const cause = describe(error);
      // Tried again every second; said again when it is something else.
      if (cause !== planFailure) {
        log.error({ cause, err: log.isLevelEnabled("debug") ? error : undefined }, "a plan failed");
      }
      planFailure = cause;
      alarm?.cancel();
      alarm = clock.after(AFTER_FAILURE, wake);
    }
  });
  const forgeSteps = workThrough((begun: BegunStep) => launch(begun), FORGE_STEPS_A_TURN);
  const forgeSoon = joinCalls(clock, FORGE_WAITS, forgeSteps.go);
  const wake = () => {
    if (mode !== "detach") planSoon();
    if (!forgeSteps.isEmpty) forgeSoon();
  };

  const tick = () => {
    const began = performance.now();
    const { pools, host, fleet, watchers } = deps.desired();
    const forges = Object.fromEntries([...watchers].map(([key, watcher]) => [key, watcher.view()]));
    const rows = Object.values(forges).flatMap((view) => view.rows ?? []);
    listenToForges(records, forges);
    strays.takeUp(rows, pools);
    const known = new Set(records.all().map((runner) => runner.name));
    output = plan({
      mode,
      pools: pools.map((view) => ({ ...view, paused: paused.has(view.pool.name) })),
      host,
      fleet,
      runners: records.all(),
      forges,
      strays: { ...strays.view(), rows: rows.filter((row) => !known.has(row.name)) },
      inFlight,
      memory,
      now: clock.uptime(),
      wall: clock.now(),
      freshHex: deps.freshHex,
    });
    carryOut(output);
    for (const [target, since] of Object.entries(output.readAgain)) watchers.get(target)?.readAgain(since);
    planned = true;
    warnOfUnmatched(output.reasons);
    records.emit({ kind: "plan", milliseconds: performance.now() - began, steps: output.steps.length });
    alarm?.cancel();
    for (const target of output.rowsWanted) watchers.get(target)?.expectRows();
    if (output.wakeAt !== undefined) alarm = clock.after(Math.max(output.wakeAt - clock.uptime(), 10), wake);
    if (records.all().length === 0 && inFlight.size === 0) for (const resolve of settled.splice(0)) resolve();
  };

  /** Records everything that the plan wants in one transaction; only then does the first step change anything outside. */
  const carryOut = ({ steps, memory: remembered }: PlanOutput) => {
    const begun: BegunStep[] = [];
    const recorded: RecordStep[] = [];
    records.together(() => {
      for (const step of steps) {
        if (isOutside(step)) {
          begun.push(stepRunner.begin(step));
        } else {
          deps.faultPoint?.(step.kind, "before-record");
          recordStep(step);
          recorded.push(step.kind);
        }
      }
    });
    memory = remembered;
    for (const kind of recorded) deps.faultPoint?.(kind, "after-record");
    if (recorded.length > 0) wake();
    for (const { step } of begun) inFlight.add(laneKey(step));
    // Sandboxes take longest to come, and the forge's answer is needed only once they are there.
    for (const each of begun) if (LANES[each.step.kind] !== "forge") launch(each);
    forgeSteps.add(begun.filter(({ step }) => LANES[step.kind] === "forge"));
    if (!forgeSteps.isEmpty) forgeSoon();
  };

  const recordStep = (step: Exclude<Step, Outside>) => {
    switch (step.kind) {
      case "create":
        log.info({ runner: step.runner.id, job: step.runner.jobKey }, "creating a runner");
        records.add(step.runner);
        break;
      case "end":
        log.info({ runner: step.runner, reason: step.reason, detail: step.detail }, "ending a runner");
        records.apply(step.runner, { kind: "ending", reason: step.reason, detail: step.detail });
        break;
      case "keep":
        records.apply(step.runner, { kind: "kept" });
        break;
      case "leave-job":
        log.warn({ runner: step.runner, detail: step.detail }, "a job stays with the forge's own timer");
        records.apply(step.runner, { kind: "job-settled", outcome: { state: "left", detail: step.detail } });
        break;
      case "close":
        closeRecord(step.runner);
        break;
    }
  };

  const closeRecord = (id: string) => {
    const runner = records.get(id);
    const phase = runner?.registration.phase;
    if (phase === "pending" || phase === "active") {
      log.warn({ runner: id, target: runner?.target }, "its registration stays: the configuration names no such forge");
    }
    records.close(id);
  };

  const launch = (begun: BegunStep) => {
    const { step } = begun;
    const key = laneKey(step);
    stepRunner
      .carryOut(begun)
      .then(
        () => {
          memory = recordRetry(memory, step, undefined, clock.uptime());
          forget(step);
        },
        (error: unknown) => failed(step, key, error),
      )
      .finally(() => {
        inFlight.delete(key);
        wake();
      });
  };

  /** What was swept away is not seen again before the host or the forge is looked at the next time. */
  const forget = (step: Step) => {
    if (step.kind === "sweep-sandbox") strays.forget(step.hex);
    if (step.kind === "sweep-row") deps.desired().watchers.get(step.target)?.forget(step.row);
  };

  /**
   * A request that failed may mean that the whole forge is in trouble: its queue, read now, says that in one line for
   * all. What fails a second time is told, and then no more.
   */
  const isToldOf = (step: Outside): boolean => {
    if (step.kind === "register" || LANES[step.kind] !== "forge") return true;
    const target = "target" in step ? step.target : "runner" in step ? records.get(step.runner)?.target : undefined;
    deps
      .desired()
      .watchers.get(target ?? "")
      ?.poke();
    return memory.retries[retryKey(step)]?.failures === 1;
  };

  const failed = (step: Outside, key: string, error: unknown) => {
    const cause = describe(error);
    log[isToldOf(step) ? "warn" : "debug"](
      { step: step.kind, lane: key, cause, err: log.isLevelEnabled("debug") ? error : undefined },
      "a step failed",
    );
    if (step.kind !== "register" && step.kind !== "boot") {
      memory = recordRetry(memory, step, cause, clock.uptime());
      return;
    }
    const reason = step.kind === "register" ? "register-failed" : "boot-failed";
    const runner = records.applyAnyway(step.runner, { kind: "ending", reason, detail: cause });
    if (runner !== undefined && mode !== "detach") memory = recordFailure(memory, runner.pool, cause, clock.uptime());
  };

  const keepHouse = () => {
    try {
      store.saveMemory(memory);
      store.tidy(deps.desired().history);
    } catch (error) {
      log.error({ cause: describe(error) }, "the plan's memory could not be saved");
    }
    wake();
  };

  const stepsEnd = async (milliseconds: number) => {
    const end = clock.uptime() + milliseconds;
    while (inFlight.size > 0 && clock.uptime() < end) await clock.sleep(20);
  };

  records.subscribe((event) => {
    if (event.kind !== "runner") return;
    if (event.change === "listening") memory = recordSuccess(memory, event.runner.pool);
    const { target, mute } = event.runner;
    // The end of a job may have made others runnable.
    if (event.change === "job-finished" || event.change === "job-settled") deps.desired().watchers.get(target)?.poke();
    // Only the forge knows what it ended with.
    if (event.change === "sandbox-exited" && mute === true)
      deps.desired().watchers.get(target)?.readAgain(clock.uptime());
  });

  return {
    ...commandsOf({ ...deps, paused, output: () => output, memory: () => memory, planned: () => planned, wake }),
    start: async () => {
      await strays.adopt();
      // What an intent wanted is in its runner's record; the plan finishes or undoes it from there.
      for (const { id, lane, step } of store.openIntents()) {
        log.info({ lane, step: (JSON.parse(step) as Step).kind }, "the process before this one ended during a step");
        store.endStep(id);
      }
      mode = "run";
      await strays.search(keepHouse);
    },
    wake,
    windDown: async (how, signal) => {
      mode = "drain";
      if (how === "kill") {
        for (const runner of records.all()) {
          records.apply(runner.id, {
            kind: "ending",
            reason: "shutdown",
            detail: "the orchestrator was told to end everything",
          });
        }
      }
      await new Promise<void>((resolve) => {
        settled.push(resolve);
        signal.addEventListener("abort", () => resolve(), { once: true });
        wake();
      });
    },
    stop: async () => {
      mode = "detach";
      alarm?.cancel();
      await strays.stop();
      await stepsEnd(FINISH_STEPS);
      stopping.abort(new Error("the orchestrator stops"));
      await stepsEnd(GIVE_UP_STEPS);
      store.saveMemory(memory);
    },
  };
}
