import pRetry from "p-retry";
import { type Dispatcher, request } from "undici";
import type * as z from "zod";
import type { Clock } from "../base/clock.ts";
import type { Logger } from "../base/log.ts";
import { type Answer, type AnswerContext, badAnswer, fromStatus, header, readJson } from "./answers.ts";
import type { ForgeCircuit } from "./circuit.ts";
import { ForgeError, fromTransport } from "./errors.ts";
import { type ForgeTuning, openConnections, type ProxySettings, proxyName, type TrustSettings } from "./transport.ts";

/** One request as counted by metrics: tries count apart. */
export interface RequestReport {
  target: string;
  /** What it was for, from a fixed set: `version`, `jobs`, `runners`, `register`... */
  operation: string;
  /** HTTP status; 0 when no answer came. */
  status: number;
  milliseconds: number;
}

export interface HttpOptions extends TrustSettings {
  target: string;
  url: string;
  token: () => string;
  proxy?: ProxySettings;
  log: Logger;
  clock: Clock;
  circuit: ForgeCircuit;
  tuning: ForgeTuning;
  onRequest?: (report: RequestReport) => void;
}

export interface Call {
  operation: string;
  method: "GET" | "POST" | "PATCH" | "DELETE";
  /** Below the forge's base URL. */
  path: string;
  query?: [string, string][];
  headers?: Record<string, string>;
  body?: string | Uint8Array;
  /** The right it takes, in words, for a refusal's hint. */
  needs: string;
  /** Sending it twice does no harm, so that it may be retried. */
  repeatable: boolean;
  /** Sent without the API token. */
  anonymous?: boolean;
  /** What a success has to be, where it is not JSON. */
  contentType?: string;
  /** Answers beside 2xx that the caller reads itself. */
  accepts?: (answer: Answer) => boolean;
}

/** Requests to one forge on behalf of one target. All failures are `ForgeError`, except an abort by the caller. */
export interface ForgeHttp {
  readonly url: string;
  send(call: Call, signal: AbortSignal): Promise<Answer>;
  json<T>(call: Call, schema: z.ZodType<T>, signal: AbortSignal): Promise<T>;
  /** As `json`, with the answer itself. */
  read<T>(call: Call, schema: z.ZodType<T>, signal: AbortSignal): Promise<{ value: T; answer: Answer }>;
  /** Next time new connections are made, with the authorities read again. */
  renew(): void;
  close(): Promise<void>;
}

/** The caller's signal, and the one that also ends at the call's deadline. */
interface Within {
  caller: AbortSignal;
  signal: AbortSignal;
}

