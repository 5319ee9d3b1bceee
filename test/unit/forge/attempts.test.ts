import { describe, expect, it } from "vitest";
import { jobKey } from "../../../src/core/job-key.ts";
import { attemptOf, jobOf } from "../../../src/forge/gitea/jobs.ts";
import type { GiteaJob } from "../../../src/forge/gitea/schemas.ts";

const place = (countsTakenAttempts: boolean) => ({ key: "T", url: "https://forge.test", countsTakenAttempts });
const given = (status: string, run_attempt: number | undefined, runner_id?: number): GiteaJob => ({
  id: 7,
  status,
  labels: [],
  run_attempt,
  runner_id,
});

describe("the attempt of a job, and with it its key", () => {
  it.each([
    {
      what: "first",
      way: [given("waiting", 0), given("queued", 0), given("in_progress", 1, 3), given("completed", 1, 3)],
    },
    { what: "second", way: [given("queued", 1), given("in_progress", 2, 4), given("completed", 2, 4)] },
    { what: "never taken second", way: [given("queued", 1), given("completed", 1)] },
  ])("is the same all the way before Gitea 1.27: the $what", ({ what, way }) => {
    const attempt = what === "first" ? 1 : 2;
    expect(way.map((job) => attemptOf(place(true), job))).toEqual(way.map(() => attempt));
    expect(way.map((job) => jobOf(place(true), job, "running")?.key)).toEqual(way.map(() => `T/7/${attempt}`));
  });

  it("is what the forge shows from 1.27 on, and the first where it shows none", () => {
    const shown = [given("queued", 2), given("in_progress", 2, 3), given("queued", undefined), given("queued", 0)];
    expect(shown.map((job) => attemptOf(place(false), job))).toEqual([2, 2, 1, 1]);
    expect([0, 1, 2].map((attempt) => jobKey("T", 7, attempt))).toEqual(["T/7/1", "T/7/1", "T/7/2"]);
  });
});
