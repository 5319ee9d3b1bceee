import * as z from "zod";
import { isPullEvent, type JobOrigin, pullOrigin } from "../../base/trust.ts";
import type { Job } from "../../core/types.ts";
import type { ForgeHttp } from "../http.ts";
import { Id, lenientList } from "../lenient.ts";
import { PAGE_SIZE, readPages } from "../pages.ts";
import { scopePath } from "../paths.ts";
import { rightInWords } from "../rights.ts";
import type { Repository } from "../trusted/repositories.ts";

const Run = z.object({
  id: Id,
  /** The webhook's event, such as `pull_request_sync`; the other is the one of the workflow's `on:`. */
  event: z.string().max(64),
  trigger_event: z.string().max(64).nullish(),
  is_fork_pull_request: z.boolean().nullish(),
  /** `main`, `v1` or `#7`: a tag may be called like a branch. */
  prettyref: z.string().max(1_000),
  event_payload: z.string().max(4_000_000).nullish(),
});
type Run = z.infer<typeof Run>;

const READ = { operation: "origin", method: "GET", needs: rightInWords("queue", "repo"), repeatable: true } as const;
/** What a run is while one of its jobs waits. */
const OPEN = ["waiting", "running", "blocked"];
const MOST_PAGES = 4;

/**
 * What started the run of a job. Where the queue does not say which run that is, it is one of the repository's open ones:
 * if these are all of one origin, it is the job's too.
 */
export async function forgejoOrigin(
  repository: Repository,
  job: Pick<Job, "run">,
  http: ForgeHttp,
  signal: AbortSignal,
): Promise<JobOrigin | undefined> {
  const base = `${scopePath({ kind: "repo", owner: repository.owner, repo: repository.repo })}/actions/runs`;
  const runs = job.run === undefined ? await openRuns(base, http, signal) : [await single(job.run)];
  const origins = new Map(runs.map((run) => originOf(run, repository)).map((one) => [JSON.stringify(one), one]));
  return origins.size === 1 ? [...origins.values()][0] : undefined;

  async function single(run: number): Promise<Run> {
    return await http.json({ ...READ, path: `${base}/${run}` }, Run, signal);
  }
}

async function openRuns(path: string, http: ForgeHttp, signal: AbortSignal): Promise<Run[]> {
  let dropped = 0;
  const { items, complete } = await readPages(
    async (page) => {
      const query = OPEN.map((status): [string, string] => ["status", status]);
      query.push(["page", `${page}`], ["limit", `${PAGE_SIZE}`]);
      const answer = await http.json(
        { ...READ, path, query },
        z.object({ workflow_runs: lenientList(Run), total_count: z.int().nonnegative() }),
        signal,
      );
      const { items: runs, dropped: unread } = answer.workflow_runs;
      dropped += unread;
      return { items: runs, raw: runs.length + unread, total: answer.total_count };
    },
    { key: (run) => run.id, maxPages: MOST_PAGES },
  );
  return complete && dropped === 0 ? items : [];
}

function originOf(run: Run, { defaultBranch }: Repository): JobOrigin {
  const event = run.trigger_event || run.event;
  const payload = payloadOf(run);
  const pull = isPullEvent(event) ? pullOrigin(payload["pull_request"]) : { fork: false };
  const ref = refOf(event, run.prettyref, payload["ref"]);
  return {
    event,
    ...(ref === undefined ? {} : { ref }),
    ...(defaultBranch === undefined ? {} : { defaultBranch }),
    ...pull,
    // Both have to say that it is none.
    ...(run.is_fork_pull_request === true ? { fork: true } : {}),
  };
}

/** The payload has the whole ref of what was pushed or dispatched; a schedule is always a branch's. */
function refOf(event: string, short: string, whole: unknown): string | undefined {
  if (event === "schedule") return `refs/heads/${short}`;
  if (isPullEvent(event)) return short.startsWith("#") ? `refs/pull/${short.slice(1)}/head` : undefined;
  if (typeof whole !== "string" || !/^refs\/(heads|tags)\//.test(whole)) return undefined;
  return whole.replace(/^refs\/(heads|tags)\//, "") === short ? whole : undefined;
}

function payloadOf({ event_payload: text }: Run): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text ?? "");
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
  } catch (error) {
    if (error instanceof SyntaxError) return {};
    throw error;
  }
}
