import { type Clock, systemClock } from "../base/clock.ts";
import { describe } from "../base/errors.ts";
import { type Logger, silentLogger } from "../base/log.ts";
import type { ForgeScope } from "../core/types.ts";
import { CAPABILITIES, type Capability, describeMode } from "./capabilities.ts";
import { createCircuit, type ForgeCircuit } from "./circuit.ts";
import { detect } from "./detect.ts";
import type { Dialect, DialectContext } from "./dialect.ts";
import { ForgeError, isForgeError } from "./errors.ts";
import { createForgejoDialect } from "./forgejo/dialect.ts";
import { forgejoOrigin } from "./forgejo/origin.ts";
import { createGiteaDialect } from "./gitea/dialect.ts";
import { giteaOrigin } from "./gitea/origin.ts";
import { createHttp, type RequestReport } from "./http.ts";
import type { ForgeCapabilities, ForgeTarget } from "./port.ts";
import { shared } from "./shared.ts";
import { failTask } from "./task-failure.ts";
import { DEFAULT_TUNING, type ForgeTuning, type ProxySettings, type TrustSettings } from "./transport.ts";
import { createTrustedDialect } from "./trusted/dialect.ts";

export interface ForgeTargetOptions extends TrustSettings {
  /** `<url>#<scope>` */
  key: string;
  url: string;
  scope: ForgeScope;
  /** The API token as it is now; asked for every request, and once more after a 401. */
  token: () => string;
  proxy?: ProxySettings;
  /** Accept a forge that ignores `ephemeral`: the runner's credentials then outlive its job. */
  allowPersistentRegistration?: boolean;
  log?: Logger;
  clock?: Clock;
  /** Of several repositories, the names of those that have runners of ours now: their queues and rows are read first. */
  active?: () => readonly string[];
  /** To be shared by all targets of one forge. */
  circuit?: ForgeCircuit;
  tuning?: Partial<ForgeTuning>;
  /** Told of every request sent, each try apart. Must not throw. */
  onRequest?: (report: RequestReport) => void;
}

/** Somebody may have given the token the right in the meantime, milliseconds. */
const TRY_RIGHT_AGAIN = 10 * 60_000;

/** A Gitea or Forgejo: which of the two is found out at the first use, and again after `refresh`. */
export function createForgeTarget(options: ForgeTargetOptions): ForgeTarget {
  const { key, scope, log = silentLogger, clock = systemClock } = options;
  const http = createHttp({
    ...options,
    target: key,
    log,
    clock,
    circuit: options.circuit ?? createCircuit({ clock }),
    tuning: { ...DEFAULT_TUNING, ...options.tuning },
  });
  const dialects = dialectsOf(
    { key, scope, http, log, allowPersistentRegistration: options.allowPersistentRegistration ?? false },
    clock,
    options.active ?? (() => []),
  );
  /** Optional features that the token has no right for, with the uptime until which they are left alone. */
  const switchedOff = new Map<Capability, number>();
  let told: string | undefined;
  const detected = shared(async (signal) => {
    const capabilities = await detect(http, signal);
    const mode = describeMode(capabilities);
    if (mode !== told) log.info({ target: key, mode }, "forge found");
    told = mode;
    return capabilities;
  });

  async function capabilities(signal: AbortSignal): Promise<ForgeCapabilities> {
    const found = { ...(await detected.get(signal)) };
    for (const [name, until] of switchedOff) found[name] &&= clock.uptime() >= until;
    return found;
  }

  async function able(needed: Capability, signal: AbortSignal): Promise<{ can: ForgeCapabilities; dialect: Dialect }> {
    const can = await capabilities(signal);
    if (can[needed]) return { can, dialect: dialects[can.flavour] };
    throw new ForgeError(
      "FORGE_UNSUPPORTED",
      `${http.url} (${can.flavour} ${can.version}): ${CAPABILITIES[needed].missing}`,
      {
        hint: switchedOff.has(needed)
          ? "The API token has no right for it; once it has, the feature comes back by itself."
          : "A newer version of the forge has it; docs/forges.md lists what each version offers.",
        facts: { capability: needed },
      },
    );
  }

  /** A missing optional right switches off exactly its feature for a while, with one warning in all. */
  function switchOff(name: Capability, error: ForgeError): void {
    if (!switchedOff.has(name)) {
      log.warn({ target: key, cause: describe(error), hint: error.hint }, CAPABILITIES[name].missing);
    }
    switchedOff.set(name, clock.uptime() + TRY_RIGHT_AGAIN);
  }

  return {
    key,
    url: http.url,
    scope,
    capabilities,
    refresh: () => {
      detected.forget();
      http.renew();
    },
    jobs: async (labels, signal) => {
      const { can, dialect } = await able("listsQueue", signal);
      return await dialect.jobs(can, labels, signal);
    },
    runners: async (signal) => {
      const { dialect } = await able("listsRunners", signal);
      try {
        return await dialect.runners(signal);
      } catch (error) {
        // An empty list would read as "all gone"; the caller is told, and does not ask again.
        if (isForgeError(error, "FORGE_FORBIDDEN")) switchOff("listsRunners", error);
        throw error;
      }
    },
    register: async (request, signal) => {
      const can = await capabilities(signal);
      return await dialects[can.flavour].register(can, request, signal);
    },
    failTask: (failure, signal) => failTask(http, failure, clock.now(), signal),
    registrationToken: async (signal) => {
      const can = await capabilities(signal);
      return await dialects[can.flavour].registrationToken(signal);
    },
    deleteRunner: async (row, signal, repository) => {
      const { dialect } = await able("deletesRunners", signal);
      await dialect.deleteRunner(row, signal, repository);
    },
    disableRunner: async (row, signal) => {
      const can = await capabilities(signal);
      if (!can.disablesRunners) return;
      try {
        await dialects[can.flavour].disableRunner(row, signal);
      } catch (error) {
        if (!isForgeError(error, "FORGE_FORBIDDEN") && !isMissingRoute(error)) throw error;
        switchOff("disablesRunners", error);
      }
    },
    close: async () => await http.close(),
  };
}

function dialectsOf(context: DialectContext, clock: Clock, active: () => readonly string[]) {
  if (context.scope.kind !== "trusted") {
    return { gitea: createGiteaDialect(context), forgejo: createForgejoDialect(context) };
  }
  const { http } = context;
  const together = (create: typeof createGiteaDialect, origin: typeof giteaOrigin): Dialect =>
    createTrustedDialect({
      ...context,
      clock,
      active,
      at: (scope) => create({ ...context, scope }),
      origin: (repository, job, signal) => origin(repository, job, http, signal),
    });
  return { gitea: together(createGiteaDialect, giteaOrigin), forgejo: together(createForgejoDialect, forgejoOrigin) };
}

/** A build between two releases may call itself the next one without having all of it. */
const isMissingRoute = (error: unknown): error is ForgeError => isForgeError(error) && error.facts.status === 405;
