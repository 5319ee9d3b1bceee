import { hearsay } from "../../../src/core/hearsay.ts";
import { covers } from "../../../src/core/match.ts";
import { plan, recordFailure, recordRetry, recordSuccess } from "../../../src/core/plan.ts";
import { emptyMemory, type Mode, type PlanOutput, type StraySandbox } from "../../../src/core/plan-types.ts";
import { applyEvent, type RunnerEvent } from "../../../src/core/runner.ts";
import { LANES, laneKey, type Step } from "../../../src/core/steps.ts";
import type { Runner } from "../../../src/core/types.ts";
import { forge, hex, input, job, NOW, T, WALL } from "./build.ts";
import type { ForgeJob, ForgeRow, Guest, WorldOptions } from "./model-types.ts";

/**
 * A small world for the plan to act on: one forge, one host, one set of records. Everything takes its time and may happen
 * in any order; the plan sees the forge only through `read` and the guests only through `deliver`.
 */

/** The row of every runner that is not ours. */
const FOREIGN = 999_999;

export type World = ReturnType<typeof createWorld>;

export function createWorld(options: WorldOptions) {
  const pools = options.pools.map((view) => ({ ...view }));
  const jobs: ForgeJob[] = [];
  const rows = new Map<number, ForgeRow>();
  const guests = new Map<string, Guest>();
  const records = new Map<string, Runner>();
  const inFlight = new Map<string, Step>();
  const closed: Runner[] = [];
  const view = forge({ bindsJobs: options.bindsJobs, listsQueue: options.listsQueue, rows: [] });
  let memory = emptyMemory();
  let now = NOW;
  let serial = 1;
  let strays: StraySandbox[] = [];
  let straysRead = 0;
  /** A guest with a job was destroyed for this reason. */
  const killed: Runner[] = [];
  /** Runners whose row was deleted while a job could come to them. */
  const exposed: Runner[] = [];
  /** Names of the rows whose jobs the forge's own timer ended: nobody told it anything. */
  const expired: string[] = [];
  const names = new Map<number, string>();

  const apply = (id: string, ...events: RunnerEvent[]) => {
    for (const event of events) {
      const before = records.get(id);
      if (before !== undefined) records.set(id, applyEvent(before, event, { now, at: WALL + now - NOW }));
      if (before !== undefined && event.kind === "listening") memory = recordSuccess(memory, before.pool);
    }
  };

  const world = {
    jobs,
    rows,
    guests,
    records,
    closed,
    killed,
    exposed,
    expired,
    inFlight,
    view,
    now: () => now,
    memory: () => memory,

    /** One plan; record steps are carried out, the others begin. */
    plan: (mode: Mode = "run"): PlanOutput => {
      for (const runner of records.values()) apply(runner.id, ...hearsay(runner, view));
      const output = plan(
        input({
          mode,
          pools,
          runners: [...records.values()],
          forges: { [T]: view },
          strays: {
            sandboxes: strays,
            read: straysRead,
            rows: (view.rows ?? []).filter(({ name }) => ![...records.values()].some((runner) => runner.name === name)),
          },
          inFlight: new Set(inFlight.keys()),
          memory,
          now,
          wall: WALL + now - NOW,
          freshHex: () => hex(serial++),
        }),
      );
      memory = output.memory;
      for (const step of output.steps) {
        if (LANES[step.kind] !== "record") inFlight.set(laneKey(step), step);
        else if (step.kind === "create") records.set(step.runner.id, step.runner);
        else if (step.kind === "end") apply(step.runner, { kind: "ending", reason: step.reason, detail: step.detail });
        else if (step.kind === "keep") apply(step.runner, { kind: "kept" });
        else if (step.kind === "leave-job") {
          apply(step.runner, { kind: "job-settled", outcome: { state: "left", detail: step.detail } });
        } else if (step.kind === "close") {
          closed.push(...[records.get(step.runner)].filter((runner) => runner !== undefined));
          records.delete(step.runner);
        }
        if (step.kind === "register") begin(step);
      }
      for (const step of inFlight.values()) begin(step);
      return output;
    },

    /** One of the running steps ends, well or badly. */
    complete: (index: number, ok: boolean) => {
      const step = at([...inFlight.values()], index);
      if (step === undefined) return;
      inFlight.delete(laneKey(step));
      if (ok) {
        execute(step);
        memory = recordRetry(memory, step, undefined, now);
      } else if (step.kind === "register" || step.kind === "boot") {
        const pool = records.get(step.runner)?.pool;
        const reason = step.kind === "register" ? "register-failed" : "boot-failed";
        apply(step.runner, { kind: "ending", reason, detail: "it failed" });
        if (pool !== undefined) memory = recordFailure(memory, pool, "it failed", now);
      } else {
        memory = recordRetry(memory, step, "it failed", now);
      }
    },

    /** The orchestrator dies and starts again: steps that ran may or may not have had their effect. */
    crash: (effects: number) => {
      for (const [index, step] of [...inFlight.values()].entries()) {
        if ((effects >> (index % 8)) & 1) effect(step);
      }
      inFlight.clear();
      memory = emptyMemory();
      for (const runner of records.values()) {
        if (runner.sandbox.phase !== "starting") continue;
        apply(
          runner.id,
          guests.has(runner.hex) ? { kind: "booted" } : { kind: "ending", reason: "boot-failed", detail: "crash" },
        );
      }
    },

    /** Something happens inside a guest. */
    guest: (index: number) => {
      const guest = at([...guests.values()], index);
      if (guest !== undefined && !guest.dead) advanceGuest(guest);
    },
    kill: (index: number) => {
      const guest = at([...guests.values()], index);
      if (guest !== undefined && guest.phase !== "exited") exit(guest, 1);
    },
    hang: (index: number) => {
      const guest = at([...guests.values()], index);
      if (guest !== undefined) guest.dead = true;
    },
    deafen: (index: number) => {
      const guest = at([...guests.values()], index);
      if (guest !== undefined) guest.deaf = true;
    },
    /** The record hears the next word of a guest. */
    deliver: (index: number) => {
      const guest = at(
        [...guests.values()].filter(({ said }) => said.length > 0),
        index,
      );
      const event = guest?.said.shift();
      const isHeard = guest?.mute === false || event?.kind === "sandbox-exited";
      if (guest !== undefined && event !== undefined && isHeard) apply(guest.runner, event);
    },

    push: (labels: string[]) => {
      const id = serial++;
      const handle = options.bindsJobs ? { handle: `handle-${id}` } : {};
      jobs.push({ job: job(id, { labels, since: now, at: WALL + now - NOW, ...handle }), state: "queued" });
    },
    cancel: (index: number) => {
      const found = at(jobs, index);
      if (found === undefined || found.state === "done") return;
      if (found.row !== undefined) rows.delete(found.row);
      found.state = "done";
    },
    /** A runner of somebody else, another host's say, takes a job; `release` ends all of theirs. */
    poach: (index: number) => {
      const found = at(
        jobs.filter(({ state }) => state === "queued"),
        index,
      );
      if (found !== undefined) Object.assign(found, { state: "running", row: FOREIGN });
    },
    release: () => {
      for (const found of jobs) if (found.row === FOREIGN) found.state = "done";
    },
    /** The forge's timer: it gives up the jobs of which it hears nothing. Says whether there were any. */
    expire: (): boolean => {
      const before = expired.length;
      const working = new Set([...guests.values()].map(({ phase, row }) => (phase === "busy" ? row : undefined)));
      for (const found of jobs) {
        if (found.state !== "running" || found.row === undefined || working.has(found.row)) continue;
        expired.push(names.get(found.row) ?? "");
        endJob(found.row);
      }
      return expired.length > before;
    },
    pause: (index: number, paused: boolean) => {
      const view = at(pools, index);
      if (view !== undefined) view.paused = paused;
    },
    read: () => {
      view.health = "ok";
      view.jobs = jobs
        .filter(({ state }) => state !== "done")
        .map(({ job, state, row }) => ({
          ...job,
          status: state === "running" ? "running" : "queued",
          ...(row === undefined ? {} : { runnerRow: row }),
        }));
      if (!options.listsQueue) view.jobs = [];
      view.jobsRead++;
      view.rows = [...rows.values()].map((row) => ({ ...row }));
      view.rowsRead++;
      view.rowsSince = now;
      const hexes = new Set([...records.values()].map((runner) => runner.hex));
      const lost = [...guests.keys()].filter((known) => !hexes.has(known));
      strays = lost.map((known) => ({ driver: "fake", hex: known, pool: "a", state: "running" }));
      straysRead++;
    },
    freeze: () => {
      view.health = "frozen";
    },
    pass: (milliseconds: number) => {
      now += milliseconds;
    },
  };
  return world;

  /** What is recorded before a step changes anything outside. */
  function begin(step: Step) {
    if (step.kind === "boot") apply(step.runner, { kind: "boot-asked" });
    // The agent hears it long before the step has ended, and may answer.
    if (step.kind === "drain") effect(step);
    if (step.kind !== "register") return;
    if (step.job !== undefined) apply(step.runner, { kind: "matched", job: step.job });
    apply(step.runner, { kind: "register-asked" });
  }

  function execute(step: Step) {
    const events = effect(step);
    if ("runner" in step && typeof step.runner === "string") apply(step.runner, ...events);
  }

  /** What a step does outside, and what is recorded of it. */
  function effect(step: Step): RunnerEvent[] {
    if (step.kind === "sweep-row") rows.delete(step.row);
    if (step.kind === "sweep-sandbox") guests.delete(step.hex);
    if (!("runner" in step) || typeof step.runner !== "string") return [];
    const runner = records.get(step.runner);
    if (runner === undefined) return [];
    const guest = guests.get(runner.hex);
    switch (step.kind) {
      case "register": {
        for (const { row, name } of rows.values()) if (name === runner.name) rows.delete(row);
        const row = serial++;
        const bound = runner.handle === undefined ? {} : { handle: runner.handle };
        names.set(row, runner.name);
        rows.set(row, {
          target: T,
          row,
          name: runner.name,
          online: false,
          labels: runner.labels,
          used: false,
          ...bound,
        });
        return [{ kind: "registered", row, uuid: `uuid-${row}` }];
      }
      case "fail-job": {
        const { registration } = runner;
        const found = jobs.find(
          ({ state, row }) => state === "running" && registration.phase === "active" && row === registration.row,
        );
        if (found?.row === undefined || !rows.has(found.row)) {
          return [{ kind: "job-settled", outcome: { state: "over" } }];
        }
        endJob(found.row);
        return [{ kind: "job-settled", outcome: { state: "failed" } }];
      }
      case "deregister":
        if (guest !== undefined && mayTakeJob(guest)) exposed.push(runner);
        for (const { row, name } of rows.values()) if (name === runner.name) rows.delete(row);
        return [{ kind: "row-gone" }];
      case "boot":
        guests.set(runner.hex, {
          runner: runner.id,
          mute: runner.mute === true,
          phase: "booting",
          hasCredentials: runner.mute === true,
          ...(runner.mute === true && runner.registration.phase === "active" ? { row: runner.registration.row } : {}),
          drainAsked: false,
          dead: false,
          deaf: false,
          said: [],
        });
        return [{ kind: "booted" }];
      case "give":
        if (guest !== undefined && runner.registration.phase === "active") {
          guest.hasCredentials = true;
          guest.row = runner.registration.row;
        }
        return [{ kind: "credentials-given" }];
      case "withdraw":
        return [{ kind: "credentials-withdrawn" }];
      case "drain":
        if (guest !== undefined) guest.drainAsked = !guest.mute;
        if (guest?.mute === true) Object.assign(rows.get(guest.row ?? 0) ?? {}, { disabled: true });
        return [{ kind: "draining", reason: step.reason, detail: step.detail }];
      case "destroy":
        if (guest?.phase === "busy") {
          killed.push(runner);
        }
        guests.delete(runner.hex);
        return [{ kind: "sandbox-gone" }];
      case "create":
      case "end":
      case "keep":
      case "leave-job":
      case "close":
        return [];
    }
  }

  /** Whether a job may come to it that nobody has heard of yet. */
  function mayTakeJob({ phase, hasCredentials }: Guest): boolean {
    return hasCredentials && phase !== "busy" && phase !== "drained" && phase !== "exited";
  }

  /** With its end the forge deletes the row. */
  function endJob(row: number) {
    for (const found of jobs) if (found.state === "running" && found.row === row) found.state = "done";
    rows.delete(row);
  }

  function exit(guest: Guest, code: number) {
    guest.phase = "exited";
    // After every read that came before.
    now++;
    guest.said.push({ kind: "sandbox-exited", exit: { code, signal: null, at: WALL } });
  }

  function advanceGuest(guest: Guest) {
    const say = (phase: Guest["phase"], ...events: RunnerEvent[]) => {
      guest.phase = phase;
      guest.said.push(...events);
    };
    if (guest.phase === "booting") say("up", { kind: "agent-up" });
    else if (guest.phase === "up" && guest.drainAsked) say("drained", { kind: "drained" });
    else if (guest.phase === "up" && guest.hasCredentials) say("starting", { kind: "engine-starting" });
    else if (guest.phase === "starting") {
      say("listening", { kind: "listening" });
      Object.assign(rows.get(guest.row ?? 0) ?? {}, { online: true });
    } else if (guest.phase === "listening" && guest.drainAsked) say("drained", { kind: "drained" });
    else if (guest.phase === "listening" && !guest.deaf) fetchTask(guest);
    else if (guest.phase === "busy") {
      endJob(guest.row ?? 0);
      guest.said.push({ kind: "job-finished", result: "success" });
      exit(guest, 0);
    }
  }

  /** The forge hands out the oldest job that fits, whatever we made the runner for. */
  function fetchTask(guest: Guest) {
    const row = rows.get(guest.row ?? 0);
    if (row === undefined || row.used || row.disabled === true) return;
    const found = jobs.find(
      ({ job, state }) =>
        state === "queued" && covers(row.labels, job.labels) && (row.handle === undefined || row.handle === job.handle),
    );
    if (found === undefined) return;
    found.state = "running";
    found.row = row.row;
    row.used = true;
    guest.phase = "busy";
    guest.said.push({ kind: "assigned", job: { name: found.job.name, taskId: found.job.id } });
  }
}

function at<X>(list: X[], index: number): X | undefined {
  return list.length === 0 ? undefined : list[index % list.length];
}
