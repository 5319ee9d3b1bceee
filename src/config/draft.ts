import type { Path } from "./problems.ts";
import type { ConfigInput } from "./schema.ts";

type Partly<T> = T extends (infer Item)[]
  ? (Partly<Item> | undefined)[]
  : T extends object
    ? { [K in keyof T]?: Partly<T[K]> | undefined }
    : T;

/** A file's content of which everything that the schema refused is gone: what is left has its type. */
export type Draft = Partly<ConfigInput>;
export type DraftPool = NonNullable<NonNullable<Draft["pools"]>[number]>;
export type DraftForge = NonNullable<Draft["gitea"]>;

export interface Report {
  error(path: Path, message: string, ...also: Path[]): void;
  warn(path: Path, message: string, ...also: Path[]): void;
  /** Says where the program differs from the original; only for files of the original. */
  differs(path: Path, message: string): void;
}

/** Which block describes the forge. */
export const forgeKey = (draft: Draft): "gitea" | "forge" =>
  draft.forge !== undefined && draft.gitea === undefined ? "forge" : "gitea";
