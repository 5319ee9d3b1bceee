/** Replaced at build time; a checkout run without a build says so. */
declare const FIRETEACT_BUILD: { version: string } | undefined;

export const AGENT_VERSION = typeof FIRETEACT_BUILD === "undefined" ? "0.0.0-source" : FIRETEACT_BUILD.version;
