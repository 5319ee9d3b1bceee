import { describe } from "../base/errors.ts";
import { isForgeError } from "./errors.ts";
import type { ForgeTarget } from "./port.ts";
import { FEATURES, type Feature, type Right, rightFor } from "./rights.ts";

export interface RightCheck {
  feature: Feature;
  right: Right;
  /** `unsupported`: this version of the forge has no such feature, so that the right does not matter. */
  state: "given" | "missing" | "unsupported" | "unknown";
  /** What the absence of the feature means, or why it is not known. */
  detail?: string;
  hint?: string;
}

/** A row that no forge has: deleting it shows the right to delete without harm. */
const NO_ROW = Number.MAX_SAFE_INTEGER;

/** Tries what the API token may do, for doctor; makes and changes nothing in the forge. */
export async function checkRights(target: ForgeTarget, labels: string[], signal: AbortSignal): Promise<RightCheck[]> {
  const can = await target.capabilities(signal);
  const check = async (feature: Feature, offered: boolean, attempt: () => Promise<unknown>): Promise<RightCheck> => {
    const found = { feature, right: rightFor(feature, target.scope.kind) };
    if (!offered) return { ...found, state: "unsupported" };
    try {
      await attempt();
      return { ...found, state: "given" };
    } catch (error) {
      if (!isForgeError(error)) throw error;
      const hint = error.hint === undefined ? {} : { hint: error.hint };
      // A forge hides what a token may not see behind "not found".
      const missing = isForgeError(error, "FORGE_FORBIDDEN", "FORGE_UNAUTHORIZED", "FORGE_NOT_FOUND");
      return missing
        ? { ...found, state: "missing", detail: FEATURES[feature].without, ...hint }
        : { ...found, state: "unknown", detail: describe(error), ...hint };
    }
  };
  const write = await check("delete", can.deletesRunners, async () => await target.deleteRunner(NO_ROW, signal));
  /** Registering and disabling take the same right as deleting, and cannot be tried without a trace. */
  const alike = (feature: Feature, offered: boolean): RightCheck => {
    if (!offered) return { feature, right: rightFor(feature, target.scope.kind), state: "unsupported" };
    if (write.state === "given") return { ...write, feature };
    if (write.state === "missing") return { ...write, feature, detail: FEATURES[feature].without };
    return { ...write, feature, state: "unknown", detail: "it can only be tried by using it" };
  };
  return [
    await check("queue", can.listsQueue, async () => await target.jobs(labels, signal)),
    await check("runners", can.listsRunners, async () => await target.runners(signal)),
    alike("register", true),
    write,
    alike("disable", can.disablesRunners),
  ];
}
