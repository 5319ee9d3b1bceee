import { join } from "node:path";
import type { Clock } from "../base/clock.ts";
import { describe } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import type { AgentEvent, HostMessage } from "../channel/messages.ts";
import { runnerFileContent } from "../runner-rpc/runner-file.ts";
import { type Assignment, isLegacy, waitForAssignment } from "./assignment.ts";
import type { EngineContext } from "./engines/engine.ts";
import { type EngineEnd, type RunningEngine, startEngine } from "./engines/process.ts";
import { findEngine } from "./engines/registry.ts";
import { checkKeepsTrust } from "./engines/trust.ts";
import { engineTimeout, makeFolderAs, removeFile, writeFileAs } from "./files.ts";
import { engineEnvironment, findIdentity } from "./identity.ts";
import { createMetadataClient } from "./metadata.ts";
import type { AgentOptions } from "./options.ts";

export interface AgentDependencies {
  clock: Clock;
  log: Logger;
  report(event: AgentEvent): void;
  /** Called once the engine's name is known. */
  onEngine(name: string): void;
}

/** The life of one runner in its sandbox; see `run`. */
export interface Agent {
  /** Waits for an assignment, runs its engine to the end and cleans up. Resolves with the process's exit code. */
  run(): Promise<number>;
  onOrder(order: HostMessage): void;
  /** The first SIGTERM or SIGINT lets a job end; the second does not. */
  onSignal(): void;
}

export function createAgent(options: AgentOptions, dependencies: AgentDependencies): Agent {
  const { clock, log } = dependencies;
  const waiting = new AbortController();
  let changed = Promise.withResolvers<void>();
  let engine: RunningEngine | undefined;
  let job: Extract<AgentEvent, { kind: "assigned" }> | undefined;
  let starting = false;
  let draining = false;
  let drained = false;
  let finished = false;
  let stopped = false;

  return { run, onOrder, onSignal };

  async function run(): Promise<number> {
    try {
      const end = await work();
      report({ kind: "engine-exited", ...end });
      return stopped ? 0 : Math.min(end.code, 1);
    } catch (error) {
      if (stopped) return 0;
      log.error({ err: describe(error) }, "the runner failed");
      report({ kind: "failed", detail: describe(error) });
      return 1;
    }
  }

  async function work(): Promise<EngineEnd> {
    const assignment = await waitForAssignment({
      client: createMetadataClient(options.metadata),
      retryWait: options.retryWait,
      clock,
      log,
      signal: waiting.signal,
      changed: async () => await changed.promise,
    });
    starting = true;
    dependencies.onEngine(assignment.engine);
    report({ kind: "starting", engine: assignment.engine });
    const runnerFile = join(options.workDir, ".runner");
    try {
      engine = await start(assignment, runnerFile);
      // An order or a signal may have come while the engine was being started.
      if (stopped) engine.stop(0);
      else if (draining) engine.drain();
      const end = await engine.ended;
      if (job !== undefined && !finished) report({ kind: "job-finished" });
      if (draining && job === undefined) sayDrained();
      return end;
    } finally {
      await removeFile(runnerFile);
    }
  }

  async function start(assignment: Assignment, runnerFile: string): Promise<RunningEngine> {
    const found = await findEngine(assignment.engine, options);
    const identity = findIdentity({ owner: options.owner, group: options.group, log });
    await makeFolderAs(options.workDir, identity);
    if (assignment.trust !== undefined) checkKeepsTrust(assignment);
    if (!isLegacy(assignment.credentials)) {
      const { name, credentials, trust } = assignment;
      const content = runnerFileContent({ name, ...credentials, ...(trust === undefined ? {} : { trust }) });
      await writeFileAs(runnerFile, content, 0o600, identity);
    }
    const context: EngineContext = {
      assignment,
      options,
      runnerFile,
      identity,
      environment: engineEnvironment(identity, options.environmentFile),
      clock,
      log,
      report,
    };
    const launch = await found.engine.prepare(context, found.program);
    const limit = engineTimeout(assignment) / 1_000;
    log.info({ engine: assignment.engine, program: found.program, user: identity.user, limit }, "starting the engine");
    return await startEngine(launch, context);
  }

  function report(event: AgentEvent): void {
    if (event.kind === "assigned") job = event;
    if (event.kind === "job-finished") finished = true;
    if (event.kind === "drained") return sayDrained();
    dependencies.report(event);
  }

  function sayDrained(): void {
    if (drained || job !== undefined) return;
    drained = true;
    dependencies.report({ kind: "drained" });
  }

  function onOrder(order: HostMessage): void {
    switch (order.kind) {
      case "metadata":
        changed.resolve();
        changed = Promise.withResolvers<void>();
        break;
      case "drain":
        drain();
        break;
      case "shutdown":
        stop(order.graceMs);
        break;
      case "hello":
      case "ack":
      case "ping":
    }
  }

  /** Answered by `drained`, or by telling the job again. */
  function drain(): void {
    if (job !== undefined) return dependencies.report(job);
    if (draining) return;
    draining = true;
    if (engine !== undefined) engine.drain();
    else if (!starting) waitNoMore();
  }

  function stop(graceMs: number): void {
    stopped = true;
    if (engine !== undefined) engine.stop(graceMs);
    else waiting.abort();
  }

  /** Nothing was started and nothing will be: the host has to take this sandbox away. */
  function waitNoMore(): void {
    stopped = true;
    sayDrained();
    waiting.abort();
  }

  function onSignal(): void {
    if (stopped || engine === undefined) return stop(0);
    stopped = true;
    log.info("asked to stop: a job that runs may end, a second signal ends it now");
    draining = true;
    // An engine with a job takes no other anyway, and forgejo-runner would end the one it has.
    if (job === undefined) engine.drain();
  }
}
