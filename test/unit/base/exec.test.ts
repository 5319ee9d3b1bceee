import { describe, expect, it } from "vitest";
import { exec } from "../../../src/base/exec.ts";

const shell = (script: string, options?: Parameters<typeof exec>[2]) => exec("sh", ["-c", script], options);

describe("running a program", () => {
  it("returns what it wrote, and takes input", async () => {
    expect(await shell("cat; echo problem >&2", { input: "text" })).toEqual({
      code: 0,
      stdout: "text",
      stderr: "problem\n",
    });
  });

  it("fails with its code and last words, unless the code is accepted", async () => {
    const failure = shell("echo one; echo two >&2; exit 3");
    await expect(failure).rejects.toMatchObject({
      code: "PROGRAM_FAILED",
      message: "sh failed with code 3: two",
      facts: { code: 3 },
    });
    expect(await shell("exit 3", { accept: [0, 3] })).toMatchObject({ code: 3 });
    await expect(shell("kill -TERM $$")).rejects.toMatchObject({ facts: { signal: "SIGTERM" } });
  });

  it("says what is missing", async () => {
    await expect(exec("no-such-program", [])).rejects.toMatchObject({
      code: "PROGRAM_MISSING",
      hint: expect.stringContaining("PATH"),
    });
  });

  it("keeps no more output than it should, and reads it all", async () => {
    const { stdout } = await shell("head -c 3000000 /dev/zero | tr '\\0' x", { maxOutput: 1000 });
    expect(stdout).toBe("x".repeat(1000));
  });

  it("ends it when time is up or it is given up", async () => {
    await expect(exec("sleep", ["600"], { timeout: 30 })).rejects.toMatchObject({ code: "PROGRAM_TIMEOUT" });
    const abort = new AbortController();
    const running = exec("sleep", ["600"], { signal: abort.signal });
    abort.abort(new Error("given up"));
    await expect(running).rejects.toThrow("given up");
    await expect(exec("true", [], { signal: abort.signal })).rejects.toThrow("given up");
  });

  it("passes on nothing of its own environment but the search path", async () => {
    process.env["FIRETEACT_TEST_SECRET"] = "secret";
    const { stdout } = await exec("env", []);
    delete process.env["FIRETEACT_TEST_SECRET"];
    expect(
      stdout
        .trim()
        .split("\n")
        .map((line) => line.split("=")[0])
        .toSorted((a, b) => (a! < b! ? -1 : 1)),
    ).toEqual(["LC_ALL", "PATH"]);
  });
});
