import { FireteactError } from "../../base/errors.ts";
import { exec } from "../../base/exec.ts";
import { registered } from "../assignment.ts";
import { findProgram } from "../identity.ts";
import type { Engine } from "./engine.ts";
import { writeConfig } from "./gitea-runner.ts";
import { understandRunnerLog } from "./runner-log.ts";

/** `one-job --wait` came with this version. */
const OLDEST = [12, 8] as const;

/** forgejo-runner: `one-job --wait`, for one job attempt where the registration is bound to it. */
export const forgejoRunner: Engine = {
  find: () => findProgram("forgejo-runner"),

  async prepare(context, program) {
    const { handle } = registered(context.assignment);
    await checkVersion(program);
    const config = await writeConfig(context);
    return {
      command: [program, ...config, "one-job", "--wait", ...(handle === undefined ? [] : ["--handle", handle])],
      drainSignal: "SIGTERM",
      stopSignal: "SIGTERM",
      speaksRecords: false,
      understand: understandRunnerLog,
    };
  },
};

async function checkVersion(program: string): Promise<void> {
  const { stdout } = await exec(program, ["--version"], { timeout: 10_000 });
  const [, major = "0", minor = "0"] = /v?(\d+)\.(\d+)/.exec(stdout) ?? [];
  const [oldestMajor, oldestMinor] = OLDEST;
  if (Number(major) > oldestMajor || (Number(major) === oldestMajor && Number(minor) >= oldestMinor)) return;
  throw new FireteactError("ENGINE_TOO_OLD", `${program} is version ${major}.${minor}`, {
    hint: `the engine forgejo-runner needs ${OLDEST.join(".")} or newer`,
  });
}
