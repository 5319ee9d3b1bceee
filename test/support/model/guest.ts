import type { Duplex } from "node:stream";
import { type AgentChannel, createAgentChannel } from "../../../src/channel/agent.ts";
import type { SandboxExit } from "../../../src/core/types.ts";
import type { MetadataDocument } from "../../../src/sandbox/port.ts";
import type { ModelClock } from "./clock.ts";
import type { ModelForge, ModelJob } from "./forge.ts";
import type { Random } from "./random.ts";

export interface GuestFate {
  /** Milliseconds to the agent's first word; Infinity: it never comes. */
  boot: number;
  /** The engine listens and never takes a job, as one that lost the race for it. */
  deaf: boolean;
}

export interface Guest {
  start(): void;
  /** Nothing inside happens any more, and nothing is answered; a job that runs is lost. */
  hang(): void;
  end(): void;
  attach(stream: Duplex): void;
  /** The job that it works on and that the forge still wants from it. */
  job(): ModelJob | undefined;
  /** Whether its engine asks for a job, or will, and nobody knows better. */
  mayTakeJob(): boolean;
}

/** Between two asks for a job, or for what the forge says of a running one, milliseconds. */
const FETCH = 2_000;
const LAST_WORDS = 2_000;
const LOOK = 5_000;

/** Agent, engine and job of one sandbox, with the real channel. */
export function createGuest(options: {
  clock: ModelClock;
  random: Random;
  forge: ModelForge;
  fate: GuestFate;
  document: () => MetadataDocument | undefined;
  onEnd: (exit: Omit<SandboxExit, "at">) => void;
}): Guest {
  const { clock, random, forge, fate } = options;
  let over = false;
  let up = false;
  let engine = false;
  let draining = false;
  let told = false;
  let ended = false;
  let current: ModelJob | undefined;

  const channel: AgentChannel = createAgentChannel({
    agent: "model",
    clock,
    onOrder: (order) => {
      if (order.kind === "metadata") look();
      if (order.kind !== "drain") return;
      draining = true;
      if (!engine) drained();
    },
  });

  /** After a time, unless the guest is over by then. */
  const later = (milliseconds: number, action: () => void) =>
    void clock.after(milliseconds, () => {
      if (!over) action();
    });

  const drained = () => {
    if (!told) channel.report({ kind: "drained" });
    told = true;
  };

  /** Agents look at their metadata now and then, also when nobody tells them to. */
  const keepLooking = () => {
    look();
    if (!engine && !draining) later(LOOK, keepLooking);
  };
  const look = () => {
    const token = tokenIn(options.document());
    if (over || !up || engine || draining || token === undefined) return;
    engine = true;
    channel.report({ kind: "starting", engine: "shell" });
    later(random.between(100, 1_500), () => {
      channel.report({ kind: "listening" });
      fetch(token);
    });
  };

  /** Asks for a job; what the forge gives out arrives a moment later. */
  const fetch = (token: string) => {
    if (draining) return drained();
    const again = () => later(FETCH, () => fetch(token));
    if (forge.faults.down || fate.deaf) return again();
    const job = forge.fetch(token);
    if (job === "gone") {
      ended = true;
      channel.report({ kind: "engine-exited", code: 1 });
      return;
    }
    if (job === undefined) return again();
    current = job;
    later(random.between(1, 300), () => {
      channel.report({ kind: "assigned", taskId: job.id, name: `job ${job.id}` });
      channel.report({ kind: "first-step" });
      work(job, clock.uptime() + job.duration);
    });
  };

  const work = (job: ModelJob, until: number) => {
    const left = until - clock.uptime();
    if (job.state === "done") return finished("cancelled");
    if (left > 0 || forge.faults.down) {
      later(Math.min(Math.max(left, 1_000), 5_000), () => work(job, until));
      return;
    }
    forge.finish(job);
    finished("success");
  };

  const finished = (result: "success" | "cancelled") => {
    current = undefined;
    ended = true;
    channel.report({ kind: "job-finished", result });
    channel.report({ kind: "engine-exited", code: 0 });
    void channel.flush(LAST_WORDS).then(() => {
      if (!over) options.onEnd({ code: 0, signal: null });
    });
  };

  const stop = () => {
    over = true;
    if (current !== undefined) forge.abandon(current);
    current = undefined;
  };

  return {
    start: () => {
      if (fate.boot === Infinity) return;
      later(fate.boot, () => {
        up = true;
        channel.report({ kind: "up", agent: "model", engines: ["shell"] });
        keepLooking();
      });
    },
    hang: () => {
      stop();
      channel.close();
    },
    end: () => {
      stop();
      channel.close();
    },
    attach: (stream) => {
      if (over) stream.resume();
      else channel.attach(stream);
    },
    job: () => current,
    mayTakeJob: () => !over && !told && !ended && (engine || tokenIn(options.document()) !== undefined),
  };
}

function tokenIn(document: MetadataDocument | undefined): string | undefined {
  const token = document?.["token"];
  return typeof token === "string" ? token : undefined;
}
