import { DEFAULT_PLACES, type Places } from "../base/names.ts";

/** The configuration where no other is named. */
export const DEFAULT_CONFIG = "/etc/fireteact/config.yaml";

/** Where this program keeps its things; tests and a second daemon on one host work elsewhere. Read once, here. */
export function placesFromEnvironment(): Places {
  return {
    state: process.env["FIRETEACT_STATE_DIR"] ?? DEFAULT_PLACES.state,
    run: process.env["FIRETEACT_RUN_DIR"] ?? DEFAULT_PLACES.run,
  };
}
