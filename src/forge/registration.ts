import { Code, ConnectError } from "@connectrpc/connect";
import type { Runner } from "../../gen/runner/v1/runner_pb.js";
import { describe } from "../base/errors.ts";
import { createRunnerClient } from "../runner-rpc/client.ts";
import { rpcProblem } from "../runner-rpc/errors.ts";
import type { Dialect, DialectContext } from "./dialect.ts";
import { clean, ForgeError } from "./errors.ts";
import type { ForgeHttp } from "./http.ts";
import type { ForgeCapabilities, RegisterRequest } from "./port.ts";
import { fetchThrough } from "./runner-fetch.ts";
import { shared } from "./shared.ts";

/** Shown by the forge as the runner's version until its engine declares its own. */
const VERSION = "fireteact";
const NEEDS = "no right: the registration token is enough";

/**
 * Registers a runner by the runner protocol, from the host, so that the scope's registration token enters no guest.
 * Binary protobuf, as every published runner sends it: what works for them works here, behind any proxy.
 * It is never sent twice by itself: a lost answer may have left a row, which the caller finds by the runner's name.
 */
export function createRegistrar(
  context: DialectContext,
  fetchToken: (signal: AbortSignal) => Promise<string>,
  deleteRunner: Dialect["deleteRunner"],
): Dialect["register"] {
  const { http, allowPersistentRegistration } = context;
  /** Registration tokens stay valid until somebody makes a newer one in the forge. */
  const tokens = shared(fetchToken);

  return async (capabilities, request, signal) => {
    if (!capabilities.ephemeral && !allowPersistentRegistration) throw notEphemeral(context, capabilities, "");
    const runner = await registerWithFreshToken(request, signal);
    if (!runner.ephemeral && !allowPersistentRegistration) {
      const left = await deleteRunner(Number(runner.id), signal).then(
        () => "",
        (error: unknown) => `; its row ${runner.id} (${request.name}) is still there: ${describe(error)}`,
      );
      throw notEphemeral(context, capabilities, left);
    }
    return { row: Number(runner.id), uuid: runner.uuid, token: runner.token };
  };

  async function registerWithFreshToken(request: RegisterRequest, signal: AbortSignal): Promise<Runner> {
    const token = await tokens.get(signal);
    try {
      return await callRegister(http, request, token, signal);
    } catch (error) {
      if (!(error instanceof ConnectError) || rpcProblem(error) !== "registration-token-refused") {
        throw asForgeError(error, http, token, signal);
      }
      tokens.forget(token);
    }
    const newer = await tokens.get(signal);
    try {
      return await callRegister(http, request, newer, signal);
    } catch (error) {
      throw asForgeError(error, http, newer, signal);
    }
  }
}

async function callRegister(
  http: ForgeHttp,
  request: RegisterRequest,
  token: string,
  signal: AbortSignal,
): Promise<Runner> {
  const fetchVia = fetchThrough(http, { operation: "register", needs: NEEDS, repeatable: false }, signal);
  const { runner: client } = createRunnerClient({ baseUrl: http.url, fetchVia });
  const { runner } = await client.register(
    { name: request.name, token, labels: request.labels.map(labelName), version: VERSION, ephemeral: true },
    { signal },
  );
  if (runner !== undefined && isSound(runner)) return runner;
  throw new ForgeError("FORGE_BAD_ANSWER", `${http.url} registered ${request.name} but did not say its id and secret`, {
    hint: "Check that no proxy before the forge changes what it answers.",
  });
}

const isSound = (runner: Runner): boolean =>
  runner.id > 0n &&
  runner.id <= BigInt(Number.MAX_SAFE_INTEGER) &&
  /^[0-9a-zA-Z-]{16,64}$/.test(runner.uuid) &&
  /^[\x21-\x7e]{8,512}$/.test(runner.token);

/** Only names travel to the forge: `ubuntu:host` is the label `ubuntu`. */
export function labelName(label: string): string {
  return label.replace(/:(host|docker|lxc)(:.*)?$/, "");
}

/** What went wrong below the protocol is the cause of the protocol's error, and says more. */
function asForgeError(error: unknown, http: ForgeHttp, token: string, signal: AbortSignal): unknown {
  if (signal.aborted) return signal.reason;
  if (!(error instanceof ConnectError)) return error;
  if (error.cause instanceof ForgeError) return error.cause;
  const said = clean(error.rawMessage.replaceAll(token, "[secret]"), 200);
  const facts = { rpcCode: Code[error.code] };
  const problem = rpcProblem(error);
  if (problem === "registration-token-refused") {
    return new ForgeError("FORGE_UNAUTHORIZED", `${http.url} does not accept the registration token it gave: ${said}`, {
      hint: "Look for two forges behind one URL, or a database that lags behind; reset the token in the forge's runner settings.",
      facts,
    });
  }
  if (problem === "unimplemented") {
    return new ForgeError("FORGE_UNSUPPORTED", `${http.url} does not serve the runner protocol: ${said}`, {
      hint: "Enable Actions on the forge, and let proxies pass /api/actions.",
      facts,
    });
  }
  const broken = error.code === Code.Unknown || error.code === Code.Internal || error.code === Code.Unavailable;
  const code = broken ? "FORGE_SERVER_ERROR" : "FORGE_REFUSED";
  return new ForgeError(code, `${http.url} did not register the runner: ${said}`, { facts });
}

export function notEphemeral(context: DialectContext, capabilities: ForgeCapabilities, left: string): ForgeError {
  const { flavour, version } = capabilities;
  const forge = `${context.http.url} (${flavour} ${version})`;
  return new ForgeError("FORGE_NOT_EPHEMERAL", `${forge} does not register ephemeral runners${left}`, {
    hint: "Upgrade to Gitea 1.24 or Forgejo 15. With allowPersistentRegistration a job can keep its runner's credentials and be given other jobs by them.",
    facts: { flavour, version },
  });
}
