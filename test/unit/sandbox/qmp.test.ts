import { createServer, type Socket } from "node:net";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { connectQmp } from "../../../src/sandbox/qemu/qmp.ts";
import { temporaryPlaces } from "../../support/sandboxes.ts";

const GREETING = { QMP: { version: { qemu: { major: 8, minor: 1, micro: 2 }, package: "x" }, capabilities: [] } };
type Command = { execute: string; id: number; arguments?: unknown };

/** A QEMU whose answers the test writes. */
async function fakeQemu(answer: (command: Command, socket: Socket) => void, greeting: unknown = GREETING) {
  const { root } = await temporaryPlaces();
  const path = join(root, "qmp.sock");
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => undefined);
    if (greeting !== undefined) send(socket, greeting);
    let rest = "";
    socket.on("data", (chunk) => {
      const lines = (rest + chunk.toString()).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) answer(JSON.parse(line) as Command, socket);
    });
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return path;
}

const send = (socket: Socket, message: unknown) => socket.write(`${JSON.stringify(message)}\r\n`);
const signal = () => AbortSignal.timeout(5_000);

describe("the control connection", () => {
  it("shakes hands, runs commands, and tells events", async () => {
    const path = await fakeQemu(({ execute, id, arguments: args }, socket) => {
      if (execute === "greet") send(socket, { event: "RESUME", timestamp: { seconds: 1, microseconds: 2 } });
      send(socket, { return: { did: execute, args }, id });
    });
    const qmp = await connectQmp(path, signal());
    expect(qmp.version).toBe("8.1.2");
    const events: string[] = [];
    qmp.onEvent(({ event }) => events.push(event));
    expect(await qmp.execute("greet", { a: 1 })).toEqual({ did: "greet", args: { a: 1 } });
    expect(events).toEqual(["RESUME"]);
    qmp.close();
    await expect(qmp.execute("late")).rejects.toMatchObject({ code: "QMP_CLOSED" });
  });

  it("passes on what QEMU refuses", async () => {
    const path = await fakeQemu(({ execute, id }, socket) =>
      send(
        socket,
        execute === "bad" ? { error: { class: "GenericError", desc: "no such disk" }, id } : { return: {}, id },
      ),
    );
    const qmp = await connectQmp(path, signal());
    await expect(qmp.execute("bad")).rejects.toMatchObject({
      code: "QMP_COMMAND_FAILED",
      message: expect.stringContaining("no such disk"),
    });
    expect(await qmp.execute("good")).toEqual({});
    qmp.close();
  });

  it("ignores what it does not understand, and answers nobody asked for", async () => {
    const path = await fakeQemu(({ id }, socket) => {
      socket.write("garbage\n\n[]\n{}\n");
      send(socket, { return: "foreign", id: id + 1000 });
      send(socket, { error: { class: "GenericError", desc: "about nothing" } });
      send(socket, { return: "mine", id });
    });
    const qmp = await connectQmp(path, signal());
    expect(await qmp.execute("x")).toBe("mine");
    qmp.close();
  });

  it("gives up on a command without an answer, and forgets an answer that is late", async () => {
    const late: (() => void)[] = [];
    const path = await fakeQemu(({ execute, id }, socket) => {
      if (execute === "slow") late.push(() => send(socket, { return: "late", id }));
      else send(socket, { return: execute, id });
    });
    const qmp = await connectQmp(path, signal());
    await expect(qmp.execute("slow", undefined, 20)).rejects.toMatchObject({ code: "QMP_TIMEOUT" });
    for (const answer of late) answer();
    expect(await qmp.execute("next")).toBe("next");
    qmp.close();
  });

  it("ends on a line without end", async () => {
    const path = await fakeQemu(({ execute, id }, socket) => {
      if (execute === "flood") socket.write("x".repeat(1024 * 1024));
      else send(socket, { return: {}, id });
    });
    const qmp = await connectQmp(path, signal());
    await expect(qmp.execute("flood")).rejects.toMatchObject({
      code: "QMP_CLOSED",
      message: expect.stringContaining("without end"),
    });
  });

  it("fails when QEMU goes away, with nobody there, and when it is given up", async () => {
    const leaving = await fakeQemu((_, socket) => socket.destroy());
    await expect(connectQmp(leaving, signal())).rejects.toMatchObject({ code: "QMP_CLOSED" });
    await expect(connectQmp("/no/such.sock", signal())).rejects.toMatchObject({ code: "ENOENT" });
    const silent = await fakeQemu(() => undefined, null);
    await expect(connectQmp(silent, AbortSignal.timeout(50))).rejects.toThrow();
    await expect(connectQmp(silent, AbortSignal.abort(new Error("given up")))).rejects.toThrow("given up");
  });
});
