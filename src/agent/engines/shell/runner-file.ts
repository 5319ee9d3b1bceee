import { readFileSync } from "node:fs";
import { FireteactError } from "../../../base/errors.ts";
import { readPolicy, type TrustPolicy } from "../../../base/trust.ts";

/** The runner's registration, as every engine reads it. */
export interface RunnerFile {
  name: string;
  uuid: string;
  token: string;
  /** Base URL of the forge. */
  address: string;
  labels: string[];
  /** The one job that it may take, where the forge binds runners to jobs. */
  handle?: string;
  /** The only jobs that it may run. */
  trust?: TrustPolicy;
}

/** Throws `RUNNER_FILE`. Checked by hand: a schema library would be read before the forge is asked for a job. */
export function readRunnerFile(path: string): RunnerFile {
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(path, "utf8"));
  } catch (cause) {
    throw new FireteactError("RUNNER_FILE", `the runner file ${path} cannot be read`, { cause });
  }
  const file = (typeof value === "object" && value !== null ? value : {}) as Record<string, unknown>;
  const { labels, handle, trust } = file;
  const field = (name: string): string => {
    const text = file[name];
    if (typeof text === "string" && text !== "") return text;
    throw new FireteactError("RUNNER_FILE", `the runner file ${path} has no ${name}`);
  };
  return {
    name: field("name"),
    uuid: field("uuid"),
    token: field("token"),
    address: field("address"),
    labels: Array.isArray(labels) ? labels.filter((label) => typeof label === "string") : [],
    ...(typeof handle === "string" && handle !== "" ? { handle } : {}),
    ...(trust === undefined ? {} : { trust: readPolicy(trust) }),
  };
}
