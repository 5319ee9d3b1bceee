import * as z from "zod";
import { Id, Labels, lenientList, Text } from "../lenient.ts";

/** Only what is needed of each answer; times are read apart, since the epoch means "not yet". */

const GiteaJob = z.object({
  id: Id,
  run_id: Id.nullish().catch(undefined),
  run_attempt: z.int().nonnegative().nullish(),
  name: Text.nullish(),
  labels: Labels,
  status: z.string().max(40),
  runner_id: z.int().nonnegative().nullish(),
  url: z.string().max(2000).nullish(),
  html_url: z.string().max(2000).nullish(),
  run_url: z.string().max(2000).nullish(),
  created_at: z.string().max(64).nullish(),
});
export type GiteaJob = z.infer<typeof GiteaJob>;
export { GiteaJob as GiteaJobSchema };

export const JobsPage = z.object({ jobs: lenientList(GiteaJob), total_count: z.int().nonnegative().nullish() });

const GiteaRunner = z.object({
  id: Id,
  name: z.string().max(255),
  status: z.string().max(40),
  ephemeral: z.boolean().nullish(),
  busy: z.boolean().nullish(),
});
export type GiteaRunner = z.infer<typeof GiteaRunner>;

export const RunnersPage = z.object({
  runners: lenientList(GiteaRunner),
  total_count: z.int().nonnegative().nullish(),
});

export const RegistrationToken = z.object({ token: z.string().regex(/^[\x21-\x7e]{8,512}$/) });
