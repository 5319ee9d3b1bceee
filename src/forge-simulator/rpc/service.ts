import { create } from "@bufbuild/protobuf";
import { type Timestamp, timestampDate } from "@bufbuild/protobuf/wkt";
import { type ConnectRouter, createConnectRouter } from "@connectrpc/connect";
import { createFetchHandler } from "@connectrpc/connect/protocol";
import { compressionGzip } from "@connectrpc/connect-node";
import { PingService } from "../../../gen/ping/v1/ping_pb.js";
import {
  type Runner as RpcRunner,
  RunnerSchema,
  RunnerService,
  RunnerStatus,
  TaskStateSchema,
  UpdateTaskResponseSchema,
} from "../../../gen/runner/v1/runner_pb.js";
import type { Runner } from "../records.ts";
import { addRunner, findRegistrationToken } from "../runners.ts";
import { TaskRefusal, updateLog, updateTask } from "../tasks.ts";
import type { World } from "../world.ts";
import { authenticate, failed, refused } from "./access.ts";
import type { Fetch } from "./fetch.ts";

export type RpcHandler = (request: Request) => Promise<Response>;

/** The runner protocol: handlers by path (`/runner.v1.RunnerService/FetchTask`), in binary proto and JSON. */
export function createRpc(world: World, fetch: Fetch): Map<string, RpcHandler> {
  const router = createConnectRouter({ acceptCompression: [compressionGzip] });
  pingService(router);
  runnerService(router, world, fetch);
  return new Map(router.handlers.map((handler) => [handler.requestPath, createFetchHandler(handler)]));
}

function pingService(router: ConnectRouter): void {
  router.service(PingService, { ping: (request) => ({ data: `Hello, ${request.data}!` }) });
}

function runnerService(router: ConnectRouter, world: World, fetch: Fetch): void {
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
      const runner = authenticate(world, context.requestHeader);
      runner.version = request.version;
      runner.labels = request.labels;
      runner.capabilities = request.capabilities;
      if (world.traits.declareCapabilities) context.responseHeader.set("x-gitea-actions-capabilities", "job-summary");
      return { runner: rpcRunner(runner) };
    },
    fetchTask: (request, context) => {
      const { requestHeader: headers, signal } = context;
      return fetch({ headers, version: Number(request.tasksVersion), signal });
    },
    updateTask: (request, context) => {
      const runner = authenticate(world, context.requestHeader, true);
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
      const runner = authenticate(world, context.requestHeader, true);
      const rows = request.rows.map((row) => ({ time: milliseconds(row.time), content: row.content }));
      const given = { taskId: Number(request.taskId), index: Number(request.index), rows, noMore: request.noMore };
      return { ackIndex: BigInt(guarded(world, () => updateLog(world, runner, given))) };
    },
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

function guarded<T>(world: World, action: () => T): T {
  try {
    return action();
  } catch (error) {
    throw failed(world, error);
  }
}

const milliseconds = (time: Timestamp | undefined): number => (time === undefined ? 0 : timestampDate(time).getTime());
