import { connect, type Socket } from "node:net";
import * as z from "zod";
import { FireteactError } from "../../base/errors.ts";

/** A connection to a running QEMU's control socket. */
export interface Qmp {
  /** QEMU's version, `7.2.22`. */
  readonly version: string;
  /**
   * Runs a command and returns what it returns.
   *
   * @throws FireteactError `QMP_COMMAND_FAILED`, `QMP_TIMEOUT` or `QMP_CLOSED`
   */
  execute(command: string, args?: Record<string, unknown>, timeout?: number): Promise<unknown>;
  /** Called for every event from now on. */
  onEvent(listener: (event: QmpEvent) => void): void;
  close(): void;
}

export interface QmpEvent {
  event: string;
  data: Record<string, unknown>;
}

const Message = z.union([
  z.object({
    QMP: z.object({ version: z.object({ qemu: z.object({ major: z.int(), minor: z.int(), micro: z.int() }) }) }),
  }),
  z.object({ return: z.unknown(), id: z.int() }),
  z.object({ error: z.object({ class: z.string(), desc: z.string() }), id: z.int().optional() }),
  z.object({ event: z.string(), data: z.record(z.string(), z.unknown()).default({}) }),
]);
type Message = z.infer<typeof Message>;

/** No answer that is asked for comes near this. */
const MAX_LINE = 256 * 1024;
const TIMEOUT = 5_000;

/**
 * Connects and shakes hands. The monitor serves one client at a time.
 *
 * @throws the system's error when nobody listens, FireteactError `QMP_CLOSED` or `QMP_TIMEOUT` otherwise
 */
export async function connectQmp(path: string, signal: AbortSignal): Promise<Qmp> {
  signal.throwIfAborted();
  const socket = connect(path);
  const abort = () => socket.destroy(signal.reason instanceof Error ? signal.reason : new Error("given up"));
  signal.addEventListener("abort", abort);
  try {
    const client = createClient(socket);
    const version = await client.greeting;
    await client.execute("qmp_capabilities");
    return { version, execute: client.execute, onEvent: client.onEvent, close: () => socket.destroy() };
  } catch (error) {
    socket.destroy();
    throw error;
  } finally {
    signal.removeEventListener("abort", abort);
  }
}

interface Waiting {
  resolve(value: unknown): void;
  reject(error: unknown): void;
}

function createClient(socket: Socket) {
  const waiting = new Map<number, Waiting>();
  const listeners: ((event: QmpEvent) => void)[] = [];
  const greeted = Promise.withResolvers<string>();
  let nextId = 1;
  let failure: unknown;

  const receive = (message: Message) => {
    if ("QMP" in message) {
      const { major, minor, micro } = message.QMP.version.qemu;
      greeted.resolve(`${major}.${minor}.${micro}`);
    } else if ("event" in message) {
      for (const listener of listeners) listener(message);
    } else {
      const entry = message.id === undefined ? undefined : waiting.get(message.id);
      if (message.id !== undefined) waiting.delete(message.id);
      if ("error" in message)
        entry?.reject(new FireteactError("QMP_COMMAND_FAILED", `QEMU refused: ${message.error.desc}`));
      else entry?.resolve(message.return);
    }
  };
  const fail = (error: unknown) => {
    failure ??= error;
    greeted.reject(failure);
    for (const entry of waiting.values()) entry.reject(failure);
    waiting.clear();
  };

  readLines(socket, (line) => {
    const message = parse(line);
    if (message !== undefined) receive(message);
  });
  let connected = false;
  socket.once("connect", () => {
    connected = true;
  });
  // A connection that was there ends in one way, whether QEMU closed it or died.
  socket.on("error", (error) => fail(connected && !(error instanceof FireteactError) ? closed(error) : error));
  socket.on("close", () => fail(closed()));

  const execute = async (command: string, args?: Record<string, unknown>, timeout = TIMEOUT): Promise<unknown> => {
    if (failure !== undefined) throw failure;
    const id = nextId++;
    const answer = Promise.withResolvers<unknown>();
    waiting.set(id, answer);
    const timer = setTimeout(() => {
      waiting.delete(id);
      answer.reject(new FireteactError("QMP_TIMEOUT", `QEMU did not answer ${command} within ${timeout} ms`));
    }, timeout);
    socket.write(`${JSON.stringify({ execute: command, arguments: args, id })}\n`);
    try {
      return await answer.promise;
    } finally {
      clearTimeout(timer);
    }
  };
  const onEvent = (listener: (event: QmpEvent) => void) => {
    listeners.push(listener);
  };
  return { greeting: greeted.promise, execute, onEvent };
}

const closed = (cause?: Error): FireteactError =>
  new FireteactError("QMP_CLOSED", "QEMU closed its control connection", cause === undefined ? {} : { cause });

function readLines(socket: Socket, onLine: (line: string) => void): void {
  let rest = "";
  socket.setEncoding("utf8");
  socket.on("data", (chunk: string) => {
    const lines = (rest + chunk).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) if (line.trim() !== "") onLine(line);
    if (rest.length > MAX_LINE) {
      socket.destroy(new FireteactError("QMP_CLOSED", "QEMU sent a line without end on its control connection"));
    }
  });
}

/** What is not understood is not ours: newer versions add kinds of messages. */
function parse(line: string): Message | undefined {
  try {
    const result = Message.safeParse(JSON.parse(line));
    return result.success ? result.data : undefined;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}
