import { chmod, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it, vi } from "vitest";
import { runTool } from "../../../src/image/tool.ts";
import { temporaryDirectory } from "./temporary.ts";

const { signal } = new AbortController();

/** Puts a script in the place of `cp`, the tool under test. */
async function fakeTool(script: string): Promise<{ directory: string; env: Record<string, string> }> {
  const directory = await temporaryDirectory();
  await writeFile(join(directory, "cp"), `#!/bin/sh\n${script}\n`);
  await chmod(join(directory, "cp"), 0o755);
  return { directory, env: { PATH: `${directory}:${process.env["PATH"]}` } };
}

describe("a tool of the build", () => {
  it("gives its output, and its lines of progress as they come", async () => {
    const { env } = await fakeTool('echo "I: one" >&2; printf "I: tw" >&2; echo o >&2; echo "$1"');
    const lines: string[] = [];
    const output = await runTool("cp", ["result"], { signal, env, onLine: (line) => lines.push(line) });
    expect(output).toBe("result\n");
    expect(lines).toEqual(["I: one", "I: two"]);
  });

  it("names the package to install when it is missing", async () => {
    const env = { PATH: await temporaryDirectory() };
    await expect(runTool("mkfs.ext4", [], { signal, env })).rejects.toMatchObject({
      code: "TOOL_MISSING",
      hint: "apt-get install e2fsprogs",
    });
  });

  it("says what the tool said when it fails", async () => {
    const { env } = await fakeTool('echo "cannot do that" >&2; exit 3');
    await expect(runTool("cp", ["a"], { signal, env })).rejects.toMatchObject({
      code: "TOOL_FAILED",
      message: "cp failed with exit code 3: cannot do that",
      facts: { tool: "cp", exitCode: 3, arguments: "a" },
    });
  });

  it.each(["cp: error writing 'x': No space left on device", "Could not allocate block in ext2 filesystem"])(
    "knows a full disk: %s",
    async (said) => {
      const { env } = await fakeTool(`echo "${said}" >&2; exit 1`);
      await expect(runTool("cp", [], { signal, env })).rejects.toMatchObject({ code: "DISK_FULL" });
    },
  );

  it("is ended with all it has started when it is aborted", async () => {
    const { directory, env } = await fakeTool(`sleep 60 & echo $! >"$1"; mv "$1" "$1.ready"; wait`);
    const abort = new AbortController();
    const file = join(directory, "pid");
    const running = runTool("cp", [file], { signal: abort.signal, env });
    const outcome = expect(running).rejects.toThrow("enough");
    const pid = Number(await vi.waitFor(() => readFile(`${file}.ready`, "utf8"), { timeout: 5_000 }));
    abort.abort(new Error("enough"));
    await outcome;
    await vi.waitFor(async () => {
      const stat = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "gone Z");
      expect(stat).toMatch(/ Z/);
    });
  });

  it("is not started once aborted", async () => {
    const { directory, env } = await fakeTool("touch started");
    await expect(runTool("cp", [], { signal: AbortSignal.abort(), env, cwd: directory })).rejects.toThrow("aborted");
    await expect(readFile(join(directory, "started"))).rejects.toThrow("ENOENT");
  });
});
