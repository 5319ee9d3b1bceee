// The forge simulator in a process of its own, so that it does not compete with what is measured for one event loop.
// Requests and answers are lines of JSON on stdin and stdout; bench/forge.ts is the other end.
import { Agent, request } from "node:http";
import { createInterface } from "node:readline";
import { createForgeSimulator, type ForgeSimulator } from "../src/forge-simulator/simulator.ts";
import type { Delivery } from "../src/forge-simulator/webhooks.ts";
import { sharedNow } from "./harness.ts";

const ORGANIZATIONS = ["one", "two", "three", "four", "five"];
const LONG = 24 * 3_600_000;

const forge = await createForgeSimulator({ flavour: "gitea", version: "1.25.1" });
forge.addUser("root", { admin: true });
for (const name of ["org", ...ORGANIZATIONS]) forge.addOrganization(name, { owners: ["root"] });
await forge.addRepository("org/app");
const token = forge.addToken("root", ["all"]);
const agent = new Agent({ keepAlive: true, maxSockets: 256 });
/** By job, the webhook that says it is queued. */
const held = new Map<number, Delivery>();

const verbs: Record<string, (given: Record<string, unknown>) => unknown> = {
  hello: () => ({ url: forge.url, token }),
  latency: ({ milliseconds }) => {
    forge.latencyMs = Number(milliseconds);
  },
  registrationToken: () => forge.registrationToken(""),
  /** Jobs that wait for a runner, whose webhooks are made and held back; returns their ids. */
  queue: ({ count, secret }) => queue(forge, Number(count), String(secret)),
  /** Sends the webhooks of these jobs now, each on a connection of its own; returns when the last byte of each went out. */
  deliver: ({ url, jobs }) => Promise.all((jobs as number[]).map((job) => deliver(String(url), job))),
  requests: () => ({ total: forge.requests.total(), counts: forge.requests.counts() }),
  forget: () => forge.requests.clear(),
};

for await (const line of createInterface({ input: process.stdin })) {
  const { id, verb, ...given } = JSON.parse(line) as { id: number; verb: string } & Record<string, unknown>;
  const value = await verbs[verb]?.(given);
  process.stdout.write(`${JSON.stringify({ id, value: value ?? null })}\n`);
}
agent.destroy();
await forge.close();

async function queue(simulator: ForgeSimulator, count: number, secret: string): Promise<number[]> {
  simulator.webhooks.hold(true);
  if (held.size === 0) await addHook(simulator, secret);
  const jobs = Array.from(
    { length: count },
    (_, index) => `  j${index}:\n    runs-on: linux\n    steps: [{ run: "true" }]`,
  );
  const run = await simulator.pushWorkflow({ repository: "org/app", yaml: `on: push\njobs:\n${jobs.join("\n")}\n` });
  for (const delivery of simulator.webhooks.deliveries()) {
    if (delivery.event === "workflow_job" && delivery.action === "queued") held.set(jobOf(delivery.body), delivery);
  }
  return run.jobs().map((job) => job.id);
}

async function addHook(simulator: ForgeSimulator, secret: string): Promise<void> {
  const answer = await fetch(`${simulator.url}/api/v1/orgs/org/hooks`, {
    method: "POST",
    headers: { authorization: `token ${token}`, "content-type": "application/json" },
    body: JSON.stringify({
      type: "gitea",
      active: true,
      events: ["workflow_job"],
      config: { url: "http://127.0.0.1:1/held", content_type: "json", secret },
    }),
    signal: AbortSignal.timeout(LONG),
  });
  if (answer.status !== 201) throw new Error(`the hook was not made: ${answer.status} ${await answer.text()}`);
}

/** Exactly what the forge would send, byte for byte; only the moment is ours. */
function deliver(url: string, job: number): Promise<{ job: number; at: number; status: number }> {
  const found = held.get(job);
  if (found === undefined) throw new Error(`no webhook of job ${job} is held`);
  const headers = { ...found.headers, "Content-Length": Buffer.byteLength(found.body) };
  return new Promise((resolve, reject) => {
    const sending = request(url, { method: "POST", headers, agent });
    let at = 0;
    sending.on("error", reject);
    sending.on("response", (response) => {
      response.resume();
      response.on("end", () => resolve({ job, at, status: response.statusCode ?? 0 }));
    });
    // The body's last byte goes to the kernel within `end` once the connection is there.
    sending.on("socket", (socket) => {
      const send = () => {
        at = sharedNow();
        sending.end(found.body);
      };
      if (socket.connecting) socket.once("connect", send);
      else send();
    });
  });
}

function jobOf(body: string): number {
  return (JSON.parse(body) as { workflow_job: { id: number } }).workflow_job.id;
}
