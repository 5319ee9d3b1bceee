import { parse, stringify } from "yaml";
import * as z from "zod";
import { FireteactError } from "../base/errors.ts";

const Step = z.looseObject({ name: z.string().optional(), run: z.string().optional(), uses: z.string().optional() });
const WorkflowJob = z.looseObject({
  name: z.string().optional(),
  needs: z.union([z.string(), z.array(z.string())]).optional(),
  "runs-on": z
    .union([
      z.string(),
      z.array(z.string()),
      z.object({ labels: z.union([z.string(), z.array(z.string())]).optional() }),
    ])
    .nullish(),
  if: z.union([z.string(), z.boolean()]).optional(),
  steps: z.array(Step).default([]),
});
const Workflow = z.looseObject({ name: z.string().optional(), jobs: z.record(z.string(), WorkflowJob) });

export interface JobDefinition {
  key: string;
  name: string;
  needs: string[];
  runsOn: string[];
  condition: string | undefined;
  stepNames: string[];
  /** The workflow with this job only and without its `needs`, as runners get it. */
  workflow: string;
}

export interface WorkflowDefinition {
  name: string | undefined;
  jobs: JobDefinition[];
}

/** Reads a workflow file as a forge does: only what it needs to plan jobs; the rest is the runner's business. */
export function parseWorkflow(text: string): WorkflowDefinition {
  const result = Workflow.safeParse(readYaml(text));
  if (!result.success) throw invalid(z.prettifyError(result.error));
  const { jobs: given, ...shared } = result.data;
  const jobs = Object.entries(given).map(([key, job]): JobDefinition => {
    const { needs, ...alone } = job;
    return {
      key,
      name: job.name ?? key,
      needs: list(needs),
      runsOn: labels(job["runs-on"]),
      condition: job.if === undefined ? undefined : String(job.if),
      stepNames: job.steps.map((step) => step.name ?? step.uses ?? step.run?.split("\n")[0] ?? ""),
      workflow: stringify({ ...shared, jobs: { [key]: alone } }, { lineWidth: 0, aliasDuplicateObjects: false }),
    };
  });
  if (jobs.length === 0) throw invalid("it has no jobs");
  for (const job of jobs) {
    const missing = job.needs.find((need) => !Object.hasOwn(given, need));
    if (missing !== undefined) throw invalid(`job "${job.key}" needs "${missing}", which is not in it`);
  }
  return { name: shared.name, jobs };
}

/** The decision of a job's `if` once its needs are done; `ask` leaves an expression to the runner, as forges do. */
export type Verdict = "run" | "skip" | "ask";

/** @param ancestors results of everything that the job needs, directly or not */
export function decide(condition: string | undefined, needs: string[], ancestors: string[]): Verdict {
  const expression = (condition ?? "success()").replace(/^\$\{\{(.*)\}\}$/s, "$1").replaceAll(/\s+/g, "");
  const verdict = (run: boolean): Verdict => (run ? "run" : "skip");
  const allSucceeded = needs.every((result) => result === "success");
  switch (expression) {
    case "success()":
    case "":
    case "true":
      return verdict(allSucceeded);
    case "always()":
      return "run";
    case "failure()":
      return verdict(ancestors.includes("failure"));
    case "cancelled()":
      return verdict(ancestors.includes("cancelled"));
    case "!cancelled()":
      return verdict(!ancestors.includes("cancelled"));
    case "false":
      return "skip";
    default:
      return "ask";
  }
}

function readYaml(text: string): unknown {
  try {
    return parse(text, { merge: true });
  } catch (error) {
    throw invalid("it is not YAML", error);
  }
}

const list = (value: string | string[] | undefined): string[] => {
  if (value === undefined) return [];
  return typeof value === "string" ? [value] : value;
};

const labels = (value: z.infer<typeof WorkflowJob>["runs-on"]): string[] => {
  if (value === undefined || value === null) return [];
  return typeof value === "string" || Array.isArray(value) ? list(value) : list(value.labels);
};

const invalid = (reason: string, cause?: unknown) =>
  new FireteactError("SIMULATOR_WORKFLOW", `the workflow cannot be used: ${reason}`, { cause });
