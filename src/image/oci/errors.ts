import { type ErrorFacts, FireteactError } from "../../base/errors.ts";

interface RegistryErrorOptions {
  hint?: string;
  cause?: unknown;
  facts?: ErrorFacts;
  /** Another try may do better. */
  transient?: boolean;
  /** Milliseconds that the registry wants to be left alone. */
  retryAfter?: number;
}

/**
 * What went wrong with a registry: `REGISTRY_UNREACHABLE`, `REGISTRY_REFUSED` (credentials), `REGISTRY_BUSY`,
 * `REGISTRY_ANSWER` (nonsense), `REGISTRY_LIED` (content that is not what was named) or `IMAGE_NOT_FOUND`.
 */
export class RegistryError extends FireteactError {
  readonly transient: boolean;
  readonly retryAfter: number | undefined;

  constructor(code: string, message: string, { transient = false, retryAfter, ...options }: RegistryErrorOptions = {}) {
    super(code, message, options);
    this.name = "RegistryError";
    this.transient = transient;
    this.retryAfter = retryAfter;
  }
}

export const lied = (message: string, facts: ErrorFacts = {}): RegistryError =>
  new RegistryError("REGISTRY_LIED", message, {
    hint: "Nothing of it was kept. Ask whoever runs the registry or the mirror; another one can be named under images.registries",
    facts,
  });

/** Content that no image may have; asking again does not help. */
export const badImage = (message: string, facts: ErrorFacts = {}): FireteactError =>
  new FireteactError("IMAGE_INVALID", message, {
    hint: "Build the image again and push it; if it should be right, pull it with another tool and compare",
    facts,
  });

export const tooLarge = (message: string): FireteactError =>
  new FireteactError("IMAGE_TOO_LARGE", message, { hint: "If it is meant to be so large: raise images.maxSizeMib" });
