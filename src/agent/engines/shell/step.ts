import { existsSync, writeFileSync } from "node:fs";
import { join, resolve as resolvePath } from "node:path";
import { FireteactError } from "../../../base/errors.ts";
import { findProgram } from "../../identity.ts";
import { interpolate } from "./expressions.ts";
import type { JobRun } from "./job.ts";
import { createStepOutput } from "./output.ts";
import { runProcess } from "./process.ts";
import { chooseShell, commandLine } from "./shells.ts";
import { createStepFiles, parseAssignments, readStepFile, type StepFiles } from "./step-files.ts";
import type { StepDefinition } from "./workflow.ts";

/** A step must not change how later steps and the engine itself are run. */
const PROTECTED = /^(?:GITHUB_|GITEA_|RUNNER_)|^(?:NODE_OPTIONS|CI)$/i;

/**
 * Runs a `run` step. Returns its outputs; throws when it failed, with a message for the log.
 * @param env the step's environment as expressions see it
 */
export async function runScript(
  run: JobRun,
  step: StepDefinition,
  index: number,
  env: Record<string, string>,
  signal: AbortSignal,
): Promise<Record<string, string>> {
  const { context, log, masks, clock, groups, workflow } = run;
  const scope = context.scope(env);
  const environment = context.environment(env);
  const find = (program: string): string | undefined => findProgram(program, environment["PATH"]);
  const shellName = step.shell ?? workflow.shell;
  const shell = chooseShell(shellName === undefined ? undefined : interpolate(shellName, scope), find);
  const script = join(context.folders.temp, `step-${index}${shell.extension}`);
  const content = interpolate(step.run ?? "", scope);
  writeFileSync(script, content.endsWith("\n") ? content : `${content}\n`, { mode: 0o600 });
  const cwd = workingDirectory(run, step, scope);
  const files = createStepFiles(join(context.folders.temp, `step-${index}-files`));

  log.write(`::group::Run ${content.trim().split("\n")[0] ?? ""}`);
  for (const line of content.trimEnd().split("\n")) log.write(line);
  const command = commandLine(shell, script);
  log.write(`shell: ${command.join(" ")}`);
  log.write("::endgroup::");

  const output = createStepOutput(log, masks, run.debug);
  const code = await runProcess(
    { command, cwd, environment: { ...environment, ...files }, onLine: output.line, log, masks, clock, signal },
    groups,
  );
  const outputs = { ...output.outputs, ...(await takeStepFiles(run, files)) };
  if (code !== 0 && !signal.aborted)
    throw new FireteactError("STEP_FAILED", `Process completed with exit code ${code}.`);
  return outputs;
}

function workingDirectory(run: JobRun, step: StepDefinition, scope: Parameters<typeof interpolate>[1]): string {
  const asked = interpolate(step["working-directory"] ?? run.workflow.workingDirectory ?? ".", scope);
  const path = resolvePath(run.context.folders.workspace, asked);
  if (!existsSync(path)) throw new FireteactError("NO_SUCH_FOLDER", `the working directory ${asked} does not exist`);
  return path;
}

/** Applies what the step wrote into its files; returns its outputs. */
async function takeStepFiles(run: JobRun, files: StepFiles): Promise<Record<string, string>> {
  const { context, log } = run;
  for (const [name, value] of parseAssignments(await readStepFile(files.GITHUB_ENV), "GITHUB_ENV")) {
    if (PROTECTED.test(name)) log.write(`::warning::A step may not set ${name} for later steps.`);
    else context.env[name] = value;
  }
  const added = (await readStepFile(files.GITHUB_PATH)).split(/\r?\n/).filter((line) => line.trim() !== "");
  context.path.unshift(...added.reverse());
  return Object.fromEntries(parseAssignments(await readStepFile(files.GITHUB_OUTPUT), "GITHUB_OUTPUT"));
}
