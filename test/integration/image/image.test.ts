import { appendFile, copyFile, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type BuiltImage, buildImage, type ImageSources } from "../../../src/image/build/build.ts";
import { createImages } from "../../../src/image/store/images.ts";
import { createRootDisks } from "../../../src/image/store/root-disks.ts";
import { bootOnce } from "./boot-once.ts";

const REPOSITORY = join(import.meta.dirname, "../../..");
/** Debian's packages and kernel stay here from one run to the next. */
const CACHE = join(REPOSITORY, ".cache/guest-kernel");
const places = { state: CACHE, run: CACHE };
const NAME = "image-test";
const NETWORK = "fireteact.address=172.31.0.2/30 fireteact.gateway=172.31.0.1 fireteact.dns=10.0.0.1,10.0.0.2";
const { signal } = new AbortController();

const root = process.getuid?.() === 0;
if (!root) process.stderr.write("SKIPPED: guest images can only be built by root\n");

describe.skipIf(!root)("a guest image", { timeout: 300_000 }, () => {
  let work: string;
  let sources: ImageSources;
  const build = async (changes: Partial<ImageSources> = {}): Promise<BuiltImage> =>
    buildImage({ ...sources, ...changes }, { places, signal, name: NAME, progress: () => undefined });

  beforeAll(async () => {
    await mkdir(CACHE, { recursive: true });
    work = await mkdtemp(join(CACHE, "test-"));
    const agent = join(work, "agent.cjs");
    await copyFile(join(import.meta.dirname, "stand-in-agent.cjs"), agent);
    // A mark of this run, so that the first build has something to do.
    await appendFile(agent, `// ${Date.now()}\n`);
    const ca = join(REPOSITORY, "test/unit/image/fixtures/ca-a.pem");
    const env = { MARK: "some 'quoted' $text", HTTPS_PROXY: "http://proxy.example:3128" };
    sources = { node: process.execPath, agent, caFiles: [ca], env, files: join(REPOSITORY, "images") };
  });
  afterAll(async () => {
    for (const image of await createImages({ places }).list()) await rm(join(image.rootfs, ".."), { recursive: true });
    await rm(join(CACHE, "images", "refs"), { recursive: true, force: true });
    await rm(work, { recursive: true, force: true });
  });

  it("is built once, and again in seconds when only the agent changed", async () => {
    const first = await build();
    expect(first.changed).toBe(true);
    expect(await build()).toMatchObject({ changed: false, image: first.image });

    await appendFile(sources.agent, "// a newer agent\n");
    const second = await build();
    expect(second).toMatchObject({ changed: true });
    expect(second.milliseconds).toBeLessThan(60_000);
    const [before, after] = await Promise.all([first, second].map(({ image }) => manifestOf(image.rootfs)));
    const different = after!.filter((line) => !before!.includes(line));
    expect(different).toEqual([expect.stringMatching(/^file 0644 0:0 [0-9a-f]{64} "usr\/lib\/fireteact\/agent.cjs"$/)]);

    const found = await createImages({ places }).resolve(`local:${NAME}`, signal, () => undefined);
    expect(found).toEqual(second.image);
    process.stdout.write(
      `image: ${Math.round(second.bytes / 2 ** 20)} MiB, after a change of the agent ${Math.round(second.milliseconds)} ms\n`,
    );
  });

  it("has the same content when it is built again from the same inputs", async () => {
    const first = await build();
    await rm(join(first.image.rootfs, ".."), { recursive: true });
    const second = await build();
    expect(second.image).toEqual(first.image);
  });

  it("boots to the agent with everything in its place, and ends with it", async () => {
    const { image } = await build();
    const scratch = await createRootDisks({ places }).clone("test", work, signal);
    const before = await readFile(image.rootfs);
    const boot = await bootOnce(image, scratch, { kernelLine: NETWORK });
    expect(boot).toMatchObject({ exitCode: 0, stderr: "" });
    expect(boot.console).toMatch(/fireteact: root file system ready after \d+\.\d+ s/);
    const facts = JSON.parse(boot.port) as Record<string, unknown>;
    expect(facts).toMatchObject({
      argv: ["runner", "--channel=virtio:org.fireteact.agent.0", "--log-level=info"],
      node: process.version,
      git: expect.stringMatching(/^git version 2\./),
      user: "uid=1001(runner) gid=1001(runner) groups=1001(runner),121(docker)",
      asRunner: "runner",
      writeRoot: "done",
      replaceFile: "done",
      writeImage: "EPERM",
      hosts: expect.stringContaining("169.254.169.254 metadata.fireteact.internal"),
      hostname: "boot-once",
      resolvConf: "nameserver 10.0.0.1\nnameserver 10.0.0.2\n",
      environment: {
        MARK: "some 'quoted' $text",
        https_proxy: "http://proxy.example:3128",
        NODE_EXTRA_CA_CERTS: "/usr/lib/fireteact/ca.pem",
      },
      trustedByNode: 1,
      caInSystem: true,
      firstProcess: "/bin/sh /sbin/fireteact-init",
      // No address of IPv6 beside it.
      eth0: ["172.31.0.2/30"],
      routes: ["eth0 00000000 01001FAC", "eth0 00001FAC 00000000"],
      zombies: 0,
    });
    expect(facts["freeMib"]).toBeGreaterThan(7_000);
    expect((await readFile(image.rootfs)).equals(before)).toBe(true);
    const ready = /ready after ([\d.]+)/.exec(boot.console)?.[1];
    process.stdout.write(
      `guest time: root file system ${ready} s, node's first line ${String(facts["started"])} s; wall ${Math.round(boot.milliseconds)} ms\n`,
    );
  });

  it("ends the guest when the agent crashes, and says so on the console", async () => {
    const { image } = await build();
    const scratch = await createRootDisks({ places }).clone("test", work, signal);
    const boot = await bootOnce(image, scratch, { kernelLine: "test.crash" });
    expect(boot.exitCode).toBe(0);
    expect(boot.console).toContain("fireteact: the agent ended with status 134");
  });

  it("ends the guest with the reason when there is nothing to boot from", async () => {
    const { image } = await build();
    const blank = join(work, "blank");
    await writeFile(blank, Buffer.alloc(1024 * 1024));
    const scratch = await createRootDisks({ places }).clone("test", work, signal);
    const boot = await bootOnce({ ...image, rootfs: blank }, scratch);
    expect(boot.exitCode).toBe(0);
    expect(boot.console).toContain("fireteact: the guest cannot start: its image /dev/vda cannot be mounted");
  });

  it("is not begun where an input is missing", async () => {
    await expect(build({ agent: "/nowhere/agent.cjs" })).rejects.toMatchObject({
      code: "IMAGE_INPUT",
      message: "/nowhere/agent.cjs is missing, which goes into the guest image",
    });
  });

  it("stays as it was when a newer build is aborted, of which nothing is left", async () => {
    const { image } = await build();
    const abort = new AbortController();
    const progress = (line: string) => line === "writing the root file system" && abort.abort(new Error("enough"));
    await appendFile(sources.agent, "// aborted\n");
    const building = buildImage(sources, { places, signal: abort.signal, name: NAME, progress });
    await expect(building).rejects.toThrow("enough");
    expect(await createImages({ places }).resolve(NAME, signal, () => undefined)).toEqual(image);
    const left = await readdir(join(CACHE, "images"));
    expect(left.filter((name) => name.startsWith("new-") || name === "lock")).toEqual([]);
  });
});

async function manifestOf(rootfs: string): Promise<string[]> {
  return (await readFile(join(rootfs, "../manifest.txt"), "utf8")).split("\n");
}
