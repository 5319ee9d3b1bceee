import { describe, expect, it } from "vitest";
import { errorsOf, load, warningsOf } from "./workspace.ts";

const forge = (more = "") => `gitea: {instanceURL: https://git.example.com, apiTokenFile: token${more}}\n`;
const pool = (native: string, more = "", name = "host") =>
  `{name: ${name}, driver: native, runner: {labels: [native]}, native: {${native}}${more}}`;
const file = (native: string, more = "") => `${forge()}pools: [${pool(native, more)}]\n`;
const KEY = "https://git.example.com#trusted";

describe("whom a native pool trusts", () => {
  it("is nobody's pull request and only the default branch, unless the file says more", () => {
    const { settings } = load(file("trusted: [acme/site, 'tools/*']"));
    expect(settings.pools[0]?.trust).toEqual({
      repositories: ["acme/site", "tools/*"],
      events: ["push", "schedule", "workflow_dispatch"],
      allowForks: false,
    });
    expect(settings.pools[0]).toMatchObject({ target: KEY, runnerLabels: ["native:host"] });
    expect(settings.targets).toMatchObject([
      { key: KEY, scope: { kind: "trusted", repositories: ["acme/site", "tools/*"] } },
    ]);
  });

  it("takes what the file says", () => {
    const all = "trusted: [a/b], events: [push, pull_request], branches: [main, 'refs/tags/v*'], allowForks: true";
    expect(load(file(all)).settings.pools[0]?.trust).toEqual({
      repositories: ["a/b"],
      events: ["push", "pull_request"],
      branches: ["main", "refs/tags/v*"],
      allowForks: true,
    });
  });

  it("is registered at repositories, whatever scope the other pools have", () => {
    const text = `${forge(", runnerScope: org, runnerOwner: acme")}pools: [${pool("trusted: [a/b]")}, {name: vm, driver: fake, runner: {labels: [linux]}}]\n`;
    const { pools, targets } = load(text).settings;
    expect(pools.map(({ target, trust }) => [target, trust === undefined])).toEqual([
      [KEY, false],
      ["https://git.example.com#org:acme", true],
    ]);
    expect(targets).toHaveLength(2);
  });

  it("shares what is read with other native pools", () => {
    const { settings } = load(
      `${forge()}pools: [${pool("trusted: [a/b, a/c]")}, ${pool("trusted: [a/c, 'd/*']", "", "two")}]\n`,
    );
    expect(settings.targets).toMatchObject([{ scope: { repositories: ["a/b", "a/c", "d/*"] } }]);
    expect(settings.pools.map(({ trust }) => trust?.repositories)).toEqual([
      ["a/b", "a/c"],
      ["a/c", "d/*"],
    ]);
  });

  it.each([
    ["trusted: [acme]", /trusted\[0\]: must be owner\/repository/],
    ["trusted: ['*/*']", /trusted\[0\]: must be owner\/repository/],
    ["trusted: ['*']", /trusted\[0\]: must be owner\/repository/],
    ["trusted: [acme/../site]", /trusted\[0\]: must be owner\/repository/],
    ["trusted: [acme/..]", /trusted\[0\]: must not be made of dots alone/],
    ["trusted: [a/b], events: []", /events: must name at least one event/],
    ["trusted: [a/b], events: [Push!]", /events\[0\]: must be the name of an event/],
    ["trusted: [a/b], branches: []", /branches: must name at least one branch/],
    ["trusted: [a/b], branches: ['a b']", /branches\[0\]: must be a branch/],
    ["trusted: [a/b], allowForks: perhaps", /allowForks/],
  ])("refuses native: {%s}", (native, message) => {
    expect(errorsOf(file(native))).toEqual([expect.stringMatching(message)]);
  });

  it.each(["scope: instance", "scope: org, owner: acme", "scope: repo, owner: acme, repo: site", "owner: acme"])(
    "refuses forge: {%s}",
    (scope) => {
      const errors = errorsOf(file("trusted: [a/b]", `, forge: {${scope}}`));
      expect(errors.length).toBe(scope.split(",").length);
      for (const error of errors) {
        expect(error).toContain(
          "not with driver: native, where each runner is registered at the repository of its job",
        );
      }
    },
  );

  it("refuses labels that mean containers", () => {
    const docker = `${forge()}pools: [{name: host, driver: native, runner: {labels: ["native:docker://node"]}, native: {trusted: [a/b]}}]\n`;
    expect(errorsOf(docker)).toEqual([
      expect.stringContaining('a native pool runs jobs on the host: write "native:host"'),
    ]);
  });

  it("warns of what trusts nobody, or anybody", () => {
    const { length } = warningsOf(file("trusted: [a/b]"));
    expect(warningsOf(file(""))).toContainEqual(expect.stringContaining("trusted: none: the pool takes no job"));
    expect(warningsOf(file("trusted: [a/b], allowForks: true"))).toContainEqual(
      expect.stringContaining("allowForks: not used: events has no pull_request"),
    );
    const open = warningsOf(file("trusted: [a/b], events: [pull_request], allowForks: true"));
    expect(open).toHaveLength(length + 1);
    expect(open).toContainEqual(expect.stringContaining("runs code on this host"));
  });
});
