import { writeFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { create, toBinary } from "@bufbuild/protobuf";
import { Agent, request } from "undici";
import { stringify } from "yaml";
import { RegisterRequestSchema } from "../gen/runner/v1/runner_pb.js";
import { createApi } from "../src/api/app.ts";
import { bootId, systemClock } from "../src/base/clock.ts";
import { createLogger } from "../src/base/log.ts";
import { loadConfig } from "../src/config/load.ts";
import type { SandboxDriver } from "../src/sandbox/port.ts";
import { type Composition, compose } from "../src/serve/compose.ts";
import { closeServer, listenTcp } from "../src/serve/listeners.ts";
import { createWebhookReceiver } from "../src/serve/webhook.ts";
import { type BenchForge, startForge } from "./forge.ts";
import type { Aim, Bench, Figure } from "./harness.ts";
import { scratchDirectory, sharedNow, until } from "./harness.ts";
import { summarise } from "./statistics.ts";

const SECRET = "of the webhook";
/** Code that runs for the first time is slow; a daemon that has served a few jobs is the one that people have. */
const WARM_UP = 20;
/** As many as the client of the orchestrator opens. */
const CONNECTIONS = 64;

type Shape = "at once" | "one after another";

/** When each job's webhook, start call and credentials were, on the shared clock. */
interface Times {
  sent: Map<number, number>;
  started: Map<number, number>;
  given: Map<number, number>;
}

export const webhookToStart: Bench = {
  name: "webhook-to-start",
  what: "last byte of a signed webhook to the driver's start call, and until the runner has its credentials",
  run: async ({ quick, progress }) => {
    const [jobs, rounds] = quick ? [20, 1] : [100, 5];
    const figures: Figure[] = [];
    for (const latency of [0, 20]) {
      for (const shape of ["at once", "one after another"] as const) {
        const where = `${jobs} ${shape}, forge answers in ${latency} ms`;
        const alone: number[] = [];
        const start: number[] = [];
        const given: number[] = [];
        for (let round = 1; round <= rounds; round++) {
          progress(`${where}: round ${round} of ${rounds}`);
          await using forge = await startForge();
          await forge.latency(latency);
          alone.push(...(await registerAlone(forge, jobs, shape)));
          const times = await serveJobs(forge, jobs, shape);
          for (const [job, sent] of times.sent) {
            start.push((times.started.get(job) ?? Number.NaN) - sent);
            given.push((times.given.get(job) ?? Number.NaN) - sent);
          }
        }
        figures.push(
          { name: `start call: ${where}`, unit: "ms", samples: start, aims: [under("p50", 10), under("p99", 50)] },
          { name: `credentials given: ${where}`, unit: "ms", samples: given, aims: withForge(alone) },
          { name: `registration alone by a bare client: ${where}`, unit: "ms", samples: alone, aims: [] },
        );
      }
    }
    return {
      figures,
      notes: [
        "The orchestrator is the real one in this process: configuration, store on disk, HTTP listener, webhook check, plan, loop, forge client, with `logLevel: warn`.",
        "Its driver notes the moment of `create` and answers at once; no sandbox is made. The poll is an hour away, so that only webhooks start jobs.",
        "The simulator (Gitea 1.25.1) runs in a process of its own on the same machine and sends the webhooks; both use the host's monotonic clock. Start is the moment before the sender hands the last byte to the kernel.",
        `Each round has a fresh orchestrator and forge, and ${WARM_UP} jobs before it that are not counted.`,
        "Registration runs beside the start of the sandbox, so the start call never waits for the forge; 'credentials given' is when both are done. The forge's own time is what the same registrations take a bare HTTP client, as many at once.",
      ],
    };
  },
};

const under = (statistic: Aim["statistic"], limit: number): Aim => ({ statistic, under: limit });

function withForge(alone: number[]): Aim[] {
  const { p50, p99 } = summarise(alone);
  return [
    { statistic: "p50", under: 10 + p50, because: `10 ms and the forge's own ${p50} ms` },
    { statistic: "p99", under: 50 + p99, because: `50 ms and the forge's own ${p99} ms` },
  ];
}

async function serveJobs(forge: BenchForge, jobs: number, shape: Shape): Promise<Times> {
  using directory = scratchDirectory();
  const times: Times = { sent: new Map(), started: new Map(), given: new Map() };
  const jobOf = new Map<string, number>();
  const { composition, url, close } = await startOrchestrator(directory.path, forge, (runner) => {
    const job = jobOf.get(runner);
    if (job !== undefined) times.started.set(job, sharedNow());
  });
  composition.orchestrator.subscribe((event) => {
    if (event.kind !== "runner") return;
    const { id, jobKey } = event.runner;
    if (event.change === "created" && jobKey !== undefined) jobOf.set(id, Number(jobKey.split("/").at(-2)));
    const job = jobOf.get(id);
    if (event.change === "credentials-given" && job !== undefined) times.given.set(job, sharedNow());
  });
  const serve = async (ids: number[]) => {
    for (const { job, at, status } of await forge.deliver(url, ids)) {
      if (status !== 202) throw new Error(`the webhook of job ${job} was answered ${status}`);
      times.sent.set(job, at);
    }
    await until("every job's runner has credentials", () => ids.every((id) => times.given.has(id)), { pause: 2 });
  };
  try {
    await until("the forge was read", () => composition.orchestrator.targets().every(({ health }) => health === "ok"));
    await until("the driver is ready", () => composition.orchestrator.pools().every(({ usable }) => usable));
    for (const id of await forge.queue(WARM_UP, SECRET)) await serve([id]);
    times.sent.clear();
    const ids = await forge.queue(jobs, SECRET);
    if (shape === "at once") await serve(ids);
    else for (const id of ids) await serve([id]);
    return times;
  } finally {
    await close();
  }
}

async function startOrchestrator(directory: string, forge: BenchForge, onCreate: (runner: string) => void) {
  const secretFile = join(directory, "secret");
  writeFileSync(secretFile, SECRET);
  const file = join(directory, "config.yaml");
  writeFileSync(
    file,
    stringify({
      gitea: { instanceURL: forge.url, apiToken: forge.token, runnerScope: "instance" },
      webhook: { secretFile },
      pollInterval: "1h",
      pools: [
        { name: "p", driver: "fake", engine: "shell", minRunners: 0, maxRunners: 1000, runner: { labels: ["linux"] } },
      ],
    }),
  );
  const log = createLogger("warn");
  const { settings } = loadConfig(file, {});
  const composition = await compose({
    settings,
    places: { state: join(directory, "state"), run: join(directory, "run") },
    hostId: "abc123",
    boot: bootId(),
    clock: systemClock,
    log,
    drivers: new Map([["fake", noSandboxes(onCreate)]]),
  });
  const app = createApi(
    {
      orchestrator: composition.orchestrator,
      version: { version: "bench", commit: "", built: "" },
      metrics: () => composition.metrics.scrape(),
      drain: () => undefined,
      webhook: createWebhookReceiver(secretFile, composition.targets, log),
    },
    "tcp",
  );
  const server = await listenTcp(app, { host: "127.0.0.1", port: 0 }, "server.address");
  await composition.start();
  return {
    composition,
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/webhooks/forge`,
    close: async () => {
      await closeServer(server);
      await stop(composition);
    },
  };
}

async function stop(composition: Composition): Promise<void> {
  await composition.stop("detach", 1_000);
  await composition.close();
}

/** A driver that makes nothing: what is measured ends where a driver's own work begins. */
function noSandboxes(onCreate: (runner: string) => void): SandboxDriver {
  const none = () => Promise.resolve();
  return {
    name: "fake",
    prepare: () => Promise.resolve({ ok: true, detail: "makes nothing" }),
    create: (spec) => {
      onCreate(spec.runnerId);
      return Promise.resolve({});
    },
    list: () => Promise.resolve([]),
    remove: none,
    dial: (_, signal) =>
      new Promise((_resolve, reject) => signal.addEventListener("abort", () => reject(new Error("given up")))),
    publish: none,
    watch: () => () => undefined,
    console: () => Promise.resolve(""),
    close: none,
  };
}

/** The forge's own time: the same registrations without an orchestrator. */
async function registerAlone(forge: BenchForge, count: number, shape: Shape): Promise<number[]> {
  const token = await forge.registrationToken();
  const dispatcher = new Agent({ connections: CONNECTIONS });
  const register = async (name: string): Promise<number> => {
    const message = create(RegisterRequestSchema, {
      name,
      token,
      labels: ["linux"],
      version: "bench",
      ephemeral: true,
    });
    const body = toBinary(RegisterRequestSchema, message);
    const began = sharedNow();
    const answer = await request(`${forge.url}/api/actions/runner.v1.RunnerService/Register`, {
      dispatcher,
      method: "POST",
      headers: { "content-type": "application/proto", "connect-protocol-version": "1" },
      body,
    });
    await answer.body.arrayBuffer();
    if (answer.statusCode !== 200) throw new Error(`the registration was answered ${answer.statusCode}`);
    return sharedNow() - began;
  };
  try {
    for (let index = 0; index < WARM_UP; index++) await register(`warm-${index}`);
    const names = Array.from({ length: count }, (_, index) => `alone-${index}`);
    if (shape === "at once") return await Promise.all(names.map(register));
    const times: number[] = [];
    for (const name of names) times.push(await register(name));
    return times;
  } finally {
    await dispatcher.close();
  }
}
