/** What the simulator remembers: one record a row, all times Unix milliseconds, 0 where not yet. */

export type Conclusion = "success" | "failure" | "cancelled" | "skipped";
export type JobStatus = "blocked" | "waiting" | "running" | Conclusion;

export interface Account {
  id: number;
  name: string;
  kind: "user" | "organization";
  /** Site administrator. */
  admin: boolean;
  /** Ids of the users who own this organisation. */
  owners: Set<number>;
}

export interface AccessToken {
  value: string;
  account: Account;
  /** `read:repository`, `write:admin`, `all`... */
  scopes: string[];
}

/** Whose runners: instance (both 0), owner, or repository. */
export interface Scope {
  ownerId: number;
  repositoryId: number;
}

export interface RegistrationToken {
  value: string;
  active: boolean;
}

export interface Repository {
  id: number;
  owner: Account;
  name: string;
  fullName: string;
  private: boolean;
  defaultBranch: string;
  /** The Actions unit. */
  actions: boolean;
  /** Ids of accounts that may read it while it is private. */
  readers: Set<number>;
  secrets: Record<string, string>;
  variables: Record<string, string>;
  runs: number;
  /** By number. */
  pulls: Map<number, Pull>;
  /** The bare repository; undefined for one without files. */
  directory: string | undefined;
}

/** A pull request into the repository that holds it. */
export interface Pull {
  number: number;
  author: Account;
  /** Where its branch is: the repository itself, or a fork. */
  from: Repository;
  branch: string;
  /** The branch that it wants to change. */
  base: string;
  agit: boolean;
}

export interface Run {
  id: number;
  number: number;
  attempt: number;
  repository: Repository;
  actor: Account;
  /** File name of the workflow. */
  workflow: string;
  workflowName: string;
  title: string;
  /** As in the workflow's `on:`. */
  event: string;
  pull: Pull | undefined;
  /** The payload of the event, given to jobs as `github.event`. */
  payload: Record<string, unknown>;
  ref: string;
  sha: string;
  secrets: Record<string, string>;
  variables: Record<string, string>;
  jobs: Job[];
  createdAt: number;
}

export interface Job {
  id: number;
  run: Run;
  /** Its key in the workflow. */
  key: string;
  name: string;
  needs: string[];
  runsOn: string[];
  condition: string | undefined;
  stepNames: string[];
  /** The workflow reduced to this job, as YAML. */
  workflow: string;
  status: JobStatus;
  attempt: number;
  /** Identifies this attempt (Forgejo). */
  handle: string;
  /** The task of this attempt. */
  task: Task | undefined;
  /** Every task that it ever had, oldest first. */
  tasks: Task[];
  createdAt: number;
  updatedAt: number;
  startedAt: number;
  stoppedAt: number;
}

export interface TaskStep {
  name: string;
  result: number;
  startedAt: number;
  stoppedAt: number;
  logIndex: number;
  logLength: number;
}

export interface LogLine {
  time: number;
  content: string;
}

/** One attempt of a job on one runner. */
export interface Task {
  id: number;
  job: Job;
  attempt: number;
  runner: Runner;
  status: "running" | Conclusion;
  /** The job's own token for the forge. */
  token: string;
  requestKey: string | undefined;
  startedAt: number;
  stoppedAt: number;
  updatedAt: number;
  steps: TaskStep[];
  log: LogLine[];
  logClosed: boolean;
  outputs: Map<string, string>;
  /** Who ended it; undefined while it runs. */
  endedBy: "runner" | "cancel" | "zombie" | "endless" | undefined;
  /** Final updates that the runner sent after the task had ended. */
  repeats: number;
}

export interface Runner {
  id: number;
  uuid: string;
  salt: string;
  secretHash: string;
  name: string;
  description: string;
  scope: Scope;
  labels: string[];
  version: string;
  ephemeral: boolean;
  disabled: boolean;
  capabilities: string[];
  tasks: Task[];
  createdAt: number;
  lastOnline: number;
  lastActive: number;
  /** 0 while the row exists. */
  deletedAt: number;
}

export interface Hook {
  id: number;
  type: string;
  active: boolean;
  branchFilter: string;
  events: string[];
  url: string;
  contentType: "json" | "form";
  secret: string;
  authorizationHeader: string;
  /** Fires for every repository; otherwise an admin hook is only a template. */
  system: boolean;
  scope: Scope;
  createdAt: number;
}

export const isDone = (status: JobStatus): status is Conclusion =>
  status === "success" || status === "failure" || status === "cancelled" || status === "skipped";
