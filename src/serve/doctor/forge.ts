import { systemClock } from "../../base/clock.ts";
import { silentLogger } from "../../base/log.ts";
import { openSecret } from "../../config/secret.ts";
import type { PoolSettings, Settings, TargetSettings } from "../../core/settings.ts";
import { scopeText } from "../../core/settings.ts";
import { header } from "../../forge/answers.ts";
import { degradations, describeMode } from "../../forge/capabilities.ts";
import { checkRights, type RightCheck } from "../../forge/check.ts";
import { createCircuit } from "../../forge/circuit.ts";
import { createForgeTarget } from "../../forge/create.ts";
import { createHttp } from "../../forge/http.ts";
import type { ForgeCapabilities } from "../../forge/port.ts";
import { FEATURES } from "../../forge/rights.ts";
import { DEFAULT_TUNING } from "../../forge/transport.ts";
import { bad, type Finding, failed, good, warning } from "./finding.ts";

/** One answer of a forge; a doctor has less patience than a daemon. */
const TUNING = { ...DEFAULT_TUNING, retries: 0 };
const TIMEOUT = 30_000;
/** Tokens and TLS still work beyond this, but times in the records do not fit together any more. */
const MOST_SKEW = 30_000;

export interface ForgeExamined {
  findings: Finding[];
  /** Undefined where the forge did not answer. */
  capabilities?: ForgeCapabilities;
}

/** Looks at one forge scope: reachable, what it can do, what the token may do, and whether the clocks agree. */
export async function checkForge(target: TargetSettings, settings: Settings): Promise<ForgeExamined> {
  const subject = `forge ${target.url}`;
  const signal = AbortSignal.timeout(TIMEOUT);
  const connection = connectionOf(target);
  const forge = createForgeTarget({
    ...connection,
    key: target.key,
    scope: target.scope,
    allowPersistentRegistration: target.allowPersistentRegistration,
    tuning: TUNING,
  });
  try {
    const began = performance.now();
    const capabilities = await forge.capabilities(signal);
    const milliseconds = Math.round(performance.now() - began);
    const pools = settings.pools.filter((pool) => pool.target === target.key);
    const findings = [modeFinding(subject, capabilities, milliseconds, target), ...fromGuests(subject, target, pools)];
    const labels = pools.flatMap((pool) => pool.labels);
    const token = `token for ${scopeText(target.scope)}`;
    findings.push(...rightFindings(token, await checkRights(forge, [...new Set(labels)], signal)));
    findings.push(await checkClock(`clock against ${new URL(target.url).host}`, connection, signal));
    return { findings, capabilities };
  } catch (error) {
    return { findings: [failed(subject, error, "check address, network and that the forge runs")] };
  } finally {
    await forge.close();
  }
}

function connectionOf(target: TargetSettings) {
  const secret = openSecret(target.token);
  return {
    url: target.url,
    token: () => secret.read(),
    log: silentLogger,
    clock: systemClock,
    ...(target.caFile === undefined ? {} : { caFile: target.caFile }),
    ...(target.proxy === undefined ? {} : { proxy: { url: target.proxy } }),
  };
}

function modeFinding(
  subject: string,
  capabilities: ForgeCapabilities,
  milliseconds: number,
  { allowPersistentRegistration }: TargetSettings,
): Finding {
  const detail = `${describeMode(capabilities)}; answered in ${milliseconds} ms`;
  if (degradations(capabilities).length === 0) return good(subject, detail);
  const hint = "update to Gitea 1.25 or Forgejo 15, or newer, for full service (docs/forges.md has the table)";
  const refuses = !capabilities.ephemeral && !allowPersistentRegistration;
  return refuses ? bad(subject, detail, hint) : warning(subject, detail, hint);
}

/** A loopback address is the guest's own, seen from a guest. */
function fromGuests(subject: string, { url }: TargetSettings, pools: PoolSettings[]): Finding[] {
  const own = /^(localhost|127(\.\d+){3}|\[::1\])$/.test(new URL(url).hostname);
  const names = pools.filter(({ driver }) => driver === "qemu" || driver === "firecracker").map(({ name }) => name);
  if (!own || names.length === 0) return [];
  const detail = `guests of ${names.join(", ")} cannot reach a loopback address`;
  return [bad(subject, detail, "write an address of this host that is not loopback as the forge's address")];
}

/** One line for all rights that are there, one for each that is not. */
function rightFindings(subject: string, checks: RightCheck[]): Finding[] {
  const given = checks.filter(({ state }) => state === "given").map(({ feature }) => feature);
  const lacking = checks.filter(({ state }) => state === "missing" || state === "unknown");
  const findings =
    given.length === 0 ? [] : [good(subject, `may: ${given.map((feature) => WORDS[feature]).join(", ")}`)];
  for (const { feature, right, state, detail, hint } of lacking) {
    const words = `${state === "missing" ? "may not" : "unknown whether it may"} ${WORDS[feature]}: ${detail ?? ""}`;
    const fix = hint ?? `make a token with ${right.token}, as ${right.role}`;
    const essential = state === "missing" && !FEATURES[feature].optional;
    findings.push(essential ? bad(subject, words, fix) : warning(subject, words, fix));
  }
  return findings;
}

const WORDS: Record<RightCheck["feature"], string> = {
  queue: "read the queue",
  runners: "list runners",
  register: "register runners",
  delete: "delete runners",
  disable: "disable runners",
};

async function checkClock(
  subject: string,
  connection: ReturnType<typeof connectionOf>,
  signal: AbortSignal,
): Promise<Finding> {
  const http = createHttp({
    ...connection,
    target: "doctor",
    circuit: createCircuit({ clock: systemClock }),
    tuning: TUNING,
  });
  const call = { operation: "version", method: "GET", path: "/api/v1/version", needs: "any valid token" } as const;
  try {
    const answer = await http.send({ ...call, repeatable: true, accepts: () => true }, signal);
    const theirs = Date.parse(header(answer, "date") ?? "");
    if (Number.isNaN(theirs)) return good(subject, "the forge does not say its time");
    // The header has whole seconds.
    const skew = Date.now() - theirs - 500;
    const seconds = Math.round(Math.abs(skew) / 1000);
    if (Math.abs(skew) <= MOST_SKEW) return good(subject, seconds <= 1 ? "the same time" : `${seconds} s apart`);
    const detail = `this host is ${seconds} s ${skew > 0 ? "ahead" : "behind"}`;
    return warning(subject, detail, "let a time service (chrony, systemd-timesyncd) set both clocks");
  } catch (error) {
    return failed(subject, error, "check the connection to the forge");
  } finally {
    await http.close();
  }
}
