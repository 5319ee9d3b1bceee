import { describe, expect, it } from "vitest";
import { empty } from "../../../src/forge-simulator/http/message.ts";
import { findRoute, route } from "../../../src/forge-simulator/http/router.ts";
import { traitsOf } from "../../../src/forge-simulator/traits.ts";

const nothing = () => empty(200);
const routes = [
  route("GET", "/a/fixed", nothing),
  route("GET", "/a/:id", nothing),
  route("DELETE", "/a/:id", nothing),
  route("GET", "/:owner/:repo/archive/*", nothing),
];
const found = (method: string, path: string) => {
  const match = findRoute(routes, method, path);
  return typeof match === "object" ? { pattern: match.route.pattern, ...match.params } : match;
};

describe("findRoute", () => {
  it.each([
    ["GET", "/a/fixed", { pattern: "/a/fixed" }],
    ["GET", "/a/5", { pattern: "/a/:id", id: "5" }],
    ["GET", "/a/with%20space", { pattern: "/a/:id", id: "with space" }],
    ["DELETE", "/a/fixed", { pattern: "/a/:id", id: "fixed" }],
    ["POST", "/a/5", "wrong method"],
    ["GET", "/a/", undefined],
    ["GET", "/a/5/6", undefined],
    ["GET", "/a/%zz", undefined],
    ["GET", "/o/r/archive/x/y.zip", { pattern: "/:owner/:repo/archive/*", owner: "o", repo: "r", rest: "x/y.zip" }],
    ["GET", "/o/r/archive", undefined],
  ])("%s %s", (method, path, expected) => {
    expect(found(method, path)).toEqual(expected);
  });
});

describe("traitsOf", () => {
  it("orders the versions that dropped the leading 1 after those that have it", () => {
    expect(traitsOf("gitea", "28.0.0")).toMatchObject({ cancels: true, disables: true, getsRegistrationToken: false });
    expect(traitsOf("gitea", "1.27.2")).toMatchObject({ cancels: false, releasesDropped: true });
    expect(traitsOf("gitea", "v1.26.0+dev-123-gabcdef")).toMatchObject({ disables: true, releasesDropped: false });
  });

  it("reads Forgejo's own number, not the one of its ancestor", () => {
    expect(traitsOf("forgejo", "11.0.5+gitea-1.22.0")).toMatchObject({ queue: "labels-required", ephemeral: false });
    expect(traitsOf("forgejo", "16.0.0-12-gabc+gitea-1.22.0")).toMatchObject({ createsRunners: true, cancels: true });
  });

  it("refuses what is not a version", () => {
    expect(() => traitsOf("gitea", "latest")).toThrow('"latest" is not a version of a forge');
  });
});
