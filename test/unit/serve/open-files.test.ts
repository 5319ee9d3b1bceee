import { describe, expect, it } from "vitest";
import type { Settings } from "../../../src/core/settings.ts";
import { checkOpenFiles } from "../../../src/serve/open-files.ts";

const pools = (...most: number[]) => ({ pools: most.map((maxRunners) => ({ maxRunners })) }) as Pick<Settings, "pools">;

describe("the limit of open files", () => {
  it("is refused where nothing would work", () => {
    expect(() => checkOpenFiles(pools(1), 127)).toThrow("at most 127 files, and needs 128");
  });

  it("is warned of where all runners at once may come to it", () => {
    expect(checkOpenFiles(pools(10, 20), 128 + 8 * 30)).toBeUndefined();
    expect(checkOpenFiles(pools(10, 20), 128 + 8 * 30 - 1)).toContain("30 runners at once may need 368");
  });

  it("is read from the system", () => {
    expect(checkOpenFiles(pools(0))).toBeUndefined();
  });
});
