import { createHmac, timingSafeEqual } from "node:crypto";
import * as z from "zod";
import { FireteactError } from "../base/errors.ts";
import { isNamed } from "../base/trust.ts";
import type { ForgeScope, Job } from "../core/types.ts";
import { clean } from "./errors.ts";
import { jobOf, type Place } from "./gitea/jobs.ts";
import { GiteaJobSchema } from "./gitea/schemas.ts";

/** What a webhook is about one of our targets' jobs. */
export interface WebhookObservation {
  /**
   * `other`: an event that is not about jobs, though a signed word from the forge is a good moment to poll.
   * `none`: nothing new; somebody who repeats old deliveries shall not even cause a poll.
   */
  kind: "queued" | "in_progress" | "completed" | "blocked" | "other" | "none";
  delivery: string;
  /** The job, once for each target whose scope has it; empty for `other` and `none`. */
  jobs: Omit<Job, "since" | "at">[];
  /** Keys of the targets whose queue is to be read now. */
  read: string[];
  /** One line for the log and the answer. */
  note: string;
}

/** A delivery that is not taken in. `status` is the HTTP answer. */
export class WebhookError extends FireteactError {
  readonly status: 400 | 401 | 413;

  constructor(status: WebhookError["status"], code: string, message: string, hint: string) {
    super(code, message, { hint });
    this.status = status;
  }
}

export interface WebhookOptions {
  /** Read for each delivery, so that it can be replaced. */
  secret: () => string;
  targets: () => readonly WebhookPlace[];
  /** Unix milliseconds. */
  now?: () => number;
  /** What was kept before this process. */
  known?: readonly Heard[];
  /** Keeps what is heard of a forge whose queue cannot be read, over restarts. */
  keep?: (heard: Heard) => void;
}

export interface WebhookPlace extends Place {
  scope: ForgeScope;
  /** False where the forge's queue cannot be read, so that webhooks alone tell. */
  listsQueue?: boolean | undefined;
}

/** What was said last of a job. */
export interface Heard {
  job: Omit<Job, "since" | "at">;
  rank: number;
  /** Signature of the delivery that said that it is queued. */
  queuedBy: string;
}

export interface WebhookReader {
  /** Verifies before it reads anything. @throws {WebhookError} */
  read(headers: Headers, body: Uint8Array): WebhookObservation;
}

const LARGEST_BODY = 1024 * 1024;
/** Deliveries and jobs remembered; older ones are found again by the poll. */
const REMEMBERED = 4096;
/** A job older than this, or than the reader, may be of a delivery that is repeated: the queue tells. Milliseconds. */
const FRESH = 5 * 60_000;

/**
 * An attempt's way in one direction: what arrives late, or twice, changes nothing. Before 1.27 an attempt is counted only
 * when a runner takes it: one that was cancelled before has the number of the next one, so that one that was over may be
 * queued again. Nothing but the queue tells that from a delivery that comes very late.
 */
export const RANK = { waiting: 1, queued: 2, in_progress: 3, completed: 4 };
/** What a completed job is in our words does not matter: it goes. */
const STATUS = { waiting: "blocked", queued: "queued", in_progress: "running", completed: "running" } as const;
const KIND = { waiting: "blocked", queued: "queued", in_progress: "in_progress", completed: "completed" } as const;

const JobEvent = z.object({
  action: z.enum(["waiting", "queued", "in_progress", "completed"]),
  workflow_job: GiteaJobSchema,
  repository: z.object({ full_name: z.string().max(512) }),
});
type JobEvent = z.infer<typeof JobEvent>;

export function createWebhookReader(options: WebhookOptions): WebhookReader {
  const { now = Date.now } = options;
  // Forges tell whole seconds.
  const began = Math.floor(now() / 1000) * 1000;
  const deliveries = rememberLast<true>(REMEMBERED);
  const heard = rememberLast<Pick<Heard, "rank" | "queuedBy">>(REMEMBERED);
  for (const { job, rank, queuedBy } of options.known ?? []) heard.set(job.key, { rank, queuedBy });

  /** What the delivery says of the job at one target: undefined when that is no news, `ask` when the queue has to tell. */
  const take = (place: WebhookPlace, event: JobEvent, signature: string): Heard["job"] | "ask" | undefined => {
    const { action, workflow_job: raw, repository } = event;
    const found = jobOf(place, raw, STATUS[action]);
    if (found === undefined) return undefined;
    const job = { ...found, repository: repository.full_name };
    const before = heard.get(job.key) ?? { rank: 0, queuedBy: "" };
    const isQueued = action === "queued";
    const isAgain = isQueued && before.rank === RANK.completed && before.queuedBy !== signature;
    if (RANK[action] <= before.rank && !isAgain) return undefined;
    const now = { rank: RANK[action], queuedBy: isQueued ? signature : before.queuedBy };
    heard.set(job.key, now);
    if (place.listsQueue === false) options.keep?.({ job, ...now });
    else if (isAgain || (isQueued && isOld(job))) return "ask";
    return job;
  };
  const isOld = ({ queuedAt = 0 }: Heard["job"]) => queuedAt < Math.max(began, now() - FRESH);

  return {
    read: (headers, body) => {
      const signature = verify(headers, body, options.secret());
      const delivery = clean(firstOf(headers, "delivery") ?? "", 80);
      const nothing = (note: string, read?: readonly WebhookPlace[]): WebhookObservation => {
        const keys = (read ?? []).map(({ key }) => key);
        return { kind: read === undefined ? "none" : "other", delivery, jobs: [], read: keys, note };
      };
      // The delivery's id is not signed, the body is: a replay under another id is known by its signature.
      if (deliveries.get(signature) === true || (delivery !== "" && deliveries.get(delivery) === true)) {
        return nothing("this delivery was taken in before");
      }
      const kind = firstOf(headers, "event") ?? "";
      if (kind !== "workflow_job") {
        deliveries.set(signature, true);
        return nothing(`events of the kind ${clean(kind, 40)} say nothing about the queue`, options.targets());
      }
      const event = readEvent(body);
      deliveries.set(signature, true);
      if (delivery !== "") deliveries.set(delivery, true);
      const { action, workflow_job: raw, repository } = event;
      const near = atForge(options.targets(), raw.url ?? "");
      // What started the job the delivery does not tell, so that the queue is read for it.
      const asked = near.filter(({ scope }) => isTrustedAt(scope, repository.full_name)).map(({ key }) => key);
      const targets = near.filter(({ scope }) => covers(scope, repository.full_name.toLowerCase()));
      if (targets.length === 0 && asked.length > 0)
        return { ...nothing("the queue tells"), kind: "other", read: asked };
      if (targets.length === 0) return nothing(`no pool serves ${clean(repository.full_name, 100)}`);
      const taken = targets.map((place) => take(place, event, signature));
      const jobs = taken.filter((job) => typeof job === "object");
      if (jobs.length === 0) return nothing("it came late, or the job is old: the queue tells", targets);
      return { kind: KIND[action], delivery, jobs, read: asked, note: `job ${raw.id} is ${action}` };
    },
  };
}

