import { afterEach, describe, expect, it } from "vitest";
import { systemClock } from "../../../src/base/clock.ts";
import { FireteactError } from "../../../src/base/errors.ts";
import { createLogger } from "../../../src/base/log.ts";
import { newHex } from "../../../src/base/names.ts";
import type { Job, RunnerRow } from "../../../src/core/types.ts";
import { capabilitiesOf } from "../../../src/forge/capabilities.ts";
import type { ForgeTarget, Listing } from "../../../src/forge/port.ts";
import { type ForgeWatcher, watchForge } from "../../../src/orchestrator/observe.ts";

const T = "http://forge#instance";
const HOST = "abc123";

type ReadJob = Omit<Job, "since" | "at">;
const job = (id: number, status: Job["status"]): ReadJob => ({
  key: `${T}/${id}/1`,
  target: T,
  id,
  attempt: 1,
  name: `job ${id}`,
  labels: [],
  status,
});
const row = (id: number): RunnerRow => ({
  target: T,
  row: id,
  name: `ft-${newHex(HOST, (digits) => `${id}`.padStart(digits, "0"))}`,
  online: true,
});

const opened: ForgeWatcher[] = [];
afterEach(async () => {
  for (const watcher of opened.splice(0)) await watcher.stop();
});

/** A watcher of a forge whose lists the test sets. */
function watch(interval = 2) {
  const lines: { level: string; msg: string }[] = [];
  const lists = {
    jobs: (): Listing<ReadJob> => ({ items: [], complete: true }),
    runners: (): Listing<RunnerRow> => ({ items: [], complete: true }),
  };
  const reads = { jobs: 0, runners: 0 };
  const unused = async () => {
    throw new Error("not used here");
  };
  const target: ForgeTarget = {
    key: T,
    url: "http://forge",
    scope: { kind: "instance" },
    capabilities: async () => capabilitiesOf({ flavour: "gitea", text: "1.25.1", numbers: [1, 25, 1] }),
    refresh: () => {},
    jobs: async () => {
      reads.jobs++;
      return lists.jobs();
    },
    runners: async () => {
      reads.runners++;
      return lists.runners();
    },
    register: unused,
    failTask: unused,
    registrationToken: unused,
    deleteRunner: unused,
    disableRunner: unused,
    close: async () => {},
  };
  const watcher = watchForge({
    target,
    hostId: HOST,
    labels: () => [],
    describeMode: () => "full service",
    interval,
    pace: (interval) => interval,
    clock: systemClock,
    log: createLogger("info", { write: (line) => lines.push(JSON.parse(line) as { level: string; msg: string }) }),
    wake: () => {},
    emit: () => {},
  });
  opened.push(watcher);
  /** Waits for so many reads of a list that begin after now, the last of which is taken in. */
  const more = async (list: "jobs" | "runners", count: number) => {
    const wanted = reads[list] + count + 1;
    await expect.poll(() => reads[list], { interval: 2 }).toBeGreaterThanOrEqual(wanted);
  };
  const warnings = () => lines.filter(({ level }) => level === "warn").map(({ msg }) => msg);
  return { watcher, lists, reads, more, warnings };
}

describe("a list of runners that was not read to its end", () => {
  it("keeps the older rows, is not counted, and is told once until it is whole again", async () => {
    const { watcher, lists, more, warnings } = watch();
    lists.runners = () => ({ items: [row(1), row(2)], complete: true });
    await more("runners", 1);
    lists.runners = () => ({ items: [row(1)], complete: false });
    await more("runners", 1);
    const counted = watcher.view().rowsRead;
    await more("runners", 3);
    expect(watcher.view()).toMatchObject({ health: "ok", rows: [row(1), row(2)], rowsRead: counted });
    expect(warnings()).toEqual(["the forge's list of runners cannot be read to its end; older rows are kept"]);
    lists.runners = () => ({ items: [row(1)], complete: true });
    await more("runners", 1);
    expect(watcher.view().rows).toEqual([row(1)]);
    expect(watcher.view().rowsRead).toBeGreaterThan(counted);
  });

  it("leaves the queue working when it cannot be read at all", async () => {
    const { watcher, lists, more, warnings } = watch();
    lists.runners = () => ({ items: [row(1)], complete: true });
    await more("runners", 1);
    lists.jobs = () => ({ items: [job(7, "queued")], complete: true });
    lists.runners = () => {
      throw new Error("the forge failed at it");
    };
    await more("runners", 3);
    expect(watcher.view()).toMatchObject({ health: "ok", rows: [row(1)], jobs: [job(7, "queued")] });
    expect(warnings()).toEqual(["the forge's runners cannot be read; older rows are kept"]);
  });

  it("is not told of once more when the token has no right to it", async () => {
    const { watcher, lists, more, warnings } = watch();
    lists.runners = () => {
      throw new FireteactError("FORGE_FORBIDDEN", "no right");
    };
    await more("runners", 2);
    expect(watcher.view().health).toBe("ok");
    expect(warnings()).toEqual([]);
  });
});

