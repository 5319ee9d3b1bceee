import type { ForgeScope, Job, JobOutcome, RunnerRow } from "../core/types.ts";

export type ForgeFlavour = "gitea" | "forgejo";

/** What the version of a forge offers; see docs/compatibility.md for the table. */
export interface ForgeCapabilities {
  flavour: ForgeFlavour;
  version: string;
  /** REST queue listing. */
  listsQueue: boolean;
  /** The queue endpoint needs the labels asked for (Forgejo before 15). */
  queueNeedsLabels: boolean;
  listsRunners: boolean;
  deletesRunners: boolean;
  /** A registration can be ephemeral. */
  ephemeral: boolean;
  /** A runner can be bound to one job attempt. */
  bindsJobs: boolean;
  /** A runner can be kept from taking jobs while it is registered. */
  disablesRunners: boolean;
  /** `workflow_job` webhooks. */
  queueWebhooks: boolean;
  /** A job shows how many of its attempts were taken: the one that waits is not counted yet (Gitea before 1.27). */
  countsTakenAttempts: boolean;
  /** What started a job's run can be read: event, ref, and whether from a fork. */
  tellsOrigins: boolean;
  /** Runners are created by REST instead of the Register RPC. */
  createsRunners: boolean;
}

export interface Registration {
  row: number;
  uuid: string;
  /** The runner's own secret, known only from this answer. */
  token: string;
  /** The job attempt that its engine has to ask for, as requested, where runners can be bound. */
  handle?: string;
}

export interface RegisterRequest {
  name: string;
  /** `name:host` forms, as every engine writes them. */
  labels: string[];
  handle?: string;
  /** Where the target is of several repositories: the one to register at. */
  repository?: string;
}

/** A task that ends without its runner, told in the runner's name. */
export interface TaskFailure {
  uuid: string;
  token: string;
  taskId: number;
  /** The last lines of its log: why it failed. */
  lines: string[];
}

/** What one reading of a list found. */
export interface Listing<T> {
  items: T[];
  /** False when the list is longer than is read, or moved too fast: that something is absent then proves nothing. */
  complete: boolean;
}

/** Where jobs are read and runners registered: one forge, one scope, one API token. */
export interface ForgeTarget {
  /** `<url>#<scope>`, stable; names the target everywhere. */
  readonly key: string;
  readonly url: string;
  readonly scope: ForgeScope;
  /** Version and capabilities; asks the forge the first time and again after `refresh`. */
  capabilities(signal: AbortSignal): Promise<ForgeCapabilities>;
  refresh(): void;
  /**
   * Runnable, running and (where told) blocked jobs of the scope, all pages.
   * @param labels union of all pools' labels at this target, for forges that need it
   */
  jobs(labels: string[], signal: AbortSignal): Promise<Listing<Omit<Job, "since" | "at">>>;
  /** Every runner row owned at exactly this scope, all pages, without duplicates. */
  runners(signal: AbortSignal): Promise<Listing<RunnerRow>>;
  /** Registers one ephemeral runner from the host. The scope's registration token stays inside. */
  register(request: RegisterRequest, signal: AbortSignal): Promise<Registration>;
  /** Ends a runner's task as failed, unless it has ended already. */
  failTask(failure: TaskFailure, signal: AbortSignal): Promise<Exclude<JobOutcome, { state: "left" }>>;
  /** The scope's registration token, with which anybody can register runners: only for guests that are allowed it. */
  registrationToken(signal: AbortSignal): Promise<string>;
  /**
   * Deletes a row; a row that does not exist is success.
   * @param repository whose the row is, where the target is of several
   */
  deleteRunner(row: number, signal: AbortSignal, repository?: string): Promise<void>;
  /** Keeps an idle runner from taking a job; does nothing where the forge cannot. */
  disableRunner(row: number, signal: AbortSignal): Promise<void>;
  close(): Promise<void>;
}
