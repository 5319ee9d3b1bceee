import { jobOf } from "../../core/runner.ts";
import type { JobOutcome, Runner } from "../../core/types.ts";
import type { Executor } from "./context.ts";
import { recordOf } from "./context.ts";

/**
 * Tells the forge, in the runner's name, that its job failed: the runner is gone and cannot. The number of the task is a
 * guest's claim; with the runner's credentials the forge lets no other task be ended.
 */
export const failJob: Executor<"fail-job"> = async (step, deps, context) => {
  const runner = recordOf(deps, step.runner);
  const taskId = jobOf(runner)?.taskId;
  const secrets = deps.store.secrets(runner.id);
  const settled = (outcome: JobOutcome) => {
    context.log.warn({ runner: runner.id, task: taskId, outcome }, "a runner ended under its job");
    return [{ kind: "job-settled" as const, outcome }];
  };
  if (taskId === undefined) return settled({ state: "left", detail: "its number in the forge is not known" });
  // A record that was made again after a loss of the store has none.
  if (secrets === undefined) return settled({ state: "left", detail: "the runner's credentials are lost" });
  const lines = ["", `::error::${reasonOf(runner)}`];
  const target = deps.target(runner.target);
  return settled(
    await context.step("fail the task", () => target.failTask({ ...secrets, taskId, lines }, context.signal)),
  );
};

/** For the people who read the job's log: one line. */
function reasonOf({ ending, name }: Runner): string {
  const detail = (ending?.detail ?? "the runner is gone").replaceAll(/\p{Cc}+/gu, " ").slice(0, 500);
  return `Fireteact: the runner ${name} ended before this job did: ${detail}`;
}
