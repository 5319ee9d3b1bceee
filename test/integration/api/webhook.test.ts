import { createHmac } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { silentLogger } from "../../../src/base/log.ts";
import { createWebhookReceiver } from "../../../src/serve/webhook.ts";
import {
  eventually,
  FAKE_POOL,
  giteaWithRepository,
  startOrchestrator,
  temporaryDirectory,
} from "../../support/orchestrator.ts";
import { createScriptedDriver } from "../../support/scripted/driver.ts";
import { depsOf, problemOf, serveApi } from "./world.ts";

const SECRET = "a secret of some length";
const YAML = `
on: push
jobs:
  build:
    runs-on: linux
    steps: [{ run: "true" }]
`;

/** The whole orchestrator, whose poll is too slow to matter, behind a webhook of the forge. */
async function listening() {
  const directory = temporaryDirectory();
  const { forge, token } = await giteaWithRepository();
  const scripted = createScriptedDriver({ bootTime: 0, fetchInterval: 5, jobTime: 5 });
  const composition = await startOrchestrator({
    directory: directory.path,
    forge,
    token,
    pools: [FAKE_POOL],
    extra: { pollInterval: "10m" },
    drivers: new Map([["fake", scripted.driver]]),
  });
  const secretFile = join(directory.path, "secret");
  writeFileSync(secretFile, `${SECRET}\n`, { mode: 0o600 });
  const receive = createWebhookReceiver(secretFile, composition.targets, silentLogger);
  /** When each delivery came in. */
  const arrivals: number[] = [];
  const webhook: typeof receive = (headers, body) => {
    arrivals.push(performance.now());
    return receive(headers, body);
  };
  const api = await serveApi(directory.path, depsOf(composition.orchestrator, { webhook }));
  const { orchestrator } = composition;
  await eventually("the forge answers", () => orchestrator.targets()[0]?.health === "ok");
  await eventually("the driver is ready", () => orchestrator.pools()[0]?.usable === true);

  const hooks = `${forge.url}/api/v1/repos/org/app/hooks`;
  const made = await fetch(hooks, {
    method: "POST",
    headers: { Authorization: `token ${token}`, "Content-Type": "application/json" },
    body: JSON.stringify({
      type: "gitea",
      active: true,
      events: ["workflow_job"],
      config: { url: `${api.tcpUrl}/webhooks/forge`, content_type: "json", secret: SECRET },
    }),
  });
  expect(made.status).toBe(201);
  const close = async () => {
    await api[Symbol.asyncDispose]();
    await composition.stop("detach", 0);
    await composition.close();
    await forge.close();
    directory[Symbol.dispose]();
  };
  return { forge, api, orchestrator, scripted, arrivals, secretFile, [Symbol.asyncDispose]: close };
}

/** When each runner's creation was recorded. */
function creations(orchestrator: Awaited<ReturnType<typeof listening>>["orchestrator"]): number[] {
  const times: number[] = [];
  orchestrator.subscribe((event) => {
    if (event.kind === "runner" && event.change === "created") times.push(performance.now());
  });
  return times;
}

describe("the forge's webhook", () => {
  it("starts a runner at once for a queued job, and deliveries that come again change nothing", async () => {
    await using world = await listening();
    const created = creations(world.orchestrator);
    const run = await world.forge.pushWorkflow({ repository: "org/app", yaml: YAML });
    await eventually("a runner is made", () => created.length === 1);
    const [made = Infinity] = created;
    const [arrived = 0] = world.arrivals;
    expect(made - arrived, "milliseconds from the delivery to the runner's record").toBeLessThan(500);
    expect(await run.finished(AbortSignal.timeout(20_000))).toEqual({ build: "success" });
    await eventually("the runner is gone", () => world.orchestrator.runners().length === 0);
    await world.forge.webhooks.idle();

    const deliveries = [...world.forge.webhooks.deliveries()].filter(({ event }) => event === "workflow_job");
    expect(deliveries.map(({ action }) => action)).toEqual(["queued", "in_progress", "completed"]);
    expect(deliveries.map(({ status }) => status)).toEqual([202, 202, 202]);
    const [queued] = deliveries;
    expect((await world.forge.webhooks.redeliver(queued?.id ?? "")).status).toBe(202);
    // The same body under another id, as somebody who listened on the way could send it.
    const headers = { ...queued?.headers, "x-gitea-delivery": "another", "X-Gitea-Delivery": "another" };
    const replay = await world.api.tcp("POST", "/webhooks/forge", { headers, body: queued?.body ?? "" });
    expect(JSON.parse(replay.body)).toEqual({ message: "this delivery was taken in before" });
    expect(world.orchestrator.reasons()).toEqual([]);
    expect([created.length, world.scripted.created.length]).toEqual([1, 1]);
  });

  it("is refused unsigned, with another signature, as something else, and over 1 MiB", async () => {
    await using world = await listening();
    const created = creations(world.orchestrator);
    const post = (body: string, headers: Record<string, string> = {}) =>
      world.api.tcp("POST", "/webhooks/forge", { body, headers: { "X-Gitea-Event": "workflow_job", ...headers } });
    const signed = (body: string, secret = SECRET) => ({
      "X-Gitea-Signature": createHmac("sha256", secret).update(body).digest("hex"),
    });
    const large = "x".repeat(2 * 1024 * 1024);
    const answers = [
      await post("{}"),
      await post("{}", signed("{}", "another secret")),
      await post("{}", signed("{} ")),
      await post("{}", { "X-Gitea-Signature": "no hex" }),
      await post("no json", signed("no json")),
      await post("{}", signed("{}")),
      await post(large, signed(large)),
    ];
    expect(answers.map((answer) => [answer.status, problemOf(answer).code])).toEqual([
      [401, "WEBHOOK_UNSIGNED"],
      [401, "WEBHOOK_SIGNATURE"],
      [401, "WEBHOOK_SIGNATURE"],
      [401, "WEBHOOK_SIGNATURE"],
      [400, "WEBHOOK_NOT_JSON"],
      [400, "WEBHOOK_BAD_BODY"],
      [413, "BODY_TOO_LARGE"],
    ]);
    for (const answer of answers) expect(answer.body).not.toContain(SECRET);
    expect((await world.api.tcp("GET", "/webhooks/forge")).status).toBe(404);
    expect(created).toEqual([]);
  });

  it("is checked with the secret that lies in the file now, from one delivery to the next", async () => {
    await using world = await listening();
    const post = async (secret: string) => {
      const body = JSON.stringify({ sent: Math.random() });
      const signature = createHmac("sha256", secret).update(body).digest("hex");
      const headers = { "X-Gitea-Event": "workflow_job", "X-Gitea-Signature": signature };
      return problemOf(await world.api.tcp("POST", "/webhooks/forge", { body, headers })).code;
    };
    expect([await post(SECRET), await post("a newer one")]).toEqual(["WEBHOOK_BAD_BODY", "WEBHOOK_SIGNATURE"]);
    writeFileSync(world.secretFile, "a newer one");
    expect([await post("a newer one"), await post(SECRET)]).toEqual(["WEBHOOK_BAD_BODY", "WEBHOOK_SIGNATURE"]);
  });
});
