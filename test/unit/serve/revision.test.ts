import { describe, expect, it } from "vitest";
import { DEFAULT_EGRESS, type PoolSettings } from "../../../src/core/settings.ts";
import { revisionOf } from "../../../src/serve/revision.ts";
import { limits, pool } from "../core/build.ts";

const settings = (over: Partial<PoolSettings> = {}): PoolSettings => ({
  ...pool(),
  runnerLabels: ["linux:host"],
  egress: DEFAULT_EGRESS,
  imagePullPolicy: "IfNotPresent",
  qemu: { accelerator: "auto", diskSizeMib: 1_024 },
  image: "local:default",
  ...over,
});
const DIGEST = "sha256:1";
const revision = (over: Partial<PoolSettings> = {}, engine: "shell" | "gitea-runner" = "shell", digest = DIGEST) =>
  revisionOf(settings(over), engine, digest);

describe("what a pool's runners are made from", () => {
  it.each<[string, string | undefined]>([
    ["another image under the same name", revision({}, "shell", "sha256:2")],
    ["another engine", revision({}, "gitea-runner")],
    ["other labels", revision({ runnerLabels: ["linux:docker://node"] })],
    ["another limit of the engine", revision({ limits: limits({ engine: 1 }) })],
    ["another disk", revision({ qemu: { accelerator: "auto", diskSizeMib: 2_048 } })],
    ["another kernel", revision({ qemu: { accelerator: "auto", diskSizeMib: 1_024, kernelPath: "/k" } })],
    ["another name in the forge", revision({ prefix: "other" })],
  ])("changes with %s", (_, changed) => {
    expect(changed).toMatch(/^[0-9a-f]{16}$/);
    expect(changed).not.toBe(revision());
  });

  it.each<[string, Partial<PoolSettings>]>([
    ["how many there are", { minRunners: 3, maxRunners: 9, minIdle: 1 }],
    ["how long the host waits", { limits: limits({ idle: 1, boot: 1, lifetime: 1 }) }],
    ["where it stands in the file", { order: 7 }],
    ["what running guests are let to as well", { egress: { ...DEFAULT_EGRESS, reach: "open" } }],
  ])("does not change with %s", (_, over) => {
    expect(revision(over)).toBe(revision());
  });

  it("is not known while the image is not, where one is booted", () => {
    expect(revisionOf(settings(), "shell", undefined)).toBeUndefined();
    const { qemu: _, ...bootsNothing } = settings();
    expect(revisionOf(bootsNothing, "shell", undefined)).toMatch(/^[0-9a-f]{16}$/);
  });
});
