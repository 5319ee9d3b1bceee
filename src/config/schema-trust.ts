import * as z from "zod";

const TRUSTED = /^[A-Za-z0-9._-]{1,255}\/(?:[A-Za-z0-9._-]{1,255}|\*)$/;

/** Which jobs a native pool takes. */
export const trustKeys = {
  trusted: z
    .array(
      z
        .string()
        .regex(TRUSTED, "must be owner/repository, or owner/* for all of an owner's repositories")
        .refine((name) => !name.split("/").some((part) => /^\.+$/.test(part)), "must not be made of dots alone"),
    )
    .max(1_000)
    .default([])
    .describe(
      "Repositories whose jobs may run on this host, as owner/repository or owner/*; looked up again every 10 minutes. Each runner is registered at its job's repository.",
    ),
  events: z
    .array(z.string().regex(/^[a-z_]{1,64}$/, "must be the name of an event, as in a workflow's on:"))
    .min(1, "must name at least one event")
    .max(64)
    .default(["push", "schedule", "workflow_dispatch"])
    .describe("Events whose jobs may run on this host."),
  branches: z
    .array(z.string().regex(/^[^\s\p{Cc}]{1,255}$/u, "must be a branch, or a whole ref such as refs/tags/v*"))
    .min(1, "must name at least one branch")
    .max(256)
    .optional()
    .describe(
      "Branches whose jobs may run on this host; * stands for anything, refs/tags/v* for tags. For pull requests the branch they go to. Default: each repository's default branch.",
    ),
  allowForks: z
    .boolean()
    .default(false)
    .describe(
      "Run pull requests from forks on this host too, where events has them: whoever may open one then runs code here.",
    ),
};
