import { chown } from "node:fs/promises";
import { join } from "node:path";
import { FireteactError } from "../../base/errors.ts";
import type { Cgroups } from "../microvm/cgroups.ts";
import { confine } from "../microvm/confine.ts";
import type { SandboxPlaces } from "../microvm/places.ts";
import type { Launcher } from "../microvm/shim.ts";
import type { Launch } from "./launch.ts";

/** Relative to the monitor's working directory, so that they are short whatever the directory is. */
const API_SOCKET = "vm/api.sock";
const VSOCK_SOCKET = "vm/vsock.sock";

/**
 * Starts Firecracker without its jailer: as a user of its own without any privilege, in the guest's network namespace
 * and control group, but with the host's files in sight.
 */
export function createDirectLaunch(deps: {
  launcher: Launcher;
  cgroups: Cgroups;
  places(hex: string): SandboxPlaces;
}): Launch {
  const { launcher, cgroups } = deps;
  return {
    check: async () => ({ ok: true, detail: "without jailer" }),
    prepare: async (plan) => {
      const groups = cgroups.make(plan.hex, plan.limits);
      if (groups.length > 0) plan.record({ cgroups: groups });
      const files = new Map(plan.files.map(({ name, path }) => [name, path]));
      return {
        vsock: VSOCK_SOCKET,
        seen: (name) => {
          const path = files.get(name);
          if (path === undefined) throw new FireteactError("BAD_MACHINE", `The monitor has no file ${name}`);
          return path;
        },
        start: async (args) => {
          const { namespace, uid, limits } = plan;
          const command = [plan.binary, "--id", plan.hex, "--api-sock", API_SOCKET, ...args];
          await launcher.launch({
            directory: plan.own.directory,
            command: confine(command, {
              namespace,
              uid,
              groups: plan.groups,
              cgroups: groups,
              fileBytes: limits.fileBytes,
            }),
            consoleBytes: plan.consoleBytes,
            onIdentity: (process) => plan.record({ process }),
          });
        },
        seal: () => chown(plan.own.vm, 0, 0),
      };
    },
    sockets: (hex) => {
      const { directory } = deps.places(hex);
      return { api: join(directory, API_SOCKET), vsock: join(directory, VSOCK_SOCKET) };
    },
    list: () => cgroups.list(),
    remove: (hex) => cgroups.remove(hex),
  };
}
