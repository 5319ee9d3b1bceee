import { randomBytes } from "node:crypto";
import type { Clock } from "../base/clock.ts";

export const LONGEST_TTL_SECONDS = 21_600;
/** 36 bytes are 48 characters of base64, as long as the original's. */
const TOKEN_BYTES = 36;
/** More than a guest needs; the oldest go first, so that a guest which asks for ever holds no memory. */
const MOST_TOKENS = 256;

/** The session tokens of one guest. They mean nothing to any other guest, nor after a restart. */
export interface Tokens {
  issue(ttlSeconds: number): string;
  accepts(token: string): boolean;
}

export function createTokens(clock: Clock): Tokens {
  /** Uptime at which each token expires, oldest token first. */
  const expiries = new Map<string, number>();
  return {
    issue(ttlSeconds) {
      const token = randomBytes(TOKEN_BYTES).toString("base64");
      expiries.set(token, clock.uptime() + ttlSeconds * 1_000);
      const [oldest] = expiries.keys();
      if (expiries.size > MOST_TOKENS && oldest !== undefined) expiries.delete(oldest);
      return token;
    },
    accepts(token) {
      const expiry = expiries.get(token);
      return expiry !== undefined && clock.uptime() < expiry;
    },
  };
}
