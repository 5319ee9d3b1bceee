import { parse } from "yaml";
import * as z from "zod";
import { describe, FireteactError } from "../../../base/errors.ts";

/** A value that may be or hold an expression; it is resolved when its turn comes. */
const scalar = z.union([z.string(), z.number(), z.boolean(), z.null()]);
const variables = z.union([z.record(z.string(), scalar), z.string()]).optional();
const defaults = z
  .looseObject({
    run: z.looseObject({ shell: z.string().optional(), "working-directory": z.string().optional() }).optional(),
  })
  .optional();

const stepSchema = z.looseObject({
  id: z.string().optional(),
  name: scalar.optional(),
  if: scalar.optional(),
  run: z.string().optional(),
  uses: z.string().optional(),
  with: z.record(z.string(), scalar).optional(),
  env: variables,
  shell: z.string().optional(),
  "working-directory": z.string().optional(),
  "timeout-minutes": scalar.optional(),
  "continue-on-error": scalar.optional(),
});

const jobSchema = z.looseObject({
  name: scalar.optional(),
  if: scalar.optional(),
  env: variables,
  defaults,
  outputs: z.record(z.string(), scalar).optional(),
  steps: z.array(stepSchema).max(1_000).optional(),
  "timeout-minutes": scalar.optional(),
  "continue-on-error": scalar.optional(),
  strategy: z.looseObject({ matrix: z.unknown().optional() }).optional(),
  container: z.unknown().optional(),
  services: z.unknown().optional(),
  uses: z.string().optional(),
});

const workflowSchema = z.looseObject({
  name: scalar.optional(),
  env: variables,
  defaults,
  jobs: z.record(z.string(), jobSchema),
});

export type StepDefinition = z.infer<typeof stepSchema>;
export type JobDefinition = z.infer<typeof jobSchema>;
export type Variables = z.infer<typeof variables>;

/** The one job that a task is about, with what the workflow says for all jobs. */
export interface Workflow {
  id: string;
  job: JobDefinition;
  steps: StepDefinition[];
  env: Variables;
  shell: string | undefined;
  workingDirectory: string | undefined;
  matrix: Record<string, unknown>;
}

/** Reads a task's workflow. Throws `WORKFLOW` where it is none, or asks for what this engine does not do. */
export function readWorkflow(payload: Uint8Array): Workflow {
  const workflow = parseYaml(Buffer.from(payload).toString("utf8"));
  const jobs = Object.entries(workflow.jobs);
  const [only] = jobs;
  if (only === undefined || jobs.length > 1) throw refused(`the task has ${jobs.length} jobs instead of one`);
  const [id, job] = only;
  const steps = job.steps ?? [];
  refuseJob(job);
  for (const [index, step] of steps.entries()) refuseStep(step, index);
  return {
    id,
    job,
    steps,
    env: workflow.env,
    shell: job.defaults?.run?.shell ?? workflow.defaults?.run?.shell,
    workingDirectory: job.defaults?.run?.["working-directory"] ?? workflow.defaults?.run?.["working-directory"],
    matrix: readMatrix(job.strategy?.matrix),
  };
}

const CHECKOUT = /^(?:https?:\/\/[^/\s]+\/)?actions\/checkout@\S+$/;
export const isCheckout = (step: StepDefinition): boolean => CHECKOUT.test(step.uses ?? "");

/** As people know a step: its place and its name, or what it does. */
export function stepTitle(step: StepDefinition, index: number): string {
  const name = step.name ?? step.uses ?? step.run?.trim().split("\n")[0] ?? "";
  return `step ${index + 1} "${String(name).slice(0, 100)}"`;
}

function parseYaml(text: string): z.infer<typeof workflowSchema> {
  let value: unknown;
  try {
    value = parse(text, { maxAliasCount: 100, merge: true });
  } catch (error) {
    throw new FireteactError("WORKFLOW", `the workflow is no YAML: ${describe(error)}`, { cause: error });
  }
  const result = workflowSchema.safeParse(value);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  throw new FireteactError("WORKFLOW", `the workflow is not valid: ${issue?.path.join(".")}: ${issue?.message}`);
}

function refuseJob(job: JobDefinition): void {
  if (job.uses !== undefined) throw refused("the job calls another workflow");
  if (job.container !== undefined && job.container !== null) throw refused("the job asks for a container");
  if (job.services !== undefined && job.services !== null) throw refused("the job asks for services");
}

function refuseStep(step: StepDefinition, index: number): void {
  const title = stepTitle(step, index);
  if (step.uses !== undefined && step.run !== undefined) throw refused(`${title} has both uses and run`);
  if (step.uses === undefined && step.run === undefined) throw refused(`${title} has neither run nor uses`);
  if (step.uses !== undefined && !isCheckout(step)) throw refused(`${title} uses ${step.uses}`);
}

/** The forge leaves one value for each key of the matrix; more would be several jobs. */
function readMatrix(matrix: unknown): Record<string, unknown> {
  if (matrix === undefined || matrix === null) return {};
  if (typeof matrix !== "object" || Array.isArray(matrix)) throw refused("the job's matrix is an expression");
  return Object.fromEntries(
    Object.entries(matrix).map(([key, values]) => {
      if (!Array.isArray(values)) return [key, values as unknown];
      if (values.length !== 1 || key === "include" || key === "exclude")
        throw refused("the job has a matrix of several jobs");
      return [key, values[0] as unknown];
    }),
  );
}

function refused(what: string): FireteactError {
  return new FireteactError("WORKFLOW", `${what}, which the engine "shell" does not do`, {
    hint:
      "The engine shell runs `run` steps and a checkout of the job's own repository. For everything else give the job to " +
      "a pool with the engine gitea-runner or forgejo-runner.",
  });
}
