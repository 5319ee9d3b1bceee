import { readdir, readFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { FireteactError } from "../../base/errors.ts";

/** What a guest needs before its root file system is there; each brings what it depends on. */
export const GUEST_MODULES = [
  "virtio_mmio",
  "virtio_blk",
  "virtio_console",
  "virtio_net",
  "virtio_rng",
  "vmw_vsock_virtio_transport",
  "overlay",
] as const;

export interface KernelModule {
  /** Name as in /proc/modules: underscores, never dashes. */
  name: string;
  content: Buffer;
}

/**
 * Reads modules and everything they depend on, in the order in which they have to be loaded. The package carries no
 * modules.dep (its installation makes that), so the dependencies are read from the modules themselves.
 *
 * @param directory `lib/modules/<version>` of an unpacked kernel package.
 */
export async function loadOrder(directory: string, wanted: readonly string[]): Promise<KernelModule[]> {
  const files = await moduleFiles(directory);
  const builtin = await builtinModules(directory);
  const ordered = new Map<string, KernelModule>();

  const add = async (name: string): Promise<void> => {
    if (ordered.has(name) || builtin.has(name)) return;
    const file = files.get(name);
    if (file === undefined) {
      throw new FireteactError("KERNEL_MODULE", `The kernel has no module ${name}`, {
        hint: "Use Debian's cloud kernel, or one that has the virtio drivers and overlayfs",
        facts: { module: name, directory },
      });
    }
    const content = await readFile(file);
    for (const dependency of dependenciesOf(content)) await add(dependency);
    ordered.set(name, { name, content });
  };

  for (const name of wanted) await add(name);
  return [...ordered.values()];
}

/** The `depends=` field of a module's .modinfo section: names joined by commas, empty for none. */
export function dependenciesOf(module: Buffer): string[] {
  const at = module.indexOf("\0depends=", 0, "latin1");
  if (at < 0) return [];
  const start = at + "\0depends=".length;
  const list = module.toString("latin1", start, module.indexOf(0, start));
  return list
    .split(",")
    .filter((name) => name !== "")
    .map(moduleName);
}

async function moduleFiles(directory: string): Promise<Map<string, string>> {
  const paths = await readdir(join(directory, "kernel"), { recursive: true });
  const modules = paths.filter((path) => path.endsWith(".ko"));
  return new Map(modules.map((path) => [moduleName(path), join(directory, "kernel", path)]));
}

async function builtinModules(directory: string): Promise<Set<string>> {
  const list = await readFile(join(directory, "modules.builtin"), "utf8");
  return new Set(list.split("\n").filter(Boolean).map(moduleName));
}

const moduleName = (path: string): string => basename(path, ".ko").replaceAll("-", "_");
