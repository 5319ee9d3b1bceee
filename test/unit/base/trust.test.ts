import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { contextOrigin, distrust, type JobOrigin, pullOrigin, type TrustPolicy } from "../../../src/base/trust.ts";

const policy = (over: Partial<TrustPolicy> = {}): TrustPolicy => ({
  repositories: ["acme/site", "tools/*"],
  events: ["push", "schedule", "workflow_dispatch"],
  allowForks: false,
  ...over,
});
const origin = (over: Partial<JobOrigin> = {}): JobOrigin => ({
  event: "push",
  ref: "refs/heads/main",
  fork: false,
  defaultBranch: "main",
  ...over,
});
const codeOf = (over: Partial<TrustPolicy>, job: { repository?: string; origin?: JobOrigin }) =>
  distrust(policy(over), job)?.code ?? "trusted";
const site = (over: Partial<JobOrigin> = {}) => ({ repository: "acme/site", origin: origin(over) });
const pull = (over: Partial<JobOrigin> = {}) =>
  site({ event: "pull_request", ref: "refs/pull/7/head", base: "main", ...over });
const PULLS = { events: ["pull_request", "pull_request_target"] };

describe("which jobs are trusted", () => {
  it.each<[string, string, Partial<TrustPolicy>, { repository?: string; origin?: JobOrigin }]>([
    ["a push to the default branch", "trusted", {}, site()],
    ["the name in another case, as forges allow", "trusted", {}, { ...site(), repository: "ACME/Site" }],
    ["any repository of an owner", "trusted", {}, { ...site(), repository: "tools/x" }],
    ["an owner whose name begins alike", "untrusted-repository", {}, { ...site(), repository: "tools2/x" }],
    ["a repository whose name begins alike", "untrusted-repository", {}, { ...site(), repository: "acme/site2" }],
    ["a name without an owner", "untrusted-repository", {}, { ...site(), repository: "tools" }],
    ["no repositories at all", "untrusted-repository", { repositories: [] }, site()],
    ["a repository that is not known", "origin-unknown", {}, { origin: origin() }],
    ["an origin that is not known", "origin-unknown", {}, { repository: "acme/site" }],
    ["another event", "untrusted-event", {}, site({ event: "release" })],
    ["a pull request without its event", "untrusted-event", {}, pull()],
    ["another branch", "untrusted-branch", {}, site({ ref: "refs/heads/topic" })],
    ["a tag called as the branch", "untrusted-branch", {}, site({ ref: "refs/tags/main" })],
    [
      "a default branch that is not known",
      "origin-unknown",
      {},
      { ...site(), origin: { event: "push", ref: "refs/heads/main" } },
    ],
    ["a ref that is not known", "origin-unknown", {}, { ...site(), origin: { event: "push", defaultBranch: "main" } }],
    ["a named branch", "trusted", { branches: ["topic"] }, site({ ref: "refs/heads/topic" })],
    ["named branches without the default one", "untrusted-branch", { branches: ["topic"] }, site()],
    ["a pattern of branches", "trusted", { branches: ["release/*"] }, site({ ref: "refs/heads/release/1/x" })],
    ["a pattern whose two ends overlap", "untrusted-branch", { branches: ["ab*ba"] }, site({ ref: "refs/heads/aba" })],
    ["tags by a whole ref", "trusted", { branches: ["refs/tags/v*"] }, site({ ref: "refs/tags/v1.2" })],
    [
      "a branch called as the tags",
      "untrusted-branch",
      { branches: ["refs/tags/v*"] },
      site({ ref: "refs/heads/refs/tags/v1" }),
    ],
    [
      "a default branch called like a pattern",
      "untrusted-branch",
      {},
      site({ defaultBranch: "*", ref: "refs/heads/evil" }),
    ],
    ["a pull request of the repository's own", "trusted", PULLS, pull()],
    ["a pull request from a fork", "untrusted-fork", PULLS, pull({ fork: true })],
    [
      "a pull request of which it is not known",
      "untrusted-fork",
      PULLS,
      { ...pull(), origin: { event: "pull_request", ref: "refs/pull/7/head", base: "main", defaultBranch: "main" } },
    ],
    [
      "pull_request_target from a fork",
      "untrusted-fork",
      PULLS,
      pull({ event: "pull_request_target", ref: "refs/heads/main", fork: true }),
    ],
    ["a fork where forks are allowed", "trusted", { ...PULLS, allowForks: true }, pull({ fork: true })],
    ["an unknown fork where forks are allowed", "trusted", { ...PULLS, allowForks: true }, pull({ fork: true })],
    ["a pull request to another branch", "untrusted-branch", PULLS, pull({ base: "topic" })],
    [
      "a pull request to an unknown branch",
      "untrusted-branch",
      PULLS,
      site({ event: "pull_request", ref: "refs/pull/7/head" }),
    ],
    ["a fork behind another event", "untrusted-fork", {}, site({ fork: true })],
  ])("%s: %s", (_, code, over, job) => {
    expect(codeOf(over, job)).toBe(code);
  });

  it("takes a pattern of many stars in no time, and as a careful reader would", () => {
    const pattern = `${"a*".repeat(60)}b`;
    expect(codeOf({ branches: [pattern] }, site({ ref: `refs/heads/${"a".repeat(200)}` }))).toBe("untrusted-branch");
    fc.assert(
      fc.property(
        fc.string({ unit: fc.constantFrom("a", "b", "*"), maxLength: 6 }),
        fc.string({ unit: fc.constantFrom("a", "b"), maxLength: 8 }),
        (glob, name) => {
          const careful = new RegExp(`^${glob.replaceAll("*", ".*")}$`).test(name);
          expect(codeOf({ branches: [`x${glob}`] }, site({ ref: `refs/heads/x${name}` })) === "trusted").toBe(careful);
        },
      ),
    );
  });

  it("never trusts more when less is known", () => {
    const origins = fc.record<JobOrigin>(
      {
        event: fc.constantFrom("push", "pull_request", "pull_request_target"),
        ref: fc.constantFrom("refs/heads/main", "refs/heads/x", "refs/pull/1/head"),
        base: fc.constantFrom("main", "x"),
        fork: fc.boolean(),
        defaultBranch: fc.constantFrom("main", "x"),
      },
      { requiredKeys: ["event"] },
    );
    fc.assert(
      fc.property(
        origins,
        fc.constantFrom<"ref" | "fork" | "defaultBranch">("ref", "fork", "defaultBranch"),
        (full, key) => {
          const { [key]: _gone, ...less } = full;
          const trust = (one: JobOrigin) =>
            codeOf({ events: ["push", "pull_request"] }, { repository: "acme/site", origin: one });
          // What comes from a fork does so only where that is said: of other events nothing more has to be.
          fc.pre(!(key === "fork" && full.event === "push"));
          if (trust(full) !== "trusted") expect(trust(less)).not.toBe("trusted");
        },
      ),
    );
  });
});

