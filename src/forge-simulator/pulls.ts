import type { Account, Pull, Repository } from "./records.ts";
import { renderAccount, renderRepository } from "./rest/render.ts";
import type { World } from "./world.ts";

/** A pull request as a run is started by one. */
export interface NewPull {
  number: number;
  /** `owner/name` of the repository that its branch is in; default the same one. */
  from?: string;
  /** Name of that branch. */
  branch: string;
  /** The branch that it wants to change; default the default branch. */
  base?: string;
  /** Pushed to `refs/for/...` by somebody who may only read; such a one has no fork. */
  agit?: boolean;
}

/** Makes the pull request, or the newer state of it. */
export function keepPull(repository: Repository, pull: NewPull, from: Repository, author: Account): Pull {
  const made = { ...pull, base: pull.base ?? repository.defaultBranch, agit: pull.agit ?? false, from, author };
  repository.pulls.set(pull.number, made);
  return made;
}

export const isForkPull = (pull: Pull, repository: Repository): boolean => pull.agit || pull.from !== repository;

/** The ref at which the event's jobs run. */
export const pullRef = (event: string, pull: Pull): string =>
  event === "pull_request_target" ? `refs/heads/${pull.base}` : `refs/pull/${pull.number}/head`;

/** The same in REST and in payloads. */
export function renderPull(world: World, repository: Repository, pull: Pull): Record<string, unknown> {
  const headRef = pull.agit ? `refs/pull/${pull.number}/head` : pull.branch;
  const side = (owner: Repository, ref: string) => ({
    label: ref,
    ref,
    sha: "0".repeat(40),
    repo_id: owner.id,
    repo: renderRepository(world, owner),
  });
  return {
    id: repository.id * 10_000 + pull.number,
    number: pull.number,
    state: "open",
    title: `change ${pull.number}`,
    user: renderAccount(world, pull.author),
    url: `${world.url}/${repository.fullName}/pulls/${pull.number}`,
    base: side(repository, pull.base),
    head: side(pull.from, headRef),
  };
}

export const pullPayload = (world: World, repository: Repository, pull: Pull): Record<string, unknown> => ({
  action: "opened",
  number: pull.number,
  base_ref: pull.base,
  head_ref: pull.branch,
  pull_request: renderPull(world, repository, pull),
  repository: renderRepository(world, repository),
  sender: renderAccount(world, pull.author),
});
