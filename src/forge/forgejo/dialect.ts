import { jobKey } from "../../core/job-key.ts";
import type { Job, RunnerRow } from "../../core/types.ts";
import { header } from "../answers.ts";
import type { Dialect, DialectContext } from "../dialect.ts";
import { droppedReporter } from "../lenient.ts";
import { PAGE_SIZE, readPages } from "../pages.ts";
import { oldTokenPath, repositoryIn, scopePath, webLink } from "../paths.ts";
import { createRegistrar, notEphemeral } from "../registration.ts";
import { rightInWords } from "../rights.ts";
import {
  CreatedRunner,
  type ForgejoJob,
  type ForgejoRunner,
  JobList,
  RegistrationToken,
  RunnerList,
} from "./schemas.ts";

export function createForgejoDialect(context: DialectContext): Dialect {
  const { http, scope, key, log } = context;
  const base = scopePath(scope);
  const runnersPath = `${base}/actions/runners`;
  const reportDropped = droppedReporter(log);

  const jobs: Dialect["jobs"] = async ({ queueNeedsLabels }, labels, signal) => {
    // The instance's queue moved with version 15, which also no longer needs to be told all labels.
    const path = scope.kind === "instance" && queueNeedsLabels ? `${base}/runners/jobs` : `${runnersPath}/jobs`;
    const list = await http.json(
      {
        operation: "jobs",
        method: "GET",
        path,
        ...(queueNeedsLabels ? { query: [["labels", labels.join(",")]] } : {}),
        needs: rightInWords("queue", scope.kind),
        repeatable: true,
      },
      JobList,
      signal,
    );
    reportDropped("jobs", list.dropped);
    const items = list.items.map((job) => jobOf(key, http.url, job)).filter((job) => job !== undefined);
    return { items, complete: true };
  };

  const runners: Dialect["runners"] = async (signal) => {
    let dropped = 0;
    const { items, complete } = await readPages(
      async (page) => {
        const { value, answer } = await http.read(
          {
            operation: "runners",
            method: "GET",
            path: runnersPath,
            query: [
              ["page", `${page}`],
              ["limit", `${PAGE_SIZE}`],
            ],
            needs: rightInWords("runners", scope.kind),
            repeatable: true,
          },
          RunnerList,
          signal,
        );
        dropped += value.dropped;
        const read = { items: value.items, raw: value.items.length + value.dropped };
        const total = header(answer, "x-total-count");
        return total !== undefined && /^\d{1,9}$/.test(total) ? { ...read, total: Number(total) } : read;
      },
      { key: (runner) => runner.id },
    );
    reportDropped("runners", dropped);
    const own = items.filter((runner) => scope.kind !== "instance" || isOfInstance(runner));
    return { items: own.map((runner) => rowOf(key, runner)), complete };
  };

  const deleteRunner: Dialect["deleteRunner"] = async (row, signal) => {
    await http.send(
      {
        operation: "delete",
        method: "DELETE",
        path: `${runnersPath}/${row}`,
        needs: rightInWords("delete", scope.kind),
        repeatable: true,
        accepts: ({ status }) => status === 404,
      },
      signal,
    );
  };

  async function fetchToken(signal: AbortSignal): Promise<string> {
    const needs = rightInWords("register", scope.kind);
    const call = { operation: "registration-token", method: "GET", path: oldTokenPath(scope), needs } as const;
    return (await http.json({ ...call, repeatable: true }, RegistrationToken, signal)).token;
  }
  const registerByProtocol = createRegistrar(context, fetchToken, deleteRunner);

  /** The new row has no labels until its engine declares them; binding to the handle is the engine's part too. */
  const register: Dialect["register"] = async (capabilities, request, signal) => {
    if (!capabilities.createsRunners) return await registerByProtocol(capabilities, request, signal);
    const created = await http.json(
      {
        operation: "register",
        method: "POST",
        path: runnersPath,
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ name: request.name, description: descriptionFor(request.handle), ephemeral: true }),
        needs: rightInWords("register", scope.kind),
        // A lost answer may have left a row, which the caller finds by its name.
        repeatable: false,
      },
      CreatedRunner,
      signal,
    );
    if (created.ephemeral === false && !context.allowPersistentRegistration) {
      await deleteRunner(created.id, signal);
      throw notEphemeral(context, capabilities, "");
    }
    const { id: row, uuid, token } = created;
    return { row, uuid, token, ...(request.handle === undefined ? {} : { handle: request.handle }) };
  };

  return { jobs, runners, register, registrationToken: fetchToken, deleteRunner, disableRunner: async () => {} };
}

/** Forgejo lists jobs that wait and jobs that run, and hides those that are not ready. */
const STATUS: Record<string, Job["status"]> = { waiting: "queued", running: "running" };

function jobOf(target: string, forge: string, job: ForgejoJob): Omit<Job, "since" | "at"> | undefined {
  const status = STATUS[job.status];
  if (status === undefined) return undefined;
  const attempt = Math.max(1, job.attempt ?? 1);
  const repository = repositoryIn(job.html_url ?? undefined, `${new URL(forge).pathname.replace(/\/$/, "")}/`);
  return {
    key: jobKey(target, job.id, attempt),
    target,
    id: job.id,
    attempt,
    name: job.name ?? "",
    labels: job.runs_on,
    status,
    ...(repository === undefined ? {} : { repository }),
    ...(job.repo_id ? { repositoryId: job.repo_id } : {}),
    ...(job.run_id ? { run: job.run_id } : {}),
    ...(job.handle ? { handle: job.handle } : {}),
    ...webLink(job.html_url),
  };
}

const isOfInstance = (runner: ForgejoRunner): boolean => !runner.owner_id && !runner.repo_id;

/** Other hosts of ours read from it what the runner is for. */
const descriptionFor = (handle: string | undefined): string => ["Fireteact: one job", handle].join(" ").trim();

const handleIn = (description: string): string | undefined =>
  /^Fireteact: one job ([0-9A-Za-z-]{1,64})$/.exec(description)?.[1];

function rowOf(target: string, runner: ForgejoRunner): RunnerRow {
  const handle = handleIn(runner.description ?? "");
  return {
    target,
    row: runner.id,
    name: runner.name,
    online: runner.status !== "offline",
    ...(runner.status === "active" ? { busy: true } : {}),
    ...(handle === undefined ? {} : { handle }),
    ...(runner.uuid ? { uuid: runner.uuid } : {}),
    ...(typeof runner.ephemeral === "boolean" ? { ephemeral: runner.ephemeral } : {}),
  };
}
