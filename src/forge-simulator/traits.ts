import { FireteactError } from "../base/errors.ts";

export type Flavour = "gitea" | "forgejo";

/** What a version of a forge does differently; everything else in the simulator asks these and never the version. */
export interface Traits {
  flavour: Flavour;
  version: string;
  getsRegistrationToken: boolean;
  postsRegistrationToken: boolean;
  /** Runner list, get and delete. */
  managesRunners: boolean;
  /** Runners can be disabled. */
  disables: boolean;
  /** REST creates runner rows (Forgejo). */
  createsRunners: boolean;
  /** Register takes and echoes `ephemeral`. */
  ephemeral: boolean;
  listsJobs: boolean;
  jobLogs: boolean;
  cancels: boolean;
  jobHooks: boolean;
  runHooks: boolean;
  hookTargetHeader: boolean;
  /** What Forgejo's queue does with its `labels` parameter. */
  queue: "none" | "labels-required" | "labels-optional" | "empty-means-none";
  queueShowsHandle: boolean;
  /** The queue names the run of each job (Forgejo). */
  queueShowsRun: boolean;
  /** Run list and get (Forgejo). */
  showsRuns: boolean;
  /** A run shows the workflow's event; before, the webhook's. */
  showsTriggerEvent: boolean;
  /** A fetch whose caller went away gives its job back. */
  releasesDropped: boolean;
  requestKeys: boolean;
  /** A loser of the pick race looks at the next job. */
  retriesPick: boolean;
  /** An unknown runner gets a true `unauthenticated`. */
  trueUnauthenticated: boolean;
  declareCapabilities: boolean;
  /** `no_more` without rows closes a log; before, it was ignored. */
  closesLogWithoutRows: boolean;
  pageHeaders: boolean;
  /** A waiting job shows the number of attempts that were taken, so that its first one is 0. */
  countsTakenAttempts: boolean;
}

export function traitsOf(flavour: Flavour, version: string): Traits {
  const match = /^v?(\d+)\.(\d+)/.exec(version);
  if (match === null) throw new FireteactError("SIMULATOR_VERSION", `"${version}" is not a version of a forge`);
  const major = Number(match[1]);
  return flavour === "gitea" ? gitea(version, major > 1 ? 1000 + major : Number(match[2])) : forgejo(version, major);
}

/** @param minor the x of 1.x; 1000 and more for the versions that dropped the leading 1 */
function gitea(version: string, minor: number): Traits {
  return {
    flavour: "gitea",
    version,
    getsRegistrationToken: minor < 26,
    postsRegistrationToken: minor >= 24,
    managesRunners: minor >= 24,
    disables: minor >= 26,
    createsRunners: false,
    ephemeral: minor >= 24,
    listsJobs: minor >= 25,
    jobLogs: minor >= 24,
    cancels: minor >= 1028,
    jobHooks: minor >= 24,
    runHooks: minor >= 25,
    hookTargetHeader: minor >= 24,
    queue: "none",
    queueShowsHandle: false,
    queueShowsRun: false,
    showsRuns: minor >= 25,
    showsTriggerEvent: minor >= 27,
    releasesDropped: minor >= 27,
    requestKeys: false,
    retriesPick: minor >= 27,
    trueUnauthenticated: false,
    declareCapabilities: minor >= 27,
    closesLogWithoutRows: minor >= 27,
    pageHeaders: minor >= 26,
    countsTakenAttempts: minor < 27,
  };
}

function forgejo(version: string, major: number): Traits {
  const queue = () => {
    if (major < 11) return "none";
    if (major < 14) return "labels-required";
    return major < 15 ? "labels-optional" : "empty-means-none";
  };
  return {
    flavour: "forgejo",
    version,
    getsRegistrationToken: true,
    postsRegistrationToken: false,
    managesRunners: major >= 14,
    disables: false,
    createsRunners: major >= 15,
    ephemeral: major >= 15,
    listsJobs: false,
    jobLogs: false,
    cancels: major >= 16,
    jobHooks: false,
    runHooks: false,
    hookTargetHeader: false,
    queue: queue(),
    queueShowsHandle: major >= 15,
    queueShowsRun: major >= 16,
    showsRuns: major >= 15,
    showsTriggerEvent: true,
    releasesDropped: false,
    requestKeys: major >= 15,
    retriesPick: major >= 15,
    trueUnauthenticated: major >= 15,
    declareCapabilities: false,
    closesLogWithoutRows: false,
    pageHeaders: true,
    countsTakenAttempts: false,
  };
}
