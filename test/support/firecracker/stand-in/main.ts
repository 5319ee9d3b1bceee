// Stands in for Firecracker where none can run: takes its arguments, serves its API strictly by the API's description, and
// boots with QEMU the very guest that the requests describe. First argument: the directory with its orders.
import { readFileSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import type { Description } from "../description.ts";
import { bootGuest, type Guest } from "./guest.ts";
import { readOptions } from "./options.ts";
import { note, type Orders, readOrders } from "./orders.ts";
import { type Body, checkRequest, checkStart, type Described, describeGuest, Fault, type Phase } from "./state.ts";
import { listenVsock } from "./vsock.ts";

const [, , directory = "", ...args] = process.argv;
const options = readOptions(args);
const description = JSON.parse(readFileSync(join(directory, "description.json"), "utf8")) as Description;
const described: Described = {
  machine: { vcpu_count: 1, mem_size_mib: 128 },
  drives: new Map(),
  interfaces: new Map(),
};
let phase: Phase = "Not started";
let guest: Guest | undefined;
let endVsock: () => Promise<void> = async () => undefined;

const versionOf = ({ version = "1.16.1" }: Orders): string => version;

if (options.version) {
  process.stdout.write(`Firecracker v${versionOf(readOrders(directory))}\n\n`);
  process.exit(0);
}
const atStart = readOrders(directory).exitAtStart;
if (atStart !== undefined) {
  process.stdout.write("Running Firecracker failed: as ordered\n");
  process.exit(atStart);
}

/** One request is served at a time. */
let turn: Promise<void> = Promise.resolve();
createServer((request, response) => {
  turn = turn.then(() => serve(request, response));
})
  .on("error", (error) => {
    process.stdout.write(`Failed to open the API socket: ${error.message}\n`);
    process.exit(1);
  })
  .listen(options.socket);

async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { method = "", url: path = "" } = request;
  const sent = await text(request);
  const body = sent === "" ? undefined : parsed(sent);
  const orders = readOrders(directory);
  try {
    const action = path === "/actions" ? (body as Body | undefined)?.["action_type"] : undefined;
    const trouble = orders.trouble?.[`${method} ${path}`] ?? orders.trouble?.[String(action)];
    if (trouble?.exit !== undefined) process.exit(trouble.exit);
    if (trouble?.hang === true) return;
    if (trouble?.fault !== undefined) throw new Fault(trouble.fault);
    checkRequest({ description, version: versionOf(orders), phase }, method, path, body);
    const answer = method === "GET" ? read(path, orders) : await change(method, path, body as Body);
    respond(method, path, body, response, answer);
  } catch (error) {
    respond(method, path, body, response, { fault_message: (error as Error).message }, 400);
  }
}

function read(path: string, orders: Orders): Body {
  const version = versionOf(orders);
  if (path === "/version") return { firecracker_version: version };
  if (path === "/") return { app_name: "Firecracker", id: options.id, state: phase, vmm_version: version };
  if (path === "/machine-config") return described.machine;
  throw new Fault(`the stand-in has no answer to GET ${path}`);
}

async function change(method: string, path: string, body: Body): Promise<undefined> {
  if (path === "/actions") return await act(String(body["action_type"]));
  describeGuest(described, method, path, body);
  if (path === "/vsock") endVsock = await listenVsock(String(body["uds_path"]), () => guest);
  return undefined;
}

async function act(action: string): Promise<undefined> {
  const isStart = action === "InstanceStart";
  if (isStart !== (phase === "Not started")) {
    throw new Fault(`The requested operation is not supported ${isStart ? "after" : "before"} starting the microVM.`);
  }
  // A guest whose kernel has no driver for the keyboard does not heed it; neither does one without that device.
  if (!isStart) return;
  checkStart(described);
  guest = await bootGuest(described, (status) => void endVsock().finally(() => process.exit(status)));
  phase = "Running";
}

function respond(method: string, path: string, body: unknown, response: ServerResponse, answer?: Body, status = 200) {
  const secret = path === "/mmds";
  const fault = status === 400 ? String(answer?.["fault_message"]) : undefined;
  const code = answer === undefined ? 204 : status;
  note(directory, { id: options.id, method, path, ...(secret ? {} : { body }), status: code, ...(fault && { fault }) });
  response.sendDate = false;
  const headers = { Server: "Firecracker API", Connection: "keep-alive" };
  if (answer === undefined) {
    response.writeHead(204, "", headers).end();
    return;
  }
  const content = JSON.stringify(answer);
  const length = Buffer.byteLength(content);
  response
    .writeHead(code, "", { ...headers, "Content-Type": "application/json", "Content-Length": length })
    .end(content);
}

function parsed(content: string): unknown {
  try {
    return JSON.parse(content);
  } catch {
    return content;
  }
}
