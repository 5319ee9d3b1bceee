import { describe, expect, it } from "vitest";
import { baseKey, baseSpec, mmdebstrapArguments } from "../../../src/image/build/base.ts";

describe("the base of an image", () => {
  it("has what every guest needs and what the owner adds, each once", () => {
    expect(baseSpec(["jq", "git"]).packages).toEqual(["bash", "ca-certificates", "git", "jq", "libstdc++6", "mount"]);
  });

  it("is made again only when its specification changes", () => {
    expect(baseKey(baseSpec(["b", "a"]))).toBe(baseKey(baseSpec(["a", "b", "a"])));
    const keys = [baseSpec(), baseSpec(["jq"]), baseSpec([], "http://mirror.example/debian")].map(baseKey);
    expect(new Set(keys).size).toBe(3);
  });

  it("comes from the given archive, else from Debian's own", () => {
    expect(mmdebstrapArguments(baseSpec(), "/x.tar").slice(-2)).toEqual(["bookworm", "/x.tar"]);
    const mirrored = mmdebstrapArguments(baseSpec([], "http://mirror.example/debian"), "/x.tar");
    expect(mirrored.slice(-3)).toEqual(["bookworm", "/x.tar", "http://mirror.example/debian"]);
  });
});
