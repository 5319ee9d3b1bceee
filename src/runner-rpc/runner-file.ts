import type { TrustPolicy } from "../base/trust.ts";

/** One runner's registration, as the forge gave it out. */
export interface RunnerFile {
  /** The forge's id of the row. */
  row: string;
  uuid: string;
  name: string;
  token: string;
  /** The forge's URL as the runner reaches it. */
  address: string;
  /** `name:host` each. */
  labels: string[];
  ephemeral: boolean;
  /** Names the one job it may take, where the forge can bind; only the shell engine reads it here. */
  handle?: string;
  /** The only jobs that it may run; only the shell engine reads it here. */
  trust?: TrustPolicy;
}

/** The file `.runner`, in the form that gitea-runner, forgejo-runner and our own engine read. */
export function runnerFileContent({ row, handle, trust, ...runner }: RunnerFile): string {
  const { uuid, name, token, address, labels, ephemeral } = runner;
  const content = {
    WARNING: "This file is written by Fireteact. It is valid for one job; do not edit it.",
    id: Number(row) || 0,
    uuid,
    name,
    token,
    address,
    labels,
    ephemeral,
    ...(handle === undefined ? {} : { handle }),
    ...(trust === undefined ? {} : { trust }),
  };
  return `${JSON.stringify(content, undefined, 2)}\n`;
}
