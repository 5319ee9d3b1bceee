import { createHmac, randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import type { Hook, Repository } from "./records.ts";
import { publicStatus, renderAccount, renderJob, renderRepository, renderRun } from "./rest/render.ts";
import { type Change, covers, type World } from "./world.ts";

const DELIVER_TIMEOUT_MS = 5000;
const KEPT_DELIVERIES = 10_000;

/** One try to deliver; a forge never repeats it by itself. */
export interface Delivery {
  id: string;
  hook: number;
  event: string;
  action: string;
  url: string;
  headers: Record<string, string>;
  body: string;
  /** Status of the answer; 0 while it is under way, -1 when there was none. */
  status: number;
  error: string | undefined;
}

export interface Webhooks {
  /** The last deliveries, oldest first. */
  deliveries(): readonly Delivery[];
  /** Sends the stored payload of a delivery once more, under the same id, as a person can. */
  redeliver(id: string): Promise<Delivery>;
  /** Resolves when nothing is under way. */
  idle(): Promise<void>;
  /** Holds deliveries back until `false`; they are then sent newest first, since forges may reorder. */
  hold(on: boolean): void;
}

/** Sends `push`, `workflow_job` and `workflow_run` to the hooks whose scope has the repository. */
export function createWebhooks(world: World): Webhooks & { close(): Promise<void> } {
  const deliveries: Delivery[] = [];
  const underWay = new Set<Promise<void>>();
  const closing = new AbortController();
  let held: Delivery[] | undefined;

  function start(delivery: Delivery): Promise<void> {
    const sent = send(world, delivery, closing.signal).finally(() => underWay.delete(sent));
    underWay.add(sent);
    return sent;
  }

  function onChange(change: Change): void {
    const run = change.kind === "job" ? change.job.run : change.run;
    const pushed = change.kind === "run" && change.action === "requested" && run.event === "push";
    if (pushed) deliver(run.repository, "push", "", () => run.payload);
    if (change.kind === "job" ? world.traits.jobHooks : world.traits.runHooks)
      deliver(run.repository, `workflow_${change.kind}`, change.action, () => payload(world, change));
  }

  function deliver(repository: Repository, event: string, action: string, content: () => object): void {
    for (const hook of world.hooks.values()) {
      if (!hook.active || !hook.events.includes(event) || !fires(hook, repository)) continue;
      const delivery = prepare(world, hook, event, action, JSON.stringify(content(), null, 2));
      deliveries.push(delivery);
      if (deliveries.length > KEPT_DELIVERIES) deliveries.splice(0, KEPT_DELIVERIES / 10);
      if (held === undefined) void start(delivery);
      else held.push(delivery);
    }
  }

  world.listeners.add(onChange);
  return {
    deliveries: () => deliveries,
    redeliver: async (id) => {
      const stored = deliveries.find((delivery) => delivery.id === id);
      if (stored === undefined) throw new Error(`there is no delivery ${id}`);
      const again: Delivery = { ...stored, status: 0, error: undefined };
      deliveries.push(again);
      await start(again);
      return again;
    },
    idle: async () => {
      while (underWay.size > 0) await Promise.all(underWay);
    },
    hold: (on) => {
      const waiting = held ?? [];
      held = on ? waiting : undefined;
      if (!on) for (const delivery of waiting.reverse()) void start(delivery);
    },
    close: async () => {
      world.listeners.delete(onChange);
      closing.abort();
      await Promise.all(underWay);
    },
  };
}

/** An admin hook that is not a system hook only serves as a template for new repositories. */
function fires(hook: Hook, repository: Repository): boolean {
  const instance = hook.scope.ownerId === 0 && hook.scope.repositoryId === 0;
  return instance ? hook.system : covers(hook.scope, repository);
}

function payload(world: World, change: Change): Record<string, unknown> {
  const run = change.kind === "job" ? change.job.run : change.run;
  const { repository } = run;
  const organization =
    repository.owner.kind === "organization" ? { organization: renderAccount(world, repository.owner) } : {};
  return {
    action: change.kind === "job" ? publicStatus(change.job.status) : change.action,
    ...(change.kind === "job"
      ? { workflow_job: renderJob(world, change.job) }
      : { workflow: { id: run.workflow, name: run.workflowName }, workflow_run: renderRun(world, run) }),
    ...organization,
    repository: renderRepository(world, repository),
    sender: renderAccount(world, run.actor),
  };
}

function prepare(world: World, hook: Hook, event: string, action: string, content: string): Delivery {
  const id = randomUUID();
  const hmac = (algorithm: string) =>
    hook.secret === "" ? "" : createHmac(algorithm, hook.secret).update(content).digest("hex");
  const headers: Record<string, string> = {
    "Content-Type": hook.contentType === "json" ? "application/json" : "application/x-www-form-urlencoded",
    "X-Hub-Signature": `sha1=${hmac("sha1")}`,
    "X-Hub-Signature-256": `sha256=${hmac("sha256")}`,
    "X-GitHub-Delivery": id,
    "X-GitHub-Event": event,
    "X-GitHub-Event-Type": event,
  };
  const brands = world.traits.flavour === "forgejo" ? ["Forgejo", "Gitea", "Gogs"] : ["Gitea", "Gogs"];
  for (const brand of brands) {
    headers[`X-${brand}-Delivery`] = id;
    headers[`X-${brand}-Event`] = event;
    headers[`X-${brand}-Event-Type`] = event;
    headers[`X-${brand}-Signature`] = hmac("sha256");
  }
  if (world.traits.hookTargetHeader) {
    headers["X-Gitea-Hook-Installation-Target-Type"] = targetType(world, hook);
    headers["X-GitHub-Hook-Installation-Target-Type"] = targetType(world, hook);
  }
  if (hook.authorizationHeader !== "") headers["Authorization"] = hook.authorizationHeader;
  const body = hook.contentType === "json" ? content : `payload=${encodeURIComponent(content)}`;
  return { id, hook: hook.id, event, action, url: hook.url, headers, body, status: 0, error: undefined };
}

function targetType(world: World, hook: Hook): string {
  if (hook.scope.repositoryId !== 0) return "repository";
  if (hook.scope.ownerId === 0) return hook.system ? "system" : "default";
  const owner = [...world.accounts.values()].find((account) => account.id === hook.scope.ownerId);
  return owner?.kind ?? "user";
}

async function send(world: World, delivery: Delivery, closing: AbortSignal): Promise<void> {
  // Deliveries leave through a queue, never inside the request that caused them.
  await sleep(0);
  try {
    if (world.behaviours.externalHooksOnly && isPrivate(new URL(delivery.url).hostname))
      throw new Error(`webhook can only call allowed HTTP servers, deny '${new URL(delivery.url).host}'`);
    const answer = await fetch(delivery.url, {
      method: "POST",
      headers: delivery.headers,
      body: delivery.body,
      redirect: "manual",
      signal: AbortSignal.any([closing, AbortSignal.timeout(DELIVER_TIMEOUT_MS)]),
    });
    await answer.arrayBuffer();
    delivery.status = answer.status;
  } catch (error) {
    delivery.status = -1;
    delivery.error = error instanceof Error ? error.message : String(error);
  }
}

const isPrivate = (host: string): boolean =>
  /^(localhost|127\.|10\.|192\.168\.|172\.(1[6-9]|2\d|3[01])\.|169\.254\.|\[::1\]|\[f[cd])/.test(host);
