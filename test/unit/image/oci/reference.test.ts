import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { parseReference } from "../../../../src/image/oci/reference.ts";

const DIGEST = `sha256:${"ab".repeat(32)}`;

describe("a reference", () => {
  it.each([
    ["debian:12", "docker.io/library/debian:12"],
    ["owner/image", "docker.io/owner/image:latest"],
    ["index.docker.io/debian", "docker.io/library/debian:latest"],
    ["ghcr.io/owner/image:v1.2_3-x", "ghcr.io/owner/image:v1.2_3-x"],
    ["GHCR.io/owner/image", "ghcr.io/owner/image:latest"],
    ["localhost/image", "localhost/image:latest"],
    ["localhost:5000/a/b/c:1", "localhost:5000/a/b/c:1"],
    ["[::1]:5000/image", "[::1]:5000/image:latest"],
    [`ghcr.io/o/i@${DIGEST}`, `ghcr.io/o/i@${DIGEST}`],
    [`ghcr.io/o/i:tag@${DIGEST}`, `ghcr.io/o/i@${DIGEST}`],
    ["o/a-b__c.d/e---f", "docker.io/o/a-b__c.d/e---f:latest"],
  ])("is read as Docker reads it: %s", (text, canonical) => {
    expect(parseReference(text).text).toBe(canonical);
  });

  it.each([
    ["", "names in it"],
    ["owner/Image", "names in it"],
    ["Owner/image", "names in it"],
    ["ghcr.io/owner/image:", "its tag"],
    ["ghcr.io/owner/image:-x", "its tag"],
    [`ghcr.io/owner/image:${"t".repeat(129)}`, "its tag"],
    ["ghcr.io/../image", "names in it"],
    ["ghcr.io/a//b", "names in it"],
    ["ghcr.io/a___b", "names in it"],
    ["ghcr.io/a@sha256:12", "its digest"],
    [`ghcr.io/a@sha512:${"ab".repeat(64)}`, "its digest"],
    ["https://ghcr.io/a/b", "is not a host"],
    ["user@ghcr.io/a", "its digest"],
    [`ghcr.io/${"a/".repeat(200)}b`, "names in it"],
    ["x".repeat(2_000), "too long"],
  ])("that makes no sense is refused: %s", (text, why) => {
    expect(() => parseReference(text)).toThrow(why);
  });

  it("reads its own way of writing it as the same", () => {
    fc.assert(
      fc.property(
        fc.string({ unit: fc.constantFrom("a", "b", "1", ".", ":", "/", "@", "-", "_", "A"), maxLength: 24 }),
        (text) => {
          let first: string;
          try {
            first = parseReference(text).text;
          } catch (error) {
            expect(error).toMatchObject({ code: "IMAGE_REFERENCE" });
            return;
          }
          expect(parseReference(first).text).toBe(first);
        },
      ),
    );
  });
});
