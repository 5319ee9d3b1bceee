import { defineCommand } from "./command.ts";

/** Replaced at build time; a checkout run without a build says so. */
declare const FIRETEACT_BUILD: { version: string; commit: string; built: string } | undefined;

export const VERSION =
  typeof FIRETEACT_BUILD === "undefined"
    ? { version: "0.0.0-source", commit: "unknown", built: "not built" }
    : FIRETEACT_BUILD;

/** As the original printed it: the version, then commit and build date. */
export const versionLine = `${VERSION.version} (${VERSION.commit}, ${VERSION.built})`;

export const version = defineCommand<typeof VERSION>({
  name: "version",
  summary: "print the version",
  run: () => Promise.resolve(VERSION),
  render: () => versionLine,
});