export function createHttp(options: HttpOptions): ForgeHttp {
  const { clock, tuning, circuit, log, proxy } = options;
  const url = baseUrl(options.url);
  let connections: Dispatcher | undefined;
  let warned = false;
  let lastToken: string | undefined;

  async function send(call: Call, caller: AbortSignal): Promise<Answer> {
    caller.throwIfAborted();
    circuit.check(url);
    warnOfPlainHttp();
    const deadline = AbortSignal.timeout(tuning.totalTimeout);
    const signal = AbortSignal.any([caller, deadline]);
    let last: unknown;
    try {
      return await pRetry(async () => await circuit.run(url, async () => await attempt(call, { caller, signal })), {
        retries: call.repeatable ? tuning.retries : 0,
        minTimeout: 0,
        signal,
        onFailedAttempt: ({ error }) => {
          last = error;
        },
        shouldRetry: async ({ error, attemptNumber }) => {
          if (!(error instanceof ForgeError) || !error.transient) return false;
          const pause = error.retryAfter ?? Math.random() * tuning.retryPause * 2 ** (attemptNumber - 1);
          if (pause > tuning.longestPause) return false;
          await clock.sleep(pause, signal);
          return true;
        },
      });
    } catch (error) {
      if (caller.aborted) throw caller.reason;
      if (error instanceof ForgeError || !deadline.aborted) throw error;
      throw last instanceof ForgeError ? last : fromTransport(deadline.reason, url, proxyName(proxy));
    }
  }

  async function attempt(call: Call, within: Within): Promise<Answer> {
    const token = call.anonymous === true ? undefined : checkedToken(options.token());
    let answer = await exchange(call, token, within);
    if (answer.status === 401 && token !== undefined) {
      // The token may have been replaced between the two reads; the same one is not tried twice.
      const newer = checkedToken(options.token());
      if (newer !== token) answer = await exchange(call, newer, within);
    }
    if (call.accepts?.(answer) === true) return answer;
    if (answer.status < 200 || answer.status >= 300) throw fromStatus(answer, contextOf(call));
    const { contentType } = call;
    if (contentType !== undefined && header(answer, "content-type")?.startsWith(contentType) !== true) {
      throw badAnswer(answer, contextOf(call), `something other than ${contentType}`, undefined);
    }
    return answer;
  }

  async function exchange(call: Call, token: string | undefined, within: Within): Promise<Answer> {
    connections ??= openConnections(options, proxy, tuning);
    const query = call.query === undefined ? "" : `?${new URLSearchParams(call.query)}`;
    lastToken = token ?? lastToken;
    const started = clock.uptime();
    let status = 0;
    try {
      const response = await request(url + call.path + query, {
        dispatcher: connections,
        method: call.method,
        headers: {
          accept: "application/json",
          "user-agent": "fireteact",
          ...(token === undefined ? {} : { authorization: `token ${token}` }),
          ...call.headers,
        },
        body: call.body ?? null,
        signal: within.signal,
      });
      const body = Buffer.from(await response.body.arrayBuffer());
      status = response.statusCode;
      return { status, headers: response.headers, body };
    } catch (error) {
      within.caller.throwIfAborted();
      throw fromTransport(within.signal.aborted ? within.signal.reason : error, url, proxyName(proxy));
    } finally {
      options.onRequest?.({
        target: options.target,
        operation: call.operation,
        status,
        milliseconds: clock.uptime() - started,
      });
    }
  }

  function contextOf(call: Call): AnswerContext {
    return {
      forge: url,
      path: call.path,
      needs: call.needs,
      now: clock.now(),
      redact: (text) => (lastToken === undefined ? text : text.replaceAll(lastToken, "[secret]")),
    };
  }

  function warnOfPlainHttp(): void {
    if (warned || !url.startsWith("http:") || isLoopback(new URL(url).hostname)) return;
    warned = true;
    log.warn(
      { forge: url },
      "the forge is reached without TLS: API token and runner credentials can be read on the way",
    );
  }

  async function read<T>(call: Call, schema: z.ZodType<T>, signal: AbortSignal) {
    const answer = await send(call, signal);
    return { value: readJson(answer, schema, contextOf(call)), answer };
  }

  return {
    url,
    send,
    read,
    json: async (call, schema, signal) => (await read(call, schema, signal)).value,
    renew: () => {
      const old = connections;
      connections = undefined;
      // Ends once its requests are done.
      old?.close().catch((error: unknown) => log.debug({ err: error }, "old connections to the forge did not close"));
    },
    close: async () => {
      const old = connections;
      connections = undefined;
      await old?.destroy();
    },
  };
}

/** @throws {ForgeError} FORGE_URL unless it is a plain http(s) base URL; trailing slashes are cut */
export function baseUrl(text: string): string {
  const url = URL.parse(text);
  const wrong = (what: string): ForgeError =>
    new ForgeError("FORGE_URL", `the forge's URL ${what}`, {
      hint: "Give the base URL as in a browser, for example https://git.example.org or https://example.org/git.",
    });
  if (url === null || !/^https?:$/.test(url.protocol)) throw wrong("is not an http or https URL");
  if (url.username !== "" || url.password !== "") throw wrong("holds a name or password; tokens belong into a file");
  if (url.search !== "" || url.hash !== "") throw wrong("has a query or fragment");
  return `${url.origin}${url.pathname.replace(/\/+$/, "")}`;
}

/** A token that would break the header is refused here, before an error of the HTTP library could quote it. */
function checkedToken(token: string): string {
  if (/^[\x21-\x7e]{1,512}$/.test(token)) return token;
  throw new ForgeError("FORGE_UNAUTHORIZED", "the API token is empty or has characters that no token has", {
    hint: "The token file has to hold the token and nothing else.",
  });
}

const isLoopback = (host: string): boolean => /^(localhost|127(\.\d+){3}|\[::1\])$/.test(host);
