import * as z from "zod";
import { DURATION, formatDuration, parseDuration } from "./duration.ts";

const SECOND = 1_000;
const HOUR = 3_600_000;

/** A text with its own reason when it does not fit. */
export const text = (most = 4_096) => z.string().max(most);

export const path = () =>
  z
    .string()
    .max(4_096)
    .regex(/^[^\0\r\n]+$/, "must be a path on one line");

/** A duration between a second and `most`, as text. */
export const duration = (most = 168 * HOUR) =>
  z
    .string()
    .regex(DURATION, "must be a duration with units, such as 90s, 15m or 3h10m")
    .refine((value) => between(value, most), `must be between 1s and ${formatDuration(most)}`);

const between = (value: string, most: number): boolean => {
  const milliseconds = parseDuration(value);
  return milliseconds === undefined || (milliseconds >= SECOND && milliseconds <= most);
};

/** Counts; a number too large for the plan is a mistake. */
export const count = (least: number, most: number) => z.int().min(least).max(most);

/** Part of ids, file names, metric labels and host names. */
export const name = () =>
  z
    .string()
    .max(38, "must have at most 38 characters: with a dash and 24 digits it becomes a host name, which ends at 63")
    .regex(
      /^[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?$/,
      "must start and end with a letter or digit and have only letters, digits and . _ - inside: it becomes part of ids, file names and host names",
    );

/** A host's name as `hostname` prints it, or its six-digit id. */
export const hostName = () =>
  z
    .string()
    .max(253)
    .regex(/^[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?$/, "must be a host name, such as ci-1 or ci-1.example.com");

/** A user, organisation or repository name of the forge. */
export const forgeName = () =>
  z
    .string()
    .max(255)
    .regex(/^[A-Za-z0-9._-]+$/, "must be a bare name of the forge (letters, digits and . _ -), without slashes");

export const label = () =>
  z
    .string()
    .min(1, "must not be empty")
    .max(255, "must have at most 255 characters, more no forge keeps")
    .regex(
      /^[^\s,\u0000-\u001f\u007f]+$/,
      "must have no spaces, commas or control characters: labels are joined with commas",
    )
    .regex(/^[^:]+(?::(?:host|docker|lxc)(?::.*)?)?$/, "must be a bare name, name:host or name:docker://image");

export const httpUrl = () =>
  z
    .string()
    .max(2_048)
    .refine(isHttpUrl, "must be an address such as https://git.example.com, without user, query or fragment");

function isHttpUrl(value: string): boolean {
  const url = URL.parse(value);
  if (url === null || !["http:", "https:"].includes(url.protocol)) return false;
  return url.username === "" && url.password === "" && !/[?#\s]/.test(value);
}

export const proxyUrl = () =>
  z
    .string()
    .max(2_048)
    .refine((value) => /^https?:$/.test(URL.parse(value)?.protocol ?? ""), "must be an http:// or https:// address");

/** `host:port`, `:port` or `[v6]:port`. */
export const listenAddress = () =>
  z
    .string()
    .max(300)
    .refine(
      (value) => parseListenAddress(value) !== undefined,
      "must be host:port, such as 127.0.0.1:8082, [::1]:8082 or 0.0.0.0:8082 for every network",
    );

/** An empty host means the one before the colon is missing. */
export function parseListenAddress(value: string): { host: string; port: number } | undefined {
  const [, v6, host, port] = /^(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]*)):(\d{1,5})$/.exec(value) ?? [];
  return port === undefined || Number(port) > 65_535 ? undefined : { host: v6 ?? host ?? "", port: Number(port) };
}
