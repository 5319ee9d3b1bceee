import type { WebhookAnswer } from "../api/port.ts";
import type { Logger } from "../base/log.ts";
import { openSecret, type Secret } from "../config/secret.ts";
import { createWebhookReader, WebhookError } from "../forge/webhook.ts";
import type { Targets } from "./targets.ts";

/**
 * Takes signed webhooks into the forges' views. A queued job is planned for at once; any other signed word is a good
 * moment to read the queue. What arrives late or twice changes nothing.
 */
export function createWebhookReceiver(secretFile: string, targets: Targets, log: Logger) {
  const secret = keepForAWhile(openSecret({ kind: "file", path: secretFile }));
  const places = () =>
    targets.list().map(({ key, url, scope }) => {
      const can = targets.watchers().get(key)?.capabilities();
      return { key, url, scope, countsTakenAttempts: can?.countsTakenAttempts, listsQueue: can?.listsQueue };
    });
  const reader = createWebhookReader({ secret: secret.read, targets: places, ...targets.pushed });
  const read = (headers: Headers, body: Uint8Array) => {
    try {
      return reader.read(headers, body);
    } catch (error) {
      // The secret may have been replaced since it was read.
      if (!(error instanceof WebhookError) || error.code !== "WEBHOOK_SIGNATURE" || !secret.forget()) throw error;
      return reader.read(headers, body);
    }
  };

  return (headers: Headers, body: Uint8Array): WebhookAnswer => {
    try {
      const observation = read(headers, body);
      log.debug({ delivery: observation.delivery, kind: observation.kind, note: observation.note }, "webhook");
      const watchers = targets.watchers();
      for (const job of observation.jobs) watchers.get(job.target)?.observe(job, observation.kind === "completed");
      for (const key of observation.read) watchers.get(key)?.poke();
      return { status: 202, message: observation.note };
    } catch (error) {
      if (!(error instanceof WebhookError)) throw error;
      log.warn({ code: error.code, cause: error.message }, "a webhook was refused");
      const hint = error.hint === undefined ? {} : { hint: error.hint };
      return { status: error.status, message: error.message, code: error.code, ...hint };
    }
  };
}

/** How long a secret counts that is not in the file any more, milliseconds. */
const KEPT = 1_000;

/** Reading the file takes as long as all the rest of a delivery, and they come a hundred at once. */
function keepForAWhile(secret: Secret) {
  let kept: { value: string; at: number } | undefined;
  return {
    read: () => {
      if (kept === undefined || performance.now() - kept.at > KEPT) {
        kept = { value: secret.read(), at: performance.now() };
      }
      return kept.value;
    },
    /** Says whether it was kept from an earlier read. */
    forget: () => {
      const { at } = kept ?? {};
      kept = undefined;
      return at !== undefined;
    },
  };
}
