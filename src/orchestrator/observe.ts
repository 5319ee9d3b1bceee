import { type Clock, type Timer, withDeadline } from "../base/clock.ts";
import { describe, FireteactError } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import { hexOf, isOurs } from "../base/names.ts";
import type { ForgeView, OtherRow } from "../core/plan-types.ts";
import type { Job, RunnerRow } from "../core/types.ts";
import type { ForgeCapabilities, ForgeTarget, Listing } from "../forge/port.ts";
import type { OrchestratorEvent, TargetHealth } from "./port.ts";

interface WatcherOptions {
  target: ForgeTarget;
  hostId: string;
  /** Union of the labels of all pools at this target, read at each poll. */
  labels: () => string[];
  /** One line about what the forge's version makes possible. */
  describeMode: (capabilities: ForgeCapabilities) => string;
  /** Open jobs that webhooks told an earlier process of; they count where the queue cannot be read. */
  known?: Omit<Job, "since">[];
  /** Milliseconds between reads of the queue; rows are read every sixth time and when asked for. */
  interval: number;
  /**
   * Called after every read: how long to wait for the next one, milliseconds. An idle read is one that nothing asked for
   * but the time, of a target at which nothing happens.
   */
  pace: (interval: number, isIdle: boolean) => number;
  clock: Clock;
  log: Logger;
  wake: () => void;
  emit: (event: OrchestratorEvent) => void;
}

/** Reads one target again and again, and holds what it said last. */
export interface ForgeWatcher {
  view(): ForgeView;
  health(): TargetHealth;
  /** What the forge's version offers; undefined until it answered once. */
  capabilities(): ForgeCapabilities | undefined;
  /** Takes in what a webhook said; `completed` removes the job. */
  observe(job: Omit<Job, "since" | "at">, gone: boolean): void;
  /** Reads the queue now instead of at the next turn. */
  poke(): void;
  /** The next read of the queue takes the rows along. */
  expectRows(): void;
  /** A row was deleted: it is shown no more, unless another read still finds it. */
  forget(row: number): void;
  /** Wants a reading of everything that begins no earlier than this uptime; one that is under way will do. */
  readAgain(since: number): void;
  stop(): Promise<void>;
}

const ROWS_EVERY = 6;
const POLL_TIMEOUT = 60_000;
/** Between two reads when somebody asks for reads all the time, milliseconds. */
const POKE_PAUSE = 200;
/** After a failure, however long the interval is, milliseconds. */
const RETRY = 5_000;
/** How long after the last change of its jobs or rows a target is read at its own interval, milliseconds. */
const LIVELY = 60_000;
/** Running jobs kept that an incomplete queue does not show; more than the runners of any host. */
const MOST_KEPT = 2_000;

