import type { RunnerEvent } from "../../core/runner.ts";
import { laneKey, type Step, type StepKind } from "../../core/steps.ts";
import type { StepContext } from "../../sandbox/port.ts";
import type { ExecuteDeps, Executor } from "./context.ts";
import { EXECUTORS, type OutsideStep, type RecordStep, STEP_TIMEOUTS } from "./table.ts";

/** The four moments of a step at which a crash must lose nothing and leave nothing. */
export const POINTS = ["before-intent", "after-intent", "after-effect", "after-record"] as const;
/** Those of a step that changes nothing but a record. */
export const RECORD_POINTS = ["before-record", "after-record"] as const;
export type FaultPoint = (step: StepKind, point: (typeof POINTS | typeof RECORD_POINTS)[number]) => void;

/** Carries out steps that change something outside: intent first, then the effect, then the record of it. */
export function createStepRunner(
  deps: ExecuteDeps & {
    /** Gives up all steps: the process ends. */
    stopping: AbortSignal;
    faultPoint?: FaultPoint;
  },
) {
  const { store, records, clock } = deps;
  const point = deps.faultPoint ?? (() => {});

  return async (step: Exclude<Step, { kind: RecordStep }>): Promise<void> => {
    const runner = "runner" in step ? records.get(step.runner) : undefined;
    const began = performance.now();
    point(step.kind, "before-intent");
    const intent = store.beginStep(laneKey(step), JSON.stringify(step), clock.now(), runner);
    point(step.kind, "after-intent");
    let ok = false;
    try {
      const execute = EXECUTORS[step.kind] as Executor<OutsideStep>;
      const events: RunnerEvent[] = await execute(step, deps, contextOf(step, deps, runner?.pool));
      point(step.kind, "after-effect");
      if ("runner" in step && records.get(step.runner) !== undefined) {
        records.applyWith(step.runner, events, (after, changes) => store.endStep(intent, after, changes));
      } else {
        store.endStep(intent);
      }
      ok = true;
      point(step.kind, "after-record");
    } catch (error) {
      store.endStep(intent);
      throw error;
    } finally {
      records.emit({
        kind: "step",
        step: step.kind,
        ...(runner === undefined ? {} : { pool: runner.pool }),
        milliseconds: performance.now() - began,
        ok,
      });
    }
  };
}

function contextOf(
  step: Exclude<Step, { kind: RecordStep }>,
  deps: ExecuteDeps & { stopping: AbortSignal },
  pool: string | undefined,
): StepContext {
  const subject = "runner" in step ? { runner: step.runner } : {};
  const log = deps.log.child({ step: step.kind, ...subject, ...(pool === undefined ? {} : { pool }) });
  return {
    signal: AbortSignal.any([AbortSignal.timeout(STEP_TIMEOUTS[step.kind]), deps.stopping]),
    log,
    step: async (part, work) => {
      const began = performance.now();
      let ok = false;
      try {
        const result = await work();
        ok = true;
        return result;
      } catch (error) {
        throw new Error(part, { cause: error });
      } finally {
        const milliseconds = performance.now() - began;
        log.debug({ part, milliseconds: Math.round(milliseconds * 100) / 100, ok }, "part of a step");
        deps.records.emit({ kind: "part", step: step.kind, part, milliseconds, ok });
      }
    },
  };
}