/** The signature's hex digits, once they are known to be right. */
function verify(headers: Headers, body: Uint8Array, secret: string): string {
  if (body.byteLength > LARGEST_BODY) {
    throw new WebhookError(413, "WEBHOOK_TOO_LARGE", "the delivery is over 1 MiB", "Send only workflow_job events.");
  }
  const given = (firstOf(headers, "signature") ?? headers.get("x-hub-signature-256") ?? "").replace(/^sha256=/, "");
  if (given === "" || secret === "") {
    throw new WebhookError(
      401,
      "WEBHOOK_UNSIGNED",
      "the delivery has no signature",
      "Set the secret of the webhook in the forge to the content of webhook.secretFile.",
    );
  }
  const right = createHmac("sha256", secret).update(body).digest();
  if (!/^[0-9a-f]{64}$/i.test(given) || !timingSafeEqual(Buffer.from(given, "hex"), right)) {
    throw new WebhookError(
      401,
      "WEBHOOK_SIGNATURE",
      "the delivery's signature does not fit",
      "The webhook's secret in the forge and webhook.secretFile differ, or its content type is not application/json.",
    );
  }
  return given.toLowerCase();
}

function readEvent(body: Uint8Array): JobEvent {
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(body).toString("utf8"));
  } catch {
    throw new WebhookError(
      400,
      "WEBHOOK_NOT_JSON",
      "the delivery is not JSON",
      "Set the webhook's content type in the forge to application/json.",
    );
  }
  const event = JobEvent.safeParse(value);
  if (event.success) return event.data;
  const where = clean(event.error.issues[0]?.path.join(".") ?? "", 60);
  throw new WebhookError(
    400,
    "WEBHOOK_BAD_BODY",
    `the delivery is not a workflow_job event (at ${where})`,
    "Check what sends it.",
  );
}

/** Both forges send the same headers under their own and older names; the first that is not empty counts. */
function firstOf(headers: Headers, name: "signature" | "event" | "delivery"): string | undefined {
  const vendors = name === "signature" ? ["forgejo", "gitea"] : ["forgejo", "gitea", "github"];
  return vendors.map((vendor) => headers.get(`x-${vendor}-${name}`) ?? "").find((value) => value !== "");
}

/** The targets at the forge that the job's own URL names, or the only forge there is. */
function atForge(all: readonly WebhookPlace[], jobUrl: string): readonly WebhookPlace[] {
  const named = all.filter(({ url }) => jobUrl.startsWith(`${url}/`));
  const alone = new Set(all.map(({ url }) => url)).size === 1;
  return named.length > 0 ? named : alone ? all : [];
}

const isTrustedAt = (scope: ForgeScope, repository: string): boolean =>
  scope.kind === "trusted" && isNamed(scope.repositories, repository);

function covers(scope: ForgeScope, repository: string): boolean {
  if (scope.kind === "repo") return repository === `${scope.owner}/${scope.repo}`.toLowerCase();
  if (scope.kind === "org") return repository.startsWith(`${scope.owner.toLowerCase()}/`);
  if (scope.kind === "trusted") return false;
  // Whose the token of a user scope is, the delivery does not tell: the next poll corrects a wrong guess.
  return true;
}

/** A map that forgets its oldest entries. */
function rememberLast<T>(size: number): { get(key: string): T | undefined; set(key: string, value: T): void } {
  const entries = new Map<string, T>();
  return {
    get: (key) => entries.get(key),
    set: (key, value) => {
      entries.delete(key);
      entries.set(key, value);
      const [oldest] = entries.keys();
      if (entries.size > size && oldest !== undefined) entries.delete(oldest);
    },
  };
}
