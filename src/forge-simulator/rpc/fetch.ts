import { create, toJsonString } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { codeToHttpStatus, errorToJson } from "@connectrpc/connect/protocol-connect";
import * as z from "zod";
import {
  type FetchTaskResponse,
  FetchTaskResponseSchema,
  type Task as RpcTask,
  TaskNeedSchema,
  TaskSchema,
} from "../../../gen/runner/v1/runner_pb.js";
import { taskContext, taskSecrets, taskVariables } from "../context.ts";
import { type Answer, json, type SimulatedRequest } from "../http/message.ts";
import type { Runner, Task } from "../records.ts";
import { type FetchRequest, fetchTask, releaseTask, TaskRefusal, taskNeeds } from "../tasks.ts";
import type { World } from "../world.ts";
import { authenticate, failed } from "./access.ts";

export interface FetchCall {
  headers: Headers;
  version: number;
  handle?: string | undefined;
  signal: AbortSignal;
}

export type Fetch = (call: FetchCall) => Promise<FetchTaskResponse>;

/** FetchTask and FetchSingleTask, which differ only in the handle. */
export function createFetch(world: World): Fetch {
  const locked = new Set<string>();
  return async ({ headers, version, handle, signal }) => {
    const runner = authenticate(world, headers);
    const requestKey = world.traits.requestKeys ? (headers.get("x-runner-request-key") ?? undefined) : undefined;
    const lock = requestKey === undefined ? undefined : `${runner.id} ${requestKey}`;
    if (lock !== undefined && locked.has(lock))
      throw failed(world, new TaskRefusal("internal", "request key is currently locked"));
    if (lock !== undefined) locked.add(lock);
    try {
      return await answerFetch(world, runner, { version, requestKey, handle }, signal);
    } catch (error) {
      throw failed(world, error);
    } finally {
      if (lock !== undefined) locked.delete(lock);
    }
  };
}

const SingleTaskRequest = z.object({
  tasksVersion: z.union([z.string().regex(/^\d+$/), z.number()]).default(0),
  handle: z.string().default(""),
});

/**
 * Forgejo's FetchSingleTask, in JSON only: the numbers of its fields are not known for certain, their names are, so a
 * binary call is refused rather than guessed.
 */
export async function fetchSingleTask(fetch: Fetch, request: SimulatedRequest): Promise<Answer> {
  try {
    if (!(request.headers.get("content-type") ?? "").startsWith("application/json"))
      throw new ConnectError("the simulator serves FetchSingleTask in JSON only", Code.Unimplemented);
    const given = SingleTaskRequest.safeParse(JSON.parse(request.body.toString("utf8")));
    if (!given.success) throw new ConnectError("not a FetchSingleTask request", Code.InvalidArgument);
    const { tasksVersion, handle } = given.data;
    const wanted = handle === "" ? undefined : handle;
    const call = { headers: request.headers, version: Number(tasksVersion), handle: wanted, signal: request.signal };
    const headers = { "content-type": "application/json" };
    return { status: 200, headers, body: toJsonString(FetchTaskResponseSchema, await fetch(call)) };
  } catch (error) {
    const known = ConnectError.from(error);
    return json(codeToHttpStatus(known.code), errorToJson(known, undefined), { "content-type": "application/json" });
  }
}

async function answerFetch(
  world: World,
  runner: Runner,
  request: FetchRequest,
  signal: AbortSignal,
): Promise<FetchTaskResponse> {
  const fetched = await fetchTask(world, runner, request);
  if (fetched.task !== undefined && signal.aborted && world.traits.releasesDropped) {
    releaseTask(world, fetched.task);
    throw new TaskRefusal("internal", "request was dropped");
  }
  const tasksVersion = BigInt(fetched.version);
  if (fetched.task === undefined) return create(FetchTaskResponseSchema, { tasksVersion });
  return create(FetchTaskResponseSchema, { tasksVersion, task: rpcTask(world, fetched.task) });
}

function rpcTask(world: World, task: Task): RpcTask {
  return create(TaskSchema, {
    id: BigInt(task.id),
    workflowPayload: Buffer.from(task.job.workflow),
    context: taskContext(world, task),
    secrets: taskSecrets(world, task),
    vars: taskVariables(task),
    needs: Object.fromEntries(
      Object.entries(taskNeeds(task.job)).map(([key, need]) => [key, create(TaskNeedSchema, need)]),
    ),
  });
}
