/**
 * Which jobs a pool trusts. Pure, and used at both ends: by the plan on what the forge says of a job that waits, and
 * inside the sandbox on the task that came. What is not known is never trusted.
 */

export interface TrustPolicy {
  /** `owner/name`, or `owner/*` for all of an owner's; case does not matter, as in the forges. */
  repositories: string[];
  /** Names as in a workflow's `on:`. */
  events: string[];
  /** Branch names, or whole refs such as `refs/tags/v*`; `*` stands for anything. Absent: the default branch. */
  branches?: string[];
  /** Whether pull requests from forks are trusted, and whoever may open one with them. */
  allowForks: boolean;
}

/** What started a job, as far as it is known. */
export interface JobOrigin {
  /** Name as in a workflow's `on:`. */
  event: string;
  /** Whole: `refs/heads/main`. */
  ref?: string;
  /** The branch that a pull request wants to change. */
  base?: string;
  /** Whether the pull request comes from somebody who may not push: from a fork, or by AGit. */
  fork?: boolean;
  defaultBranch?: string;
}

export interface Distrust {
  code: "untrusted-repository" | "untrusted-event" | "untrusted-branch" | "untrusted-fork" | "origin-unknown";
  /** One sentence for people. */
  detail: string;
}

/** Why a job is not trusted; undefined when it is. */
export function distrust(
  policy: TrustPolicy,
  { repository, origin }: { repository?: string | undefined; origin?: JobOrigin | undefined },
): Distrust | undefined {
  if (repository === undefined) return unknown("the forge does not say its repository");
  if (!isNamed(policy.repositories, repository)) {
    return { code: "untrusted-repository", detail: `repository ${repository} is not one of those that are trusted` };
  }
  if (origin === undefined) return unknown("what started it is not known");
  const { event, fork } = origin;
  if (!policy.events.includes(event)) {
    return { code: "untrusted-event", detail: `event ${event} is not one of ${policy.events.join(", ")}` };
  }
  if (!policy.allowForks && fork === true) {
    return { code: "untrusted-fork", detail: "it comes from a fork, which anybody can make" };
  }
  if (!policy.allowForks && isPullEvent(event) && fork !== false) {
    return { code: "untrusted-fork", detail: "the forge does not say whether it comes from a fork" };
  }
  return distrustOfRef(policy, origin);
}

/** Events that a pull request causes: what they run may be written by whoever opened it. */
export const isPullEvent = (event: string): boolean => event.startsWith("pull_request");

/** What a pull request's object in an API or a payload says of its origin; nothing for anything else. */
export function pullOrigin(pull: unknown): Pick<JobOrigin, "base" | "fork"> {
  const [head, base] = [member(pull, "head"), member(pull, "base")];
  const branch = member(base, "ref");
  const own = repositoryId(base);
  const other = repositoryId(head);
  // AGit pushes come from whoever may read, and their head is a ref of the repository itself.
  const headRef = member(head, "ref");
  const isAgit = typeof headRef === "string" && headRef.startsWith("refs/");
  if (head === undefined || own === undefined) return {};
  return {
    ...(typeof branch === "string" ? { base: branch } : {}),
    // The fork may be deleted by now.
    fork: isAgit || other === undefined || other !== own,
  };
}

/** Where a task comes from, by the context that the forge sends with it. */
export function contextOrigin(github: Record<string, unknown>): { repository?: string; origin?: JobOrigin } {
  const { repository, event_name: event, ref, event: payload } = github;
  if (typeof repository !== "string" || typeof event !== "string" || event === "") return {};
  const defaultBranch = member(member(payload, "repository"), "default_branch");
  return {
    repository,
    origin: {
      event,
      ...(typeof ref === "string" ? { ref } : {}),
      ...(isPullEvent(event) ? pullOrigin(member(payload, "pull_request")) : { fork: false }),
      ...(typeof defaultBranch === "string" ? { defaultBranch } : {}),
    },
  };
}

/** A policy that was written as JSON. One that cannot be understood trusts nothing. */
export function readPolicy(value: unknown): TrustPolicy {
  const [repositories, events] = [texts(member(value, "repositories")), texts(member(value, "events"))];
  const branches = member(value, "branches");
  const wanted = branches === undefined ? undefined : (texts(branches) ?? []);
  return {
    repositories: repositories ?? [],
    events: events ?? [],
    ...(wanted === undefined ? {} : { branches: wanted }),
    allowForks: member(value, "allowForks") === true,
  };
}

/** What a runner for this job may run: its repository only, and no other default branch than the one of today. */
export function narrowed(policy: TrustPolicy, job: { repository: string; origin?: JobOrigin }): TrustPolicy {
  const { branches = [literal(job.origin?.defaultBranch ?? "refs/")] } = policy;
  return { ...policy, repositories: [job.repository], branches };
}

/** Whether one of the names, or `owner/*`, is the repository's. */
export function isNamed(names: readonly string[], repository: string): boolean {
  const name = repository.toLowerCase();
  const owner = name.slice(0, name.indexOf("/") + 1);
  return names.some((each) => each.toLowerCase() === name || (owner !== "" && each.toLowerCase() === `${owner}*`));
}

function distrustOfRef({ branches }: TrustPolicy, origin: JobOrigin): Distrust | undefined {
  const { event, base, defaultBranch } = origin;
  const ref = isPullEvent(event) && base !== undefined ? `refs/heads/${base}` : origin.ref;
  if (ref === undefined) return unknown("the forge does not say its branch");
  if (branches === undefined && defaultBranch === undefined) {
    return unknown("the forge does not say the repository's default branch");
  }
  const wanted = branches ?? [literal(defaultBranch ?? "")];
  if (wanted.some((pattern) => isLike(pattern.startsWith("refs/") ? pattern : `refs/heads/${pattern}`, ref))) return;
  const name = ref.replace(/^refs\/heads\//, "");
  const which = branches === undefined ? `the default branch, ${defaultBranch}` : `one of ${branches.join(", ")}`;
  return { code: "untrusted-branch", detail: `branch ${name} is not ${which}` };
}

const unknown = (detail: string): Distrust => ({ code: "origin-unknown", detail });

/** A branch may be called `refs/...` or hold a `*` only where somebody tries something. */
const literal = (branch: string): string => (/^refs\/|\*/.test(branch) ? "refs/heads/ " : branch);

/** Compares piece by piece: a pattern of many stars must not take long, whoever wrote it. */
function isLike(pattern: string, text: string): boolean {
  const [first = "", ...rest] = pattern.split("*");
  const last = rest.pop();
  if (last === undefined) return pattern === text;
  if (!text.startsWith(first) || !text.endsWith(last) || text.length < first.length + last.length) return false;
  let at = first.length;
  const end = text.length - last.length;
  for (const piece of rest) {
    const found = text.indexOf(piece, at);
    if (found < 0 || found + piece.length > end) return false;
    at = found + piece.length;
  }
  return true;
}

const texts = (value: unknown): string[] | undefined =>
  Array.isArray(value) && value.every((each) => typeof each === "string") ? value : undefined;

const member = (value: unknown, key: string): unknown =>
  typeof value === "object" && value !== null && Object.hasOwn(value, key)
    ? (value as Record<string, unknown>)[key]
    : undefined;

function repositoryId(side: unknown): number | undefined {
  const id = member(side, "repo_id") ?? member(member(side, "repo"), "id");
  return typeof id === "number" && id > 0 ? id : undefined;
}
