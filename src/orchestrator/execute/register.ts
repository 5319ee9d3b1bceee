import { describe } from "../../base/errors.ts";
import type { Executor } from "./context.ts";
import { recordOf } from "./context.ts";

/**
 * Registers the runner from the host. An earlier try whose answer was lost may have left a row with the runner's name:
 * its secret is unknown, so it is deleted and never reused.
 */
export const register: Executor<"register"> = async (step, deps, context) => {
  if (step.job !== undefined) deps.records.apply(step.runner, { kind: "matched", job: step.job });
  const runner = recordOf(deps, step.runner);
  const target = deps.target(runner.target);
  if (runner.registration.phase === "pending") {
    await context.step("delete lost rows", async () => {
      for (const row of await target.runners(context.signal)) {
        if (row.name === runner.name) await target.deleteRunner(row.row, context.signal);
      }
    });
  }
  deps.records.apply(runner.id, { kind: "register-asked" });
  const registration = await context.step("register", () =>
    target.register(
      {
        name: runner.name,
        labels: runner.labels.map((label) => `${label}:host`),
        ...(runner.handle === undefined ? {} : { handle: runner.handle }),
      },
      context.signal,
    ),
  );
  deps.store.saveSecrets(runner.id, { uuid: registration.uuid, token: registration.token });
  return [{ kind: "registered", row: registration.row, uuid: registration.uuid }];
};

/** Deletes the registration, by id where it is known, else whatever row carries the runner's name. */
export const deregister: Executor<"deregister"> = async (step, deps, context) => {
  const runner = recordOf(deps, step.runner);
  const target = deps.target(runner.target);
  const { registration } = runner;
  if (registration.phase === "active") {
    await context.step("delete row", () => target.deleteRunner(registration.row, context.signal));
  } else if (registration.phase === "pending") {
    await context.step("delete lost rows", async () => {
      for (const row of await target.runners(context.signal)) {
        if (row.name === runner.name) await target.deleteRunner(row.row, context.signal);
      }
    });
  }
  return [{ kind: "row-gone" }];
};

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
  deps.attendance.send(runner.id, { kind: "drain" });
  return [{ kind: "draining", reason: step.reason, detail: step.detail }];
};
