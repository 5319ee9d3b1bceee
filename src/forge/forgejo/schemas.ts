import * as z from "zod";
import { Id, Labels, lenientList, Text } from "../lenient.ts";

const ForgejoJob = z.object({
  id: Id,
  name: Text.nullish(),
  runs_on: Labels,
  status: z.string().max(40),
  /** Since version 15. */
  attempt: z.int().nonnegative().nullish(),
  handle: z
    .string()
    .regex(/^[0-9A-Za-z-]{1,64}$/)
    .nullish(),
  html_url: z.string().max(2000).nullish(),
  repo_id: Id.nullish().catch(undefined),
  /** Not in the first builds of version 15. */
  run_id: Id.nullish().catch(undefined),
});
export type ForgejoJob = z.infer<typeof ForgejoJob>;

/** A bare array, or `null` when there is no job. */
export const JobList = lenientList(ForgejoJob);

const ForgejoRunner = z.object({
  id: Id,
  name: z.string().max(255),
  uuid: z.string().max(64).nullish(),
  status: z.string().max(40),
  description: Text.nullish(),
  owner_id: z.int().nullish(),
  repo_id: z.int().nullish(),
  ephemeral: z.boolean().nullish(),
});
export type ForgejoRunner = z.infer<typeof ForgejoRunner>;

export const RunnerList = lenientList(ForgejoRunner);

export const CreatedRunner = z.object({
  id: Id,
  uuid: z.string().regex(/^[0-9a-zA-Z-]{16,64}$/),
  token: z.string().regex(/^[\x21-\x7e]{8,512}$/),
  ephemeral: z.boolean().nullish(),
});

export const RegistrationToken = z.object({ token: z.string().regex(/^[\x21-\x7e]{8,512}$/) });
