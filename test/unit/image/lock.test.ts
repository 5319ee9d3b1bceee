import { spawn } from "node:child_process";
import { once } from "node:events";
import { access, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { bootId } from "../../../src/base/clock.ts";
import { withLock } from "../../../src/image/lock.ts";
import { temporaryDirectory } from "./temporary.ts";

const { signal } = new AbortController();
const onWait = () => undefined;

describe("the lock", () => {
  it("lets one in at a time and is gone afterwards", async () => {
    const path = join(await temporaryDirectory(), "sub", "lock");
    let inside = 0;
    let most = 0;
    const waits: string[] = [];
    const work = async () => {
      most = Math.max(most, ++inside);
      await sleep(10);
      inside--;
    };
    await Promise.all(
      Array.from({ length: 4 }, () => withLock(path, { signal, onWait: (pid) => waits.push(pid) }, work)),
    );
    expect(most).toBe(1);
    expect(waits).toEqual([String(process.pid), String(process.pid), String(process.pid)]);
    await expect(access(path)).rejects.toThrow("ENOENT");
  });

  it("is released when the work fails", async () => {
    const path = join(await temporaryDirectory(), "lock");
    await expect(withLock(path, { signal, onWait }, () => Promise.reject(new Error("broken")))).rejects.toThrow(
      "broken",
    );
    expect(await withLock(path, { signal, onWait }, () => Promise.resolve(1))).toBe(1);
  });

  it("stops waiting when it is told to", async () => {
    const path = join(await temporaryDirectory(), "lock");
    const abort = new AbortController();
    await withLock(path, { signal, onWait }, async () => {
      const waiting = withLock(path, { signal: abort.signal, onWait: () => abort.abort() }, () => Promise.resolve());
      await expect(waiting).rejects.toThrow("aborted");
    });
  });

  const dead = async () => {
    const child = spawn("true");
    await once(child, "exit");
    return child.pid;
  };
  it.each([
    ["has died", async () => `${await dead()} 1 ${bootId()} x\n`],
    ["was of another boot", async () => `${process.pid} 1 another-boot x\n`],
    ["has a pid that is used again", async () => `${process.pid} 1 ${bootId()} x\n`],
    ["left nonsense", async () => "?"],
    ["left nothing", async () => ""],
  ])("is taken over from a holder who %s", async (_, holder) => {
    const path = join(await temporaryDirectory(), "lock");
    await writeFile(path, await holder());
    expect(await withLock(path, { signal, onWait }, () => readFile(path, "utf8"))).toMatch(
      new RegExp(`^${process.pid} `),
    );
  });
});
