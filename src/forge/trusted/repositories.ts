import * as z from "zod";
import type { Logger } from "../../base/log.ts";
import { isNamed } from "../../base/trust.ts";
import { header } from "../answers.ts";
import { isForgeError } from "../errors.ts";
import type { ForgeHttp } from "../http.ts";
import { Id, lenientList } from "../lenient.ts";
import { PAGE_SIZE, readPages } from "../pages.ts";
import { segment } from "../paths.ts";

/** A repository that somebody trusts, as the forge shows it. */
export interface Repository {
  id: number;
  /** `owner/name`, as the forge writes it. */
  name: string;
  owner: string;
  repo: string;
  defaultBranch?: string;
}

const Shown = z.object({
  id: Id,
  full_name: z.string().regex(/^[A-Za-z0-9._-]{1,255}\/[A-Za-z0-9._-]{1,255}$/),
  default_branch: z.string().max(255).nullish(),
  archived: z.boolean().nullish(),
  has_actions: z.boolean().nullish(),
  permissions: z.object({ admin: z.boolean().nullish() }).nullish(),
});
type Shown = z.infer<typeof Shown>;

const NEEDS = "a token with read:repository, made by an owner or administrator of the repositories";
/** Repositories of one owner are read so far; more are nobody's list of trusted ones. */
const MOST_PAGES = 40;

/**
 * The repositories that the names mean now: `owner/name`, or `owner/*` for all of an owner's that the token shows. One
 * that is not there, that has another name by now, or that the token may not register runners at is left out, with a
 * warning.
 */
export async function listRepositories(
  names: readonly string[],
  http: ForgeHttp,
  warn: (repository: string, problem: string) => void,
  signal: AbortSignal,
): Promise<Repository[]> {
  const found = new Map<string, Repository>();
  for (const name of names) {
    const [owner = "", repo = ""] = name.split("/");
    const shown = repo === "*" ? await ofOwner(owner, http, signal) : await single(owner, repo, http, signal);
    if (shown.length === 0) warn(name, "the forge shows the token no such repository");
    for (const each of shown) {
      const problem = problemOf(each, owner, repo);
      if (problem === undefined) found.set(each.full_name.toLowerCase(), repositoryOf(each));
      // Of all of an owner's repositories those are meant that can have runners.
      else if (repo !== "*") warn(name, problem);
    }
  }
  return [...found.values()];
}

/** Says each problem of each repository once. */
export function repositoryWarnings(log: Logger): (repository: string, problem: string) => void {
  const told = new Map<string, string>();
  return (repository, problem) => {
    if (told.get(repository) === problem) return;
    told.set(repository, problem);
    log.warn({ repository, problem }, "a trusted repository cannot be served");
  };
}

function problemOf(shown: Shown, owner: string, repo: string): string | undefined {
  // A repository that was moved answers under its old name; who owns it now was never trusted.
  if (!isNamed([`${owner}/${repo}`], shown.full_name)) return `it is ${shown.full_name} by now`;
  if (shown.permissions?.admin === false) return "the token's user may not register runners there";
  if (shown.archived === true) return "it is archived";
  return shown.has_actions === false ? "it has no Actions" : undefined;
}

function repositoryOf({ id, full_name: name, default_branch: defaultBranch }: Shown): Repository {
  const [owner = "", repo = ""] = name.split("/");
  return { id, name, owner, repo, ...(defaultBranch ? { defaultBranch } : {}) };
}

async function single(owner: string, repo: string, http: ForgeHttp, signal: AbortSignal): Promise<Shown[]> {
  const path = `/api/v1/repos/${segment(owner)}/${segment(repo)}`;
  try {
    return [
      await http.json(
        { operation: "repositories", method: "GET", path, needs: NEEDS, repeatable: true },
        Shown,
        signal,
      ),
    ];
  } catch (error) {
    if (isForgeError(error, "FORGE_NOT_FOUND", "FORGE_FORBIDDEN", "FORGE_REDIRECT")) return [];
    throw error;
  }
}

/** An owner is an organisation or a person; only the forge knows which. */
async function ofOwner(owner: string, http: ForgeHttp, signal: AbortSignal): Promise<Shown[]> {
  for (const kind of ["orgs", "users"]) {
    try {
      return await pagesOf(`/api/v1/${kind}/${segment(owner)}/repos`, http, signal);
    } catch (error) {
      if (!isForgeError(error, "FORGE_NOT_FOUND", "FORGE_FORBIDDEN")) throw error;
    }
  }
  return [];
}

async function pagesOf(path: string, http: ForgeHttp, signal: AbortSignal): Promise<Shown[]> {
  const { items } = await readPages(
    async (page) => {
      const { value, answer } = await http.read(
        {
          operation: "repositories",
          method: "GET",
          path,
          query: [
            ["page", `${page}`],
            ["limit", `${PAGE_SIZE}`],
          ],
          needs: NEEDS,
          repeatable: true,
        },
        lenientList(Shown),
        signal,
      );
      const read = { items: value.items, raw: value.items.length + value.dropped };
      const total = header(answer, "x-total-count");
      return total !== undefined && /^\d{1,9}$/.test(total) ? { ...read, total: Number(total) } : read;
    },
    { key: (shown) => shown.id, maxPages: MOST_PAGES },
  );
  return items;
}
