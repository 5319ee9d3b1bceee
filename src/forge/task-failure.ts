import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { type Client, Code, ConnectError } from "@connectrpc/connect";
import { LogRowSchema, Result, type RunnerService } from "../../gen/runner/v1/runner_pb.js";
import type { JobResult } from "../core/types.ts";
import { createRunnerClient } from "../runner-rpc/client.ts";
import { rpcProblem } from "../runner-rpc/errors.ts";
import { clean, ForgeError } from "./errors.ts";
import type { ForgeHttp } from "./http.ts";
import type { ForgeTarget, TaskFailure } from "./port.ts";
import { fetchThrough } from "./runner-fetch.ts";

const CALL = { operation: "fail-task", needs: "no right: the runner's own credentials are enough", repeatable: true };
/** Somebody else may write to the log between the question for its length and our lines. */
const LOG_TRIES = 3;

type Rpc = Client<typeof RunnerService>;

/**
 * Ends a task in the name of its runner, which is no more. In the order that ephemeral runners need: is there anything
 * to end, then the last lines of the log, then the result, after which the forge knows the runner no more. Repeating it
 * writes no line twice and changes no result. A task that is not the runner's own is refused by the forge.
 */
export async function failTask(
  http: ForgeHttp,
  failure: TaskFailure,
  now: number,
  signal: AbortSignal,
): ReturnType<ForgeTarget["failTask"]> {
  const { uuid, token, taskId, lines } = failure;
  const fetchVia = fetchThrough(http, CALL, signal);
  const { runner } = createRunnerClient({ baseUrl: http.url, uuid, token, fetchVia });
  const id = BigInt(taskId);
  const report = async (result: Result): Promise<Result> => {
    const stoppedAt = result === Result.UNSPECIFIED ? {} : { stoppedAt: timestampFromMs(now) };
    return (await runner.updateTask({ state: { id, result, ...stoppedAt } }, { signal })).state?.result ?? result;
  };
  try {
    const before = await report(Result.UNSPECIFIED);
    if (before !== Result.UNSPECIFIED) return over(before);
    await closeLog(runner, id, lines, now, signal);
    const after = await report(Result.FAILURE);
    return after === Result.FAILURE ? { state: "failed" } : over(after);
  } catch (error) {
    if (rpcProblem(error) === "unregistered") return { state: "over" };
    throw asForgeError(error, http, token, signal);
  }
}

async function closeLog(runner: Rpc, taskId: bigint, lines: string[], now: number, signal: AbortSignal): Promise<void> {
  const rows = lines.map((content) => create(LogRowSchema, { time: timestampFromMs(now), content }));
  // Without rows nothing is written, and the answer is the log's length.
  let { ackIndex: length } = await runner.updateLog({ taskId, index: 0n, rows: [], noMore: false }, { signal });
  for (let tries = 0; tries < LOG_TRIES; tries++) {
    try {
      const { ackIndex } = await runner.updateLog({ taskId, index: length, rows, noMore: true }, { signal });
      if (ackIndex === length + BigInt(rows.length)) return;
      length = ackIndex;
    } catch (error) {
      // By the engine, or by us in an earlier try.
      if (rpcProblem(error) === "log-closed") return;
      throw error;
    }
  }
}

const RESULTS: Partial<Record<Result, JobResult>> = {
  [Result.SUCCESS]: "success",
  [Result.FAILURE]: "failure",
  [Result.CANCELLED]: "cancelled",
  [Result.SKIPPED]: "skipped",
};

function over(result: Result): { state: "over"; result?: JobResult } {
  const known = RESULTS[result];
  return known === undefined ? { state: "over" } : { state: "over", result: known };
}

function asForgeError(error: unknown, http: ForgeHttp, token: string, signal: AbortSignal): unknown {
  if (signal.aborted) return signal.reason;
  if (!(error instanceof ConnectError)) return error;
  if (error.cause instanceof ForgeError) return error.cause;
  const said = clean(error.rawMessage.replaceAll(token, "[secret]"), 200);
  return new ForgeError("FORGE_REFUSED", `${http.url} did not let the job be ended: ${said}`, {
    facts: { rpcCode: Code[error.code] },
  });
}
