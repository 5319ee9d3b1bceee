import { create } from "@bufbuild/protobuf";
import { type Timestamp, timestampDate } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, type ConnectRouter, createConnectRouter, type HandlerContext } from "@connectrpc/connect";
import { createFetchHandler } from "@connectrpc/connect/protocol";
import { compressionGzip } from "@connectrpc/connect-node";
import { PingService } from "../../gen/ping/v1/ping_pb.js";
import {
  type FetchTaskResponse,
  FetchTaskResponseSchema,
  type Runner as RpcRunner,
  RunnerSchema,
  RunnerService,
  RunnerStatus,
  TaskNeedSchema,
  TaskSchema,
  TaskStateSchema,
  UpdateTaskResponseSchema,
} from "../../gen/runner/v1/runner_pb.js";
import { taskContext, taskSecrets, taskVariables } from "./context.ts";
import type { Runner, Task } from "./records.ts";
import { addRunner, authenticateRunner, findRegistrationToken } from "./runners.ts";
import { fetchTask, releaseTask, TaskRefusal, taskNeeds, updateLog, updateTask } from "./tasks.ts";
import type { World } from "./world.ts";

const UNREGISTERED = "unregistered runner";

export type RpcHandler = (request: Request) => Promise<Response>;

/** The runner protocol: handlers by path (`/runner.v1.RunnerService/FetchTask`), in binary proto and JSON. */
export function createRpc(world: World): Map<string, RpcHandler> {
  const router = createConnectRouter({ acceptCompression: [compressionGzip] });
  pingService(router);
  runnerService(router, world);
  return new Map(router.handlers.map((handler) => [handler.requestPath, createFetchHandler(handler)]));
}

function pingService(router: ConnectRouter): void {
  router.service(PingService, { ping: (request) => ({ data: `Hello, ${request.data}!` }) });
}

function runnerService(router: ConnectRouter, world: World): void {
  const lockedKeys = new Set<string>();
  router.service(RunnerService, {
    register: (request) => {
      if (request.token === "" || request.name === "") throw refused(world, "missing runner token, name");
      const found = findRegistrationToken(world, request.token);
      if (found === undefined) throw refused(world, "runner registration token not found");
      if (!found.active)
        throw refused(world, "runner registration token has been invalidated, please use the latest one");
      const { runner, secret } = addRunner(world, {
        name: request.name,
        scope: found.scope,
        labels: request.labels.length > 0 ? request.labels : [...request.agentLabels, ...request.customLabels],
        version: request.version,
        ephemeral: request.ephemeral && world.traits.ephemeral,
        capabilities: request.capabilities,
      });
      return { runner: { ...rpcRunner(runner), token: secret } };
    },
    declare: (request, context) => {
      const runner = authenticate(world, context);
      runner.version = request.version;
      runner.labels = request.labels;
      runner.capabilities = request.capabilities;
      if (world.traits.declareCapabilities) context.responseHeader.set("x-gitea-actions-capabilities", "job-summary");
      return { runner: rpcRunner(runner) };
    },
    fetchTask: async (request, context) => {
      const runner = authenticate(world, context);
      const key = context.requestHeader.get("x-runner-request-key") ?? undefined;
      const lock = key === undefined || !world.traits.requestKeys ? undefined : `${runner.id} ${key}`;
      if (lock !== undefined && lockedKeys.has(lock))
        throw failed(world, new TaskRefusal("internal", "request key is currently locked"));
      if (lock !== undefined) lockedKeys.add(lock);
      try {
        return await answerFetch(world, runner, Number(request.tasksVersion), key, context.signal);
      } catch (error) {
        throw failed(world, error);
      } finally {
        if (lock !== undefined) lockedKeys.delete(lock);
      }
    },
    updateTask: (request, context) => {
      const runner = authenticate(world, context, true);
      const { state } = request;
      if (state === undefined) throw failed(world, new TaskRefusal("internal", "missing task state"));
      const report = {
        id: Number(state.id),
        result: state.result,
        stoppedAt: milliseconds(state.stoppedAt),
        steps: state.steps.map((step) => ({
          id: Number(step.id),
          result: step.result,
          startedAt: milliseconds(step.startedAt),
          stoppedAt: milliseconds(step.stoppedAt),
          logIndex: Number(step.logIndex),
          logLength: Number(step.logLength),
        })),
      };
      const { result, sent } = guarded(world, () => updateTask(world, runner, report, request.outputs));
      return create(UpdateTaskResponseSchema, {
        state: create(TaskStateSchema, { id: state.id, result }),
        sentOutputs: sent,
      });
    },
    updateLog: (request, context) => {
      const runner = authenticate(world, context, true);
      const rows = request.rows.map((row) => ({ time: milliseconds(row.time), content: row.content }));
      const given = { taskId: Number(request.taskId), index: Number(request.index), rows, noMore: request.noMore };
      return { ackIndex: BigInt(guarded(world, () => updateLog(world, runner, given))) };
    },
  });
}

