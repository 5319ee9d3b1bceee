import type { PoolSettings, Settings } from "../core/settings.ts";
import { poolOf } from "../core/settings.ts";
import type { Runner } from "../core/types.ts";
import { guestDocument, withCredentials } from "../metadata/document.ts";
import { runnerFileContent } from "../runner-rpc/runner-file.ts";
import type { MetadataDocument, SandboxSpec } from "../sandbox/port.ts";
import type { RunnerSecrets } from "../store/port.ts";

/** Where the original's agent looks for a registration, whatever its flags say. */
const RUNNER_FILE = "/opt/act_runner/.runner";

interface Extras {
  /** There to be given to the runner. */
  secrets?: RunnerSecrets | undefined;
  /** The scope's own, for guests that are allowed it. */
  registrationToken?: string | undefined;
}

/** What a runner's guest reads, with credentials when there are `secrets` to give. */
export function documentOf(
  runner: Runner,
  settings: Settings,
  flavour: "gitea" | "forgejo",
  { secrets, registrationToken }: Extras = {},
): MetadataDocument {
  const pool = poolOfRunner(runner, settings);
  const engine = pool === undefined ? "shell" : poolOf(pool, flavour, settings.guest).engine;
  const document = guestDocument({
    runnerId: runner.id,
    runnerName: runner.name,
    pool: runner.pool,
    labels: labelsOf(runner, pool),
    forgeUrl: urlOf(runner.target),
    // The original's tree has neither: they tell our agent that the host registers its runners.
    ...(runner.mute === true ? {} : { engine, engineTimeoutSeconds: runner.limits.engine / 1000 }),
    ...(runner.trust === undefined ? {} : { trust: JSON.stringify(runner.trust) }),
    ...(registrationToken === undefined ? {} : { registrationToken }),
    ...(pool?.firecracker === undefined ? {} : { poolMetadata: pool.firecracker.metadata }),
  });
  if (secrets === undefined || runner.registration.phase !== "active") return document;
  return withCredentials(document, {
    row: String(runner.registration.row),
    uuid: secrets.uuid,
    token: secrets.token,
    address: urlOf(runner.target),
    labels: labelsOf(runner, pool).join(","),
    ...(runner.handle === undefined ? {} : { handle: runner.handle }),
  });
}

/** The registration of a mute runner as a file of its guest: its agent finds it there and does not register by itself. */
export function registrationFiles(
  runner: Runner,
  settings: Settings,
  { uuid, token }: RunnerSecrets,
): NonNullable<SandboxSpec["files"]> {
  const { registration, name } = runner;
  if (registration.phase !== "active") throw new Error(`${runner.id} is not registered`);
  const content = runnerFileContent({
    row: String(registration.row),
    uuid,
    name,
    token,
    address: urlOf(runner.target),
    labels: labelsOf(runner, poolOfRunner(runner, settings)),
    ephemeral: true,
  });
  return { [RUNNER_FILE]: { content, mode: 0o600 } };
}

/** Whether the runner's guest is given the scope's real registration token: only the original's agent has a use for it. */
export function givesToken(runner: Runner, settings: Settings): boolean {
  const target = settings.targets.find(({ key }) => key === runner.target);
  return runner.mute === true && target?.legacyRegistrationToken === true;
}

const poolOfRunner = (runner: Runner, settings: Settings): PoolSettings | undefined =>
  settings.pools.find(({ name }) => name === runner.pool);

/** As engines write them; a pool that is gone from the configuration leaves the names. */
function labelsOf(runner: Runner, pool: PoolSettings | undefined): string[] {
  return pool?.runnerLabels ?? runner.labels.map((label) => `${label}:host`);
}

/** The forge's address in a target's key, which outlives its place in the configuration. */
const urlOf = (target: string): string => target.slice(0, target.lastIndexOf("#"));
