import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { capabilitiesOf, degradations, describeMode } from "../../../src/forge/capabilities.ts";
import type { ForgeCapabilities } from "../../../src/forge/port.ts";
import { compareVersions, parseVersion } from "../../../src/forge/version.ts";

function of(text: string): ForgeCapabilities {
  const version = parseVersion(text);
  if (version === undefined) throw new Error(`no version: ${text}`);
  return capabilitiesOf(version);
}

describe("parseVersion", () => {
  it.each([
    ["1.25.1", "gitea", [1, 25, 1]],
    ["1.26.0+dev-123-gabcdef", "gitea", [1, 26, 0]],
    ["28.0.0", "gitea", [28, 0, 0]],
    ["v28.0.0-rc1", "gitea", [28, 0, 0]],
    ["11.0.3+gitea-1.22.0", "forgejo", [11, 0, 3]],
    ["15.0.0-dev-77-gabc+gitea-1.22.0", "forgejo", [15, 0, 0]],
    ["15.0.0+gitea-1.22.0-12-gdeadbeef", "forgejo", [15, 0, 0]],
    [" 7.0\n", "gitea", [7, 0, 0]],
  ])("reads %s", (text, flavour, numbers) => {
    expect(parseVersion(text)).toMatchObject({ flavour, numbers });
  });

  it.each(["", "development", "main-1.25", "1x", "-1.2.3", "999999999.1"])("refuses %j", (text) => {
    expect(parseVersion(text)).toBeUndefined();
  });

  it("never throws, and what it accepts begins with its number", () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        const version = parseVersion(text);
        return (
          version === undefined ||
          text.trim().replace(/^v/, "").startsWith(`${version.numbers[0]}`) ||
          /^v?0/.test(text.trim())
        );
      }),
    );
  });
});

it("orders by numbers, so that 28 follows 1.27", () => {
  const sorted = ["28.0.0", "1.9.0", "1.27.2", "1.10.0"].toSorted((a, b) =>
    compareVersions(a.split(".").map(Number), b),
  );
  expect(sorted).toEqual(["1.9.0", "1.10.0", "1.27.2", "28.0.0"]);
  expect(compareVersions([1, 24, 0], "1.24")).toBe(0);
});

describe("capabilities", () => {
  const flags = (text: string): string =>
    Object.entries(of(text))
      .filter(([, value]) => value === true)
      .map(([name]) => name)
      .sort((a, b) => a.localeCompare(b))
      .join(" ");

  it.each([
    ["1.22.6", "countsTakenAttempts"],
    ["1.23.8", "countsTakenAttempts"],
    ["1.24.0", "countsTakenAttempts deletesRunners ephemeral listsRunners queueWebhooks"],
    ["1.25.0", "countsTakenAttempts deletesRunners ephemeral listsQueue listsRunners queueWebhooks tellsOrigins"],
    [
      "1.26.4",
      "countsTakenAttempts deletesRunners disablesRunners ephemeral listsQueue listsRunners queueWebhooks tellsOrigins",
    ],
    ["1.27.0", "deletesRunners disablesRunners ephemeral listsQueue listsRunners queueWebhooks tellsOrigins"],
    ["28.0.0", "deletesRunners disablesRunners ephemeral listsQueue listsRunners queueWebhooks tellsOrigins"],
    ["7.0.0+gitea-1.22.0", ""],
    ["10.0.1+gitea-1.22.0", ""],
    ["11.0.0+gitea-1.22.0", "listsQueue queueNeedsLabels"],
    ["13.0.0+gitea-1.22.0", "listsQueue queueNeedsLabels"],
    ["14.0.0+gitea-1.22.0", "deletesRunners listsQueue listsRunners queueNeedsLabels"],
    ["15.0.0+gitea-1.22.0", "bindsJobs createsRunners deletesRunners ephemeral listsQueue listsRunners tellsOrigins"],
    ["17.0.0+gitea-1.22.0", "bindsJobs createsRunners deletesRunners ephemeral listsQueue listsRunners tellsOrigins"],
  ])("of %s: %s", (text, expected) => {
    expect(flags(text)).toBe(expected);
  });

  it("is full service from Gitea 1.25 and Forgejo 15 on, and says in one line what is missing before", () => {
    for (const full of ["1.25.0", "28.1.0", "15.0.0+gitea-1.22.0"]) expect(degradations(of(full))).toEqual([]);
    expect(describeMode(of("1.26.0"))).toBe("Gitea 1.26.0: full service");
    expect(describeMode(of("1.24.7"))).toBe(
      "Gitea 1.24.7: degraded: the queue cannot be read, so only webhooks (where there are any) and minRunners create runners",
    );
    expect(describeMode(of("11.0.3+gitea-1.22.0"))).toMatch(
      /^Forgejo 11\.0\.3\+gitea-1\.22\.0: degraded: runners cannot be listed.*; runners are not ephemeral/,
    );
  });
});
