import { closeSync, constants, fstatSync, openSync, readFileSync } from "node:fs";
import { FireteactError, systemCode } from "../base/errors.ts";
import type { SecretSource } from "../core/settings.ts";

const LARGEST = 65_536;

/** A secret that is looked up whenever it is needed, so that a rotated one is used at once. Never log what it returns. */
export interface Secret {
  /** The secret without white space around it. Throws SECRET_UNREADABLE or SECRET_INVALID, without the secret in them. */
  read(): string;
}

/** The file is read at every call: it is small, and no comparison of times is as right as reading. */
export function openSecret(source: SecretSource): Secret {
  return source.kind === "inline" ? { read: () => source.value } : { read: () => readSecretFile(source.path).value };
}

export interface SecretFileContent {
  value: string;
  /** Every user of the machine can read the file. */
  worldReadable: boolean;
}

/** Reads a secret's file once. Errors as `Secret.read`. */
export function readSecretFile(path: string): SecretFileContent {
  const { bytes, mode } = readRegularFile(path);
  const value = bytes.toString("utf8").trim();
  if (value === "") throw invalid(path, "is empty");
  if (/\p{Cc}/u.test(value)) throw invalid(path, "holds more than one line of text");
  return { value, worldReadable: (mode & 0o004) !== 0 };
}

function readRegularFile(path: string): { bytes: Buffer; mode: number } {
  let descriptor: number;
  try {
    // Not blocking: opening a FIFO would otherwise wait for its writer for ever.
    descriptor = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    throw new FireteactError("SECRET_UNREADABLE", `${path} ${reason(error)}`, {
      cause: error,
      hint: "check that the file exists and that the user Fireteact runs as may read it",
    });
  }
  try {
    const status = fstatSync(descriptor);
    if (!status.isFile()) throw invalid(path, "is not a regular file");
    if (status.size > LARGEST) throw invalid(path, `has ${status.size} bytes; a secret has at most ${LARGEST}`);
    return { bytes: readFileSync(descriptor), mode: status.mode };
  } finally {
    closeSync(descriptor);
  }
}

/** Why a file cannot be read, as the rest of a sentence. */
export function reason(error: unknown): string {
  const code = systemCode(error);
  if (code === "ENOENT" || code === "ENOTDIR") return "does not exist";
  if (code === "EACCES" || code === "EPERM") return "may not be read by this user";
  if (code === "EISDIR") return "is a directory";
  return `cannot be read (${code ?? "unknown error"})`;
}

const invalid = (path: string, what: string) =>
  new FireteactError("SECRET_INVALID", `${path} ${what}`, { hint: "put the secret, and nothing else, into the file" });
