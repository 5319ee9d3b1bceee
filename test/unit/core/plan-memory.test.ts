import { expect, it } from "vitest";
import { busy, input, job, planned, T } from "./build.ts";

it("a pick noted by a process whose count was higher is noted anew, not believed for ever", () => {
  const runner = busy(1, { jobKey: job(1).key });
  const picks = { [runner.id]: { job: job(1).key, target: T, read: 900 } };
  const { memory } = planned({ runners: [runner], jobs: [job(1)], memory: { ...input().memory, picks } });
  expect(memory.picks[runner.id]?.read).toBe(input().forges[T]?.jobsRead ?? 5);
});
