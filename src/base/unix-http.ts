import { Agent, type IncomingMessage, request } from "node:http";

interface UnixRequest {
  socketPath?: string;
  /** Instead of a socket: an http address. */
  url?: string;
  method?: string;
  path: string;
  headers?: Record<string, string>;
  body?: string;
  /** Milliseconds for the whole exchange. */
  timeout?: number;
  /** Answers larger than this are refused. */
  maxBytes?: number;
  signal?: AbortSignal;
}

export interface HttpAnswer {
  status: number;
  body: string;
}

const agent = new Agent({ keepAlive: false });

/** One small HTTP exchange over a unix socket (or plain HTTP). Rejects with the system's error when nobody listens. */
export function unixRequest(options: UnixRequest): Promise<HttpAnswer> {
  const { promise, resolve, reject } = Promise.withResolvers<HttpAnswer>();
  const headers = {
    ...options.headers,
    ...(options.body === undefined ? {} : { "Content-Length": String(Buffer.byteLength(options.body)) }),
  };
  const common = {
    method: options.method ?? "GET",
    headers,
    agent,
    timeout: options.timeout ?? 10_000,
    ...(options.signal && { signal: options.signal }),
  };
  const outgoing =
    options.socketPath === undefined
      ? request(new URL(options.path, options.url), common)
      : request({ ...common, socketPath: options.socketPath, path: options.path, host: "localhost" });
  outgoing.on("response", (response) => readBody(response, options.maxBytes ?? 8 * 1024 * 1024).then(resolve, reject));
  outgoing.on("timeout", () => outgoing.destroy(new Error(`no answer within ${options.timeout ?? 10_000} ms`)));
  outgoing.on("error", reject);
  outgoing.end(options.body);
  return promise;
}

async function readBody(response: IncomingMessage, maxBytes: number): Promise<HttpAnswer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of response) {
    size += (chunk as Buffer).length;
    if (size > maxBytes) throw new Error(`the answer is over ${maxBytes} bytes`);
    chunks.push(chunk as Buffer);
  }
  return { status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString("utf8") };
}
