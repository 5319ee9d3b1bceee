import { stripVTControlCharacters } from "node:util";
import { type ErrorFacts, FireteactError, systemCode } from "../base/errors.ts";

/** Every way in which talking to a forge fails. Codes are stable; docs/forges.md says what each means. */
export type ForgeErrorCode =
  | "FORGE_URL"
  | "FORGE_UNREACHABLE"
  | "FORGE_TLS"
  | "FORGE_REDIRECT"
  | "FORGE_UNAUTHORIZED"
  | "FORGE_FORBIDDEN"
  | "FORGE_NOT_FOUND"
  | "FORGE_REFUSED"
  | "FORGE_RATE_LIMITED"
  | "FORGE_SERVER_ERROR"
  | "FORGE_BAD_ANSWER"
  | "FORGE_CIRCUIT_OPEN"
  | "FORGE_INCOMPLETE"
  | "FORGE_UNSUPPORTED"
  | "FORGE_NOT_EPHEMERAL";

interface ForgeErrorOptions {
  hint?: string;
  cause?: unknown;
  facts?: ErrorFacts;
  /** Another try of the same request may succeed. */
  transient?: boolean;
  /** The forge asked for this pause before the next try, milliseconds. */
  retryAfter?: number;
  /** The forge as a whole is in trouble, not only this request: counts for the circuit breaker. */
  outage?: boolean;
}

/** A failure at the forge. Holds no token and no whole body: what the forge said is cut and cleaned. */
export class ForgeError extends FireteactError {
  override readonly code: ForgeErrorCode;
  readonly transient: boolean;
  readonly outage: boolean;
  readonly retryAfter: number | undefined;

  constructor(code: ForgeErrorCode, message: string, options: ForgeErrorOptions = {}) {
    const { transient, retryAfter, outage, ...rest } = options;
    super(code, message, rest);
    this.code = code;
    this.name = "ForgeError";
    this.transient = transient ?? false;
    this.outage = outage ?? false;
    this.retryAfter = retryAfter;
  }
}

export const isForgeError = (error: unknown, ...codes: ForgeErrorCode[]): error is ForgeError =>
  error instanceof ForgeError && (codes.length === 0 || codes.includes(error.code));

/** Foreign text made safe to print: control characters gone, spaces folded, cut to `length` characters. */
export function clean(text: string, length: number): string {
  const line = stripVTControlCharacters(text.slice(0, 4 * length))
    .replaceAll(/[\s\p{C}]+/gu, " ")
    .trim();
  return line.length > length ? `${line.slice(0, length)}...` : line;
}

/** Undici's own codes and Node's, by what they mean to the reader; everything else never got an answer. */
const TLS_CODE = /CERT|^ERR_TLS|^ERR_SSL|SELF_SIGNED|UNABLE_TO_VERIFY|^UND_ERR_PRX_TLS$|^EPROTO$/;
const NEVER_SENT = new Set([
  "ECONNREFUSED",
  "ENOTFOUND",
  "EAI_AGAIN",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "UND_ERR_CONNECT_TIMEOUT",
]);

/** An error from before any answer came: names, connections, TLS, timeouts, proxies, broken HTTP. */
export function fromTransport(error: unknown, forge: string, through: string | undefined): ForgeError {
  const code = transportCode(error);
  const said = error instanceof Error ? clean(error.message, 160) : "no reason given";
  const facts = { forge, cause: code, sent: !NEVER_SENT.has(code) };
  const via = through === undefined ? "" : ` through the proxy ${through}`;
  if (TLS_CODE.test(code)) {
    return new ForgeError("FORGE_TLS", `no trusted TLS connection to ${forge}${via}: ${said} (${code})`, {
      hint: /ALTNAME/.test(code)
        ? "Use the name that is in the forge's certificate in the configured URL."
        : "If the forge's certificate is from a private authority, give that authority's certificate as the forge's `caFile`.",
      cause: error,
      facts: { ...facts, sent: false },
      outage: true,
    });
  }
  if (code === "UND_ERR_RES_EXCEEDED_MAX_SIZE") {
    return new ForgeError("FORGE_BAD_ANSWER", `${forge} sent more than an answer may have`, {
      hint: "Check that the URL is the forge's own and that no proxy answers in its place.",
      cause: error,
      facts,
    });
  }
  if (code.startsWith("HPE_")) {
    return new ForgeError("FORGE_BAD_ANSWER", `${forge} does not answer in HTTP: ${said}`, {
      hint: "Check scheme and port of the configured URL.",
      cause: error,
      facts,
      transient: true,
      outage: true,
    });
  }
  return new ForgeError("FORGE_UNREACHABLE", `${forge} could not be reached${via}: ${reason(code, said)}`, {
    hint:
      through === undefined
        ? "Check the URL, name resolution, firewall, and that the forge is running."
        : "Check the proxy's address and that it lets this host reach the forge.",
    cause: error,
    facts,
    transient: true,
    outage: true,
  });
}

function transportCode(error: unknown): string {
  for (let current = error, depth = 0; current instanceof Error && depth < 8; current = current.cause, depth++) {
    const { code } = current as NodeJS.ErrnoException;
    if (typeof code === "string") return code;
    if (current.name === "TimeoutError") return "TIMEOUT";
  }
  return systemCode(error) ?? "UNKNOWN";
}

function reason(code: string, said: string): string {
  const words: Record<string, string> = {
    ECONNREFUSED: "nothing listens there (connection refused)",
    ENOTFOUND: "its name does not resolve",
    EAI_AGAIN: "name resolution does not answer",
    ECONNRESET: "the connection was reset",
    UND_ERR_CONNECT_TIMEOUT: "no connection in time",
    UND_ERR_HEADERS_TIMEOUT: "no answer in time",
    UND_ERR_BODY_TIMEOUT: "the answer stopped half-way",
    UND_ERR_SOCKET: "the connection was closed before the answer was complete",
    TIMEOUT: "no complete answer in time",
  };
  return words[code] ?? `${said} (${code})`;
}

/** Whether the forge answered with one of these statuses. */
export const hasStatus = (error: unknown, ...statuses: number[]): error is ForgeError =>
  error instanceof ForgeError && typeof error.facts.status === "number" && statuses.includes(error.facts.status);
