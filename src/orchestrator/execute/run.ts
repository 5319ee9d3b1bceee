import { withDeadline } from "../../base/clock.ts";
import type { Logger } from "../../base/log.ts";
import { LANES, laneKey, type Step, type StepKind } from "../../core/steps.ts";
import type { Runner } from "../../core/types.ts";
import type { ExecuteContext, ExecuteDeps, Executor } from "./context.ts";
import { begins, EXECUTORS, type OutsideStep, type RecordStep, STEP_TIMEOUTS } from "./table.ts";

/** The four moments of a step at which a crash must lose nothing and leave nothing. */
export const POINTS = ["before-intent", "after-intent", "after-effect", "after-record"] as const;
/** Those of a step that changes nothing but a record. */
export const RECORD_POINTS = ["before-record", "after-record"] as const;
export type FaultPoint = (step: StepKind, point: (typeof POINTS | typeof RECORD_POINTS)[number]) => void;

/** A step that changes something outside. */
export type Outside = Exclude<Step, { kind: RecordStep }>;
export const isOutside = (step: Step): step is Outside => LANES[step.kind] !== "record";

/** A step whose intent is recorded, and nothing else of it yet. */
export interface BegunStep {
  step: Outside;
  intent: number;
  /** Its runner before. */
  before: Runner | undefined;
}

/** Carries out steps that change something outside: intent first, then the effect, then the record of it. */
export interface StepRunner {
  /** Records the intent; with others in one transaction, see `Records.together`. */
  begin(step: Outside): BegunStep;
  /** The effect and the record of it. The intent is on disk by now. */
  carryOut(begun: BegunStep): Promise<void>;
}

export function createStepRunner(
  deps: ExecuteDeps & {
    /** Gives up all steps: the process ends. */
    stopping: AbortSignal;
    faultPoint?: FaultPoint;
  },
): StepRunner {
  const { store, records, clock } = deps;
  const point = deps.faultPoint ?? (() => {});

  return {
    begin: (step) => {
      point(step.kind, "before-intent");
      const before = "runner" in step ? records.get(step.runner) : undefined;
      const intent = store.beginStep(laneKey(step), JSON.stringify(step), clock.now());
      if (before !== undefined) records.apply(before.id, ...begins(step));
      return { step, intent, before };
    },
    carryOut: async ({ step, intent, before }) => {
      const began = performance.now();
      point(step.kind, "after-intent");
      let ok = false;
      try {
        const execute = EXECUTORS[step.kind] as Executor<OutsideStep>;
        const writes: (() => void)[] = [];
        const events = await withDeadline(clock, STEP_TIMEOUTS[step.kind], [deps.stopping], (signal) =>
          execute(step, deps, contextOf(step, before, deps, { signal, writes })),
        );
        point(step.kind, "after-effect");
        await records.soon(() => {
          for (const write of writes) write();
          if ("runner" in step) records.apply(step.runner, ...events);
          store.endStep(intent);
        });
        ok = true;
        point(step.kind, "after-record");
      } catch (error) {
        store.endStep(intent);
        throw error;
      } finally {
        records.emit({
          kind: "step",
          step: step.kind,
          ...(before === undefined ? {} : { pool: before.pool }),
          milliseconds: performance.now() - began,
          ok,
        });
      }
    },
  };
}

function contextOf(
  step: Outside,
  before: Runner | undefined,
  deps: ExecuteDeps,
  own: Pick<ExecuteContext, "signal" | "writes">,
): ExecuteContext {
  const subject = "runner" in step ? { runner: step.runner } : {};
  const facts = { step: step.kind, ...subject, ...(before === undefined ? {} : { pool: before.pool }) };
  let log: Logger | undefined;
  return {
    ...own,
    before,
    // Most steps have nothing to say, and a logger of their own is dear.
    get log() {
      log ??= deps.log.child(facts);
      return log;
    },
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
        const rounded = Math.round(milliseconds * 100) / 100;
        deps.log.debug({ ...facts, part, milliseconds: rounded, ok }, "part of a step");
        deps.records.emit({ kind: "part", step: step.kind, part, milliseconds, ok });
      }
    },
  };
}
