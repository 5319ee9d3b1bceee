import { afterEach, beforeAll, describe, expect, it } from "vitest";
import { MINUTE } from "../support/e2e/host.ts";
import { originalInitrd } from "../support/e2e/initrd.ts";
import { buildTestImage, type TestImage } from "../support/e2e/program.ts";
import { startWorld, type World } from "../support/e2e/world.ts";

let image: TestImage;
let world: World | undefined;

beforeAll(async () => {
  image = await buildTestImage();
});
afterEach(async () => {
  await world?.close();
  world = undefined;
});

/** A world with one pool of guests in which a stand-in for the original's agent runs. */
async function original({ stubborn = false, gitea = {} } = {}): Promise<World> {
  world = await startWorld({
    image,
    gitea,
    pools: [
      {
        name: "original",
        engine: undefined,
        runner: { agent: "original" },
        qemu: { kernelPath: image.kernel, initrdPath: originalInitrd(image, stubborn) },
      },
    ],
  });
  return world;
}

describe("an image with the original's agent", () => {
  it("finds its registration, skips its own, and runs a job that waits for another", async () => {
    const own = await original();
    const run = await own.push({
      first: [{ run: "cat /var/log/original-agent; id -un" }],
      second: { needs: "first", steps: [{ run: "exit 3" }] },
    });
    expect(await own.finished(run, 5 * MINUTE)).toEqual({ first: "success", second: "failure" });
    const lines = own.log(run, "first").split("\n");
    expect(lines).toContain(
      "metadata: gitea_instance_url pool_name registration_token runner_id runner_labels runner_name",
    );
    expect(lines).toContain("the same tree in both places");
    expect(lines).toContain("found .runner: runner:runner 600, directory runner:runner 755");
    expect(lines).not.toContain("registering");
    expect(lines).toContain("runner");
    for (const job of ["first", "second"]) {
      const runner = await own.closedRunner(run, job);
      expect(runner).toMatchObject({ status: "stopped", ending: { reason: "finished" } });
      expect(Object.keys(runner.timeline)).toEqual(expect.arrayContaining(["registered", "assigned", "destroyed"]));
    }
    // One registration each, made by the host.
    expect(own.forge.runners("all")).toHaveLength(2);
    await own.settled();
  });

  it("that registers itself all the same gets a job with legacyRegistrationToken, and leaves no row", async () => {
    const own = await original({ stubborn: true, gitea: { legacyRegistrationToken: true } });
    const run = await own.push({ job: [{ run: "cat /var/log/original-agent; sleep 5" }] });
    expect(await own.finished(run)).toEqual({ job: "success" });
    expect(own.log(run, "job").split("\n")).toContain("registering");
    expect(own.daemon.log()).toContain("every job can read the registration token");
    expect(await own.closedRunner(run, "job")).toMatchObject({ ending: { reason: "finished" } });
    await own.settled();
  });

  it("gets nothing for registering itself without it", async () => {
    const own = await original({ stubborn: true });
    const run = await own.push({ job: [{ run: "true" }] });
    const runner = await own.closed("a runner that failed", ({ pool }) => pool === "original");
    expect(runner).toMatchObject({ status: "failed", ending: { reason: "sandbox-exited" } });
    own.forge.cancelRun(run.id);
    await own.settled();
  });
});
