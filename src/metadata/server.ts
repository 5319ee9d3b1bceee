import { createServer, type Server, type Socket } from "node:net";
import { type Clock, systemClock } from "../base/clock.ts";
import { parseRequest, requestEnd } from "./request.ts";
import { type GuestMetadata, refuse, respond, serialise } from "./respond.ts";

/** What has no end within so many bytes resets the connection. */
const LONGEST_REQUEST = 2_500;
const MOST_CONNECTIONS = 30;
/** A connection that was quiet for so long gives way to a new one when all are taken. */
const EVICTABLE = 10_000;
/** A connection that was quiet for so long is closed anyway. */
const IDLE = 60_000;
/** A guest that asks more often than this waits: its questions must not keep the host from its work. */
const MOST_REQUESTS = 20;
const PER_MILLISECONDS = 100;

/**
 * An MMDS-compatible server for one guest. Node's own HTTP server cannot be used: it neither sends the exact bytes nor
 * bounds requests the same way.
 */
export function createMetadataServer(guest: GuestMetadata, clock: Clock = systemClock): Server {
  /** Uptime at which each connection was last heard of. */
  const connections = new Map<Socket, number>();
  const pace = createPace(clock);
  return createServer((socket) => {
    if (connections.size >= MOST_CONNECTIONS && !evictOne()) {
      socket.resetAndDestroy();
      return;
    }
    const heard = (): void => void connections.set(socket, clock.uptime());
    heard();
    socket.setTimeout(IDLE, () => socket.destroy());
    socket.once("close", () => connections.delete(socket));
    answer(socket, { guest, pace, heard, clock });
  });

  function evictOne(): boolean {
    const [oldest] = [...connections].sort(([, a], [, b]) => a - b);
    if (oldest === undefined || clock.uptime() - oldest[1] < EVICTABLE) return false;
    connections.delete(oldest[0]);
    oldest[0].resetAndDestroy();
    return true;
  }
}

/** Answers requests in order; while the guest does not read, or asks too fast, no more of its bytes are taken. */
function answer(
  socket: Socket,
  { guest, pace, heard, clock }: { guest: GuestMetadata; pace: Pace; heard: () => void; clock: Clock },
): void {
  let pending: Buffer = Buffer.alloc(0);
  let waiting = false;
  let ended = false;
  // The guest may have said all it wants to ask while it still waits for the answers.
  socket.allowHalfOpen = true;
  // The guest went away; `close` follows.
  socket.on("error", () => undefined);
  socket.on("data", (chunk) => {
    heard();
    pending = Buffer.concat([pending, chunk]);
    work();
  });

  socket.on("end", () => {
    ended = true;
    if (!waiting) socket.end();
  });

  function work(): void {
    for (;;) {
      const end = requestEnd(pending.subarray(0, LONGEST_REQUEST));
      if (end === undefined) {
        if (pending.length >= LONGEST_REQUEST) socket.resetAndDestroy();
        return;
      }
      const wait = pace.wait();
      if (wait > 0) {
        pauseUntil((goOn) => clock.after(wait, goOn));
        return;
      }
      const request = parseRequest(pending.subarray(0, end));
      pending = pending.subarray(end);
      const response = "message" in request ? refuse(request) : respond(guest, request);
      if (!socket.write(serialise(response))) {
        pauseUntil((goOn) => socket.once("drain", goOn));
        return;
      }
    }
  }

  function pauseUntil(schedule: (goOn: () => void) => void): void {
    waiting = true;
    socket.pause();
    schedule(() => {
      if (socket.destroyed) return;
      waiting = false;
      work();
      if (waiting) return;
      socket.resume();
      if (ended) socket.end();
    });
  }
}

interface Pace {
  /** Milliseconds until one more request may be answered; 0 counts as the permission for it. */
  wait(): number;
}

function createPace(clock: Clock): Pace {
  let windowStart = clock.uptime();
  let answered = 0;
  return {
    wait() {
      const now = clock.uptime();
      if (now - windowStart >= PER_MILLISECONDS) {
        windowStart = now;
        answered = 0;
      }
      if (answered >= MOST_REQUESTS) return windowStart + PER_MILLISECONDS - now;
      answered += 1;
      return 0;
    },
  };
}
