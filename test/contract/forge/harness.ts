import { afterEach } from "vitest";
import { createLogger, type Logger } from "../../../src/base/log.ts";
import { createForgeTarget, type ForgeTargetOptions } from "../../../src/forge/create.ts";
import type { ForgeTarget } from "../../../src/forge/port.ts";

const opened: { close(): Promise<void> }[] = [];

/** Closes what a test opened, last first. */
afterEach(async () => {
  for (const thing of opened.splice(0).reverse()) await thing.close();
});

export function closeLater<T extends { close(): Promise<void> }>(thing: T): T {
  opened.push(thing);
  return thing;
}

export const never = new AbortController().signal;

/** A target with a quick retry, so that tests do not wait. */
export function targetAt(url: string, options: Partial<ForgeTargetOptions> = {}): ForgeTarget {
  const { tuning, ...rest } = options;
  return closeLater(
    createForgeTarget({
      key: `${url}#test`,
      url,
      scope: { kind: "org", owner: "acme" },
      token: () => "secret-token",
      tuning: { retryPause: 1, ...tuning },
      ...rest,
    }),
  );
}

/** A log that can be read, one object a line. */
export function readableLog(): { log: Logger; lines: () => Record<string, unknown>[] } {
  const written: string[] = [];
  const log = createLogger("debug", { write: (line) => written.push(line) });
  return { log, lines: () => written.map((line) => JSON.parse(line) as Record<string, unknown>) };
}

/** The error of a promise that has to fail. */
export async function failureOf(
  promise: Promise<unknown>,
): Promise<Error & { code?: string; hint?: string; facts?: Record<string, unknown> }> {
  const outcome = await promise.then(
    (value) => ({ value }),
    (error: unknown) => ({ error }),
  );
  if ("error" in outcome && outcome.error instanceof Error) return outcome.error;
  throw new Error(`expected a failure, got ${JSON.stringify(outcome)}`);
}
