import { access, constants } from "node:fs/promises";
import { join } from "node:path";
import { FireteactError } from "../../base/errors.ts";
import { exec, SEARCH_PATH } from "../../base/exec.ts";
import type { PluginConf } from "./conf-list.ts";
import { nonsense, oneLine, pluginError } from "./result.ts";

export type CniCommand = "ADD" | "CHECK" | "DEL" | "GC" | "STATUS" | "VERSION";

/** Which attachment a plugin is asked about. */
export interface Attachment {
  /** The guest's hex. */
  containerId: string;
  /** Path of its network namespace; absent where that is gone, as DEL allows. */
  namespace?: string;
  /** User that may open the tap. */
  owner?: number;
}

/** The interface in the namespace that the guest's tap is joined with, as the original called it. */
export const INTERFACE = "eth0";
/** The guest's tap, the same in each namespace. */
const TAP = "tap0";

const TIMEOUT = 60_000;
const MOST_OUTPUT = 1024 * 1024;
const ANY_CODE = Array.from({ length: 256 }, (_, code) => code);

export interface PluginRun {
  binDir: string;
  command: CniCommand;
  plugin: PluginConf["type"];
  /** What it reads on stdin. */
  config: Readonly<Record<string, unknown>>;
  attachment?: Attachment;
  timeout?: number | undefined;
  signal?: AbortSignal | undefined;
}

/**
 * Runs a plugin once and returns what it printed, undefined where that is nothing. It sees what the specification names
 * and a search path, nothing else of our environment.
 *
 * @throws FireteactError `CNI_PLUGIN_MISSING`, `CNI_PLUGIN_TIMEOUT`, `CNI_PLUGIN_FAILED` (facts: `plugin`, `code`) or
 *   `CNI_PLUGIN_OUTPUT`
 */
export async function runPlugin(run: PluginRun): Promise<unknown> {
  const { binDir, command, plugin, timeout = TIMEOUT } = run;
  const file = join(binDir, plugin);
  await requirePlugin(binDir, plugin);
  const { code, stdout, stderr } = await exec(file, [], {
    input: JSON.stringify(run.config),
    env: environment(run),
    timeout,
    maxOutput: MOST_OUTPUT,
    accept: ANY_CODE,
    group: true,
    ...(run.signal === undefined ? {} : { signal: run.signal }),
  }).catch((cause: unknown) => {
    throw explained(cause, run, timeout);
  });
  const printed = parse(stdout);
  if (code !== 0) throw refused(run, code, printed, stderr || stdout);
  if (stdout.trim() !== "" && printed === undefined) {
    throw nonsense(plugin, `at ${command} it printed ${JSON.stringify(oneLine(stdout).slice(0, 80))}`);
  }
  return printed;
}

/** @throws FireteactError `CNI_PLUGIN_MISSING` */
export async function requirePlugin(binDir: string, plugin: string): Promise<void> {
  const file = join(binDir, plugin);
  await access(file, constants.X_OK).catch((cause: unknown) => {
    throw new FireteactError("CNI_PLUGIN_MISSING", `there is no CNI plugin ${file} that can be started`, {
      hint:
        plugin === "tc-redirect-tap"
          ? "build it from github.com/awslabs/tc-redirect-tap and put it there, or correct cni.binDir"
          : "install the CNI plugins (Debian: containernetworking-plugins, in /usr/lib/cni), or correct cni.binDir",
      cause,
    });
  });
}

function environment({ binDir, command, attachment }: PluginRun): Record<string, string> {
  const common = { PATH: SEARCH_PATH, LC_ALL: "C.UTF-8", CNI_COMMAND: command, CNI_PATH: binDir };
  if (attachment === undefined) return common;
  const { containerId, namespace, owner } = attachment;
  const tap = [`TC_REDIRECT_TAP_NAME=${TAP}`, `TC_REDIRECT_TAP_UID=${owner}`, `TC_REDIRECT_TAP_GID=${owner}`];
  return {
    ...common,
    CNI_CONTAINERID: containerId,
    CNI_IFNAME: INTERFACE,
    ...(namespace === undefined ? {} : { CNI_NETNS: namespace }),
    CNI_ARGS: ["IgnoreUnknown=1", ...(owner === undefined ? [] : tap)].join(";"),
  };
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

function refused({ plugin, command }: PluginRun, code: number, printed: unknown, output: string): FireteactError {
  const said = pluginError(printed);
  const reason = said?.message || oneLine(output) || "it said nothing";
  return new FireteactError("CNI_PLUGIN_FAILED", `the CNI plugin "${plugin}" failed at ${command}: ${reason}`, {
    hint: hintFor(reason),
    facts: { plugin, command, exit: code, ...(said === undefined ? {} : { code: said.code }) },
  });
}

function hintFor(reason: string): string {
  if (/no IP addresses available|range.*(?:full|exhausted)/i.test(reason)) {
    return "all addresses of its ipam are taken: lower maxRunners, or give the configuration list a larger range";
  }
  if (/iptables/i.test(reason))
    return "the plugin calls iptables: install it, or leave ipMasq and the plugin firewall out";
  return "the message is the plugin's own; see its part of the configuration list";
}

function explained(cause: unknown, { plugin, command }: PluginRun, timeout: number): unknown {
  if (!(cause instanceof FireteactError)) return cause;
  if (cause.code === "PROGRAM_TIMEOUT") {
    const message = `the CNI plugin "${plugin}" did not end within ${timeout / 1_000} s at ${command} and was killed`;
    return new FireteactError("CNI_PLUGIN_TIMEOUT", message, {
      hint: "another program may hold a lock that it waits for (iptables, its ipam's directory)",
      facts: { plugin, command },
    });
  }
  if (cause.code === "PROGRAM_MISSING") {
    return new FireteactError("CNI_PLUGIN_MISSING", `the CNI plugin "${plugin}" cannot be started`, {
      hint: "is it a program for this machine?",
      cause,
    });
  }
  return new FireteactError("CNI_PLUGIN_FAILED", `the CNI plugin "${plugin}" failed at ${command}`, {
    hint: "the cause has its words",
    cause,
    facts: { plugin, command },
  });
}
