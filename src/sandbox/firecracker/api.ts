import * as z from "zod";
import { FireteactError, systemCode } from "../../base/errors.ts";
import { type HttpAnswer, unixRequest } from "../../base/unix-http.ts";
import type { ApiRequest } from "./requests.ts";
import type { InstanceInfo } from "./types.ts";

/** Firecracker gives an action of its virtual processors 30 s. */
const TIMEOUT = 35_000;
/** Its own answers are a few hundred bytes. */
const MOST_BYTES = 256 * 1024;
/** Most letters kept of what went wrong. */
const MOST_FAULT = 400;

const faultSchema = z.object({ fault_message: z.string() });
const versionSchema = z.object({ firecracker_version: z.string().max(64) });
const instanceSchema: z.ZodType<InstanceInfo> = z.object({
  id: z.string().max(64),
  state: z.enum(["Not started", "Running", "Paused"]),
  vmm_version: z.string().max(64),
});

/** A monitor's API: one request after the other is served, each on a connection of its own. */
export interface Api {
  /** @throws FireteactError `FIRECRACKER_REFUSED` with the request and what is wrong with it, `FIRECRACKER_UNREACHABLE` */
  send(request: ApiRequest, signal: AbortSignal): Promise<void>;
  version(signal: AbortSignal): Promise<string>;
  instance(signal: AbortSignal): Promise<InstanceInfo>;
}

export function createApi(socketPath: string): Api {
  const exchange = async (
    method: "GET" | ApiRequest["method"],
    path: string,
    signal: AbortSignal,
    body?: object,
  ): Promise<HttpAnswer> => {
    signal.throwIfAborted();
    const headers = { Accept: "application/json", ...(body && { "Content-Type": "application/json" }) };
    const sent = body === undefined ? {} : { body: JSON.stringify(body) };
    const limits = { timeout: TIMEOUT, maxBytes: MOST_BYTES, signal };
    const answer = await unixRequest({ socketPath, method, path, headers, ...sent, ...limits }).catch(
      (error: unknown) => {
        signal.throwIfAborted();
        throw unreachable(method, path, error);
      },
    );
    if (answer.status >= 300) throw refused(method, path, answer);
    return answer;
  };
  const read = async <T>(path: string, schema: z.ZodType<T>, signal: AbortSignal): Promise<T> => {
    const { body } = await exchange("GET", path, signal);
    const parsed = schema.safeParse(jsonOf(body));
    if (parsed.success) return parsed.data;
    throw new FireteactError("FIRECRACKER_ANSWER", `Firecracker's answer to GET ${path} cannot be understood`, {
      hint: "The socket may be another program's: check firecracker.binaryPath",
    });
  };
  return {
    send: async ({ method, path, body }, signal) => void (await exchange(method, path, signal, body)),
    version: async (signal) => (await read("/version", versionSchema, signal)).firecracker_version,
    instance: (signal) => read("/", instanceSchema, signal),
  };
}

function refused(method: string, path: string, { status, body }: HttpAnswer): FireteactError {
  return new FireteactError(
    "FIRECRACKER_REFUSED",
    `Firecracker refused ${method} ${path} (${status}): ${faultOf(path, status, body)}`,
    { facts: { method, path, status } },
  );
}

function unreachable(method: string, path: string, cause: unknown): FireteactError {
  return new FireteactError("FIRECRACKER_UNREACHABLE", `Firecracker did not answer ${method} ${path}`, {
    cause,
    facts: { method, path, code: systemCode(cause) },
  });
}

/** What Firecracker says; of metadata nothing, since the text may quote what was sent. */
function faultOf(path: string, status: number, body: string): string {
  if (path === "/mmds") return status === 413 ? "the metadata is too large" : "the metadata was not taken";
  const parsed = faultSchema.safeParse(jsonOf(body));
  const text = parsed.success ? parsed.data.fault_message : body;
  return (
    text
      .replaceAll(/[\s\p{Cc}]+/gu, " ")
      .trim()
      .slice(0, MOST_FAULT) || "without a reason"
  );
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // Not JSON is no answer of Firecracker's; the schema says so.
    return undefined;
  }
}
