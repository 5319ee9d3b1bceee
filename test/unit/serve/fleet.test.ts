import { describe, expect, it } from "vitest";
import { fleetOf, notInFleet } from "../../../src/serve/fleet.ts";

describe("a host in its fleet", () => {
  it.each([
    ["its host name", ["ci-1", "ci-2"], "ci-1"],
    ["its host name without the domain", ["ci-2", "ci-1"], "ci-1"],
    ["its host name with the domain", ["ci-1.example.com"], "ci-1.example.com"],
    ["its id", ["ci-2", "abc123"], "abc123"],
  ])("finds itself by %s", (_, hosts, self) => {
    const fleet = fleetOf({ hosts }, "abc123", "ci-1.example.com");
    expect(fleet).toEqual({ self, hosts });
    expect(notInFleet(fleet)).toBeUndefined();
  });

  it("goes by its id where only the number is known", () => {
    expect(fleetOf({ hosts: 3 }, "abc123", "ci-1")).toEqual({ self: "abc123", hosts: 3 });
  });

  it("says so when the list lacks it", () => {
    const fleet = fleetOf({ hosts: ["ci-2"] }, "abc123", "ci-1");
    expect(notInFleet(fleet, "ci-1")).toBe(
      "fleet.hosts names neither ci-1 nor abc123, so this host leaves every job to the others first",
    );
  });
});
