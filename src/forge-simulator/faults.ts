import { setTimeout as sleep } from "node:timers/promises";
import { type Answer, html, json } from "./http/message.ts";

/** What goes wrong with a request. Effects happen unless it says otherwise. */
export type Fault =
  /** Another answer instead; no effect. */
  | { kind: "status"; status: number; message?: string; headers?: Record<string, string> }
  /** 429 with `Retry-After`; no effect. */
  | { kind: "rate-limit"; retryAfterSeconds: number }
  /** A page of some proxy instead of JSON; no effect. */
  | { kind: "html"; status?: number }
  /** Waits before the request is handled. */
  | { kind: "slow"; milliseconds: number }
  /** The connection is reset before anything happens. */
  | { kind: "reset" }
  /** The effect happens, the reply is lost. */
  | { kind: "drop-reply" }
  /** The connection ends in the middle of the reply. */
  | { kind: "truncate" }
  /** A complete answer whose JSON is cut in half. */
  | { kind: "bad-json" }
  /** Never answered; the connection stays open until the caller or the simulator ends it. */
  | { kind: "hang" };

export interface FaultRule {
  fault: Fault;
  /** Method and path as `GET /api/v1/admin/actions/jobs`; a string is a prefix of it. Default: everything. */
  match?: string | RegExp;
  /** How often it strikes; default for ever. */
  times?: number;
  /** How many matching requests pass unharmed first. */
  after?: number;
}

export interface Faults {
  /** @returns removes the rule */
  add(rule: FaultRule): () => void;
  clear(): void;
  /** How often any rule has struck. */
  struck(): number;
}

export type CutAnswer = Answer | "cut" | { truncated: Answer };

/** Applies the first rule that fits around the real handling of a request. */
export function createFaults(): Faults & {
  around(subject: string, signal: AbortSignal, handle: () => Promise<Answer>): Promise<CutAnswer>;
} {
  const rules: { rule: FaultRule; seen: number; struck: number }[] = [];
  let total = 0;

  function next(subject: string): Fault | undefined {
    for (const entry of rules) {
      const { match, times = Number.POSITIVE_INFINITY, after = 0 } = entry.rule;
      const fits = match === undefined || (typeof match === "string" ? subject.startsWith(match) : match.test(subject));
      if (!fits || entry.struck >= times) continue;
      if (entry.seen++ < after) continue;
      entry.struck += 1;
      total += 1;
      return entry.rule.fault;
    }
    return undefined;
  }

  return {
    add: (rule) => {
      const entry = { rule, seen: 0, struck: 0 };
      rules.push(entry);
      return () => {
        const index = rules.indexOf(entry);
        if (index >= 0) rules.splice(index, 1);
      };
    },
    clear: () => {
      rules.length = 0;
    },
    struck: () => total,
    around: async (subject, signal, handle) => {
      const fault = next(subject);
      return fault === undefined ? handle() : strike(fault, signal, handle);
    },
  };
}

async function strike(fault: Fault, signal: AbortSignal, handle: () => Promise<Answer>): Promise<CutAnswer> {
  switch (fault.kind) {
    case "status":
      return json(fault.status, { message: fault.message ?? "", url: "" }, fault.headers);
    case "rate-limit":
      return json(429, { message: "too many requests", url: "" }, { "retry-after": String(fault.retryAfterSeconds) });
    case "html":
      return html(fault.status ?? 200, "Please wait");
    case "slow":
      // The server works on although its caller has gone.
      await sleep(fault.milliseconds);
      return handle();
    case "reset":
      break;
    case "drop-reply":
      await handle();
      break;
    case "truncate":
      return { truncated: await handle() };
    case "bad-json": {
      const answer = await handle();
      const body = Buffer.from(answer.body);
      return { ...answer, body: body.subarray(0, Math.ceil(body.length / 2)) };
    }
    case "hang":
      await untilAborted(signal);
      break;
  }
  return "cut";
}

const untilAborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
