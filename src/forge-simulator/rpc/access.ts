import { Code, ConnectError } from "@connectrpc/connect";
import type { Runner } from "../records.ts";
import { authenticateRunner } from "../runners.ts";
import { TaskRefusal } from "../tasks.ts";
import type { World } from "../world.ts";

const UNREGISTERED = "unregistered runner";

/** Finds the runner of the headers and notes that it spoke; `reports` are the calls that make it busy. */
export function authenticate(world: World, headers: Headers, reports = false): Runner {
  const uuid = headers.get("x-runner-uuid") ?? "";
  const runner = authenticateRunner(world, uuid, headers.get("x-runner-token") ?? "");
  if (runner === undefined) {
    if (world.traits.trueUnauthenticated) throw new ConnectError(UNREGISTERED, Code.Unauthenticated);
    throw grpcStatus("Unauthenticated", UNREGISTERED);
  }
  runner.lastOnline = world.clock.now();
  if (reports) runner.lastActive = runner.lastOnline;
  return runner;
}

/** A refused registration: a plain error on Gitea and old Forgejo, a true code on new ones. */
export const refused = (world: World, message: string): ConnectError =>
  new ConnectError(message, world.traits.trueUnauthenticated ? Code.InvalidArgument : Code.Unknown);

/** Gives a refusal the code of the flavour; anything else is a defect and stays as it is. */
export function failed(world: World, error: unknown): unknown {
  if (!(error instanceof TaskRefusal)) return error;
  const internal = error.kind === "internal";
  if (!world.traits.trueUnauthenticated) return grpcStatus(internal ? "Internal" : "AlreadyExists", error.message);
  return new ConnectError(error.message, internal ? Code.Internal : Code.AlreadyExists);
}

/** The older servers put a gRPC status into the text of an unknown error. */
const grpcStatus = (code: string, message: string): ConnectError =>
  new ConnectError(`rpc error: code = ${code} desc = ${message}`, Code.Unknown);
