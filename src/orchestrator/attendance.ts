import type { Clock } from "../base/clock.ts";
import type { Logger } from "../base/log.ts";
import { hexOf } from "../base/names.ts";
import { connectChannel, type HostChannel, type HostOrder } from "../channel/host.ts";
import type { AgentEvent } from "../channel/messages.ts";
import type { RunnerEvent } from "../core/runner.ts";
import type { ClaimedJob, DriverName, Runner } from "../core/types.ts";
import type { SandboxDriver } from "../sandbox/port.ts";
import type { LogBook } from "./logs.ts";
import type { Records } from "./records.ts";

/** Watches over running sandboxes: their end, and what their agents say. */
export interface Attendance {
  /** Begins to watch a runner's sandbox; twice is harmless. */
  attend(id: string): void;
  /** Tells the agent now, and again after every reconnection. */
  send(id: string, order: HostOrder): void;
  /** Stops watching one runner. */
  release(id: string): Promise<void>;
  close(): Promise<void>;
}

interface Watched {
  /** None for a mute runner. */
  channel?: HostChannel;
  unwatch: () => void;
}

export function createAttendance(deps: {
  records: Records;
  logs: LogBook;
  driver: (name: DriverName) => SandboxDriver;
  clock: Clock;
  log: Logger;
  wake: () => void;
}): Attendance {
  const { records, logs } = deps;
  const watched = new Map<string, Watched>();

  /** Runners whose agent reported a failure: the first one is worth a line. */
  const warned = new Set<string>();

  const hear = (runner: Runner, seq: number, event: AgentEvent) => {
    if (event.kind === "log") {
      logs.append(runner.hex, event.text);
      records.hear(runner.id, seq, []);
      return;
    }
    const isFailure = event.kind === "failed" || (event.kind === "engine-exited" && event.code !== 0);
    if (isFailure && !warned.has(runner.id)) {
      warned.add(runner.id);
      deps.log.warn({ runner: runner.id, said: event.kind, detail: event.detail }, "the agent reports a failure");
    }
    records.hear(runner.id, seq, translate(event));
    deps.wake();
  };

  return {
    attend: (id) => {
      const runner = records.get(id);
      if (runner === undefined || watched.has(id)) return;
      const driver = deps.driver(runner.driver);
      const log = deps.log.child({ runner: id });
      const dial = () =>
        connectChannel({
          dial: (signal) => driver.dial(runner.hex, signal),
          nextSeq: runner.heard ?? 0,
          onEvent: (event, { seq }) => hear(runner, seq, event),
          onTrouble: (detail) => void records.applyAnyway(id, { kind: "agent-trouble", detail }),
          clock: deps.clock,
          log,
        });
      const unwatch = driver.watch(runner.hex, (exit) => {
        log.debug({ code: exit.code, signal: exit.signal, reason: exit.reason }, "the sandbox ended");
        records.applyAnyway(id, { kind: "sandbox-exited", exit });
        deps.wake();
      });
      watched.set(id, { unwatch, ...(runner.mute === true ? {} : { channel: dial() }) });
    },
    send: (id, order) => {
      const channel = watched.get(id)?.channel;
      if (channel === undefined) throw new Error(`no channel to ${id}`);
      channel.send(order);
    },
    release: async (id) => {
      const entry = watched.get(id);
      watched.delete(id);
      warned.delete(id);
      const hex = hexOf(id);
      if (hex !== undefined) logs.done(hex);
      entry?.unwatch();
      await entry?.channel?.close();
    },
    close: async () => {
      for (const entry of watched.values()) {
        entry.unwatch();
        await entry.channel?.close();
      }
      watched.clear();
    },
  };
}

/** What an agent says, as changes of the record. Its words are claims: they can move only its own runner, forwards. */
function translate(event: AgentEvent): RunnerEvent[] {
  switch (event.kind) {
    case "up":
      return [{ kind: "agent-up" }];
    case "starting":
      return [{ kind: "engine-starting" }];
    case "listening":
      return [{ kind: "listening" }];
    case "assigned": {
      const job: ClaimedJob = {};
      if (event.taskId !== undefined) job.taskId = event.taskId;
      if (event.name !== undefined) job.name = event.name;
      if (event.repository !== undefined) job.repository = event.repository;
      if (event.runId !== undefined) job.runId = event.runId;
      return [{ kind: "assigned", job }];
    }
    case "first-step":
      return [{ kind: "first-step" }];
    case "job-finished":
      return [{ kind: "job-finished", ...(event.result === undefined ? {} : { result: event.result }) }];
    case "drained":
      return [{ kind: "drained" }];
    case "engine-exited":
      return [{ kind: "engine-exited", code: event.code }];
    case "failed":
      return [{ kind: "engine-exited", code: 1 }];
    case "log":
      return [];
  }
}
