import type { Fleet } from "../../../src/core/fleet.ts";
import { plan, recordSuccess } from "../../../src/core/plan.ts";
import { emptyMemory, type ForgeView, type PoolView } from "../../../src/core/plan-types.ts";
import { applyEvent, type RunnerEvent } from "../../../src/core/runner.ts";
import { LANES, laneKey, type Step } from "../../../src/core/steps.ts";
import type { Job, Runner } from "../../../src/core/types.ts";
import { forge, input, job, T, WALL } from "./build.ts";
import { createQueue, drawFrom } from "./event-queue.ts";

/**
 * Many hosts, each with the real plan, and a model of the one forge that they serve. Time is a number; every reading,
 * registration, boot, pick and job takes some of it, drawn from a seed.
 */

export interface FleetOptions {
  seed: number;
  /** What each host knows of all, by its index. */
  fleets: Fleet[];
  pool: PoolView;
  /** When jobs are queued, milliseconds from the beginning, in order. */
  arrivals: number[];
  /** How long a job runs, milliseconds. */
  lengths: () => number;
  bindsJobs: boolean;
  webhooks: boolean;
  /** From the order to boot to the agent's word, milliseconds: least and most. */
  boot: [least: number, most: number];
}

export interface FleetResult {
  jobs: number;
  /** Runners that hosts made. */
  created: number;
  /** Milliseconds from queue to pick, in ascending order. */
  waits: number[];
  /** Readings of the queue, by all hosts. */
  reads: number;
  /** Simulated milliseconds until the last job was done. */
  took: number;
}

interface ForgeJob {
  job: Job;
  state: "queued" | "running" | "done";
  row?: number;
}
interface Row {
  name: string;
  handle?: string;
  busy: boolean;
}

interface Guest {
  state: "booting" | "up" | "listening" | "busy" | "drained" | "gone";
  row?: number;
}

/** Uptime of all hosts at the beginning. */
const START = 1_000_000;
const POLL = 5_000;
const ROWS_EVERY = 6;
const FETCH = 2_000;

