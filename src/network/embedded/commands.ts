import { spawn } from "node:child_process";
import { FireteactError, systemCode } from "../../base/errors.ts";

/** The programs of the host that make networks. Each call is one process; each is bounded in time and output. */
export interface Commands {
  /** Applies lines of `ip -batch`, stopping at the first that fails. */
  ip(lines: string[]): Promise<void>;
  /** Applies lines of `ip -batch` as far as they go; says whether all of them went. */
  ipForce(lines: string[]): Promise<boolean>;
  /** What `ip -json` prints for the arguments. */
  ipJson(args: string[]): Promise<unknown>;
  /** What `nft -j` prints for the arguments. */
  nftJson(args: string[]): Promise<unknown>;
  /** Applies a ruleset at once, or only tries it. */
  nft(ruleset: string, options?: { dryRun?: boolean }): Promise<void>;
  /** Brings up what is inside a namespace: lines of `ip -batch`, forwarding without IPv6, rules. */
  furnish(namespace: string, lines: string[], ruleset: string): Promise<void>;
}

const PACKAGES: Record<string, string> = { ip: "iproute2", nft: "nftables" };
const TIMEOUT = 20_000;
const MOST_OUTPUT = 4 << 20;

/** The text is fixed; the batch comes as an argument and the rules on stdin. */
const FURNISH = `set -e
printf %s "$1" | ip -batch -
echo 1 >/proc/sys/net/ipv4/ip_forward
for all in all default; do
  if [ -e /proc/sys/net/ipv6/conf/$all/disable_ipv6 ]; then echo 1 >/proc/sys/net/ipv6/conf/$all/disable_ipv6; fi
done
exec nft -f -`;

export const hostCommands: Commands = {
  async ip(lines) {
    await run("ip", ["-batch", "-"], lines.join("\n"));
  },
  async ipForce(lines) {
    return (await finish("ip", ["-force", "-batch", "-"], lines.join("\n"))).status === 0;
  },
  async ipJson(args) {
    const output = await run("ip", ["-json", ...args], "");
    return output.trim() === "" ? [] : (JSON.parse(output) as unknown);
  },
  async nftJson(args) {
    return JSON.parse(await run("nft", ["-j", ...args], "")) as unknown;
  },
  async nft(ruleset, options = {}) {
    await run("nft", [...(options.dryRun === true ? ["-c"] : []), "-f", "-"], ruleset);
  },
  async furnish(namespace, lines, ruleset) {
    await run("ip", ["netns", "exec", namespace, "/bin/sh", "-c", FURNISH, "sh", `${lines.join("\n")}\n`], ruleset);
  },
};

async function run(program: string, args: string[], stdin: string): Promise<string> {
  const { status, stdout, stderr } = await finish(program, args, stdin);
  if (status !== 0) throw failure(program, status, stderr);
  return stdout;
}

async function finish(
  program: string,
  args: string[],
  stdin: string,
): Promise<{ status: number | null; stdout: string; stderr: string }> {
  const child = spawn(program, args, {
    stdio: ["pipe", "pipe", "pipe"],
    timeout: TIMEOUT,
    killSignal: "SIGKILL",
    env: { PATH: `${process.env["PATH"] ?? ""}:/usr/sbin:/sbin:/usr/bin:/bin`, LC_ALL: "C" },
  });
  const stdout = collect(child.stdout);
  const stderr = collect(child.stderr);
  const exit = new Promise<number | null>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", resolve);
  });
  // A program that ended before it read everything shows in its exit status.
  child.stdin.on("error", () => undefined);
  child.stdin.end(stdin);
  const status = await exit.catch((error: unknown) => {
    throw spawnError(program, error);
  });
  return { status, stdout: stdout(), stderr: stderr() };
}

function collect(stream: NodeJS.ReadableStream): () => string {
  const chunks: Buffer[] = [];
  let size = 0;
  stream.on("data", (chunk: Buffer) => {
    size += chunk.length;
    if (size <= MOST_OUTPUT) chunks.push(chunk);
  });
  return () => Buffer.concat(chunks).toString("utf8");
}

function spawnError(program: string, cause: unknown): FireteactError {
  if (systemCode(cause) === "ENOENT") {
    return new FireteactError("NETWORK_TOOL_MISSING", `the program "${program}" is not installed`, {
      hint: `install Debian's package ${PACKAGES[program] ?? program}, or put ${program} into PATH`,
      cause,
    });
  }
  return new FireteactError("NETWORK_COMMAND_FAILED", `"${program}" could not be started`, { cause });
}

function failure(program: string, status: number | null, stderr: string): FireteactError {
  const said = stderr.trim().split("\n").slice(0, 3).join("; ").slice(0, 400);
  if (/Operation not permitted|must be root/i.test(stderr)) {
    return new FireteactError("NETWORK_NOT_ROOT", `"${program}" was refused by the kernel: ${said}`, {
      hint: "run fireteact serve as root, or give it CAP_NET_ADMIN and CAP_SYS_ADMIN",
    });
  }
  const how = status === null ? `did not end within ${TIMEOUT / 1000} s` : `ended with status ${status}`;
  return new FireteactError("NETWORK_COMMAND_FAILED", `"${program}" ${how}: ${said}`, {
    facts: { program, status: status ?? undefined },
  });
}