async function answerFetch(
  world: World,
  runner: Runner,
  version: number,
  key: string | undefined,
  signal: AbortSignal,
): Promise<FetchTaskResponse> {
  const fetched = await fetchTask(world, runner, version, key);
  if (fetched.task !== undefined && signal.aborted && world.traits.releasesDropped) {
    releaseTask(world, fetched.task);
    throw new TaskRefusal("internal", "request was dropped");
  }
  const tasksVersion = BigInt(fetched.version);
  if (fetched.task === undefined) return create(FetchTaskResponseSchema, { tasksVersion });
  return create(FetchTaskResponseSchema, { tasksVersion, task: rpcTask(world, fetched.task) });
}

function rpcTask(world: World, task: Task) {
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

function rpcRunner(runner: Runner): RpcRunner {
  return create(RunnerSchema, {
    id: BigInt(runner.id),
    uuid: runner.uuid,
    name: runner.name,
    status: RunnerStatus.IDLE,
    version: runner.version,
    labels: runner.labels,
    ephemeral: runner.ephemeral,
  });
}

/** Finds the runner of the headers and notes that it spoke; `reports` are the calls that make it busy. */
function authenticate(world: World, context: HandlerContext, reports = false): Runner {
  const uuid = context.requestHeader.get("x-runner-uuid") ?? "";
  const runner = authenticateRunner(world, uuid, context.requestHeader.get("x-runner-token") ?? "");
  if (runner === undefined) {
    if (world.traits.trueUnauthenticated) throw new ConnectError(UNREGISTERED, Code.Unauthenticated);
    throw grpcStatus("Unauthenticated", UNREGISTERED);
  }
  runner.lastOnline = world.clock.now();
  if (reports) runner.lastActive = runner.lastOnline;
  return runner;
}

/** A refused registration: a plain error on Gitea and old Forgejo, a true code on new ones. */
const refused = (world: World, message: string) =>
  new ConnectError(message, world.traits.trueUnauthenticated ? Code.InvalidArgument : Code.Unknown);

/** The older servers put a gRPC status into the text of an unknown error. */
const grpcStatus = (code: string, message: string) =>
  new ConnectError(`rpc error: code = ${code} desc = ${message}`, Code.Unknown);

function failed(world: World, error: unknown): unknown {
  if (!(error instanceof TaskRefusal)) return error;
  if (!world.traits.trueUnauthenticated)
    return grpcStatus(error.kind === "internal" ? "Internal" : "AlreadyExists", error.message);
  return new ConnectError(error.message, error.kind === "internal" ? Code.Internal : Code.AlreadyExists);
}

function guarded<T>(world: World, action: () => T): T {
  try {
    return action();
  } catch (error) {
    throw failed(world, error);
  }
}

const milliseconds = (time: Timestamp | undefined): number => (time === undefined ? 0 : timestampDate(time).getTime());
