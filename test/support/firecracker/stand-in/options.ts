import { parseArgs } from "node:util";

export interface Options {
  id: string;
  socket: string;
  version: boolean;
}

/** Firecracker's own arguments; what is none of them ends the process with its status for that. */
export function readOptions(args: string[]): Options {
  const text = { type: "string" } as const;
  const flag = { type: "boolean" } as const;
  try {
    const { values } = parseArgs({
      args,
      options: {
        "api-sock": { ...text, default: "/run/firecracker.socket" },
        id: { ...text, default: "anonymous-instance" },
        level: text,
        "log-path": text,
        "metrics-path": text,
        module: text,
        "show-level": flag,
        "show-log-origin": flag,
        "boot-timer": flag,
        "http-api-max-payload-size": text,
        "mmds-size-limit": text,
        "enable-pci": flag,
        "seccomp-filter": text,
        "no-seccomp": flag,
        "start-time-us": text,
        "start-time-cpu-us": text,
        "parent-cpu-time-us": text,
        version: flag,
      },
    });
    if (!/^[A-Za-z0-9-]{1,64}$/.test(values.id)) throw new Error(`Invalid char in the id: ${values.id}`);
    return { id: values.id, socket: values["api-sock"], version: values.version === true };
  } catch (error) {
    process.stderr.write(`Arguments parsing error: ${(error as Error).message}\n`);
    process.exit(153);
  }
}
