import type { ForgeCapabilities, ForgeFlavour } from "./port.ts";
import { compareVersions, type ForgeVersion } from "./version.ts";

export type Capability = Exclude<
  keyof ForgeCapabilities,
  "flavour" | "version" | "queueNeedsLabels" | "countsTakenAttempts"
>;

interface CapabilityRow {
  /** First version that has it; absent where none has. */
  gitea?: string;
  forgejo?: string;
  /** What the absence means, one sentence for `serve`, doctor and the documentation. */
  missing: string;
  /** Its absence makes the service degraded; otherwise it is a convenience. */
  essential: boolean;
}

/** What each version offers: the only place that knows. docs/forges.md is checked against it. */
export const CAPABILITIES: Record<Capability, CapabilityRow> = {
  listsQueue: {
    gitea: "1.25",
    forgejo: "11",
    missing: "the queue cannot be read, so only webhooks (where there are any) and minRunners create runners",
    essential: true,
  },
  listsRunners: {
    gitea: "1.24",
    forgejo: "14",
    missing: "runners cannot be listed, so leftovers of a crash are not found",
    essential: true,
  },
  deletesRunners: {
    gitea: "1.24",
    forgejo: "14",
    missing: "runners cannot be deleted, so unused ones stay behind as offline",
    essential: true,
  },
  ephemeral: {
    gitea: "1.24",
    forgejo: "15",
    missing: "runners are not ephemeral, so pools refuse to start unless allowPersistentRegistration is true",
    essential: true,
  },
  bindsJobs: {
    forgejo: "15",
    missing: "a runner cannot be bound to one job, so it may take any job that fits its labels",
    essential: false,
  },
  disablesRunners: {
    gitea: "1.26",
    missing: "an idle runner cannot be disabled before its removal, so its agent alone keeps it from taking a job",
    essential: false,
  },
  queueWebhooks: {
    gitea: "1.24",
    missing: "there are no webhooks about waiting jobs, so they are seen at the next poll",
    essential: false,
  },
  tellsOrigins: {
    gitea: "1.25",
    forgejo: "15",
    missing: "what started a job cannot be read, so pools that trust only some repositories refuse to start",
    essential: false,
  },
  createsRunners: {
    forgejo: "15",
    missing:
      "runners are registered by the runner protocol with the scope's registration token, which stays on the host",
    essential: false,
  },
};

/** Forgejo before this needs the labels it is asked for. */
export const QUEUE_WITHOUT_LABELS = "15";

/** Since this Gitea each attempt of a job is a job of its own. */
export const ATTEMPTS_ARE_JOBS = "1.27";

/** Oldest versions that are spoken to at all. */
export const OLDEST: Record<ForgeFlavour, string> = { gitea: "1.22", forgejo: "7" };

export function capabilitiesOf(version: ForgeVersion): ForgeCapabilities {
  const { flavour } = version;
  const since = (first: string | undefined): boolean =>
    first !== undefined && compareVersions(version.numbers, first) >= 0;
  const has = (capability: Capability): boolean => since(CAPABILITIES[capability][flavour]);
  return {
    flavour,
    version: version.text,
    listsQueue: has("listsQueue"),
    queueNeedsLabels: flavour === "forgejo" && has("listsQueue") && !since(QUEUE_WITHOUT_LABELS),
    countsTakenAttempts: flavour === "gitea" && !since(ATTEMPTS_ARE_JOBS),
    listsRunners: has("listsRunners"),
    deletesRunners: has("deletesRunners"),
    ephemeral: has("ephemeral"),
    bindsJobs: has("bindsJobs"),
    disablesRunners: has("disablesRunners"),
    queueWebhooks: has("queueWebhooks"),
    tellsOrigins: has("tellsOrigins"),
    createsRunners: has("createsRunners"),
  };
}

/** One sentence for each essential capability that is missing. */
export function degradations(capabilities: ForgeCapabilities): string[] {
  return (Object.keys(CAPABILITIES) as Capability[])
    .filter((name) => CAPABILITIES[name].essential && !capabilities[name])
    .map((name) => CAPABILITIES[name].missing);
}

/** The one line that `serve` prints about a forge. */
export function describeMode(capabilities: ForgeCapabilities): string {
  const name = `${capabilities.flavour === "gitea" ? "Gitea" : "Forgejo"} ${capabilities.version}`;
  const missing = degradations(capabilities);
  return missing.length === 0 ? `${name}: full service` : `${name}: degraded: ${missing.join("; ")}`;
}
