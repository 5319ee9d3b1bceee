import { fromJson } from "@bufbuild/protobuf";
import { StructSchema } from "@bufbuild/protobuf/wkt";
import { type CallOptions, type Client, createClient, type Interceptor } from "@connectrpc/connect";
import type { UniversalClientFn } from "@connectrpc/connect/protocol";
import { createTransport } from "@connectrpc/connect/protocol-connect";
import { PingService } from "../../gen/ping/v1/ping_pb.js";
import { type FetchTaskResponse, RunnerService } from "../../gen/runner/v1/runner_pb.js";
import { RUNNER_RPC_PATH, RUNNER_TOKEN_HEADER, RUNNER_UUID_HEADER } from "./headers.ts";

/** Workflows, secrets and contexts are small; anything beyond this is not from a forge. */
const LARGEST_ANSWER = 16 * 1024 * 1024;

/** The part of `fetch` that the runner protocol needs; `globalThis.fetch` fits. */
export type FetchVia = (
  url: string,
  init: { method: string; headers: Headers; body: Uint8Array<ArrayBuffer>; redirect: "error"; signal?: AbortSignal },
) => Promise<{ status: number; headers: Headers; body: AsyncIterable<Uint8Array> | null }>;

export interface RunnerClientOptions {
  /** The forge's base URL, sub-path included. */
  baseUrl: string;
  /** The runner's own credentials; Register and Ping need none. */
  uuid?: string;
  token?: string;
  /** Binary protobuf is what every published runner speaks; JSON is for doubles and debugging. */
  format?: "binary" | "json";
  /** Sends the requests; `globalThis.fetch` unless the caller has its own connections. */
  fetchVia?: FetchVia;
}

export interface RunnerClient {
  runner: Client<typeof RunnerService>;
  /** As `fetchTask`, of Forgejo 15 and newer: only the job attempt with this handle will do. */
  fetchSingleTask(request: { handle: string; tasksVersion: bigint }, options: CallOptions): Promise<FetchTaskResponse>;
  ping: Client<typeof PingService>;
}

/** A client of the runner protocol. Its calls fail with `ConnectError`; see errors.ts for what those mean. */
export function createRunnerClient(options: RunnerClientOptions): RunnerClient {
  const transportIn = (format: "binary" | "json") =>
    createTransport({
      baseUrl: options.baseUrl.replace(/\/+$/, "") + RUNNER_RPC_PATH,
      useBinaryFormat: format === "binary",
      httpClient: sendWith(options.fetchVia ?? globalThis.fetch),
      interceptors: options.uuid === undefined ? [] : [identifyAs(options.uuid, options.token ?? "")],
      acceptCompression: [],
      sendCompression: null,
      compressMinBytes: 0,
      readMaxBytes: LARGEST_ANSWER,
      writeMaxBytes: LARGEST_ANSWER,
    });
  const transport = transportIn(options.format ?? "binary");
  return {
    runner: createClient(RunnerService, transport),
    ping: createClient(PingService, transport),
    fetchSingleTask: async ({ handle, tasksVersion }, { signal, timeoutMs, headers }) => {
      const request = fromJson(StructSchema, { handle, tasksVersion: String(tasksVersion) });
      return (await transportIn("json").unary(FETCH_SINGLE_TASK, signal, timeoutMs, headers, request)).message;
    },
  };
}

/**
 * It is not in the published description of the protocol: the names of its fields are known, their numbers are not. So it
 * is called in JSON, with a message that can hold any.
 */
const FETCH_SINGLE_TASK = { ...RunnerService.method.fetchTask, name: "FetchSingleTask", input: StructSchema };

const identifyAs =
  (uuid: string, token: string): Interceptor =>
  (next) =>
  async (request) => {
    request.header.set(RUNNER_UUID_HEADER, uuid);
    request.header.set(RUNNER_TOKEN_HEADER, token);
    return await next(request);
  };

/** Requests are collected before they are sent: `fetch` only streams bodies in one direction, and these are small. */
function sendWith(fetchVia: FetchVia): UniversalClientFn {
  return async (request) => {
    const parts: Uint8Array[] = [];
    for await (const part of request.body ?? []) parts.push(part);
    const response = await fetchVia(request.url, {
      method: request.method,
      headers: request.header,
      body: new Uint8Array(Buffer.concat(parts)),
      redirect: "error",
      ...(request.signal === undefined ? {} : { signal: request.signal }),
    });
    // `fetch` has decompressed the body already, so neither fits it any more.
    const header = new Headers(response.headers);
    for (const name of ["content-encoding", "content-length"]) header.delete(name);
    return {
      status: response.status,
      header,
      body: response.body ?? noBytes(),
      trailer: new Headers(),
    };
  };
}

// oxlint-disable-next-line require-yield
async function* noBytes(): AsyncGenerator<Uint8Array> {}
