import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { replaceFileSync, writeFileAtomic } from "../../../src/base/atomic-file.ts";

function directory(): string {
  const path = mkdtempSync(join(tmpdir(), "fireteact-atomic-"));
  onTestFinished(() => rmSync(path, { recursive: true }));
  return path;
}

describe.each([
  ["writeFileAtomic", writeFileAtomic],
  ["replaceFileSync", async (...args: Parameters<typeof replaceFileSync>) => replaceFileSync(...args)],
])("%s", (_, write) => {
  it("replaces a file as a whole: who has the old one open keeps it", async () => {
    const path = join(directory(), "file");
    writeFileSync(path, "old");
    const before = statSync(path).ino;
    await write(path, "new");
    expect(readFileSync(path, "utf8")).toBe("new");
    expect(statSync(path).ino).not.toBe(before);
  });

  it("is private unless told otherwise", async () => {
    const path = join(directory(), "file");
    await write(path, "x");
    expect(statSync(path).mode & 0o777).toBe(0o600);
    await write(path, "x", { mode: 0o644 });
    expect(statSync(path).mode & 0o777).toBe(0o644);
  });

  it("leaves nothing beside the file, also when it fails", async () => {
    const place = directory();
    await write(join(place, "file"), "x");
    rmSync(join(place, "file"));
    await expect(write(join(place, "none", "file"), "x")).rejects.toThrow("ENOENT");
    mkdirSync(join(place, "file", "full"), { recursive: true });
    await expect(write(join(place, "file"), "x")).rejects.toThrow();
    expect(readdirSync(place)).toEqual(["file"]);
  });

  it("is safe for many writers at once", async () => {
    const place = directory();
    const texts = Array.from({ length: 20 }, (_, index) => String(index).repeat(1000));
    await Promise.all(texts.map((text) => write(join(place, "file"), text)));
    expect(texts).toContain(readFileSync(join(place, "file"), "utf8"));
    expect(readdirSync(place)).toEqual(["file"]);
  });
});
