import { STATUS_CODES } from "node:http";
import type * as z from "zod";
import { clean, ForgeError } from "./errors.ts";

/** What a forge answered; the body is complete and bounded. */
export interface Answer {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  body: Buffer;
}

export interface AnswerContext {
  /** The forge's base URL, for messages. */
  forge: string;
  /** Path of the call, without query. */
  path: string;
  /** The right that the call takes, in words. */
  needs: string;
  now: number;
  /** Makes what the forge said printable. */
  redact(text: string): string;
}

export function header(answer: Answer, name: string): string | undefined {
  const value = answer.headers[name];
  return Array.isArray(value) ? value[0] : value;
}

/** The JSON body as `schema` reads it. @throws {ForgeError} FORGE_BAD_ANSWER */
export function readJson<T>(answer: Answer, schema: z.ZodType<T>, context: AnswerContext): T {
  const text = answer.body.toString("utf8");
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw badAnswer(answer, context, looksLikeHtml(text) ? "an HTML page" : "no valid JSON", error);
  }
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const where = parsed.error.issues[0]?.path.join(".") ?? "";
  throw badAnswer(
    answer,
    context,
    `JSON of another shape${where === "" ? "" : ` (at ${clean(where, 60)})`}`,
    undefined,
  );
}

export function badAnswer(answer: Answer, context: AnswerContext, what: string, cause: unknown): ForgeError {
  return new ForgeError(
    "FORGE_BAD_ANSWER",
    `${context.forge} answered ${context.path} with ${what}: ${quote(answer, context)}`,
    {
      hint: "Check that the URL is the forge's base URL and that no sign-in page or proxy answers in its place.",
      // A syntax error quotes the text it failed on: only its kind is kept.
      facts: { path: context.path, status: answer.status, bytes: answer.body.length, cause: errorName(cause) },
    },
  );
}

/** An answer that is not a success, as the error that people read. */
export function fromStatus(answer: Answer, context: AnswerContext): ForgeError {
  const { forge, path } = context;
  const { status } = answer;
  const said = messageOf(answer, context);
  const because = said === "" ? "" : `: ${said}`;
  const facts = { path, status };
  if (status >= 300 && status < 400) return redirect(answer, context);
  if (status === 401) {
    return new ForgeError("FORGE_UNAUTHORIZED", `${forge} does not accept the API token${because}`, {
      hint: "Make a new token in the forge's settings (Applications) and put it into the token file; it is read again by itself.",
      facts,
    });
  }
  if (status === 403) {
    const wanted = scopesIn(said);
    return new ForgeError("FORGE_FORBIDDEN", `${forge} refuses ${path} to this API token${because}`, {
      hint: `Needed here: ${context.needs}${wanted === "" ? "" : `; the forge asks for ${wanted}`}.`,
      facts: { ...facts, ...(wanted === "" ? {} : { wantedScopes: wanted }) },
    });
  }
  if (status === 404) {
    return new ForgeError("FORGE_NOT_FOUND", `${forge} has no ${path}${because}`, {
      hint: `Check owner and repository of the scope, the URL's sub-path, and that the token's user can see it (${context.needs}).`,
      facts,
    });
  }
  if (status === 429) {
    return new ForgeError("FORGE_RATE_LIMITED", `${forge} asks for fewer requests${because}`, {
      hint: "Raise the poll interval or the limit of the proxy before the forge.",
      facts,
      transient: true,
      ...pauseAsked(answer, context.now),
    });
  }
  if (status >= 500) {
    const text = `${forge} failed with ${status} ${STATUS_CODES[status] ?? ""} at ${path}`;
    return new ForgeError("FORGE_SERVER_ERROR", `${text}${because}`, {
      hint: "The forge's own log tells more. Running jobs go on; scaling waits until the forge answers.",
      facts,
      transient: status === 502 || status === 503 || status === 504,
      outage: true,
      ...pauseAsked(answer, context.now),
    });
  }
  return new ForgeError("FORGE_REFUSED", `${forge} refused ${path} with ${status}${because}`, { facts });
}

function redirect(answer: Answer, { forge, path }: AnswerContext): ForgeError {
  const location = URL.parse(header(answer, "location") ?? "", forge + path);
  const target = location === null ? "no place it names" : clean(`${location.origin}${location.pathname}`, 200);
  // A redirect that keeps the path moves the whole forge: what is left is the URL to configure.
  const moved = location?.pathname.endsWith(path) === true ? target.slice(0, -path.length) : undefined;
  return new ForgeError("FORGE_REDIRECT", `${forge} redirects ${path} to ${target}; redirects are not followed`, {
    hint:
      moved === undefined
        ? "Configure the URL under which the forge itself answers."
        : `If that is your forge, configure ${moved} as its URL.`,
    facts: { path, status: answer.status, location: target },
  });
}

function messageOf(answer: Answer, context: AnswerContext): string {
  if (answer.body.length === 0) return "";
  try {
    const { message } = JSON.parse(answer.body.toString("utf8")) as { message?: unknown };
    return typeof message === "string" ? clean(context.redact(message), 200) : "";
  } catch {
    return looksLikeHtml(answer.body.toString("utf8", 0, 200)) ? "an HTML page" : quote(answer, context);
  }
}

const quote = (answer: Answer, context: AnswerContext): string =>
  answer.body.length === 0 ? "nothing" : `"${clean(context.redact(answer.body.toString("utf8", 0, 4000)), 80)}"`;

const looksLikeHtml = (text: string): boolean => /^\s*<(!doctype|html|head|body|\?xml)/i.test(text.slice(0, 200));

const errorName = (cause: unknown): string | undefined => (cause instanceof Error ? cause.name : undefined);

/** The scopes that a refusal names as required; what the token has is listed after them. */
function scopesIn(message: string): string {
  const required = message.split(/token scope\s*=/i)[0] ?? "";
  return [...new Set(required.match(/\b(?:read|write):[a-z]+|\ball\b/g))].join(", ");
}

function pauseAsked(answer: Answer, now: number): { retryAfter?: number } {
  const value = header(answer, "retry-after")?.trim();
  if (value === undefined) return {};
  // Its clock may be another one than ours.
  const theirs = Date.parse(header(answer, "date") ?? "");
  const pause = /^\d{1,9}$/.test(value)
    ? Number(value) * 1000
    : Date.parse(value) - (Number.isFinite(theirs) ? theirs : now);
  return Number.isFinite(pause) ? { retryAfter: Math.max(0, pause) } : {};
}
