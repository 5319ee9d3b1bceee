import { linkSync, mkdirSync, readdirSync, readFileSync, rmSync, unlinkSync, writeFileSync } from "node:fs";
import * as z from "zod";
import { ignore, systemCode } from "../../base/errors.ts";
import type { Places } from "../../base/names.ts";
import { DEFAULT_EGRESS } from "../../core/settings.ts";

const rate = z.number().positive().exactOptional();
const port = z.number().int().min(0).max(65_535);

/** As `EgressPolicy`. */
const Egress = z.object({
  reach: z.enum(["open", "internet-only", "allow-list"]),
  allow: z.array(z.object({ host: z.string(), ports: z.tuple([port, port]).exactOptional() })),
  rates: z.object({
    uploadMbit: rate,
    downloadMbit: rate,
    packetsPerSecond: rate,
    connectionsPerSecond: rate,
  }),
});

/**
 * Which guest holds a slot: one file a slot under the run directory, which is all that is needed to find it again.
 *
 * Everything here is synchronous: the directory is in memory, a call takes less time than a turn of the event loop, and
 * nothing can come between reading the claims and acting on them.
 */
const Claim = z.object({
  slot: z.number().int().min(0),
  hex: z.string().regex(/^[0-9a-f]{24}$/),
  /** The guest's pool, empty where it is not known. */
  pool: z.string().default(""),
  /** What the pool's guests reached when this one came; counts while the configuration does not know the pool. */
  egress: Egress.default(DEFAULT_EGRESS),
});
export type Claim = z.output<typeof Claim>;

export const claimDirectory = (places: Places): string => `${places.run}/network`;

/** Records that a guest holds a slot; false where somebody holds it already. */
export function claim(directory: string, claim: Claim): boolean {
  const temporary = `${directory}/.${claim.slot}.${process.pid}`;
  writeFileSync(temporary, `${JSON.stringify(claim)}\n`, { mode: 0o600 });
  try {
    linkSync(temporary, fileOf(directory, claim.slot));
    return true;
  } catch (error) {
    if (systemCode(error) === "EEXIST") return false;
    throw error;
  } finally {
    unlinkSync(temporary);
  }
}

/** Twice is success. */
export const unclaim = (directory: string, slot: number): void => rmSync(fileOf(directory, slot), { force: true });

/** All claims, whoever made them. A file that is no claim is passed over: `tidy` removes it. */
export function readClaims(directory: string): Claim[] {
  return list(directory)
    .map((name) => readClaim(directory, name))
    .filter((found) => found !== undefined)
    .sort((a, b) => a.slot - b.slot);
}

/** Makes the directory and removes what a crash left in it; returns the names of broken claims. */
export function tidy(directory: string): string[] {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const useless = list(directory).filter((name) => readClaim(directory, name) === undefined);
  for (const name of useless) rmSync(`${directory}/${name}`, { force: true });
  return useless.filter((name) => !name.startsWith("."));
}

function list(directory: string): string[] {
  return absent(() => readdirSync(directory)) ?? [];
}

function readClaim(directory: string, name: string): Claim | undefined {
  const slot = /^(\d{1,4})\.json$/.exec(name)?.[1];
  if (slot === undefined) return undefined;
  const text = absent(() => readFileSync(`${directory}/${name}`, "utf8"));
  const parsed = Claim.safeParse(text === undefined ? undefined : parseJson(text));
  return parsed.success && parsed.data.slot === Number(slot) ? parsed.data : undefined;
}

function absent<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    return ignore("ENOENT")(error);
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

const fileOf = (directory: string, slot: number): string => `${directory}/${slot}.json`;