describe("runners of other hosts", () => {
  it("are kept apart from our own, with the time at which each was seen first", async () => {
    const { watcher, lists, more } = watch();
    const theirs = { ...row(3), name: row(3).name.replace(HOST, "def456") };
    lists.runners = () => ({ items: [row(1), theirs, { ...row(4), name: "somebody-else" }], complete: true });
    await more("runners", 1);
    const [seen] = watcher.view().others ?? [];
    expect(watcher.view()).toMatchObject({ rows: [row(1)], others: [{ ...theirs, prefix: "ft" }] });
    await more("runners", 1);
    expect(watcher.view().others).toEqual([seen]);
  });
});

describe("a forge that is to be read again", () => {
  it("is read at once, queue and rows, and what was read says since when it is true", async () => {
    const { watcher, lists } = watch(60_000);
    await expect.poll(() => watcher.view().whole).toBeDefined();
    lists.jobs = () => ({ items: [job(1, "queued")], complete: true });
    lists.runners = () => ({ items: [row(1)], complete: true });
    const since = systemClock.uptime();
    watcher.readAgain(since);
    await expect.poll(() => watcher.view().whole?.began).toBeGreaterThanOrEqual(since);
    expect(watcher.view()).toMatchObject({ jobs: [job(1, "queued")], rows: [row(1)] });
  });

  it("is not read twice where such a reading is under way", async () => {
    const { watcher, reads } = watch(60_000);
    await expect.poll(() => watcher.view().whole).toBeDefined();
    const before = { ...reads };
    const since = systemClock.uptime();
    for (let count = 0; count < 5; count++) watcher.readAgain(since);
    await expect.poll(() => watcher.view().whole?.began).toBeGreaterThanOrEqual(since);
    expect(reads).toEqual({ jobs: before.jobs + 1, runners: before.runners + 1 });
  });
});

it("a job whose attempt is counted when it is taken replaces the one that waited", async () => {
  const { watcher, lists, more } = watch();
  lists.jobs = () => ({ items: [job(1, "queued")], complete: true });
  await more("jobs", 1);
  const taken: ReadJob = { ...job(1, "running"), key: `${T}/1/2`, attempt: 2 };
  watcher.observe(taken, false);
  expect(watcher.view().jobs).toMatchObject([taken]);
  watcher.observe(taken, true);
  expect(watcher.view().jobs).toEqual([]);
});

describe("a queue that was not read to its end", () => {
  it("gives demand, ends no running job, and is not counted", async () => {
    const { watcher, lists, more, warnings } = watch();
    lists.jobs = () => ({ items: [job(1, "running"), job(2, "queued")], complete: true });
    await more("jobs", 1);
    lists.jobs = () => ({ items: [job(3, "queued")], complete: false });
    await more("jobs", 1);
    const counted = watcher.view().jobsRead;
    await more("jobs", 3);
    expect(watcher.view().jobs).toMatchObject([job(1, "running"), job(3, "queued")]);
    expect(watcher.view().jobsRead).toBe(counted);
    expect(warnings()).toEqual(["the forge's queue cannot be read to its end; what was read counts"]);
    watcher.observe(job(1, "running"), true);
    await more("jobs", 1);
    expect(watcher.view().jobs.map(({ id }) => id)).toEqual([3]);
    lists.jobs = () => ({ items: [], complete: true });
    await more("jobs", 1);
    expect(watcher.view().jobs).toEqual([]);
    expect(watcher.view().jobsRead).toBeGreaterThan(counted);
  });
});
