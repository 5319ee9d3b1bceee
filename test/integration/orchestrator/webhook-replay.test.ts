import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, it } from "vitest";
import { silentLogger } from "../../../src/base/log.ts";
import { createWebhookReceiver } from "../../../src/serve/webhook.ts";
import { eventually } from "../../support/orchestrator.ts";
import { createWorld, type World } from "../../support/world.ts";

const SECRET = "a secret of some length";
const JOBS_ROUTE = "GET /api/v1/admin/actions/jobs";

/** A world whose poll does not come, and whose webhooks the test carries by hand, to each process anew. */
async function hooked(version: string) {
  const world = await createWorld({ forge: { version }, poll: 600_000, script: { jobTime: 50 } });
  const secretFile = join(world.directory, "secret");
  writeFileSync(secretFile, SECRET, { mode: 0o600 });
  const config = { url: "http://127.0.0.1:9/", content_type: "json", secret: SECRET };
  const made = await fetch(`${world.forge.url}/api/v1/repos/org/app/hooks`, {
    method: "POST",
    headers: { Authorization: `token ${world.token}`, "Content-Type": "application/json" },
    body: JSON.stringify({ type: "gitea", active: true, events: ["workflow_job"], config }),
  });
  expect(made.status).toBe(201);
  const receiver = () => createWebhookReceiver(secretFile, world.composition.targets, silentLogger);
  let receive = receiver();
  const ready = async () => {
    await eventually("the forge answers", () => world.orchestrator.targets()[0]?.health === "ok");
    await eventually("the driver is ready", () => world.orchestrator.pools()[0]?.usable === true);
  };
  await ready();
  const restart = async () => {
    await world.stop();
    // Forges tell whole seconds: a job of the second in which a process begins may be its own.
    await sleep(1_001 - (Date.now() % 1_000));
    await world.start();
    receive = receiver();
    await ready();
  };
  /** Hands over every delivery with one of these actions, from the first one on. */
  const deliver = (...actions: string[]) => {
    const chosen = world.forge.webhooks.deliveries().filter(({ action }) => actions.includes(action));
    return chosen.map(({ headers, body }) => receive(new Headers(headers), Buffer.from(body)).status);
  };
  return { world, restart, deliver };
}

const codes = (world: World) => world.orchestrator.reasons().map(({ code }) => code);

it("a delivery that is repeated after a restart makes no runner: the queue is read first", async () => {
  const { world, restart, deliver } = await hooked("1.25.1");
  const run = await world.push({ one: ["linux"] });
  expect(deliver("queued")).toEqual([202]);
  expect(await run.finished(AbortSignal.timeout(20_000))).toEqual({ one: "success" });
  await world.cleared();
  await restart();
  world.forge.requests.clear();
  expect(deliver("queued")).toEqual([202]);
  await eventually("the queue was read", () => (world.forge.requests.counts()[JOBS_ROUTE] ?? 0) > 0);
  // What the plan makes of a second job shows that it ran after the repeated ones.
  const next = await world.push({ two: ["linux"] });
  deliver("queued", "in_progress");
  expect(await next.finished(AbortSignal.timeout(20_000))).toEqual({ two: "success" });
  await world.cleared();
  expect(world.scripted.created).toHaveLength(2);
});

it("of a forge without a queue to read, what webhooks said is known after a restart, and repeating it changes nothing", async () => {
  const { world, restart, deliver } = await hooked("1.24.7");
  world.orchestrator.pause("default");
  const run = await world.push({ one: ["linux"] });
  expect(deliver("queued")).toEqual([202]);
  await eventually("it waits", () => codes(world).includes("paused"));
  await restart();
  await eventually("it still waits", () => codes(world).includes("paused"));
  expect(world.orchestrator.reasons()[0]?.job).toMatchObject({ name: "one", repository: "org/app" });
  world.orchestrator.resume("default");
  expect(await run.finished(AbortSignal.timeout(20_000))).toEqual({ one: "success" });
  deliver("in_progress", "completed");
  await world.cleared();
  await restart();
  deliver("queued", "in_progress", "completed");
  // The plan runs when it is woken; what it makes of a second job shows that it did.
  const next = await world.push({ two: ["linux"] });
  deliver("queued");
  expect(await next.finished(AbortSignal.timeout(20_000))).toEqual({ two: "success" });
  deliver("completed");
  await world.cleared();
  expect(world.scripted.created).toHaveLength(2);
});
