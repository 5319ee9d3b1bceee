import { createHash } from "node:crypto";
import type { PoolSettings } from "../core/settings.ts";
import type { EngineName } from "../core/types.ts";

const DIGITS = 16;

/**
 * Names what a pool's runners are made from: equal names, equal runners. Limits of the host's own are left out, since
 * they change nothing inside; so are sizes and labels that the plan compares by itself.
 * @param digest of the image; a pool that boots one has no name while its image is not known
 */
export function revisionOf(pool: PoolSettings, engine: EngineName, digest: string | undefined): string | undefined {
  const { prefix, runnerLabels, image, mute, qemu, firecracker, native, trust, limits } = pool;
  if ((qemu ?? firecracker) !== undefined && digest === undefined) return undefined;
  const parts = [digest, engine, limits.engine, prefix, runnerLabels, image, mute, qemu, firecracker, native, trust];
  const text = JSON.stringify(parts.map((part) => part ?? null));
  return createHash("sha256").update(text).digest("hex").slice(0, DIGITS);
}
