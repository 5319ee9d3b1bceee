import { parseArgs } from "node:util";
import { FireteactError } from "../base/errors.ts";
import { LOG_LEVELS, type LogLevel } from "../base/log.ts";
import { parseGoDuration } from "./duration.ts";

/** The command line of `fireteact runner`: the original's flags with the original's defaults, and a few of our own. */
export interface AgentOptions {
  logLevel: LogLevel;
  /** The level that was asked for, where we know none of that name. */
  unknownLevel?: string;
  /** Milliseconds between two looks at the metadata. */
  retryWait: number;
  actRunner: string;
  workDir: string;
  config: string;
  owner: string;
  group: string;
  generateConfig: boolean;
  /** `virtio:<port name>`, `unix:<path>` or `unix-shared:<path>`; `none` for images whose host does not talk to agents. */
  channel: string;
  /** `http://<host>[:<port>]`, `unix:<path>` or `file:<path>`. */
  metadata: string;
  /** A program that runs `fireteact runner job-started <work-dir>/trust.json`, instead of one that is written. */
  jobStartedHook?: string;
  /** `KEY=VALUE` lines for the engine, from the image's maker. */
  environmentFile: string;
}

export const USAGE = `Usage: fireteact runner [flags]

Runs inside a sandbox: waits for a runner's credentials, starts the engine,
which takes one job, and reports to the host.

  -l, --log-level string      debug, info, warn or error (default info)
      --retry-wait duration   between two looks at the metadata (default 2s)
      --act-runner path       gitea-runner or act_runner
                              (default /usr/local/bin/act_runner)
      --work-dir path         where the runner file and the job's files are
                              (default /opt/act_runner)
      --config path           the engine's configuration
                              (default /etc/act_runner/config.yaml)
      --owner user            runs the engine and owns its files (default runner)
      --group group           the engine's group (default docker)
      --generate-config       write the configuration where there is none
                              (default true)
      --channel address       virtio:NAME, unix:PATH, unix-shared:PATH or none
                              (default virtio:org.fireteact.agent.0)
      --metadata address      http://HOST, unix:PATH or file:PATH
                              (default http://169.254.169.254)
      --job-started-hook path a root-owned program that looks at a job before
                              its first step, for gitea-runner in native pools
                              (default: one is written into the work-dir)
      --environment-file path more environment for the engine
                              (default /etc/fireteact/environment)
`;

const FLAGS = {
  "log-level": { type: "string", short: "l", default: "info" },
  "retry-wait": { type: "string", default: "2s" },
  "act-runner": { type: "string", default: "/usr/local/bin/act_runner" },
  "work-dir": { type: "string", default: "/opt/act_runner" },
  config: { type: "string", default: "/etc/act_runner/config.yaml" },
  owner: { type: "string", default: "runner" },
  group: { type: "string", default: "docker" },
  "generate-config": { type: "string", default: "true" },
  channel: { type: "string", default: "virtio:org.fireteact.agent.0" },
  metadata: { type: "string", default: "http://169.254.169.254" },
  "job-started-hook": { type: "string" },
  "environment-file": { type: "string", default: "/etc/fireteact/environment" },
} as const;

/** Reads the arguments after `runner`. Throws `BAD_ARGUMENTS`. */
export function parseOptions(args: string[]): AgentOptions {
  const values = readFlags(args.map((arg) => (arg === "--generate-config" ? "--generate-config=true" : arg)));
  const asked = values["log-level"].replace(/^=/, "");
  const logLevel = levelOf(asked);
  return {
    logLevel: logLevel ?? "info",
    ...(logLevel === undefined ? { unknownLevel: asked } : {}),
    retryWait: parseGoDuration(values["retry-wait"]),
    actRunner: values["act-runner"],
    workDir: values["work-dir"],
    config: values.config,
    owner: values.owner,
    group: values.group,
    generateConfig: parseGoBoolean(values["generate-config"]),
    channel: values.channel,
    metadata: values.metadata,
    ...(values["job-started-hook"] === undefined ? {} : { jobStartedHook: values["job-started-hook"] }),
    environmentFile: values["environment-file"],
  };
}

function readFlags(args: string[]) {
  try {
    return parseArgs({ args, options: FLAGS, strict: true, allowPositionals: false }).values;
  } catch (error) {
    const message = error instanceof Error ? error.message : "unknown flag";
    throw new FireteactError("BAD_ARGUMENTS", message, { hint: "run 'fireteact runner --help'", cause: error });
  }
}

/** The original's logger knew more names than ours. */
function levelOf(name: string): LogLevel | undefined {
  const lower = name.toLowerCase();
  if (lower === "warning") return "warn";
  if (lower === "trace") return "debug";
  if (lower === "fatal" || lower === "panic") return "error";
  return LOG_LEVELS.find((level) => level === lower);
}

function parseGoBoolean(text: string): boolean {
  if (["1", "t", "T", "TRUE", "true", "True"].includes(text)) return true;
  if (["0", "f", "F", "FALSE", "false", "False"].includes(text)) return false;
  throw new FireteactError("BAD_ARGUMENTS", `--generate-config: "${text}" is neither true nor false`);
}
