import type { RunnerRow } from "../../core/types.ts";
import type { Dialect, DialectContext } from "../dialect.ts";
import { hasStatus } from "../errors.ts";
import { droppedReporter } from "../lenient.ts";
import { PAGE_SIZE, readPages } from "../pages.ts";
import { oldTokenPath, scopePath } from "../paths.ts";
import { createRegistrar } from "../registration.ts";
import { rightInWords } from "../rights.ts";
import { jobOf, OPEN_STATUSES } from "./jobs.ts";
import { type GiteaRunner, JobsPage, RegistrationToken, RunnersPage } from "./schemas.ts";

const RUNNER_GONE = [404];

export function createGiteaDialect(context: DialectContext): Dialect {
  const { http, scope, key, log } = context;
  const base = scopePath(scope);
  const runnersPath = `${base}/actions/runners`;
  const reportDropped = droppedReporter(log);

  const jobs: Dialect["jobs"] = async ({ countsTakenAttempts }, _labels, signal) => {
    const place = { key, url: http.url, countsTakenAttempts };
    const path = `${base}/actions/jobs`;
    const needs = rightInWords("queue", scope.kind);
    let dropped = 0;
    const { items, complete } = await readPages(
      async (page) => {
        const query = OPEN_STATUSES.map((status): [string, string] => ["status", status]);
        query.push(["page", `${page}`], ["limit", `${PAGE_SIZE}`]);
        const answer = await http.json(
          { operation: "jobs", method: "GET", path, query, needs, repeatable: true },
          JobsPage,
          signal,
        );
        dropped += answer.jobs.dropped;
        return pageOf(answer.jobs, answer.total_count);
      },
      { key: (job) => job.id },
    );
    reportDropped("jobs", dropped);
    return { items: items.map((job) => jobOf(place, job)).filter((job) => job !== undefined), complete };
  };

  const runners: Dialect["runners"] = async (signal) => {
    const needs = rightInWords("runners", scope.kind);
    let dropped = 0;
    const { items, complete } = await readPages(
      async (page) => {
        const query: [string, string][] = [
          ["page", `${page}`],
          ["limit", `${PAGE_SIZE}`],
        ];
        const answer = await http.json(
          { operation: "runners", method: "GET", path: runnersPath, query, needs, repeatable: true },
          RunnersPage,
          signal,
        );
        dropped += answer.runners.dropped;
        return pageOf(answer.runners, answer.total_count);
      },
      { key: (runner) => runner.id },
    );
    reportDropped("runners", dropped);
    return { items: items.map((runner) => rowOf(key, runner)), complete };
  };

  const deleteRunner: Dialect["deleteRunner"] = async (row, signal) => {
    await http.send(
      {
        operation: "delete",
        method: "DELETE",
        path: `${runnersPath}/${row}`,
        needs: rightInWords("delete", scope.kind),
        repeatable: true,
        accepts: ({ status }) => RUNNER_GONE.includes(status),
      },
      signal,
    );
  };

  const disableRunner: Dialect["disableRunner"] = async (row, signal) => {
    await http.send(
      {
        operation: "disable",
        method: "PATCH",
        path: `${runnersPath}/${row}`,
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ disabled: true }),
        needs: rightInWords("disable", scope.kind),
        repeatable: true,
        accepts: ({ status }) => RUNNER_GONE.includes(status),
      },
      signal,
    );
  };

  /** Both verbs answer with the scope's newest active token. POST came with 1.24, GET went with 1.26. */
  async function fetchToken(signal: AbortSignal): Promise<string> {
    const needs = rightInWords("register", scope.kind);
    const call = { operation: "registration-token", needs, repeatable: true };
    try {
      const path = `${runnersPath}/registration-token`;
      return (await http.json({ ...call, method: "POST", path }, RegistrationToken, signal)).token;
    } catch (error) {
      if (!hasStatus(error, 404, 405)) throw error;
    }
    return (await http.json({ ...call, method: "GET", path: oldTokenPath(scope) }, RegistrationToken, signal)).token;
  }

  const register = createRegistrar(context, fetchToken, deleteRunner);
  return { jobs, runners, deleteRunner, disableRunner, register, registrationToken: fetchToken };
}

function rowOf(target: string, { id, name, status, ephemeral, busy }: GiteaRunner): RunnerRow {
  return {
    target,
    row: id,
    name,
    online: status === "online",
    ...(busy === true ? { busy } : {}),
    ...(typeof ephemeral === "boolean" ? { ephemeral } : {}),
  };
}

function pageOf<T>(list: { items: T[]; dropped: number }, total: number | null | undefined) {
  const page = { items: list.items, raw: list.items.length + list.dropped };
  return typeof total === "number" ? { ...page, total } : page;
}
