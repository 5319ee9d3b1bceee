import { expect, it } from "vitest";
import { eventually } from "../../support/orchestrator.ts";
import { attemptsOf, createWorld } from "../../support/world.ts";

it.each(["1.25.1", "1.27.0"])(
  "a job that runs again on Gitea %s gets one more runner, and a key of its own",
  async (version) => {
    const world = await createWorld({ forge: { version }, script: { jobTime: 200 } });
    const run = await world.push({ one: ["linux"] });
    expect(await run.finished(AbortSignal.timeout(20_000))).toEqual({ one: "success" });
    const { id } = world.forge.jobs()[0] ?? { id: 0 };
    const seen = new Set<string>();
    world.orchestrator.subscribe(() => {
      for (const { job } of world.orchestrator.reasons()) seen.add(job.key);
    });
    world.forge.rerunJob(id);
    await eventually(
      "it ran twice",
      () => attemptsOf(world.forge).filter(({ endedBy }) => endedBy !== undefined).length === 2,
    );
    await world.cleared();
    const target = world.orchestrator.targets()[0]?.key;
    expect(world.history().map(({ jobKey }) => jobKey)).toEqual([`${target}/${id}/2`, `${target}/${id}/1`]);
    expect([...seen]).toEqual([`${target}/${id}/2`]);
    expect(world.scripted.created).toHaveLength(2);
  },
);