export function simulateFleet(options: FleetOptions): FleetResult {
  const draw = drawFrom(options.seed);
  const between = (least: number, most: number): number => least + draw() * (most - least);
  const queue = createQueue(START);
  const jobs: ForgeJob[] = [];
  const rows = new Map<number, Row>();
  let nextRow = 1;
  let created = 0;
  let reads = 0;
  let done = 0;
  const waits: number[] = [];
  const hosts = options.fleets.map((fleet, index) => createHost(fleet, index));

  for (const [index, at] of options.arrivals.entries()) {
    queue.at(START + at, () => {
      const id = index + 1;
      const queuedAt = WALL + queue.now();
      jobs.push({
        job: job(id, { queuedAt, ...(options.bindsJobs ? { handle: `handle-${id}` } : {}) }),
        state: "queued",
      });
      tellHosts(jobs[index]);
    });
  }
  while (done < options.arrivals.length && queue.step());
  // What is left over has time to go.
  const took = queue.now() - START;
  return { jobs: options.arrivals.length, created, waits: waits.toSorted((a, b) => a - b), reads, took };

  function tellHosts(found: ForgeJob | undefined): void {
    if (!options.webhooks || found === undefined) return;
    const { state, row } = found;
    for (const host of hosts) queue.after(between(50, 500), () => host.hear({ ...found, state, ...(row && { row }) }));
  }

  /** The oldest job that the row may have, as forges hand them out. */
  function pick(row: number): ForgeJob | undefined {
    const own = rows.get(row);
    const found = jobs.find(
      ({ state, job }) => state === "queued" && (own?.handle === undefined || own.handle === job.handle),
    );
    if (own === undefined || own.busy || found === undefined) return undefined;
    Object.assign(found, { state: "running", row });
    own.busy = true;
    waits.push(queue.now() + WALL - (found.job.queuedAt ?? 0));
    tellHosts(found);
    queue.after(options.lengths(), () => {
      found.state = "done";
      rows.delete(row);
      done++;
      tellHosts(found);
    });
    return found;
  }

  function createHost(fleet: Fleet, index: number) {
    const hostId = (0xa00000 + index).toString(16);
    const records = new Map<string, Runner>();
    const inFlight = new Set<string>();
    const guests = new Map<string, Guest>();
    const view: ForgeView = forge({
      bindsJobs: options.bindsJobs,
      jobs: [],
      jobsRead: 0,
      rowsRead: 0,
      health: "frozen",
    });
    let memory = emptyMemory();
    let planning = false;
    let alarm = 0;
    let round = 0;
    let reading: { began: number; whole: boolean } | undefined;
    let again = false;
    let turns = 0;
    let serial = 0;

    const apply = (id: string, ...events: RunnerEvent[]) => {
      for (const event of events) {
        const before = records.get(id);
        if (before === undefined) return;
        records.set(id, applyEvent(before, event, { now: queue.now(), at: WALL + queue.now() }));
        if (event.kind === "listening") memory = recordSuccess(memory, before.pool);
      }
      wake();
    };
    const wake = () => {
      if (planning) return;
      planning = true;
      queue.after(1, () => {
        planning = false;
        think();
      });
    };
    const think = () => {
      const output = plan(
        input({
          pools: [options.pool],
          fleet,
          runners: [...records.values()],
          forges: { [T]: view },
          strays: { sandboxes: [], read: 1, rows: [] },
          inFlight,
          memory,
          now: queue.now(),
          wall: WALL + queue.now(),
          freshHex: () => hostId + (++serial).toString(16).padStart(18, "0"),
        }),
      );
      memory = output.memory;
      for (const step of output.steps) carryOut(step);
      const since = output.readAgain[T];
      if (since !== undefined && !(reading?.whole === true && reading.began >= since)) {
        round = 0;
        turn();
      }
      const current = ++alarm;
      if (output.wakeAt !== undefined) queue.at(output.wakeAt, () => current === alarm && wake());
    };
    const carryOut = (step: Step) => {
      if (LANES[step.kind] !== "record") {
        inFlight.add(laneKey(step));
        execute(step, () => {
          inFlight.delete(laneKey(step));
          wake();
        });
        return;
      }
      if (step.kind === "create") {
        created++;
        records.set(step.runner.id, step.runner);
      } else if (step.kind === "end") {
        apply(step.runner, { kind: "ending", reason: step.reason, detail: step.detail });
      } else if (step.kind === "keep") apply(step.runner, { kind: "kept" });
      else if (step.kind === "close") records.delete(step.runner);
      wake();
    };

    const execute = (step: Step, ended: () => void) => {
      const id = "runner" in step && typeof step.runner === "string" ? step.runner : "";
      const runner = records.get(id);
      if (runner === undefined) throw new Error(`${step.kind} of a runner that is not there`);
      const guest = guests.get(id);
      switch (step.kind) {
        case "register": {
          if (step.job !== undefined) apply(id, { kind: "matched", job: step.job });
          apply(id, { kind: "register-asked" });
          const handle = records.get(id)?.handle;
          queue.after(between(50, 300), () => {
            const row = nextRow++;
            rows.set(row, { name: runner.name, busy: false, ...(handle === undefined ? {} : { handle }) });
            queue.after(between(20, 200), () => {
              apply(id, { kind: "registered", row, uuid: `${row}` });
              ended();
            });
          });
          return;
        }
        case "boot":
          apply(id, { kind: "boot-asked" });
          queue.after(200, () => {
            apply(id, { kind: "booted" });
            const booting: Guest = { state: "booting" };
            guests.set(id, booting);
            queue.after(between(...options.boot), () => {
              if (booting.state !== "booting") return;
              booting.state = "up";
              apply(id, { kind: "agent-up" });
              beginToListen(id);
            });
            ended();
          });
          return;
        case "give":
          queue.after(50, () => {
            apply(id, { kind: "credentials-given" });
            beginToListen(id);
            ended();
          });
          return;
        case "withdraw":
          apply(id, { kind: "credentials-withdrawn" });
          return ended();
        case "drain":
          queue.after(100, () => {
            const { reason, detail } = step;
            if (guest?.state === "listening" || guest?.state === "up") {
              guest.state = "drained";
              apply(id, { kind: "draining", reason, detail }, { kind: "drained" });
            }
            ended();
          });
          return;
        case "destroy":
          queue.after(300, () => {
            if (guest?.state === "busy") throw new Error(`${id} was destroyed with its job`);
            if (guest !== undefined) guest.state = "gone";
            apply(id, { kind: "sandbox-gone" });
            ended();
          });
          return;
        case "deregister":
          queue.after(between(50, 300), () => {
            rows.delete(rowOf(id) ?? 0);
            apply(id, { kind: "row-gone" });
            ended();
          });
          return;
        case "create":
        case "end":
        case "keep":
        case "close":
        case "fail-job":
        case "leave-job":
        case "sweep-row":
        case "sweep-sandbox":
          throw new Error(`${step.kind} has no place here`);
      }
    };
    const beginToListen = (id: string) => {
      const guest = guests.get(id);
      if (guest?.state !== "up" || records.get(id)?.credentials !== "given") return;
      queue.after(between(300, 1_000), () => {
        if (guest.state !== "up") return;
        Object.assign(guest, { state: "listening", row: rowOf(id) });
        apply(id, { kind: "engine-starting" }, { kind: "listening" });
        fetchTask(id);
      });
    };
    const rowOf = (id: string): number | undefined => {
      const registration = records.get(id)?.registration;
      return registration?.phase === "active" ? registration.row : undefined;
    };
    const fetchTask = (id: string) => {
      const guest = guests.get(id);
      if (guest?.state !== "listening" || guest.row === undefined) return;
      const found = pick(guest.row);
      if (found === undefined) {
        queue.after(FETCH, () => fetchTask(id));
        return;
      }
      guest.state = "busy";
      queue.after(50, () => apply(id, { kind: "assigned", job: { name: found.job.name } }));
      const watch = () => {
        if (found.state !== "done") {
          queue.after(100, watch);
          return;
        }
        guest.state = "gone";
        const exit = { code: 0, signal: null, at: WALL + queue.now() };
        apply(id, { kind: "job-finished", result: "success" }, { kind: "sandbox-exited", exit });
        turn();
      };
      watch();
    };

    /** Reads the queue, and every sixth time the rows, as the watcher does. */
    const turn = () => {
      if (reading !== undefined) {
        again = true;
        return;
      }
      turns++;
      reads++;
      const began = queue.now();
      const whole = round++ % ROWS_EVERY === 0;
      reading = { began, whole };
      queue.after(between(20, 150), () => {
        const seen = jobs.filter(({ state }) => state !== "done").map((found) => shown(found));
        queue.after(between(20, 150), () => {
          takeJobs(seen);
          if (!whole) return over();
          const list = [...rows].map(([row, own]) => ({ row, ...own }));
          queue.after(between(20, 150), () => {
            takeRows(list);
            view.whole = { began, ended: queue.now() };
            over();
          });
        });
      });
      const over = () => {
        view.health = "ok";
        reading = undefined;
        const current = ++turns;
        queue.after(again ? 200 : POLL * between(0.9, 1.1), () => current === turns && turn());
        again = false;
        wake();
      };
    };
    const shown = ({ job, state, row }: ForgeJob): Job => ({
      ...job,
      status: state === "running" ? "running" : "queued",
      ...(row === undefined ? {} : { runnerRow: row }),
    });
    const takeJobs = (seen: Job[]) => {
      const known = new Map(view.jobs.map(({ id, since, at }) => [id, { since, at }]));
      view.jobs = seen.map((each) => ({ ...each, ...(known.get(each.id) ?? firstSeen()) }));
      view.jobsRead++;
    };
    const firstSeen = () => ({ since: queue.now(), at: WALL + queue.now() });
    const takeRows = (list: ({ row: number } & Row)[]) => {
      const known = new Map(view.others?.map(({ row, since }) => [row, since]));
      const all = list.map((row) => ({ ...row, target: T, online: true }));
      view.rows = all.filter(({ name }) => name.includes(`-${hostId}`));
      view.others = all
        .filter(({ name }) => !name.includes(`-${hostId}`))
        .map((row) => ({ ...row, prefix: options.pool.pool.prefix, since: known.get(row.row) ?? queue.now() }));
      view.rowsRead++;
    };
    queue.after(between(0, POLL), turn);

    return {
      hear: (found: ForgeJob) => {
        const before = view.jobs.find(({ id }) => id === found.job.id);
        const rest = view.jobs.filter(({ id }) => id !== found.job.id);
        const news = {
          ...shown(found),
          ...(before === undefined ? firstSeen() : { since: before.since, at: before.at }),
        };
        view.jobs = found.state === "done" ? rest : [...rest, news];
        wake();
      },
    };
  }
}
