import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { loadConfig } from "../../../src/config/load.ts";
import type { Settings } from "../../../src/core/settings.ts";
import type { Runner } from "../../../src/core/types.ts";
import { documentOf, givesToken, registrationFiles } from "../../../src/serve/documents.ts";
import { temporaryDirectory } from "../../support/orchestrator.ts";
import { booting, fresh } from "../core/build.ts";

const SECRETS = { uuid: "its-uuid", token: "its-token" };

function settings(agent: string, legacyRegistrationToken = false): Settings {
  using directory = temporaryDirectory();
  const file = join(directory.path, "config.yaml");
  const runner = { image: "local:default", labels: ["linux", "web:host"], agent };
  const pool = { name: "a", driver: "qemu", runner, ...(agent === "original" ? {} : { engine: "shell" }) };
  const gitea = { instanceURL: "https://forge.test", apiToken: "secret", legacyRegistrationToken };
  writeFileSync(file, JSON.stringify({ gitea, pools: [pool] }), { mode: 0o600 });
  return loadConfig(file, {}).settings;
}

const original = (): Runner => booting(1, { mute: true });
const runnerIn = (document: ReturnType<typeof documentOf>) =>
  (document as Record<string, { "meta-data": { fireteact: Record<string, unknown> } }>)["latest"]?.["meta-data"]
    .fireteact;

describe("what a guest with the original's agent gets", () => {
  it("is its registration as a file, before it boots", () => {
    const files = registrationFiles(original(), settings("original"), SECRETS);
    const file = files["/opt/act_runner/.runner"];
    expect(Object.keys(files)).toHaveLength(1);
    expect(file?.mode).toBe(0o600);
    expect(JSON.parse(file?.content ?? "")).toMatchObject({
      id: 1,
      uuid: "its-uuid",
      token: "its-token",
      name: original().name,
      address: "https://forge.test",
      labels: ["linux:host", "web:host"],
      ephemeral: true,
    });
    expect(() => registrationFiles(fresh(1, { mute: true }), settings("original"), SECRETS)).toThrow("not registered");
  });

  it("is the original's metadata and nothing else, with a token that opens nothing", () => {
    const given = runnerIn(documentOf(original(), settings("original"), "gitea"));
    expect(Object.keys(given ?? {})).toEqual([
      "gitea_instance_url",
      "registration_token",
      "runner_name",
      "runner_labels",
      "pool_name",
      "runner_id",
    ]);
    expect(given?.["registration_token"]).toMatch(/^[0-9a-f]{40}$/);
    const ours = runnerIn(documentOf(booting(1), settings("fireteact"), "gitea"));
    expect(ours).toMatchObject({ engine: "shell", engine_timeout_seconds: "10800" });
  });

  it("is the scope's token only where the configuration says so, and only for that agent", () => {
    expect(givesToken(original(), settings("original", true))).toBe(true);
    expect(givesToken(original(), settings("original"))).toBe(false);
    expect(givesToken(booting(1), settings("fireteact", true))).toBe(false);
    const document = documentOf(original(), settings("original", true), "gitea", { registrationToken: "real" });
    expect(runnerIn(document)?.["registration_token"]).toBe("real");
    expect(JSON.stringify(document).match(/real/g)).toHaveLength(2);
  });
});
