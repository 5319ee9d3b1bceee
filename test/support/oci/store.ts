import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import type { Places } from "../../../src/base/names.ts";
import type { BootFiles } from "../../../src/image/boot-files.ts";
import type { PullSettings } from "../../../src/image/oci/pull.ts";
import type { RegistrySettings } from "../../../src/image/oci/registry.ts";
import {
  createRegistryImages,
  type PullPolicy,
  type RegistryImages,
} from "../../../src/image/store/registry-images.ts";

export interface TestStore {
  places: Places;
  images: RegistryImages;
  /** Lines of progress. */
  said: string[];
  settings: PullSettings;
  policy: { is: PullPolicy };
  /** The kernel and initramfs of the host; may be replaced. */
  boot: { files: BootFiles };
  /** As another process has it, with the same directory. */
  again(): RegistryImages;
}

/** A store that asks the registries at these hosts over plain HTTP, and no others; its kernel is a text. */
export async function testStore(hosts: string[], given: Partial<TestStore["places"]> = {}): Promise<TestStore> {
  const state = given.state ?? (await mkdtemp(join(tmpdir(), "fireteact-oci-")));
  if (given.state === undefined) onTestFinished(() => rm(state, { recursive: true, force: true }));
  const places = { state, run: given.run ?? join(state, "run") };
  const plain = { mirrors: [] as string[], plainHttp: true };
  const settings: PullSettings = {
    authFile: join(state, "docker.json"),
    mostBytes: 16 * 1024 * 1024,
    timeout: 60_000,
    registries: new Map<string, RegistrySettings>(hosts.map((host) => [host, plain])),
  };
  const said: string[] = [];
  const policy = { is: "IfNotPresent" as PullPolicy };
  const boot = { files: await bootFilesIn(state) };
  const again = () => {
    const images = createRegistryImages({
      places,
      settings: () => settings,
      policyOf: () => policy.is,
      boot: async () => boot.files,
      askEvery: 0,
    });
    onTestFinished(() => images.close());
    return images;
  };
  return { places, images: again(), said, settings, policy, boot, again };
}

async function bootFilesIn(state: string): Promise<BootFiles> {
  const directory = join(state, "kernels", "1");
  await mkdir(directory, { recursive: true });
  const vmlinux = join(directory, "vmlinux");
  await writeFile(vmlinux, "a kernel");
  const kernel = { release: "6.1.0", packageVersion: "1", vmlinux, sha256: "cd".repeat(32), modules: directory };
  return { kernel, initrd: Buffer.from("an initrd") };
}
