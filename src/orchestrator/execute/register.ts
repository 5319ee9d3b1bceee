import { describe, FireteactError } from "../../base/errors.ts";
import type { Runner } from "../../core/types.ts";
import type { StepContext } from "../../sandbox/port.ts";
import type { ExecuteDeps, Executor } from "./context.ts";
import { recordOf } from "./context.ts";

/**
 * Registers the runner from the host. An earlier try whose answer was lost may have left a row with the runner's name:
 * its secret is unknown, so it is deleted and never reused.
 */
export const register: Executor<"register"> = async (step, deps, context) => {
  const runner = recordOf(deps, step.runner);
  const target = deps.target(runner.target);
  checkTrust(runner, deps);
  if (context.before?.registration.phase === "pending") {
    await context.step("delete lost rows", () => deleteLostRows(runner, deps, context));
  }
  const registration = await context.step("register", () =>
    target.register(
      {
        name: runner.name,
        labels: runner.labels.map((label) => `${label}:host`),
        ...(runner.handle === undefined ? {} : { handle: runner.handle }),
        ...(runner.repository === undefined ? {} : { repository: runner.repository }),
      },
      context.signal,
    ),
  );
  const { uuid, token } = registration;
  context.writes.push(() => deps.store.saveSecrets(runner.id, { uuid, token }));
  return [{ kind: "registered", row: registration.row, uuid }];
};

/** The last look before anything is made outside: what was trusted when the plan was made may not be any more. */
function checkTrust(runner: Runner, deps: ExecuteDeps): void {
  const refusal = deps.distrust(runner);
  if (refusal === undefined) return;
  throw new FireteactError(
    "UNTRUSTED_JOB",
    `no runner is registered for a job that is not trusted: ${refusal.detail}`,
    {
      facts: { reason: refusal.code },
    },
  );
}

/**
 * Deletes the registration, by id where it is known, else whatever row carries the runner's name. Where the forge cannot
 * do it the row stays: it shows as offline, and its secret is known to nobody any more.
 */
export const deregister: Executor<"deregister"> = async (step, deps, context) => {
  const runner = recordOf(deps, step.runner);
  const target = deps.target(runner.target);
  const { registration } = runner;
  if (registration.phase === "active") {
    await context.step("delete row", () =>
      target.deleteRunner(registration.row, context.signal, runner.repository).catch(leaveRow(runner, deps)),
    );
  } else if (registration.phase === "pending") {
    await context.step("delete lost rows", () => deleteLostRows(runner, deps, context));
  }
  return [{ kind: "row-gone" }];
};

/** Deletes the rows of an earlier try. That an incomplete list has none proves nothing: then it fails, to be tried again. */
async function deleteLostRows(runner: Runner, deps: ExecuteDeps, { signal }: StepContext): Promise<void> {
  const target = deps.target(runner.target);
  try {
    const { items, complete } = await target.runners(signal);
    const lost = items.filter(({ name }) => name === runner.name);
    for (const { row } of lost) await target.deleteRunner(row, signal, runner.repository);
    if (lost.length > 0 || complete) return;
  } catch (error) {
    leaveRow(runner, deps)(error);
    return;
  }
  throw new FireteactError("FORGE_INCOMPLETE", "the forge's list of runners cannot be read to its end", {
    hint: "Remove runners that are offline in the forge's settings.",
  });
}

/** Takes what the forge cannot do for done: trying it again would never end. */
function leaveRow(runner: Runner, deps: ExecuteDeps): (error: unknown) => void {
  return (error) => {
    if (!(error instanceof FireteactError) || error.code !== "FORGE_UNSUPPORTED") throw error;
    const target = deps.target(runner.target);
    const level = deps.saidRowsStay.has(target) ? "debug" : "warn";
    deps.saidRowsStay.add(target);
    deps.log[level](
      { target: target.key, runner: runner.id, name: runner.name, cause: describe(error) },
      "the runner's row stays in the forge, as will those of others; remove what is offline there by hand",
    );
  };
}

/** Deletes a row that carries this host's id and that no record knows. */
export const sweepRow: Executor<"sweep-row"> = async (step, deps, context) => {
  const known = deps.records.all().some((runner) => runner.name === step.name);
  if (known) return [];
  await context.step("delete row", () => deps.target(step.target).deleteRunner(step.row, context.signal));
  deps.log.warn(
    { target: step.target, row: step.row, name: step.name },
    "deleted a runner of this host that no record knew",
  );
  return [];
};

/** Keeps an idle runner from taking a job: in the forge where it can, and in the sandbox. The answer comes as an event. */
export const drain: Executor<"drain"> = async (step, deps, context) => {
  const runner = recordOf(deps, step.runner);
  const { registration } = runner;
  if (registration.phase === "active") {
    await context
      .step("disable row", () => deps.target(runner.target).disableRunner(registration.row, context.signal))
      // The agent's answer decides; disabling only narrows the window.
      .catch((error: unknown) =>
        deps.log.debug({ runner: runner.id, cause: describe(error) }, "could not disable the row"),
      );
  }
  if (runner.mute !== true) deps.attendance.send(runner.id, { kind: "drain" });
  return [{ kind: "draining", reason: step.reason, detail: step.detail }];
};
