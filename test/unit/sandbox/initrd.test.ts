import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { exec } from "../../../src/base/exec.ts";
import { forgetInitrd, ownInitrd } from "../../../src/sandbox/microvm/initrd.ts";
import { placesOf } from "../../../src/sandbox/microvm/places.ts";
import { hexOf, temporaryPlaces } from "../../support/sandboxes.ts";

async function prepared(base: string) {
  const places = await temporaryPlaces();
  const own = placesOf(places, hexOf(1));
  mkdirSync(own.vm, { recursive: true });
  const image = join(places.root, "initrd");
  writeFileSync(image, base);
  return { own, image };
}

const uid = process.getuid!();

describe("an initrd with files of one guest", () => {
  it("follows the image's own, at a place the kernel accepts, and can be unpacked", async () => {
    const { own, image } = await prepared("12345");
    const files = {
      "/opt/runner/.runner": { content: "{}", mode: 0o600 },
      "/opt/runner/config.yaml": { content: "a: b\n", mode: 0o644 },
      "/etc/ünicode": { content: "x", mode: 0o755 },
    };
    const path = await ownInitrd(image, files, uid, own);
    const content = readFileSync(path);
    expect(content.subarray(0, 8).toString()).toBe("12345\0\0\0");
    const archive = join(own.vm, "own.cpio");
    writeFileSync(archive, content.subarray(8));
    const { stdout } = await exec("sh", [
      "-c",
      `cd "${own.vm}" && busybox cpio -idu 2>/dev/null <own.cpio && find files | sort`,
    ]);
    expect(stdout.trim().split("\n")).toEqual([
      "files",
      "files/etc",
      "files/etc/ünicode",
      "files/opt",
      "files/opt/runner",
      "files/opt/runner/.runner",
      "files/opt/runner/config.yaml",
    ]);
    expect(readFileSync(join(own.vm, "files/opt/runner/config.yaml"), "utf8")).toBe("a: b\n");
    await forgetInitrd(own);
    await forgetInitrd(own);
    expect(() => readFileSync(path)).toThrow("ENOENT");
  });

  it.each(["relative", "/", "/a/", "/a/../b", "//a", "/a\0b", ""])("refuses the path %j", async (path) => {
    const { own, image } = await prepared("");
    await expect(ownInitrd(image, { [path]: { content: "", mode: 0o600 } }, uid, own)).rejects.toMatchObject({
      code: "BAD_FILE_PATH",
    });
  });
});
