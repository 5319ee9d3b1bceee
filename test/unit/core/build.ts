import { ALONE } from "../../../src/core/fleet.ts";
import { plan } from "../../../src/core/plan.ts";
import {
  emptyMemory,
  type ForgeView,
  type PlanInput,
  type PlanOutput,
  type PoolView,
} from "../../../src/core/plan-types.ts";
import { applyEvent, type RunnerEvent } from "../../../src/core/runner.ts";
import type { Step } from "../../../src/core/steps.ts";
import type { Job, Limits, Pool, Runner, RunnerRow } from "../../../src/core/types.ts";

/** Builders of everything a plan looks at, with quiet defaults, so that a test names only what it is about. */

export const T = "https://forge.test#instance";
export const NOW = 10_000_000;
export const WALL = 1_700_000_000_000;
export const SECOND = 1_000;
export const MINUTE = 60 * SECOND;

export const limits = (over: Partial<Limits> = {}): Limits => ({
  boot: 2 * MINUTE,
  ready: MINUTE,
  idle: 15 * MINUTE,
  engine: 180 * MINUTE,
  job: 190 * MINUTE,
  lifetime: 400 * MINUTE,
  ...over,
});

export const pool = (name = "a", over: Partial<Pool> = {}): Pool => ({
  name,
  order: 0,
  labels: ["linux"],
  minRunners: 0,
  maxRunners: 10,
  minIdle: 0,
  driver: "fake",
  engine: "shell",
  target: T,
  prefix: "ft",
  memoryMib: 512,
  vcpus: 1,
  diskMib: 0,
  limits: limits(),
  ...over,
});

export const poolView = (over: Partial<Pool> = {}, view: Partial<PoolView> = {}): PoolView => ({
  pool: pool(over.name ?? "a", over),
  paused: false,
  usable: true,
  ...view,
});

/** A job that waits; `id` decides its age too. */
export const job = (id: number, over: Partial<Job> = {}): Job => {
  const target = over.target ?? T;
  return {
    key: `${target}/${id}/1`,
    target,
    id,
    attempt: 1,
    name: `job ${id}`,
    labels: ["linux"],
    status: "queued",
    since: NOW - 1_000 + id,
    at: WALL - 1_000 + id,
    ...over,
  };
};

export const running = (id: number, runnerRow: number | undefined, over: Partial<Job> = {}): Job =>
  job(id, { status: "running", ...(runnerRow === undefined ? {} : { runnerRow }), ...over });

export const forge = (over: Partial<ForgeView> = {}): ForgeView => ({
  health: "ok",
  jobs: [],
  jobsRead: 5,
  rowsRead: 5,
  bindsJobs: false,
  listsQueue: true,
  listsRunners: true,
  ...over,
});

export const row = (id: number, over: Partial<RunnerRow> = {}): RunnerRow => ({
  target: T,
  row: id,
  name: `ft-${hex(id)}`,
  online: true,
  ...over,
});

export const hex = (id: number): string => `abc123${id.toString(16).padStart(18, "0")}`;

/** A runner as it is right after `create`; its row in the forge, once it has one, is its number. */
export const fresh = (id: number, over: Partial<Runner> = {}): Runner => {
  const inPool = over.pool ?? "a";
  return {
    hex: hex(id),
    id: `${inPool}-${hex(id)}`,
    name: `ft-${hex(id)}`,
    pool: inPool,
    driver: "fake",
    target: T,
    labels: ["linux"],
    memoryMib: 512,
    vcpus: 1,
    limits: limits(),
    since: NOW - MINUTE,
    at: WALL - MINUTE,
    registration: { phase: "none" },
    sandbox: { phase: "none" },
    agent: { phase: "silent" },
    credentials: "none",
    timeline: {},
    ...over,
  };
};

/** Events one after another, all at `now`. */
export const after = (runner: Runner, events: RunnerEvent[], now = NOW): Runner =>
  events.reduce((before, event) => applyEvent(before, event, { now, at: WALL - NOW + now }), runner);

