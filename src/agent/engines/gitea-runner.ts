import { FireteactError } from "../../base/errors.ts";
import { isLegacy, type LegacyRegistration } from "../assignment.ts";
import { startChild } from "../child.ts";
import { engineConfigContent, engineTimeout, hasContent, writeFileAs } from "../files.ts";
import { findProgram } from "../identity.ts";
import type { Engine, EngineContext } from "./engine.ts";
import { prepareHook } from "./job-hook.ts";
import { understandRunnerLog } from "./runner-log.ts";

/** gitea-runner, formerly act_runner: `daemon --once`, which ends with 0 whatever became of its job. */
export const giteaRunner: Engine = {
  find: (options) => findProgram(options.actRunner) ?? findProgram("gitea-runner") ?? findProgram("act_runner"),

  async prepare(context, program) {
    const config = await writeConfig(context, await prepareHook(context, program));
    const { credentials } = context.assignment;
    if (isLegacy(credentials) && !(await hasContent(context.runnerFile))) {
      await register(context, program, credentials, config);
    }
    return {
      command: [program, "daemon", "--once", ...config],
      drainSignal: "SIGTERM",
      stopSignal: "SIGTERM",
      speaksRecords: false,
      understand: understandRunnerLog,
    };
  },
};

/** Writes the configuration where there is none, and returns the arguments that name it. */
export async function writeConfig(context: EngineContext, jobStarted?: string): Promise<string[]> {
  const { options, assignment, identity, runnerFile } = context;
  const there = await hasContent(options.config);
  if (jobStarted !== undefined && (there || !options.generateConfig)) {
    throw new FireteactError(
      "NO_JOB_HOOK",
      `the engine's configuration ${options.config} is not ours to name a hook in`,
      {
        hint: "jobs that are not trusted could run; remove the file and leave --generate-config on",
      },
    );
  }
  if (!there && options.generateConfig) {
    const hook = jobStarted === undefined ? {} : { jobStarted };
    const timeout = engineTimeout(assignment);
    const content = engineConfigContent({ workDir: options.workDir, runnerFile, timeout, ...hook });
    await writeFileAs(options.config, content, 0o644, identity);
  }
  return there || options.generateConfig ? ["-c", options.config] : [];
}

/** As the original did, for hosts that leave the registration to the guest. */
async function register(
  context: EngineContext,
  program: string,
  credentials: LegacyRegistration,
  config: string[],
): Promise<void> {
  const child = await startChild({
    command: registerCommand(context, program, credentials, config),
    cwd: context.options.workDir,
    environment: context.environment,
    identity: context.identity,
    onLine: (line) => context.report({ kind: "log", stream: "engine", text: `${line}\n` }),
    clock: context.clock,
    log: context.log,
  });
  const { code } = await child.ended;
  if (code !== 0) {
    throw new FireteactError("REGISTER_FAILED", `the runner could not be registered: ${program} ended with ${code}`, {
      hint: "its output is in the log above",
    });
  }
}

/** The token is an argument, since no other way in is known to all versions; nobody else is in the sandbox yet. */
function registerCommand(
  { assignment }: EngineContext,
  program: string,
  { instance, registrationToken, labels }: LegacyRegistration,
  config: string[],
): string[] {
  const command = [program, "register", "--no-interactive", "--instance", instance, "--token", registrationToken];
  command.push("--name", assignment.name);
  if (labels.length > 0) command.push("--labels", labels.join(","));
  return [...command, ...config];
}
