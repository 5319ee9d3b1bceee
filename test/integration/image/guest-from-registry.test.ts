import { copyFile, mkdir, mkdtemp, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { exec } from "../../../src/base/exec.ts";
import { bootFiles } from "../../../src/image/boot-files.ts";
import { buildImage } from "../../../src/image/build/build.ts";
import { createRegistryImages } from "../../../src/image/store/registry-images.ts";
import { createRootDisks } from "../../../src/image/store/root-disks.ts";
import { type DockerRegistry, startDockerRegistry } from "../../support/oci/docker-registry.ts";
import { GUEST_FILES, makeImage, makeIndex, tarOf } from "../../support/oci/images.ts";
import { testStore } from "../../support/oci/store.ts";
import { bootOnce } from "./boot-once.ts";

const REPOSITORY = join(import.meta.dirname, "../../..");
/** Debian's packages and kernel stay here from one run to the next. */
const CACHE = join(REPOSITORY, ".cache/guest-kernel");
const places = { state: CACHE, run: CACHE };
const { signal } = new AbortController();
const progress = () => undefined;

const root = process.getuid?.() === 0;
if (!root) process.stderr.write("SKIPPED: only root can take images apart\n");

describe.skipIf(!root)("Debian's docker-registry", { timeout: 300_000 }, () => {
  let registry: DockerRegistry;
  let work: string;
  beforeAll(async () => {
    await mkdir(CACHE, { recursive: true });
    work = await mkdtemp(join(CACHE, "test-"));
    registry = await startDockerRegistry();
  });
  afterAll(async () => {
    await registry[Symbol.asyncDispose]();
    await rm(work, { recursive: true, force: true });
  });

  it("gives an image by tag, by index and by digest, and a part of a blob", async () => {
    const image = makeImage([tarOf(GUEST_FILES), tarOf([{ name: "big", content: Buffer.alloc(300_000, "x") }])], {
      compression: "zstd",
    });
    await registry.push("some/image", "1", image);
    await registry.push("some/image", "index", { manifest: makeIndex({ amd64: image }).manifest, blobs: new Map() });
    const store = await testStore([registry.host]);
    const at = (version: string) => store.images.resolve(`${registry.host}/some/image${version}`, signal, progress);
    const first = await at(":1");
    expect(await at(":index")).toEqual(first);
    expect(await at(`@${image.digest}`)).toEqual(first);
    expect((await exec("debugfs", ["-R", "stat /big", first.rootfs])).stdout).toContain("Size: 300000");
    await expect(at(":2")).rejects.toMatchObject({ code: "IMAGE_NOT_FOUND" });
    store.policy.is = "Always";
    expect(await store.again().resolve(`${registry.host}/some/image:index`, signal, progress)).toEqual(first);
  });

  it("gives an image that boots to its agent", async () => {
    const agent = join(work, "agent.cjs");
    await copyFile(join(import.meta.dirname, "stand-in-agent.cjs"), agent);
    const sources = { node: process.execPath, agent, files: join(REPOSITORY, "images") };
    const built = await buildImage(sources, { places, signal, progress, name: "from-registry-test" });
    onTestFinished(() => rm(join(CACHE, "images", "refs", "from-registry-test"), { force: true }));
    await registry.push("guest/image", "1", makeImage([await layerOf(built.image.rootfs)], { compression: "none" }));

    const images = createRegistryImages({
      // The kernel of the cache, and images of its own.
      places: { state: work, run: work },
      settings: () => ({
        authFile: join(work, "none.json"),
        mostBytes: 2 ** 30,
        timeout: 240_000,
        registries: new Map([[registry.host, { mirrors: [], plainHttp: true }]]),
      }),
      policyOf: () => "IfNotPresent",
      boot: async () => await bootFiles(join(sources.files, "initrd", "init"), { places, signal, progress }),
    });
    onTestFinished(() => images.close());
    const started = performance.now();
    const image = await images.resolve(`${registry.host}/guest/image:1`, signal, progress);
    process.stdout.write(`pulled and converted in ${Math.round(performance.now() - started)} ms\n`);
    await exec("e2fsck", ["-fn", image.rootfs]);

    const scratch = await createRootDisks({ places }).clone("test", work, signal);
    const boot = await bootOnce(image, scratch, { kernelLine: "fireteact.address=172.31.0.2/30" });
    expect(boot).toMatchObject({ exitCode: 0, stderr: "" });
    expect(JSON.parse(boot.port)).toMatchObject({
      argv: ["runner", "--channel=virtio:org.fireteact.agent.0", "--log-level=info"],
      node: process.version,
      user: "uid=1001(runner) gid=1001(runner) groups=1001(runner),121(docker)",
      writeRoot: "done",
      writeImage: "EPERM",
      firstProcess: "/bin/sh /sbin/fireteact-init",
    });
  });

  /** Everything in a root file system as one layer. */
  async function layerOf(rootfs: string): Promise<Buffer> {
    const mount = join(work, "mount");
    await mkdir(mount);
    await exec("mount", ["-o", "loop,ro", rootfs, mount]);
    const archive = join(work, "layer.tar");
    try {
      await exec("tar", ["--create", "--xattrs", "--numeric-owner", `--file=${archive}`, "--directory", mount, "."], {
        timeout: 120_000,
      });
    } finally {
      await exec("umount", [mount]);
    }
    const layer = await readFile(archive);
    await rm(archive);
    return layer;
  }
});
