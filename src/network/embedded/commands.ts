import { FireteactError } from "../../base/errors.ts";
import { type ExecResult, exec } from "../../base/exec.ts";
import { NFT_TABLE } from "../../base/names.ts";

/** The programs of the host that make networks. Each call is one process; each is bounded in time and output. */
export interface Commands {
  /** Applies lines of `ip -batch`, stopping at the first that fails. */
  ip(lines: string[]): Promise<void>;
  /** Applies lines of `ip -batch` as far as they go; says whether all of them went. */
  ipForce(lines: string[]): Promise<boolean>;
  /** What `ip -json` prints for the arguments; nothing counts as an empty list. */
  ipJson(args: string[], accept?: number[]): Promise<unknown>;
  /** What `nft -j` prints for the arguments. */
  nftJson(args: string[]): Promise<unknown>;
  /** Applies a ruleset at once, or only tries it. */
  nft(ruleset: string, options?: { dryRun?: boolean }): Promise<void>;
  /** How our tables on the host read, without what changes by itself; empty when one of them is not there. */
  ourRules(): Promise<string>;
  /** What namespaces hold, by name. One that is not there, or cannot be entered, is left out. */
  inspect(namespaces: string[]): Promise<Map<string, Interior>>;
  /** Applies a ruleset inside a namespace at once. */
  nftIn(namespace: string, ruleset: string): Promise<void>;
  /** Brings up what is inside a namespace: lines of `ip -batch`, forwarding without IPv6, rules. */
  furnish(namespace: string, lines: string[], ruleset: string): Promise<void>;
}

export interface Interior {
  /** Names of the interfaces. */
  links: string[];
  /** All rules, as `nft` prints them. */
  rules: string;
}

const PACKAGES: Record<string, string> = { ip: "iproute2", nft: "nftables" };
const MOST_OUTPUT = 4 << 20;

/** The text is fixed; the batch comes as an argument and the rules on stdin. */
const FURNISH = `set -e
printf %s "$1" | ip -batch -
echo 1 >/proc/sys/net/ipv4/ip_forward
for all in all default; do
  if [ -e /proc/sys/net/ipv6/conf/$all/disable_ipv6 ]; then echo 1 >/proc/sys/net/ipv6/conf/$all/disable_ipv6; fi
done
exec nft -f -`;

/** For each namespace its name, its interfaces, and its rules. */
const INSPECT = `for name in "$@"; do
  echo "== $name"
  nsenter --net="/run/netns/$name" -- sh -c '
    while read -r first rest; do case $first in *:) echo "-- $first" ;; esac; done </proc/self/net/dev
    exec nft -sn list ruleset' 2>&1 || echo "-- failed"
done`;

/** Sets that packets fill. */
const DYNAMIC_SET = /^\tset (?:asking|rate_\w+) \{\n(?:\t\t.*\n)*?\t\}\n/gm;

export const hostCommands: Commands = {
  async ip(lines) {
    await run("ip", ["-batch", "-"], lines.join("\n"));
  },
  async ipForce(lines) {
    return (await run("ip", ["-force", "-batch", "-"], lines.join("\n"), [0, 1, 2])).code === 0;
  },
  async ipJson(args, accept) {
    const { stdout } = await run("ip", ["-json", ...args], "", accept);
    return stdout.trim() === "" ? [] : (JSON.parse(stdout) as unknown);
  },
  async nftJson(args) {
    return JSON.parse((await run("nft", ["-j", ...args], "")).stdout) as unknown;
  },
  async nft(ruleset, options = {}) {
    await run("nft", [...(options.dryRun === true ? ["-c"] : []), "-f", "-"], ruleset);
  },
  async ourRules() {
    // Each by itself: nft reads only a part of what is there when it is asked for both at once.
    const tables = await Promise.all(
      ["bridge", "inet"].map((family) => run("nft", ["-sn", "list", "table", family, NFT_TABLE], "", [0, 1])),
    );
    if (tables.some(({ code }) => code !== 0)) return "";
    return tables.map(({ stdout }) => stdout.replace(DYNAMIC_SET, "")).join("");
  },
  async inspect(namespaces) {
    const { stdout } = await run("/bin/sh", ["-c", INSPECT, "sh", ...namespaces], "");
    return new Map(stdout.split(/^== /m).slice(1).flatMap(interiorOf));
  },
  async nftIn(namespace, ruleset) {
    await run("nsenter", [`--net=/run/netns/${namespace}`, "--", "nft", "-f", "-"], ruleset);
  },
  async furnish(namespace, lines, ruleset) {
    await run("ip", ["netns", "exec", namespace, "/bin/sh", "-c", FURNISH, "sh", `${lines.join("\n")}\n`], ruleset);
  },
};

/** One part of what `INSPECT` prints. */
function interiorOf(part: string): [string, Interior][] {
  const [name = "", ...lines] = part.split("\n");
  if (lines.includes("-- failed")) return [];
  const isLink = (line: string): boolean => line.startsWith("-- ");
  const links = lines.filter(isLink).map((line) => line.slice(3, -1));
  return [[name, { links, rules: lines.filter((line) => !isLink(line)).join("\n") }]];
}

async function run(program: string, args: string[], input: string, accept = [0]): Promise<ExecResult> {
  return await exec(program, args, { input, accept, timeout: 20_000, maxOutput: MOST_OUTPUT }).catch(
    (error: unknown) => {
      throw explained(program, error);
    },
  );
}

/** Says what to do about the failures that are the host's. */
function explained(program: string, cause: unknown): unknown {
  if (!(cause instanceof FireteactError)) return cause;
  if (cause.code === "PROGRAM_MISSING") {
    return new FireteactError("NETWORK_TOOL_MISSING", `the program "${program}" is not installed`, {
      hint: `install the package ${PACKAGES[program] ?? program}, or put ${program} into PATH`,
      cause,
    });
  }
  if (/Operation not permitted|must be root/i.test(cause.message)) {
    return new FireteactError("NETWORK_NOT_ROOT", `the kernel refused "${program}" to change networks`, {
      hint: "run fireteact serve as root, or give it CAP_NET_ADMIN and CAP_SYS_ADMIN",
      cause,
    });
  }
  return new FireteactError("NETWORK_COMMAND_FAILED", "the host did not accept a change of its networks", { cause });
}
