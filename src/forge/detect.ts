import * as z from "zod";
import { capabilitiesOf, OLDEST } from "./capabilities.ts";
import { clean, ForgeError } from "./errors.ts";
import type { ForgeHttp } from "./http.ts";
import type { ForgeCapabilities } from "./port.ts";
import { compareVersions, parseVersion } from "./version.ts";

const Version = z.object({ version: z.string().max(200) });

/** Asks the forge what it is. @throws {ForgeError} FORGE_UNSUPPORTED for a version that is too old or not understood */
export async function detect(http: ForgeHttp, signal: AbortSignal): Promise<ForgeCapabilities> {
  const { version: text } = await http.json(
    { operation: "version", method: "GET", path: "/api/v1/version", needs: "any valid token", repeatable: true },
    Version,
    signal,
  );
  const version = parseVersion(text);
  if (version === undefined) {
    throw new ForgeError(
      "FORGE_UNSUPPORTED",
      `${http.url} calls itself version "${clean(text, 60)}", which is no version`,
      {
        hint: "Fireteact works with Gitea and Forgejo; use a released version.",
      },
    );
  }
  const oldest = OLDEST[version.flavour];
  if (compareVersions(version.numbers, oldest) < 0) {
    throw new ForgeError(
      "FORGE_UNSUPPORTED",
      `${http.url} is ${version.flavour} ${clean(text, 60)}, which is too old`,
      {
        hint: `The oldest version that works, degraded, is ${oldest}.`,
        facts: { flavour: version.flavour, version: clean(text, 60), oldest },
      },
    );
  }
  return capabilitiesOf({ ...version, text: clean(text, 60) });
}
