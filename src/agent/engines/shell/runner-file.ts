import { readFileSync } from "node:fs";
import * as z from "zod";
import { FireteactError } from "../../../base/errors.ts";

const runnerFileSchema = z.looseObject({
  name: z.string(),
  uuid: z.string().min(1),
  token: z.string().min(1),
  address: z.url({ protocol: /^https?$/ }),
  labels: z.array(z.string()),
});

/** The runner's registration, as every engine reads it. */
export type RunnerFile = z.infer<typeof runnerFileSchema>;

export function readRunnerFile(path: string): RunnerFile {
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(path, "utf8"));
  } catch (cause) {
    throw new FireteactError("RUNNER_FILE", `the runner file ${path} cannot be read`, { cause });
  }
  const result = runnerFileSchema.safeParse(value);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  throw new FireteactError("RUNNER_FILE", `the runner file ${path} is not valid: ${issue?.path.join(".")}`);
}
