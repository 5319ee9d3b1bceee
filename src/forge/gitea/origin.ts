import * as z from "zod";
import { isPullEvent, type JobOrigin, pullOrigin } from "../../base/trust.ts";
import type { Job } from "../../core/types.ts";
import { isForgeError } from "../errors.ts";
import type { ForgeHttp } from "../http.ts";
import { scopePath } from "../paths.ts";
import { rightInWords } from "../rights.ts";
import type { Repository } from "../trusted/repositories.ts";

const Run = z.object({
  event: z.string().min(1).max(64),
  /** `file@refs/heads/main`: the only place of the whole ref. */
  path: z.string().max(4_000),
});

const READ = { method: "GET", needs: rightInWords("queue", "repo"), repeatable: true } as const;

/** What started the run of a job. Undefined where the forge does not say it. */
export async function giteaOrigin(
  repository: Repository,
  job: Pick<Job, "run">,
  http: ForgeHttp,
  signal: AbortSignal,
): Promise<JobOrigin | undefined> {
  if (job.run === undefined) return undefined;
  const base = scopePath({ kind: "repo", owner: repository.owner, repo: repository.repo });
  const path = `${base}/actions/runs/${job.run}`;
  const run = await http.json({ ...READ, operation: "origin", path }, Run, signal);
  const ref = /@(refs\/\S+)$/.exec(run.path)?.[1];
  const event = eventOf(run.event, ref);
  return {
    event,
    ...(ref === undefined ? {} : { ref }),
    ...(repository.defaultBranch === undefined ? {} : { defaultBranch: repository.defaultBranch }),
    ...(isPullEvent(event) ? await pullOf(ref) : { fork: false }),
  };

  /** By the pull request's number in the ref; `pull_request_target` has none, so that it stays unknown. */
  async function pullOf(pullRef: string | undefined): Promise<Pick<JobOrigin, "base" | "fork">> {
    const number = /^refs\/pull\/([1-9]\d{0,15})\/head$/.exec(pullRef ?? "")?.[1];
    if (number === undefined) return {};
    try {
      const pull = await http.json(
        { ...READ, operation: "origin", path: `${base}/pulls/${number}` },
        z.unknown(),
        signal,
      );
      return pullOrigin(pull);
    } catch (error) {
      if (isForgeError(error, "FORGE_NOT_FOUND", "FORGE_FORBIDDEN")) return {};
      throw error;
    }
  }
}

/** Before 1.27 the event is the webhook's: `pull_request_sync`, and `pull_request` for `pull_request_target` too. */
function eventOf(event: string, ref: string | undefined): string {
  if (event.startsWith("pull_request_review")) return event;
  if (!isPullEvent(event) || event === "pull_request_target") return event;
  return ref?.startsWith("refs/pull/") === true ? "pull_request" : "pull_request_target";
}
