import { describe, expect, it } from "vitest";
import { systemClock } from "../../../src/base/clock.ts";
import { silentLogger } from "../../../src/base/log.ts";
import type { Job } from "../../../src/core/types.ts";
import { capabilitiesOf } from "../../../src/forge/capabilities.ts";
import type { ForgeTarget } from "../../../src/forge/port.ts";
import { watchForge } from "../../../src/orchestrator/observe.ts";
import { eventually } from "../../support/orchestrator.ts";
import { job, T } from "../core/build.ts";

/** A forge whose answers the test holds back and gives. */
function heldForge() {
  const asked: ((jobs: Job[]) => void)[] = [];
  let isOver = false;
  const target: ForgeTarget = {
    key: T,
    url: "https://forge.test",
    scope: { kind: "instance" },
    capabilities: () => Promise.resolve(capabilitiesOf({ flavour: "gitea", text: "1.25.0", numbers: [1, 25, 0] })),
    refresh: () => {},
    jobs: () =>
      new Promise((resolve) => {
        const answer = (items: Job[]) => resolve({ items, complete: true });
        if (isOver) answer([]);
        else asked.push(answer);
      }),
    runners: () => Promise.resolve({ items: [], complete: true }),
    register: () => Promise.reject(new Error("not here")),
    failTask: () => Promise.reject(new Error("not here")),
    registrationToken: () => Promise.reject(new Error("not here")),
    deleteRunner: () => Promise.resolve(),
    disableRunner: () => Promise.resolve(),
    close: () => Promise.resolve(),
  };
  const watcher = watchForge({
    target,
    hostId: "abc123",
    labels: () => [],
    describeMode: ({ version }) => `Gitea ${version}: full service`,
    interval: 5,
    pace: (interval) => interval,
    clock: systemClock,
    log: silentLogger,
    wake: () => {},
    emit: () => {},
  });
  const read = async (number: number, jobs: Job[]) => {
    await eventually(`read ${number} is asked`, () => asked.length >= number);
    asked[number - 1]?.(jobs);
    await eventually(`read ${number} is taken in`, () => watcher.view().jobsRead >= number);
  };
  const shown = () => watcher.view().jobs.map(({ id, status }) => `${id} ${status}`);
  const asks = (number: number) => eventually(`read ${number} is asked`, () => asked.length >= number);
  const stop = async () => {
    isOver = true;
    for (const answer of asked) answer([]);
    await watcher.stop();
  };
  return { watcher, read, asks, shown, stop };
}

describe("what a webhook says and what a read says", () => {
  it("a job that a webhook brought stays, although a read that began before does not show it", async () => {
    const { watcher, read, asks, shown, stop } = heldForge();
    await asks(1);
    watcher.observe(job(1), false);
    await read(1, []);
    expect(shown()).toEqual(["1 queued"]);
    await read(2, []);
    expect(shown()).toEqual([]);
    await stop();
  });

  it("a job that ended stays away, although a read that began before shows it", async () => {
    const { watcher, read, asks, shown, stop } = heldForge();
    await read(1, [job(1)]);
    await asks(2);
    watcher.observe(job(1), true);
    await read(2, [job(1)]);
    expect(shown()).toEqual([]);
    await stop();
  });

  it("a job that was picked is not queued again by a read that began before", async () => {
    const { watcher, read, asks, shown, stop } = heldForge();
    await read(1, [job(1)]);
    await asks(2);
    watcher.observe(job(1, { status: "running" }), false);
    await read(2, [job(1)]);
    expect(shown()).toEqual(["1 running"]);
    await stop();
  });

  it.each<{ what: string; said: Partial<Job>; gone?: boolean; read: Partial<Job>; shown: string[] }>([
    { what: "that it waits, when it is read as running", said: {}, read: { status: "running" }, shown: ["1 running"] },
    {
      what: "that it runs, when it is read as over",
      said: { status: "running" },
      read: { id: 2 },
      shown: ["2 queued", "1 running"],
    },
    {
      what: "that it ended, when it is read as waiting for its next attempt",
      said: { status: "running" },
      gone: true,
      read: { attempt: 2, key: `${T}/1/2` },
      shown: ["1 queued"],
    },
    {
      what: "that its next attempt waits, when it is read as running in the one before",
      said: { attempt: 2, key: `${T}/1/2` },
      read: { status: "running" },
      shown: ["1 queued"],
    },
  ])(
    "of one job there is one attempt, the later word counts: $what",
    async ({ said, gone = false, read: shows, shown: wanted }) => {
      const { watcher, read, asks, shown, stop } = heldForge();
      await asks(1);
      watcher.observe(job(1, said), gone);
      await read(1, [job(1, shows)]);
      expect(shown()).toEqual(wanted);
      await stop();
    },
  );

  it("a late word of an attempt before does not touch the one that waits now", async () => {
    const { watcher, read, shown, stop } = heldForge();
    await read(1, [job(1, { attempt: 2, key: `${T}/1/2` })]);
    watcher.observe(job(1, { status: "running" }), true);
    watcher.observe(job(1, { status: "running" }), false);
    expect(shown()).toEqual(["1 queued"]);
    await stop();
  });

  it("a job keeps the time at which it was first seen", async () => {
    const { watcher, read, stop } = heldForge();
    await read(1, [job(1)]);
    const { since, at } = watcher.view().jobs[0] ?? {};
    watcher.observe(job(1), false);
    await read(2, [job(1)]);
    expect(watcher.view().jobs[0]).toMatchObject({ since, at });
    expect(watcher.health().mode).toBe("Gitea 1.25.0: full service");
    await stop();
  });
});

describe("rows", () => {
  it("are read at every sixth read of the queue, and at the next one where they are wanted", async () => {
    const { watcher, read, stop } = heldForge();
    for (let number = 1; number <= 6; number++) await read(number, []);
    expect(watcher.view().rowsRead).toBe(1);
    await read(7, []);
    await eventually("the rows are read", () => watcher.view().rowsRead === 2);
    watcher.expectRows();
    await read(8, []);
    await eventually("the rows are read again", () => watcher.view().rowsRead === 3);
    await stop();
  });
});
