import { FireteactError } from "../../base/errors.ts";

const OLDEST: Version = [1, 7];

/** Major and minor; patches change no API. */
export type Version = readonly [major: number, minor: number];

/** What came with which version: an older one refuses requests with keys that it does not know. */
const SINCE = {
  /** MMDS answers with text whatever is asked for, as EC2 does. */
  imdsCompat: [1, 13],
  /** The balloon gives back pages that the guest does not use. */
  freePageReporting: [1, 14],
} as const satisfies Record<string, Version>;

export type Feature = keyof typeof SINCE;

/** @throws FireteactError `FIRECRACKER_VERSION` for what is no version, and for one that is too old */
export function parseVersion(text: string): Version {
  const [, major, minor] = /^v?(\d{1,4})\.(\d{1,4})(?:\.|$)/.exec(text) ?? [];
  if (major === undefined || minor === undefined) {
    throw new FireteactError("FIRECRACKER_VERSION", `This is no version of Firecracker: ${JSON.stringify(text)}`, {
      hint: "Check that firecracker.binaryPath is Firecracker's binary",
    });
  }
  const version: Version = [Number(major), Number(minor)];
  if (isBefore(version, OLDEST)) {
    throw new FireteactError("FIRECRACKER_VERSION", `Firecracker ${text} is too old`, {
      hint: `At least version ${OLDEST.join(".")} is needed: github.com/firecracker-microvm/firecracker/releases`,
      facts: { version: text },
    });
  }
  return version;
}

/** @throws FireteactError `FIRECRACKER_VERSION` where the version does not have the feature that a setting asks for */
export function requireFeature(version: Version, feature: Feature, setting: string): void {
  if (!isBefore(version, SINCE[feature])) return;
  const has = version.join(".");
  throw new FireteactError("FIRECRACKER_VERSION", `${setting} does not work with Firecracker ${has}`, {
    hint: `Install Firecracker ${SINCE[feature].join(".")} or newer, or remove the setting`,
  });
}

const isBefore = ([major, minor]: Version, [otherMajor, otherMinor]: Version): boolean =>
  major < otherMajor || (major === otherMajor && minor < otherMinor);
