import { closeSync, constants, openSync, readdirSync, readFileSync, readSync, writeSync } from "node:fs";
import { Duplex } from "node:stream";
import type { Clock, Timer } from "../../base/clock.ts";
import { ignore, systemCode } from "../../base/errors.ts";
import type { Logger } from "../../base/log.ts";

const PORTS = "/sys/class/virtio-ports";
const OPEN_RETRY = 50;
/** While something happens, and for a moment after it. */
const BUSY_POLL = 5;
const BUSY_FOR = 1_000;
const QUIET_POLL = 25;
const READ_BYTES = 64 * 1024;

/**
 * Opens the virtio-serial port of that name as a byte stream that lasts for ever: the host's end may vanish and come back
 * without a word. Calls `attach` once the port is open.
 *
 * The port is read without blocking, by a timer: Node cannot wait for such a file but in a thread, and a thread that
 * waits there keeps the process from ending.
 */
export function openVirtioPort(name: string, attach: (stream: Duplex) => void, clock: Clock, log: Logger): () => void {
  let timer: Timer | undefined;
  let stream: Duplex | undefined;
  let said = false;
  const tryOpen = (): void => {
    const opened = openPort(name);
    if (typeof opened === "number") {
      stream = createFileStream(opened, clock);
      attach(stream);
      return;
    }
    if (!said) log.info({ port: name, cause: opened.cause }, "waiting for the channel's port");
    said = true;
    timer = clock.after(OPEN_RETRY, tryOpen);
  };
  tryOpen();
  return () => {
    timer?.cancel();
    stream?.destroy();
  };
}

/** The port's descriptor, or why it is not there yet. A port that has just appeared gives ENXIO for a moment. */
function openPort(name: string): number | { cause: string } {
  try {
    const port = readdirSync(PORTS).find((one) => portName(one) === name);
    if (port === undefined) return { cause: "no such port" };
    return openSync(`/dev/${port}`, constants.O_RDWR | constants.O_NONBLOCK);
  } catch (error) {
    ignore("ENOENT", "ENXIO", "EBUSY", "ENODEV")(error);
    return { cause: systemCode(error) ?? "unknown" };
  }
}

/** A console's port has no name, and then no such file. */
function portName(port: string): string | undefined {
  try {
    return readFileSync(`${PORTS}/${port}/name`, "utf8").trim();
  } catch (error) {
    return ignore("ENOENT")(error);
  }
}

/** A byte stream over a descriptor that was opened with O_NONBLOCK; owns the descriptor. */
export function createFileStream(descriptor: number, clock: Clock): Duplex {
  const buffer = Buffer.alloc(READ_BYTES);
  let busyUntil = clock.uptime() + BUSY_FOR;
  let timer: Timer | undefined;
  /** What the port did not take yet, and whom to tell when it did. */
  let unwritten: { bytes: Buffer; done: (error?: Error | null) => void } | undefined;

  const stream = new Duplex({
    allowHalfOpen: true,
    read: () => undefined,
    write: (chunk: Buffer, _encoding, done) => {
      unwritten = { bytes: chunk, done };
      guarded(writeOn);
    },
    destroy: (error, done) => {
      timer?.cancel();
      closeSync(descriptor);
      done(error);
    },
  });
  poll();
  return stream;

  function poll(): void {
    guarded(() => {
      readOn();
      writeOn();
    });
    if (!stream.destroyed) timer = clock.after(clock.uptime() < busyUntil ? BUSY_POLL : QUIET_POLL, poll);
  }

  function guarded(work: () => void): void {
    try {
      work();
    } catch (error) {
      stream.destroy(error instanceof Error ? error : new Error("the channel's port failed"));
    }
  }

  function readOn(): void {
    const count = attempt(() => readSync(descriptor, buffer));
    if (count === 0) return;
    busyUntil = clock.uptime() + BUSY_FOR;
    stream.push(Buffer.from(buffer.subarray(0, count)));
  }

  function writeOn(): void {
    while (unwritten !== undefined) {
      const { bytes, done } = unwritten;
      const count = attempt(() => writeSync(descriptor, bytes));
      if (count === 0) return;
      busyUntil = clock.uptime() + BUSY_FOR;
      unwritten = count < bytes.length ? { bytes: bytes.subarray(count), done } : undefined;
      if (unwritten === undefined) done();
    }
  }
}

/** Bytes moved; 0 where there is nothing to read, no room to write, or no host. */
function attempt(move: () => number): number {
  try {
    return move();
  } catch (error) {
    ignore("EAGAIN", "EPIPE")(error);
    return 0;
  }
}
