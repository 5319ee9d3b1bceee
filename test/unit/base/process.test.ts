import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, renameSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { bootId, systemClock } from "../../../src/base/clock.ts";
import { identify, isAlive, kill, processes, signalProcess, worksIn } from "../../../src/base/process.ts";

/** A process in a session of its own that runs until it is ended. */
async function sleeper(cwd = "/") {
  const child = spawn("sleep", ["600"], { detached: true, stdio: "ignore", cwd });
  onTestFinished(() => void child.kill("SIGKILL"));
  await once(child, "spawn");
  return { child, pid: child.pid!, ended: once(child, "exit") as Promise<[number | null, string | null]> };
}

describe("a process's identity", () => {
  it("is its number, start time and boot, and ends with it", async () => {
    const { pid, ended } = await sleeper();
    const identity = identify(pid)!;
    expect(identity).toEqual({ pid, start: expect.any(Number), boot: bootId() });
    expect(isAlive(identity)).toBe(true);
    expect(isAlive({ ...identity, start: identity.start + 1 })).toBe(false);
    expect(isAlive({ ...identity, boot: "other" })).toBe(false);
    expect(signalProcess({ ...identity, start: identity.start + 1 }, "SIGKILL", "group")).toBe(false);
    expect(isAlive(identity)).toBe(true);
    expect(signalProcess(identity, "SIGTERM", "group")).toBe(true);
    expect((await ended)[1]).toBe("SIGTERM");
    expect(isAlive(identity)).toBe(false);
    expect(signalProcess(identity, "SIGTERM", "group")).toBe(false);
    expect(identify(pid)).toBeUndefined();
  });

  it("is gone for a zombie, which can still be signalled", async () => {
    // The shell never waits for its child, which ends at once.
    const parent = spawn("sh", ["-c", "sleep 0 & echo $!; exec sleep 600"], { stdio: ["ignore", "pipe", "ignore"] });
    onTestFinished(() => void parent.kill("SIGKILL"));
    const [line] = (await once(parent.stdout, "data")) as [Buffer];
    const zombie = Number(line.toString());
    while (identify(zombie) !== undefined) await systemClock.sleep(5);
    expect(kill(zombie, "SIGCONT")).toBe(true);
    expect(Array.from(processes()).map(({ pid }) => pid)).not.toContain(zombie);
  });

  it("is unknown for a number that nobody has", () => {
    expect(identify(2 ** 22 + 1)).toBeUndefined();
    expect(kill(2 ** 22 + 1, "SIGTERM")).toBe(false);
  });
});

describe("looking for processes", () => {
  it("finds them with user and session", async () => {
    const { pid } = await sleeper();
    const found = Array.from(processes()).find((view) => view.pid === pid);
    expect(found).toEqual({ pid, uid: process.getuid!(), session: pid });
  });

  it("knows where one works, whatever the directory is called meanwhile", async () => {
    const directory = mkdtempSync(join(tmpdir(), "fireteact-process-"));
    const place = statSync(directory);
    const { pid } = await sleeper(directory);
    expect(worksIn(pid, place)).toBe(true);
    expect(worksIn(pid, statSync("/"))).toBe(false);
    renameSync(directory, `${directory}-renamed`);
    expect(worksIn(pid, place)).toBe(true);
    rmSync(`${directory}-renamed`, { recursive: true });
    expect(worksIn(pid, place)).toBe(true);
    expect(worksIn(2 ** 22 + 1, place)).toBe(false);
  });
});
