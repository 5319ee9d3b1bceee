import type { PoolSettings, Settings } from "../core/settings.ts";
import { poolOf } from "../core/settings.ts";
import type { Runner } from "../core/types.ts";
import { guestDocument, withCredentials } from "../metadata/document.ts";
import type { MetadataDocument } from "../sandbox/port.ts";
import type { RunnerSecrets } from "../store/port.ts";

/** What a runner's guest reads, with credentials when there are `secrets` to give. */
export function documentOf(
  runner: Runner,
  settings: Settings,
  flavour: "gitea" | "forgejo",
  secrets?: RunnerSecrets,
): MetadataDocument {
  const pool = settings.pools.find(({ name }) => name === runner.pool);
  const labels = labelsOf(runner, pool);
  const forgeUrl = urlOf(runner.target);
  const document = guestDocument({
    runnerId: runner.id,
    runnerName: runner.name,
    pool: runner.pool,
    labels,
    forgeUrl,
    engine: pool === undefined ? "shell" : poolOf(pool, flavour, settings.guest).engine,
    engineTimeoutSeconds: runner.limits.engine / 1000,
    ...(pool?.firecracker === undefined ? {} : { poolMetadata: pool.firecracker.metadata }),
  });
  if (secrets === undefined || runner.registration.phase !== "active") return document;
  return withCredentials(document, {
    row: String(runner.registration.row),
    uuid: secrets.uuid,
    token: secrets.token,
    address: forgeUrl,
    labels: labels.join(","),
    ...(runner.handle === undefined ? {} : { handle: runner.handle }),
  });
}

/** As engines write them; a pool that is gone from the configuration leaves the names. */
function labelsOf(runner: Runner, pool: PoolSettings | undefined): string[] {
  return pool?.runnerLabels ?? runner.labels.map((label) => `${label}:host`);
}

/** The forge's address in a target's key, which outlives its place in the configuration. */
const urlOf = (target: string): string => target.slice(0, target.lastIndexOf("#"));
