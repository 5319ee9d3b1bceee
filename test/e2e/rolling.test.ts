import { afterAll, beforeAll, expect, it } from "vitest";
import { buildTestImage } from "../support/e2e/program.ts";
import { startWorld, type World } from "../support/e2e/world.ts";

const NAME = "rolling";
let world: World;

beforeAll(async () => {
  world = await startWorld({
    image: await buildTestImage(NAME, { env: { EDITION: "first" } }),
    pools: [{ name: "pool", minIdle: 1, maxRunners: 3 }],
  });
});
afterAll(() => world?.close());

it("an image that is built anew while the daemon serves: idle guests are replaced one after another, a job goes on in its own", async () => {
  const { forge, daemon } = world;
  const idle = async () => (await daemon.runners()).filter(({ status }) => status === "idle");
  const go = `until git ls-remote --exit-code ${forge.url}/acme/public.git refs/heads/go; do sleep 1; done`;
  await forge.addRepository("acme/public", { files: { "name.txt": "acme/public\n" } });
  const run = await world.push({
    job: [{ run: `echo in the $EDITION edition; ${go}; echo in the $EDITION edition still` }],
  });
  const busy = await world.runner("the guest with the job", ({ status }) => status === "busy");
  const old = await world.runner("an idle guest", ({ status }) => status === "idle");

  await buildTestImage(NAME, { env: { EDITION: "second" } });
  let fewest = 1;
  const next = await daemon.until("an idle guest in the place of the old one", async () => {
    const now = await idle();
    fewest = Math.min(fewest, now.length);
    return (await daemon.runners()).some(({ id }) => id === old.id) ? undefined : now.find(({ id }) => id !== old.id);
  });
  expect(fewest, "there was one at every moment").toBe(1);
  expect((await daemon.runners()).find(({ id }) => id === busy.id)).toMatchObject({ status: "busy" });
  expect(await world.closed("the old one's record", ({ id }) => id === old.id)).toMatchObject({
    ending: { reason: "outdated" },
  });

  await forge.commit("acme/public", { go: "" }, "go");
  expect(await world.finished(run)).toEqual({ job: "success" });
  expect(world.log(run, "job")).toContain("in the first edition still");
  const after = await world.push({ job: [{ run: "echo in the $EDITION edition" }] });
  expect(await world.finished(after)).toEqual({ job: "success" });
  expect(world.log(after, "job")).toContain("in the second edition");
  expect((await world.closedRunner(after, "job")).id).toBe(next.id);
});