describe("a pull request's origin", () => {
  const repo = (id: number) => ({ repo: { id }, ref: "topic" });
  it.each<[string, unknown, { base?: string; fork?: boolean }]>([
    ["of the same repository", { head: repo(1), base: { ...repo(1), ref: "main" } }, { base: "main", fork: false }],
    ["of another", { head: repo(2), base: { ...repo(1), ref: "main" } }, { base: "main", fork: true }],
    ["of one that was deleted", { head: { repo: null, ref: "topic" }, base: repo(1) }, { base: "topic", fork: true }],
    ["by AGit", { head: { repo: { id: 1 }, ref: "refs/pull/7/head" }, base: repo(1) }, { base: "topic", fork: true }],
    ["without a head", { base: repo(1) }, {}],
    ["without anything", undefined, {}],
    ["of something else", "no pull request", {}],
  ])("%s", (_, given, expected) => {
    expect(pullOrigin(given)).toEqual(expected);
  });
});

describe("a task's origin", () => {
  const repository = { default_branch: "main", id: 1 };
  it("is read from the context that the forge sends", () => {
    expect(
      contextOrigin({ repository: "acme/site", event_name: "push", ref: "refs/heads/main", event: { repository } }),
    ).toEqual({ repository: "acme/site", origin: origin() });
    expect(
      contextOrigin({
        repository: "acme/site",
        event_name: "pull_request_target",
        ref: "refs/heads/main",
        event: {
          repository,
          pull_request: { head: { repo: { id: 2 }, ref: "x" }, base: { repo: { id: 1 }, ref: "main" } },
        },
      }).origin,
    ).toEqual({
      event: "pull_request_target",
      ref: "refs/heads/main",
      base: "main",
      fork: true,
      defaultBranch: "main",
    });
  });

  it("is unknown where the context lacks it", () => {
    expect(contextOrigin({})).toEqual({});
    expect(contextOrigin({ repository: "acme/site", event_name: "" })).toEqual({});
    expect(contextOrigin({ repository: "acme/site", event_name: "pull_request", event: "text" }).origin).toEqual({
      event: "pull_request",
    });
  });
});
