import type { FaultPoint } from "../../../src/orchestrator/execute/run.ts";

type Step = Parameters<FaultPoint>[0];
type Moment = Parameters<FaultPoint>[1];

/** A moment of a step at which the daemon dies. */
export interface Point {
  step: Step;
  point: Moment;
}

/** Where the daemon under test kills itself: at the `hit`-th passing of the point, or of any where none is named. */
export interface Kill extends Partial<Point> {
  hit: number;
}

/** What the daemon under test is told, beside its configuration. */
export interface Orders {
  kill?: Kill;
  /** It counts only while this file is there. */
  armed: string;
  /** One line is appended for each point that is passed. */
  trace: string;
  /** Milliseconds between two searches of the host. */
  housekeeping: number;
}

/** A point in one text, as in the trace. */
export const nameOf = ({ step, point }: Point): string => `${step} ${point}`;
