import { realpathSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { FireteactError } from "../../base/errors.ts";
import type { Cgroups } from "../microvm/cgroups.ts";
import type { SandboxPlaces } from "../microvm/places.ts";
import type { Launcher } from "../microvm/shim.ts";
import { checkJails } from "./jail-check.ts";
import { jailCommand } from "./jail-command.ts";
import { furnish, seal } from "./jail-files.ts";
import { jailBehind, jailPlaces, jailsIn, makeBase } from "./jail-places.ts";
import { findJailer, type JailPrograms } from "./jail-programs.ts";
import type { Launch, LaunchPlan, PreparedLaunch } from "./launch.ts";

/** Relative to the sandbox's directory, and to the jail's root alike. */
const API_SOCKET = "vm/api.sock";
const VSOCK_SOCKET = "vm/vsock.sock";

/**
 * Starts Firecracker through its jailer: it sees no file of the host but its own, no process, and no network but its
 * guest's; it runs as a user of its own within limits, and with Firecracker's own seccomp filters.
 */
export function createJailLaunch(deps: {
  /** Where jails are built: on the file system of images and disks. */
  base: string;
  /** Files from here are shown to jails. */
  sources: readonly string[];
  /** The programs of all pools that use jails. */
  programs(): readonly JailPrograms[];
  launcher: Launcher;
  cgroups: Cgroups;
  places(hex: string): SandboxPlaces;
}): Launch {
  const { base, launcher, cgroups } = deps;

  const start = async (plan: LaunchPlan, binary: string, args: readonly string[]): Promise<void> => {
    const { hex, own, uid, namespace, limits } = plan;
    const made = cgroups.make(hex, limits);
    if (made.length > 0) plan.record({ cgroups: made });
    const programs = deps.programs().find((one) => one.binary === plan.binary);
    const command = jailCommand({
      hex,
      jailer: findJailer(programs ?? { binary: plan.binary }),
      binary,
      uid,
      base,
      namespace,
      ...(made.length === 0 ? {} : { cgroups: cgroups.settings(limits) }),
      fileBytes: limits.fileBytes,
    });
    await launcher.launch({
      directory: own.directory,
      command: [...command, "--api-sock", API_SOCKET, ...args],
      consoleBytes: plan.consoleBytes,
      onIdentity: (process) => plan.record({ process }),
    });
  };

  const prepare = async (plan: LaunchPlan): Promise<PreparedLaunch> => {
    const binary = realpathSync(plan.binary);
    const jail = jailPlaces(base, binary, plan.hex);
    makeBase(base);
    const seen = await furnish(jail, plan.own.vm, plan.files, plan.uid);
    return {
      vsock: VSOCK_SOCKET,
      seen: (name) => {
        const path = seen.get(name);
        if (path === undefined) throw new FireteactError("BAD_MACHINE", `The monitor has no file ${name}`);
        return path;
      },
      start: (args) => start(plan, binary, args),
      seal: () => seal(jail),
    };
  };

  return {
    check: (signal) => checkJails({ base, sources: deps.sources, programs: deps.programs() }, signal),
    prepare,
    sockets: (hex) => {
      const { directory } = deps.places(hex);
      return { api: join(directory, API_SOCKET), vsock: join(directory, VSOCK_SOCKET) };
    },
    list: () => [...new Set([...jailsIn(base).keys(), ...cgroups.list()])],
    remove: async (hex) => {
      await cgroups.remove(hex);
      const behind = jailBehind(deps.places(hex).vm, hex);
      const jails = new Set([...(jailsIn(base).get(hex) ?? []), ...(behind === undefined ? [] : [behind])]);
      for (const jail of jails) await rm(jail, { recursive: true, force: true });
    },
  };
}