const registered = (id: number): RunnerEvent[] => [
  { kind: "register-asked" },
  { kind: "registered", row: id, uuid: `uuid-${id}` },
];
const booted: RunnerEvent[] = [{ kind: "boot-asked" }, { kind: "booted" }];
const equipped: RunnerEvent[] = [{ kind: "agent-up" }, { kind: "credentials-given" }, { kind: "engine-starting" }];
const listening: RunnerEvent[] = [...equipped, { kind: "listening" }, { kind: "credentials-withdrawn" }];

/** Runners in the states that matter, having come there at `now`. */
export const booting = (id: number, over: Partial<Runner> = {}, now = NOW): Runner =>
  after(fresh(id, { jobKey: "some job", ...over }), [...registered(id), ...booted], now);
/** Booted without a registration: agent up, waiting for a job to be registered for. */
export const warm = (id: number, over: Partial<Runner> = {}, now = NOW): Runner =>
  after(fresh(id, over), [...booted, { kind: "agent-up" }], now);
export const ready = (id: number, over: Partial<Runner> = {}, now = NOW): Runner =>
  after(fresh(id, over), [...registered(id), ...booted, ...listening], now);
export const busy = (id: number, over: Partial<Runner> = {}, now = NOW): Runner =>
  after(ready(id, over, now), [{ kind: "assigned", job: { name: "something", taskId: 700 + id } }], now);
export const ending = (runner: Runner, now = NOW): Runner =>
  after(runner, [{ kind: "ending", reason: "scale-down", detail: "not needed" }], now);

/** What a test of the plan gives to it; `jobs` is short for a forge that shows them. */
export type Given = Partial<PlanInput> & { jobs?: Job[] };

/** A row of a table: what is given, and the steps that the plan takes. */
export interface PlanRow {
  what: string;
  given: Given;
  expected: string[];
}

/** Another: how many runners it creates in each pool, and why which jobs wait. */
export interface DemandRow {
  what: string;
  given: Given;
  creates: Record<string, number>;
  waits?: Record<number, string>;
}

export const input = (over: Given = {}): PlanInput => {
  let next = 0xf00;
  const { jobs, ...rest } = over;
  return {
    mode: "run",
    pools: [poolView()],
    host: { memoryMib: 1_000_000, vcpus: 10_000 },
    fleet: ALONE,
    runners: [],
    forges: { [T]: forge({ jobs: jobs ?? [] }) },
    strays: { sandboxes: [], read: 1, rows: [] },
    inFlight: new Set(),
    memory: emptyMemory(),
    now: NOW,
    wall: WALL,
    freshHex: () => hex(next++),
    ...rest,
  };
};

/** Steps in a form that reads well: `create a`, `register 3`, `end 3 idle-timeout`. */
export const shown = (steps: Step[]): string[] => steps.map(show);

function show(step: Step): string {
  if (step.kind === "create") return `create ${step.runner.pool}`;
  if (step.kind === "end" || step.kind === "drain") return `${step.kind} ${numberOf(step.runner)} ${step.reason}`;
  if (step.kind === "sweep-sandbox") return `sweep-sandbox ${step.driver} ${numberOf(step.hex)}`;
  if (step.kind === "sweep-row") return `sweep-row ${step.row}`;
  return `${step.kind} ${numberOf(step.runner)}`;
}

/** The number that a runner was built with; `new` for those that a plan made. */
function numberOf(id: string): string {
  const number = Number.parseInt(id.slice(-18), 16);
  return number >= 0xf00 && number < 0x1000 ? "new" : `${number}`;
}

export const planned = (over: Given = {}): PlanOutput => plan(input(over));
export const steps = (over: Given = {}): string[] => shown(planned(over).steps);
/** How many runners the plan creates in each pool. */
export const creations = (output: PlanOutput): Record<string, number> => {
  const counts: Record<string, number> = {};
  for (const step of output.steps) {
    if (step.kind === "create") counts[step.runner.pool] = (counts[step.runner.pool] ?? 0) + 1;
  }
  return counts;
};
/** Why each job waits, by its id. */
export const reasons = (output: PlanOutput): Record<number, string> =>
  Object.fromEntries(output.reasons.map((reason) => [reason.job.id, reason.code]));
