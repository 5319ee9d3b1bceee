import type { Logger } from "../base/log.ts";
import type { ForgeScope, Job, RunnerRow } from "../core/types.ts";
import type { ForgeHttp } from "./http.ts";
import type { ForgeCapabilities, Listing, RegisterRequest, Registration } from "./port.ts";

/** What both dialects are given. */
export interface DialectContext {
  /** The target's key. */
  key: string;
  scope: ForgeScope;
  http: ForgeHttp;
  log: Logger;
  allowPersistentRegistration: boolean;
}

/** How one flavour of forge is spoken to. Callers have checked that the version can do what they ask. */
export interface Dialect {
  jobs(
    capabilities: ForgeCapabilities,
    labels: string[],
    signal: AbortSignal,
  ): Promise<Listing<Omit<Job, "since" | "at">>>;
  runners(signal: AbortSignal): Promise<Listing<RunnerRow>>;
  register(capabilities: ForgeCapabilities, request: RegisterRequest, signal: AbortSignal): Promise<Registration>;
  /** Asks for the scope's registration token; it opens the scope for runners, so it is for whoever must have it. */
  registrationToken(signal: AbortSignal): Promise<string>;
  /** @param repository whose the row is, for a dialect of several */
  deleteRunner(row: number, signal: AbortSignal, repository?: string): Promise<void>;
  disableRunner(row: number, signal: AbortSignal): Promise<void>;
}
