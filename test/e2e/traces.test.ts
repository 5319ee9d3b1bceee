import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { guestScript, resultIn } from "../support/e2e/guest-scripts.ts";
import { rootInitrd } from "../support/e2e/initrd.ts";
import { buildTestImage } from "../support/e2e/program.ts";
import { startWorld, type World } from "../support/e2e/world.ts";

let world: World;

beforeAll(async () => {
  const image = await buildTestImage();
  world = await startWorld({
    image,
    // One after the other, as root, with a disk small enough to be read as a whole.
    pools: [
      {
        name: "root",
        maxRunners: 1,
        qemu: { kernelPath: image.kernel, initrdPath: rootInitrd(image), diskSizeMib: 256 },
      },
    ],
  });
});
afterEach(() => world.settled());
afterAll(() => world?.close());

const MARK = { MARK_A: "a-trace-", MARK_B: "of-the-first" };

/** Leaves the mark wherever a job can write. */
const LEAVE = `
mark="$MARK_A$MARK_B"
for folder in /tmp /var/tmp "$HOME" "$GITHUB_WORKSPACE" /dev/shm /opt/hostedtoolcache /root /etc; do
  echo "$mark" > "$folder/left-behind"
done
touch "/tmp/$mark"
git config --global user.name "$mark"
echo "$mark" > /tmp/removed && sync && rm /tmp/removed
LEFT="$mark" setsid sh -c 'while :; do sleep 1; done' "$mark" >/dev/null 2>&1 &
sleep 0.2
`;

interface Traces {
  found: string[];
  runner: string;
  credentials: boolean;
}

describe("a job", () => {
  it("finds nothing that the job before it left, even as root", async () => {
    const search = guestScript("traces", MARK);
    const first = await world.push({ job: [{ run: LEAVE, env: MARK }, search] }, "acme/site");
    expect(await world.finished(first)).toEqual({ job: "success" });
    const second = await world.push({ job: [search] }, "acme/other");
    expect(await world.finished(second)).toEqual({ job: "success" });
    const [left, seen] = [first, second].map((run) => resultIn(world.log(run, "job")) as Traces);
    // Control: the search finds what is there.
    expect(left?.found).toEqual(
      expect.arrayContaining(["disk /dev/vdb", "file /tmp/left-behind", "name /tmp/*", "process cmdline"]),
    );
    expect(left?.found).toEqual(expect.arrayContaining(["process environ", "file /home/runner/.gitconfig"]));
    expect(seen?.found).toEqual([]);
    expect(seen?.runner).not.toBe(left?.runner);
    expect([left?.credentials, seen?.credentials]).toEqual([false, false]);
  });
});
