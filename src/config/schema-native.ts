import * as z from "zod";
import { count } from "./fields.ts";
import { trustKeys } from "./schema-trust.ts";

const MOST_MEMORY = 16_777_216;

/** An absolute path that can stand in a unit file as it is. */
const unitPath = () =>
  z
    .string()
    .max(1_024)
    .regex(
      /^\/[A-Za-z0-9._+/@=-]*$/,
      "must be an absolute path of letters, digits and . _ + - @ = only: it is written into a unit file",
    )
    .refine((path) => !path.split("/").includes(".."), "must not contain ..");

const groupName = () => z.string().regex(/^[a-z_][a-z0-9_-]{0,30}$/, "must be the name of a group, such as nix-users");

/** Settings of driver native: what the unit of a job may see and use. */
export const nativeSchema = z.strictObject({
  ...trustKeys,
  hostPackages: z
    .array(unitPath())
    .max(256)
    .default(["/usr"])
    .describe("What jobs find in their PATH: the bin and sbin directories of these, read-only. Store paths on NixOS."),
  memoryMib: count(64, MOST_MEMORY).default(4_096).describe("Memory of a job, MiB; a job that takes more is ended."),
  swapMib: count(0, MOST_MEMORY).default(0).describe("Swap space of a job, MiB."),
  tasks: count(16, 4_194_304).default(4_096).describe("Processes and threads of a job."),
  cpuWeight: count(1, 10_000)
    .default(100)
    .describe("A job's share of the processors when they are busy; every other unit has 100."),
  poolMemoryMib: count(64, MOST_MEMORY)
    .optional()
    .describe("Memory of all jobs of the pool together, MiB. Default: no limit beyond each job's own."),
  nix: z
    .boolean()
    .default(true)
    .describe("Jobs see the Nix store and may ask the Nix daemon to build, where this host has them."),
  groups: z
    .array(groupName())
    .max(16)
    .default([])
    .describe("Groups that jobs belong to besides their own; nix-users lets them reach Debian's Nix daemon."),
  group: groupName()
    .optional()
    .describe("Primary group of jobs, where the Nix daemon allows its users by group. Default: one of each job's own."),
  readOnlyPaths: z
    .array(unitPath())
    .max(256)
    .default([])
    .describe("More files and directories of the host that jobs may read. Everything else is not there for them."),
  inaccessiblePaths: z
    .array(unitPath())
    .max(256)
    .default([])
    .describe("What jobs must not see of what they could; /run/secrets and Fireteact's own directories never are."),
  loopback: z
    .boolean()
    .default(false)
    .describe("Jobs may talk to services that listen on this host's loopback addresses."),
});

/** What a block means that is not there. */
export const nativeDefaults = () => nativeSchema.parse({});