export function watchForge(options: WatcherOptions): ForgeWatcher {
  const { target, clock, log } = options;
  const view: ForgeView = {
    health: "frozen",
    reason: "not read yet",
    jobs: (options.known ?? []).map((job) => ({ ...job, since: clock.uptime() })),
    jobsRead: 0,
    rowsRead: 0,
    bindsJobs: false,
    listsQueue: true,
    listsRunners: true,
  };
  let capabilities: ForgeCapabilities | undefined;
  let lastGoodAt: number | undefined;
  let announced: TargetHealth["health"] | undefined;
  /** What webhooks said, by the job's id: newer than a read that began before their arrival. */
  const pushed = new Map<number, { job: Job; gone: boolean; arrived: number }>();
  const abort = new AbortController();
  let timer: Timer | undefined;
  let running: Promise<void> | undefined;
  let again = false;
  let round = 0;
  /** The reading under way. */
  let current: { began: number; whole: boolean } | undefined;
  let rowFailures = 0;
  let changedAt = Number.NEGATIVE_INFINITY;
  const gaps = new Map<"jobs" | "rows", string | undefined>();

  const health = (): TargetHealth => ({
    key: target.key,
    url: target.url,
    health: view.health,
    ...(view.reason === undefined ? {} : { reason: view.reason }),
    ...(capabilities === undefined ? {} : { mode: options.describeMode(capabilities) }),
    ...(lastGoodAt === undefined ? {} : { lastGoodAt }),
  });

  /** One log line per change of state, not per try: what an outage looks like changes all the time. */
  const announce = () => {
    if (view.health === announced) {
      log.debug({ target: target.key, health: view.health, reason: view.reason }, "the forge was read");
      return;
    }
    if (view.health === "ok") log.info({ target: target.key, version: capabilities?.version }, "the forge answers");
    else
      log.warn(
        { target: target.key, reason: view.reason },
        "the forge cannot be read; scaling of its pools stands still",
      );
    announced = view.health;
    options.emit({ kind: "forge", target: health() });
  };

  const read = async (signal: AbortSignal) => {
    const began = clock.uptime();
    const whole = round % ROWS_EVERY === 0;
    current = { began, whole };
    try {
      capabilities = await target.capabilities(signal);
      view.bindsJobs = capabilities.bindsJobs;
      view.listsQueue = capabilities.listsQueue;
      view.listsRunners = capabilities.listsRunners;
      if (capabilities.listsQueue) takeJobs(await target.jobs(options.labels(), signal), began);
      if (capabilities.listsRunners && round++ % ROWS_EVERY === 0) await readRows(signal, began);
      if (whole || !capabilities.listsRunners) view.whole = { began, ended: clock.uptime() };
      view.health = "ok";
      delete view.reason;
      lastGoodAt = clock.now();
    } catch (error) {
      if (abort.signal.aborted) return;
      view.health = "frozen";
      view.reason = describe(error);
      target.refresh();
    }
    announce();
    options.wake();
  };

  /** The plan does well with older rows; only without the queue it has to stand still. */
  const readRows = async (signal: AbortSignal, began: number) => {
    try {
      const { items, complete } = await target.runners(signal);
      rowFailures = 0;
      gap("rows", complete ? undefined : "the forge's list of runners cannot be read to its end; older rows are kept");
      if (!complete) return;
      const rows = items.filter((row) => isOurs(row.name, options.hostId));
      if (!isSame(rows, view.rows ?? [], ({ row }) => `${row}`)) changedAt = clock.uptime();
      view.rows = rows;
      view.others = othersIn(items);
      view.rowsRead++;
      view.rowsSince = began;
    } catch (error) {
      if (abort.signal.aborted) return;
      // A right that is missing was said already, by who knows what it means.
      if (error instanceof FireteactError && error.code === "FORGE_FORBIDDEN") return;
      if (rowFailures++ === 0) target.refresh();
      // A forge that goes away just now is told of by the next read of the queue.
      else gap("rows", "the forge's runners cannot be read; older rows are kept", describe(error));
    }
  };

  /** Rows that other hosts of ours made, with the time at which each was first seen. */
  const othersIn = (rows: RunnerRow[]): OtherRow[] => {
    const known = new Map(view.others?.map((row) => [row.row, row.since]));
    return rows.flatMap((row) => {
      const hex = isOurs(row.name, options.hostId) ? undefined : hexOf(row.name);
      if (hex === undefined) return [];
      const prefix = row.name.slice(0, -hex.length - 1);
      return [{ ...row, prefix, since: known.get(row.row) ?? clock.uptime() }];
    });
  };

  /** One warning when something begins to be missing, and a line when it is back. */
  const gap = (list: "jobs" | "rows", warning: string | undefined, cause?: string) => {
    if (gaps.get(list) === warning) return;
    gaps.set(list, warning);
    if (warning !== undefined) log.warn({ target: target.key, ...(cause === undefined ? {} : { cause }) }, warning);
    else log.info({ target: target.key, list }, "the forge's list is complete again");
  };

  const takeJobs = ({ items, complete }: Listing<Omit<Job, "since" | "at">>, began: number) => {
    gap("jobs", complete ? undefined : "the forge's queue cannot be read to its end; what was read counts");
    const known = new Map(view.jobs.map((job) => [job.key, job]));
    /** By id: of one job there is never more than one attempt at a time. */
    const fresh = new Map<number, Job>();
    // That an incomplete list lacks a running job does not end it.
    const kept = complete ? [] : view.jobs.filter((job) => job.status === "running").slice(-MOST_KEPT);
    for (const job of kept) fresh.set(job.id, job);
    for (const job of items) {
      const before = known.get(job.key);
      fresh.set(job.id, { ...job, since: before?.since ?? clock.uptime(), at: before?.at ?? clock.now() });
    }
    for (const [id, { job, gone, arrived }] of pushed) {
      if (arrived <= began) pushed.delete(id);
      else if (isPast(job, gone, fresh.get(id))) continue;
      else if (gone) fresh.delete(id);
      else fresh.set(id, job);
    }
    const jobs = [...fresh.values()];
    if (!isSame(jobs, view.jobs, ({ key, status }) => `${key} ${status}`)) changedAt = clock.uptime();
    view.jobs = jobs;
    if (complete) view.jobsRead++;
  };

  const turn = (why: "due" | "asked") => {
    timer?.cancel();
    if (running !== undefined) {
      again = true;
      return;
    }
    running = withDeadline(clock, POLL_TIMEOUT, [abort.signal], read).finally(() => {
      running = undefined;
      current = undefined;
      if (abort.signal.aborted) return;
      const next = again ? "asked" : "due";
      const pause = paceAfter(why);
      timer = clock.after(again ? POKE_PAUSE : pause * (0.9 + Math.random() * 0.2), () => turn(next));
      again = false;
    });
  };
  const paceAfter = (why: "due" | "asked") => {
    if (view.health !== "ok") return options.pace(Math.min(options.interval, RETRY), why === "due");
    const isLively = clock.uptime() - changedAt < LIVELY;
    return options.pace(options.interval, why === "due" && !isLively);
  };
  turn("asked");

  return {
    view: () => view,
    health,
    capabilities: () => capabilities,
    observe: (said, gone) => {
      const known = view.jobs.find((job) => job.id === said.id);
      if (isPast(said, gone, known)) return;
      const arrived = clock.uptime();
      changedAt = arrived;
      const before = known?.key === said.key ? known : undefined;
      const job = { ...said, since: before?.since ?? arrived, at: before?.at ?? clock.now() };
      const others = view.jobs.filter(({ id }) => id !== job.id);
      view.jobs = gone ? others : [...others, job];
      if (view.listsQueue) pushed.set(job.id, { job, gone, arrived });
      options.wake();
    },
    poke: () => turn("asked"),
    expectRows: () => {
      round = 0;
    },
    forget: (row) => {
      if (view.rows !== undefined) view.rows = view.rows.filter((each) => each.row !== row);
    },
    readAgain: (since) => {
      if (current?.whole === true && current.began >= since) return;
      round = 0;
      turn("asked");
    },
    stop: async () => {
      abort.abort();
      timer?.cancel();
      await running;
    },
  };
}

function isSame<T>(some: readonly T[], others: readonly T[], nameOf: (item: T) => string): boolean {
  const names = new Set(others.map(nameOf));
  return some.length === others.length && some.every((item) => names.has(nameOf(item)));
}

const PROGRESS: Record<Job["status"], number> = { blocked: 1, queued: 2, running: 3 };

/** Whether what was said of a job is older than what is known of it: an attempt only goes forward, and others follow it. */
function isPast(said: Pick<Job, "attempt" | "status">, gone: boolean, known: Job | undefined): boolean {
  if (known === undefined) return false;
  if (known.attempt !== said.attempt) return known.attempt > said.attempt;
  return !gone && PROGRESS[known.status] > PROGRESS[said.status];
}
