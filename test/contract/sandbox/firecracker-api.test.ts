import { createServer, type Server } from "node:net";
import { join } from "node:path";
import { expect, describe as group, it, onTestFinished } from "vitest";
import { createApi } from "../../../src/sandbox/firecracker/api.ts";
import { requests } from "../../../src/sandbox/firecracker/requests.ts";
import { parseVersion, requireFeature } from "../../../src/sandbox/firecracker/version.ts";
import { temporaryPlaces } from "../../support/sandboxes.ts";

const signal = () => AbortSignal.timeout(10_000);

/** A server that sends these bytes in answer to everything, as Firecracker's own writes them; keeps what it was sent. */
async function answering(...bytes: string[]) {
  const { root } = await temporaryPlaces();
  const path = join(root, "api.sock");
  const received: string[] = [];
  const server: Server = createServer((socket) => {
    socket.on("error", () => undefined);
    socket.on("data", (chunk) => {
      received.push(chunk.toString());
      socket.write(bytes.join("\r\n"));
    });
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  onTestFinished(() => void server.close());
  return { api: createApi(path), path, received };
}

const json = (status: number, body: string) => [
  `HTTP/1.1 ${status} `,
  "Server: Firecracker API",
  "Connection: keep-alive",
  "Content-Type: application/json",
  `Content-Length: ${Buffer.byteLength(body)}`,
  "",
  body,
];

group("Firecracker's answers", () => {
  it("may have neither a reason phrase nor a length", async () => {
    const { api, received } = await answering(
      "HTTP/1.1 204 ",
      "Server: Firecracker API",
      "Connection: keep-alive",
      "",
      "",
    );
    await api.send(requests.action("InstanceStart"), signal());
    expect(received.join("")).toMatch(/^PUT \/actions HTTP\/1\.1\r\n/);
    expect(received.join("")).toMatch(/content-length: 31\r\n/i);
    expect(received.join("")).not.toMatch(/transfer-encoding/i);
    expect(received.join("").endsWith('{"action_type":"InstanceStart"}')).toBe(true);
  });

  it("that refuse become errors with the request and the reason", async () => {
    const fault = "The requested operation is not supported after starting the microVM: BootSource";
    const { api } = await answering(...json(400, JSON.stringify({ fault_message: fault })));
    await expect(api.send(requests.boot({ kernel_image_path: "k", boot_args: "" }), signal())).rejects.toMatchObject({
      code: "FIRECRACKER_REFUSED",
      message: `Firecracker refused PUT /boot-source (400): ${fault}`,
      facts: { method: "PUT", path: "/boot-source", status: 400 },
    });
  });

  it("about metadata are not repeated, since they may quote it", async () => {
    const { api } = await answering(...json(400, JSON.stringify({ fault_message: 'invalid type: string "s3cret"' })));
    const refused = await api.send(requests.mmds({ token: "s3cret" }), signal()).catch((error: unknown) => error);
    expect(refused).toMatchObject({ message: "Firecracker refused PUT /mmds (400): the metadata was not taken" });
    const large = await answering(...json(413, '{"fault_message":"limit"}'));
    await expect(large.api.send(requests.mmds({}), signal())).rejects.toThrow("the metadata is too large");
  });

  it("are bounded and cleaned before people see them", async () => {
    const { api } = await answering(
      ...json(400, JSON.stringify({ fault_message: `\u001b[31m${"x".repeat(5_000)}\n` })),
    );
    const { message } = (await api.send(requests.entropy({}), signal()).catch((error: unknown) => error)) as Error;
    expect(message).not.toMatch(/\p{Cc}/u);
    expect(message.length).toBeLessThan(600);
  });

  it("that are no answers of Firecracker are told apart", async () => {
    const page = await answering(...json(200, "<html>"));
    await expect(page.api.version(signal())).rejects.toMatchObject({ code: "FIRECRACKER_ANSWER" });
    const noise = await answering("what?", "");
    await expect(noise.api.version(signal())).rejects.toMatchObject({ code: "FIRECRACKER_UNREACHABLE" });
    await expect(createApi(`${noise.path}.none`).version(signal())).rejects.toMatchObject({
      code: "FIRECRACKER_UNREACHABLE",
      facts: { code: "ENOENT" },
    });
  });

  it("tell version and state", async () => {
    const versions = await answering(...json(200, '{"firecracker_version":"1.16.1"}'));
    expect(await versions.api.version(signal())).toBe("1.16.1");
    const state = { app_name: "Firecracker", id: "vm", state: "Not started", vmm_version: "1.16.1" };
    const instances = await answering(...json(200, JSON.stringify(state)));
    expect(await instances.api.instance(signal())).toMatchObject({ id: "vm", state: "Not started" });
  });

  it("are not waited for longer than the caller wants", async () => {
    const { api } = await answering();
    const abort = new AbortController();
    const waiting = api.version(abort.signal);
    abort.abort(new Error("given up"));
    await expect(waiting).rejects.toThrow("given up");
  });
});

group("versions", () => {
  it("from 1.7 on are taken, with what each can do", () => {
    expect(parseVersion("1.7.0")).toEqual([1, 7]);
    expect(parseVersion("v1.16.1")).toEqual([1, 16]);
    expect(parseVersion("1.17.0-dev")).toEqual([1, 17]);
    expect(parseVersion("2.0.0")).toEqual([2, 0]);
    expect(() => parseVersion("1.6.9")).toThrow("too old");
    expect(() => parseVersion("0.25.2")).toThrow("too old");
    expect(() => parseVersion("QEMU emulator")).toThrow("no version");
    expect(() => requireFeature([1, 13], "freePageReporting", "x")).toThrow("does not work with Firecracker 1.13");
    requireFeature([1, 14], "freePageReporting", "x");
    requireFeature([2, 0], "freePageReporting", "x");
  });
});
