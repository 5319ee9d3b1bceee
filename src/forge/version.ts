import type { ForgeFlavour } from "./port.ts";

export interface ForgeVersion {
  flavour: ForgeFlavour;
  /** As the forge writes it. */
  text: string;
  /** Major, minor, patch. */
  numbers: [number, number, number];
}

/**
 * Reads what `/api/v1/version` says. Forgejo carries the Gitea version it is compatible with behind `+gitea-`; Gitea
 * never does. Suffixes of builds between releases (`1.26.0+dev-123-gabcdef`, `28.0.0-rc1`) count as the release that
 * they lead to. Undefined where the text does not begin with a version.
 */
export function parseVersion(text: string): ForgeVersion | undefined {
  const match = /^v?(\d{1,5})(?:\.(\d{1,5}))?(?:\.(\d{1,5}))?(?=$|[+\-.~ ])/.exec(text.trim());
  if (match === null) return undefined;
  return {
    flavour: /\+gitea-/.test(text) ? "forgejo" : "gitea",
    text: text.trim(),
    numbers: [Number(match[1]), Number(match[2] ?? 0), Number(match[3] ?? 0)],
  };
}

/** Negative, zero or positive, as in `sort`. Gitea's 28.0.0 follows 1.27 by plain numbers. */
export function compareVersions(numbers: readonly number[], other: string): number {
  const others = other.split(".").map(Number);
  for (let index = 0; index < 3; index++) {
    const difference = (numbers[index] ?? 0) - (others[index] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}
