import { isBornRegistered } from "../../core/runner.ts";
import type { Runner } from "../../core/types.ts";
import type { RunnerSecrets } from "../../store/port.ts";
import type { ExecuteDeps, Executor } from "./context.ts";
import { recordOf } from "./context.ts";

/** Makes and starts the sandbox. A failure leaves nothing of it behind. */
export const boot: Executor<"boot"> = async (step, deps, context) => {
  const runner = recordOf(deps, step.runner);
  const driver = deps.driver(runner.driver);
  if (context.before?.sandbox.phase === "starting") {
    await context.step("remove an earlier try", () => driver.remove(runner.hex, context));
  }
  // What a native one starts with is read by the host's service manager, once.
  const given = isBornRegistered(runner) && runner.mute !== true ? secretsOf(runner, deps) : undefined;
  const files = runner.mute === true ? deps.filesBeforeBoot(runner, secretsOf(runner, deps)) : undefined;
  const { address } = await driver.create(
    {
      hex: runner.hex,
      runnerId: runner.id,
      pool: runner.pool,
      memoryMib: runner.memoryMib,
      vcpus: runner.vcpus,
      hostname: runner.name,
      metadata: await context.step("make metadata", () => deps.document(runner, given)),
      ...(files === undefined ? {} : { files }),
    },
    context,
  );
  deps.attendance.attend(runner.id);
  const booted = { kind: "booted", ...(address === undefined ? {} : { address }) } as const;
  return given === undefined ? [booted] : [booted, { kind: "credentials-given" }];
};

/** Puts the credentials where the agent looks for them, and tells it to look. */
export const give: Executor<"give"> = async (step, deps, context) => {
  const runner = recordOf(deps, step.runner);
  const document = await deps.document(runner, secretsOf(runner, deps));
  await context.step("publish credentials", () => deps.driver(runner.driver).publish(runner.hex, document));
  deps.attendance.send(runner.id, { kind: "metadata" });
  return [{ kind: "credentials-given" }];
};

/** Takes the credentials out of the metadata once the engine has them. */
export const withdraw: Executor<"withdraw"> = async (step, deps, context) => {
  const runner = recordOf(deps, step.runner);
  const document = await deps.document(runner);
  await context.step("publish without credentials", () => deps.driver(runner.driver).publish(runner.hex, document));
  return [{ kind: "credentials-withdrawn" }];
};

function secretsOf({ id }: Runner, { store }: ExecuteDeps): RunnerSecrets {
  const secrets = store.secrets(id);
  if (secrets === undefined) throw new Error(`the credentials of ${id} are not in the store`);
  return secrets;
}

/** How much of the console of a sandbox that failed outlives it. */
const CONSOLE_TAIL = 4_096;

/** Ends the sandbox and removes everything of it but the last words of one that came to no job, or died under one. */
export const destroy: Executor<"destroy"> = async (step, deps, context) => {
  const runner = recordOf(deps, step.runner);
  const { agent, ending } = runner;
  if (agent.phase !== "finished" && (agent.phase !== "busy" || ending?.reason === "sandbox-exited")) {
    const tail = await deps
      .driver(runner.driver)
      .console(runner.hex, CONSOLE_TAIL)
      .catch(() => "");
    if (tail !== "") deps.logs.append(runner.hex, `\n[fireteact: the end of the console]\n${tail}\n`);
  }
  await deps.attendance.release(runner.id);
  const driver = deps.driver(runner.driver);
  await driver.remove(runner.hex, context);
  const usage = driver.usage?.(runner.hex);
  return [{ kind: "sandbox-gone", ...(usage === undefined ? {} : { usage }) }];
};

/** Removes a sandbox of this host that no record knows. */
export const sweepSandbox: Executor<"sweep-sandbox"> = async (step, deps, context) => {
  if (deps.records.byHex(step.hex) !== undefined) return [];
  await deps.driver(step.driver).remove(step.hex, context);
  deps.log.warn({ driver: step.driver, sandbox: step.hex }, "removed a sandbox of this host that no record knew");
  return [];
};
