/**
 * Binaries of a real release, where the environment names them: then every part that needs no running guest is tried with
 * them as well. Without, those tests are skipped, and a line says so.
 */
export function realBinary(name: "FIRECRACKER_BIN" | "JAILER_BIN"): string | undefined {
  const path = process.env[name];
  if (path === undefined) process.stderr.write(`${name} is not set: tests with the real binary are skipped\n`);
  return path;
}

/** Jails are made of devices, owners and namespaces, which only root can make. */
export const isRoot = process.getuid?.() === 0;
