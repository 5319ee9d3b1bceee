import * as z from "zod";
import { isForgeError } from "../errors.ts";
import type { ForgeHttp } from "../http.ts";

const User = z.object({ login: z.string().max(255) });

/** The name of the token's user, where the token may read it. */
export async function loginOf(http: ForgeHttp, signal: AbortSignal): Promise<string | undefined> {
  const needs = "a token with read:user";
  try {
    const call = { operation: "repositories", method: "GET", path: "/api/v1/user", needs, repeatable: true } as const;
    return (await http.json(call, User, signal)).login;
  } catch (error) {
    if (isForgeError(error, "FORGE_FORBIDDEN", "FORGE_NOT_FOUND")) return undefined;
    throw error;
  }
}
