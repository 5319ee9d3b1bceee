import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import type { Client } from "@connectrpc/connect";
import {
  LogRowSchema,
  Result,
  type RunnerService,
  type StepStateSchema,
  TaskStateSchema,
} from "../../../../gen/runner/v1/runner_pb.js";
import type { Clock } from "../../../base/clock.ts";
import { describe } from "../../../base/errors.ts";
import type { Logger } from "../../../base/log.ts";
import { rpcProblem } from "../../../runner-rpc/errors.ts";
import type { JobLog } from "./job-log.ts";

export type JobResult = "success" | "failure" | "cancelled" | "skipped";

export interface StepReport {
  result?: JobResult;
  startedAt?: number;
  stoppedAt?: number;
  /** Where its lines are in the log. */
  logFrom: number;
  logLines: number;
}

/** Keeps the forge informed while a job runs, and closes its record in the order that ephemeral runners need. */
export interface Reporter {
  /** Changed in place by the job; sent with the next update. */
  readonly steps: StepReport[];
  /** Sends what changed, soon. */
  touch(): void;
  /** Log first, then outputs, then the result: after it the forge knows this runner no more. */
  finish(result: JobResult, outputs: Record<string, string>): Promise<void>;
}

interface ReporterOptions {
  client: Client<typeof RunnerService>;
  taskId: bigint;
  steps: number;
  log: JobLog;
  clock: Clock;
  logger: Logger;
  /** The forge ended the job, or has forgotten this runner. */
  onStopped(reason: string): void;
}

const TICK = 500;
const HEARTBEAT = 5_000;
const REQUEST_LIMIT = 30_000;
/** How long the end of a job is worth repeating to a forge that does not answer. */
const FINISH_LIMIT = 180_000;
const OUTPUT_TRIES = 5;

const RESULTS: Record<JobResult, Result> = {
  success: Result.SUCCESS,
  failure: Result.FAILURE,
  cancelled: Result.CANCELLED,
  skipped: Result.SKIPPED,
};

export function createReporter(options: ReporterOptions): Reporter {
  const { client, taskId, log, clock, logger } = options;
  const steps = Array.from({ length: options.steps }, (): StepReport => ({ logFrom: 0, logLines: 0 }));
  const startedAt = clock.now();
  const ended = new AbortController();
  let stopped = false;
  let dirty = true;
  let updatedAt = 0;
  const running = run();

  return { steps, touch, finish };

  function touch(): void {
    dirty = true;
  }

  async function run(): Promise<void> {
    while (!ended.signal.aborted) {
      await guarded("log", sendLog);
      if (dirty || clock.uptime() - updatedAt >= HEARTBEAT) await guarded("state", () => update());
      await clock.sleep(TICK, ended.signal).catch(() => undefined);
    }
  }

  /** A forge that does not answer does not end the job. */
  async function guarded(what: string, work: () => Promise<unknown>): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (rpcProblem(error) === "unregistered") stop("the forge has forgotten this runner");
      else logger.warn({ what, err: describe(error) }, "the forge could not be told; it will be tried again");
    }
  }

  function stop(reason: string): void {
    if (stopped) return;
    stopped = true;
    options.onStopped(reason);
  }

  async function sendLog(noMore = false): Promise<void> {
    const lines = log.pending();
    if (lines.length === 0) return;
    const rows = lines.map(({ at, content }) => create(LogRowSchema, { time: timestampFromMs(at), content }));
    const last = noMore && log.acknowledged + lines.length === log.length;
    const request = { taskId, index: BigInt(log.acknowledged), rows, noMore: last };
    const { ackIndex } = await client.updateLog(request, { timeoutMs: REQUEST_LIMIT });
    log.acknowledge(Number(ackIndex));
  }

  /** Returns the outputs that the forge has. */
  async function update(result?: JobResult, outputs: Record<string, string> = {}): Promise<string[]> {
    dirty = false;
    updatedAt = clock.uptime();
    const state: MessageInitShape<typeof TaskStateSchema> = {
      id: taskId,
      result: result === undefined ? Result.UNSPECIFIED : RESULTS[result],
      startedAt: timestampFromMs(startedAt),
      steps: steps.map(stepState),
      ...(result === undefined ? {} : { stoppedAt: timestampFromMs(clock.now()) }),
    };
    const request = { state: create(TaskStateSchema, state), outputs };
    const answer = await client.updateTask(request, { timeoutMs: REQUEST_LIMIT });
    const theirs = answer.state?.result ?? Result.UNSPECIFIED;
    if (result === undefined && theirs !== Result.UNSPECIFIED) {
      stop(theirs === Result.CANCELLED ? "the job was cancelled" : "the forge ended the job");
    }
    return answer.sentOutputs;
  }

  async function finish(result: JobResult, outputs: Record<string, string>): Promise<void> {
    ended.abort();
    await running;
    // Forges that ignore an empty last request leave a log open; a blank line closes it on all of them.
    log.write("");
    await insist("log", async () => {
      while (log.acknowledged < log.length) await sendLog(true);
    });
    await insist("outputs", () => sendOutputs(outputs));
    await insist("result", () => update(result));
  }

  async function sendOutputs(outputs: Record<string, string>): Promise<void> {
    let missing = Object.keys(outputs);
    for (let round = 0; round < OUTPUT_TRIES && missing.length > 0; round++) {
      const had = await update(undefined, Object.fromEntries(missing.map((key) => [key, outputs[key] ?? ""])));
      missing = missing.filter((key) => !had.includes(key));
    }
    if (missing.length > 0) logger.warn({ outputs: missing.length }, "the forge does not take all outputs");
  }

  async function insist(what: string, work: () => Promise<unknown>): Promise<void> {
    const until = clock.uptime() + FINISH_LIMIT;
    for (let delay = 200; ; delay = Math.min(2 * delay, 10_000)) {
      try {
        await work();
        return;
      } catch (error) {
        // Of a job that the forge has ended itself there may be nothing left to tell.
        if (stopped || rpcProblem(error) === "unregistered" || clock.uptime() + delay > until) {
          logger.warn({ what, err: describe(error) }, "the forge was not told the end of the job");
          return;
        }
        await clock.sleep(delay);
      }
    }
  }
}

function stepState(step: StepReport, index: number): MessageInitShape<typeof StepStateSchema> {
  return {
    id: BigInt(index),
    result: step.result === undefined ? Result.UNSPECIFIED : RESULTS[step.result],
    logIndex: BigInt(step.logFrom),
    logLength: BigInt(step.logLines),
    ...(step.startedAt === undefined ? {} : { startedAt: timestampFromMs(step.startedAt) }),
    ...(step.stoppedAt === undefined ? {} : { stoppedAt: timestampFromMs(step.stoppedAt) }),
  };
}
