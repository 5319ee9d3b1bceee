import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { type Client, createClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import { onTestFinished } from "vitest";
import { LogRowSchema, type Result, RunnerService, StepStateSchema } from "../../../gen/runner/v1/runner_pb.js";
import type { Clock } from "../../../src/base/clock.ts";
import {
  createForgeSimulator,
  type ForgeSimulator,
  type ForgeSimulatorOptions,
} from "../../../src/forge-simulator/simulator.ts";

export const HELLO = `
name: hello
on: push
env: { GREETING: hi }
jobs:
  hello:
    runs-on: ubuntu
    steps:
      - run: echo hello
`;

export interface Rig {
  forge: ForgeSimulator;
  /** Access token of an administrator with every scope. */
  admin: string;
  call: (method: string, path: string, body?: unknown, token?: string) => Promise<Reply>;
  get: (path: string, token?: string) => Promise<Reply>;
}

export interface Reply {
  status: number;
  headers: Headers;
  // Tests look into answers of many shapes.
  body: ReturnType<typeof JSON.parse>;
}

/** A simulator with an administrator `root` and the repository `acme/site` of an organisation; closed after the test. */
export async function rig(options: Partial<ForgeSimulatorOptions> = {}): Promise<Rig> {
  const forge = await createForgeSimulator({ flavour: "gitea", version: "1.25.1", ...options });
  onTestFinished(() => forge.close());
  forge.addUser("root", { admin: true });
  forge.addOrganization("acme", { owners: ["root"] });
  await forge.addRepository("acme/site");
  const admin = forge.addToken("root", ["all"]);
  const call: Rig["call"] = async (method, path, body, token = admin) => {
    const answer = await fetch(`${forge.url}/api/v1${path}`, {
      method,
      headers: {
        ...(token === "" ? {} : { authorization: `token ${token}` }),
        ...(body === undefined ? {} : { "content-type": "application/json" }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await answer.text();
    const isJson = (answer.headers.get("content-type") ?? "").startsWith("application/json");
    return { status: answer.status, headers: answer.headers, body: isJson ? JSON.parse(text) : text };
  };
  return { forge, admin, call, get: (path, token) => call("GET", path, undefined, token) };
}

/** The runner protocol as a runner speaks it. */
export class TestRunner {
  readonly rpc: Client<typeof RunnerService>;
  id = 0;
  uuid = "";
  token = "";
  version = 0n;
  readonly #headers: Record<string, string>;

  constructor(forge: ForgeSimulator, options: { json?: boolean; headers?: Record<string, string> } = {}) {
    this.#headers = options.headers ?? {};
    const transport = createConnectTransport({
      baseUrl: `${forge.url}/api/actions`,
      httpVersion: "1.1",
      useBinaryFormat: options.json !== true,
      interceptors: [
        (next) => (request) => {
          if (this.uuid !== "") request.header.set("x-runner-uuid", this.uuid);
          if (this.token !== "") request.header.set("x-runner-token", this.token);
          for (const [name, value] of Object.entries(this.#headers)) request.header.set(name, value);
          return next(request);
        },
      ],
    });
    this.rpc = createClient(RunnerService, transport);
  }

  async register(token: string, options: { labels?: string[]; ephemeral?: boolean; name?: string } = {}) {
    const { labels = ["ubuntu"], ephemeral = true, name = "vm-1" } = options;
    const { runner } = await this.rpc.register({ name, token, labels, ephemeral, version: "v3.3.0" });
    if (runner === undefined) throw new Error("no runner in the answer");
    Object.assign(this, { id: Number(runner.id), uuid: runner.uuid, token: runner.token });
    return runner;
  }

  async fetch() {
    const { task, tasksVersion } = await this.rpc.fetchTask({ tasksVersion: this.version });
    this.version = task === undefined ? tasksVersion : 0n;
    return task;
  }

  log(taskId: bigint, index: number, lines: string[], noMore = false) {
    const rows = lines.map((content) => create(LogRowSchema, { content, time: timestampFromMs(1_700_000_000_000) }));
    return this.rpc.updateLog({ taskId, index: BigInt(index), rows, noMore });
  }

  report(id: bigint, result: Result, outputs: Record<string, string> = {}) {
    const steps = [create(StepStateSchema, { id: 0n, result })];
    return this.rpc.updateTask({ state: { id, result, steps }, outputs });
  }
}

/** A registered runner at the instance. */
export async function runnerAt(
  forge: ForgeSimulator,
  options: { scope?: string; labels?: string[]; ephemeral?: boolean; name?: string; json?: boolean } = {},
): Promise<TestRunner> {
  const runner = new TestRunner(forge, { json: options.json ?? false });
  await runner.register(forge.registrationToken(options.scope ?? ""), options);
  return runner;
}

/** A clock that only moves when told; its timers fire while it moves. */
export function manualClock(start = 1_700_000_000_000): Clock & { advance(milliseconds: number): void } {
  let now = start;
  const timers = new Set<{ at: number; action: () => void }>();
  const after: Clock["after"] = (milliseconds, action) => {
    const timer = { at: now + milliseconds, action };
    timers.add(timer);
    return { cancel: () => timers.delete(timer) };
  };
  return {
    now: () => now,
    uptime: () => now - start,
    after,
    sleep: (milliseconds) => new Promise((resolve) => after(milliseconds, resolve)),
    advance: (milliseconds) => {
      const end = now + milliseconds;
      for (;;) {
        const next = [...timers].filter((timer) => timer.at <= end).sort((a, b) => a.at - b.at)[0];
        if (next === undefined) break;
        timers.delete(next);
        now = next.at;
        next.action();
      }
      now = end;
    },
  };
}
