import { execFileSync } from "node:child_process";
import { appendFileSync, constants, mkdtempSync, openSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { createFileStream } from "../../../src/agent/transport/virtio.ts";
import { systemClock } from "../../../src/base/clock.ts";

/** A pipe that gives back what is written to it: as a port, it takes little at a time and says EAGAIN when it is full. */
function openPort() {
  const folder = mkdtempSync(join(tmpdir(), "port-"));
  const path = join(folder, "port");
  execFileSync("mkfifo", [path]);
  const descriptor = openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
  const stream = createFileStream(descriptor, systemClock);
  onTestFinished(() => {
    stream.destroy();
    rmSync(folder, { recursive: true });
  });
  const seen: Buffer[] = [];
  stream.on("data", (chunk: Buffer) => seen.push(chunk));
  return { path, stream, bytes: () => Buffer.concat(seen) };
}

describe("a port read without blocking", () => {
  it("gives what others write, and takes more than it has room for", async () => {
    const { path, stream, bytes } = openPort();
    appendFileSync(path, "hello");
    while (bytes().length < 5) await systemClock.sleep(2);
    expect(bytes().toString()).toBe("hello");
    const large = Buffer.alloc(1024 * 1024, "x");
    await new Promise<void>((done) => stream.write(large, () => done()));
    while (bytes().length < 5 + large.length) await systemClock.sleep(2);
    expect(bytes().subarray(5).equals(large)).toBe(true);
  });

  it("lets go of everything when it is closed", async () => {
    const { stream } = openPort();
    const closed = new Promise<void>((done) => stream.once("close", done));
    stream.destroy();
    await closed;
    expect(stream.destroyed).toBe(true);
  });
});
