import { dirname } from "node:path";
import {
  CHANNELS,
  CREDENTIALS,
  EMPTY_ROOT,
  EXITS,
  environmentFile,
  NATIVE_RUN,
  sliceName,
  templateName,
} from "./names.ts";
import { argument, plainPath, section } from "./unit-text.ts";

/** What a pool's unit is made from. */
export interface NativePool {
  name: string;
  hostPackages: string[];
  memoryMib: number;
  swapMib: number;
  tasks: number;
  cpuWeight: number;
  poolMemoryMib?: number;
  nix: boolean;
  groups: string[];
  group?: string;
  readOnlyPaths: string[];
  inaccessiblePaths: string[];
  loopback: boolean;
  /** A runner's whole life as the orchestrator allows it, milliseconds. */
  lifetime: number;
}

/** The programs that a unit starts. */
export interface NativePrograms {
  node: string;
  /** The agent's bundle; the shell engine's lies beside it. */
  agent: string;
  /** The forges' own engines by name, where they were given. */
  engines: Readonly<Record<string, string>>;
}

/**
 * HOME and everything else that a job writes: in its own /var/tmp, which lies on disk, has no link on its way, and which
 * the service manager removes whole with the unit, whether the orchestrator lives or not.
 */
const WORK = "/var/tmp/fireteact";

/** Where jobs find the engines, under the names that the agent looks for. */
const ENGINES = "/opt/fireteact/engines";

/** What the service manager adds to the orchestrator's own limit, which is to end a runner first, seconds. */
const GRACE = 120;

/** The template unit of a pool: each of its instances runs one job. */
export function templateUnit(pool: NativePool, { node, agent, engines }: NativePrograms): string {
  const command = [
    `${plainPath(node)} ${plainPath(agent)} runner`,
    `--channel=unix-shared:${CHANNELS}/%i/agent.sock`,
    "--metadata=file:%d/runner",
    `--work-dir=${WORK}`,
    `--config=${WORK}/config.yaml`,
    `--environment-file=${environmentFile(pool.name)}`,
    ...(engines["gitea-runner"] === undefined ? [] : [`--act-runner=${ENGINES}/gitea-runner`]),
  ];
  return [
    section("Unit", [
      ["Description", `Fireteact job %i of pool ${pool.name}`],
      // A result is kept in a file, so a unit that failed need not stay.
      ["CollectMode", "inactive-or-failed"],
      ["StartLimitIntervalSec", 0],
    ]),
    section("Service", [
      ["Type", "exec"],
      ["ExecStart", command.join(" ")],
      ["ExecStopPost", `-+/bin/sh -c ${argument(ACCOUNT)} account ${controlGroup(pool)} %i`],
      ["Restart", "no"],
      ["Slice", sliceName(pool.name)],
      ...identity(pool),
      ["LoadCredential", `runner:${CREDENTIALS}/%i`],
      ["Environment", `HOME=${WORK}`],
      ["Environment", `PATH=${pathOf(pool, engines)}`],
      ["Environment", "LANG=C.UTF-8"],
      // The account's view has none.
      ["WorkingDirectory", `-${dirname(WORK)}`],
      ["RuntimeDirectory", `${CHANNELS.slice("/run/".length)}/%i`],
      ["RuntimeDirectoryMode", "0755"],
      ...ending(pool),
      ...resources(pool),
      ...fileView(pool, { node, agent, engines }),
      ...PRIVILEGES,
      ...network(pool),
    ]),
  ].join("\n");
}

/** Everything that all jobs of a pool use together. */
export function poolSlice(pool: NativePool): string {
  return [
    section("Unit", [["Description", `Fireteact jobs of pool ${pool.name}`]]),
    section("Slice", [
      ["MemoryMax", pool.poolMemoryMib === undefined ? undefined : `${pool.poolMemoryMib}M`],
      ["MemoryAccounting", true],
      ["CPUAccounting", true],
    ]),
  ].join("\n");
}

/**
 * Runs as root when the unit has ended, before its control group is gone, in the job's file view: result, exit code, exit
 * status, most bytes of memory and microseconds of processor time, on one line. Builtins only; nothing in it is a job's
 * own word.
 */
const ACCOUNT = [
  "umask 022; peak=0 used=0",
  'test -r "$1/memory.peak" && read -r peak <"$1/memory.peak"',
  'test -r "$1/cpu.stat" && read -r _ used <"$1/cpu.stat"',
  `echo "$SERVICE_RESULT \${EXIT_CODE:-none} \${EXIT_STATUS:-none} $peak $used" >"${EXITS}/$2"`,
].join("; ");

/** Its place, which the account cannot ask for: there is no /proc in its view. */
const controlGroup = ({ name }: NativePool): string =>
  `${CGROUPS}/fireteact.slice/fireteact-native.slice/${sliceName(name).replaceAll("\\", "\\\\")}/${templateName(name).replace("@", "@%i")}`;

const CGROUPS = "/sys/fs/cgroup";

function identity({ groups, group }: NativePool) {
  return [
    ["DynamicUser", true],
    ["User", "ftn-%i"],
    ["Group", group],
    ["SupplementaryGroups", groups.length === 0 ? undefined : groups.join(" ")],
  ] as const;
}

/** Whatever ends a job ends all that it started. `Type=oneshot` would not know `RuntimeMaxSec`. */
function ending({ lifetime }: NativePool) {
  return [
    ["RuntimeMaxSec", Math.ceil(lifetime / 1_000) + GRACE],
    ["KillMode", "control-group"],
    // Its agent was asked to end in time; whoever stops the unit wants it gone.
    ["KillSignal", "SIGKILL"],
    ["SendSIGKILL", true],
    ["TimeoutStopSec", 10],
    // With `kill` the account of what was used would be killed too.
    ["OOMPolicy", "stop"],
  ] as const;
}

function resources({ memoryMib, swapMib, tasks, cpuWeight }: NativePool) {
  return [
    ["MemoryAccounting", true],
    ["CPUAccounting", true],
    ["MemoryMax", `${memoryMib}M`],
    ["MemorySwapMax", `${swapMib}M`],
    ["TasksMax", tasks],
    ["CPUWeight", cpuWeight],
    ["OOMScoreAdjust", 500],
    ["LimitCORE", 0],
  ] as const;
}

/** What every program of the host needs to run; none of it is a secret, since every user may read it. */
const PROGRAMS = ["/usr", "/bin", "/sbin", "/lib", "/lib64", "/nix/store", "/run/current-system"];
const PLAIN_FILES =
  "passwd group nsswitch.conf hosts host.conf resolv.conf services protocols localtime os-release ld.so.cache alternatives mime.types ssl/certs ssl/openssl.cnf pki/tls/certs ca-certificates static nix/nix.conf nix/registry.json"
    .split(" ")
    .map((name) => `/etc/${name}`);
/** Names of dynamic users, and of hosts where systemd-resolved answers for them. */
const NAME_SERVICES = ["/run/systemd/userdb", "/run/systemd/resolve/io.systemd.Resolve"];
const NIX_DAEMON = "/nix/var/nix/daemon-socket";
/** Never a job's, whatever is named in readOnlyPaths. */
const HIDDEN = [
  "/run/secrets",
  "/run/secrets.d",
  "/var/lib/vault",
  "/etc/fireteact",
  "/run/fireteact",
  "/var/lib/fireteact",
];

/**
 * Nothing of the host's files is there but what is named. Without a root directory systemd 252 ignores a temporary file
 * system on /.
 */
function fileView(pool: NativePool, { node, agent, engines }: NativePrograms) {
  const named = [...pool.hostPackages, ...pool.readOnlyPaths].map(plainPath);
  const own = [node, dirname(agent)].map(plainPath);
  const bound = Object.entries(engines).map(([name, path]) => `${plainPath(path)}:${ENGINES}/${name}`);
  const optional = [...PROGRAMS, ...PLAIN_FILES, ...NAME_SERVICES, environmentFile(pool.name)];
  const hidden = [...HIDDEN, ...pool.inaccessiblePaths.map(plainPath)];
  return [
    ["RootDirectory", EMPTY_ROOT],
    ["TemporaryFileSystem", "/:mode=0755,size=1M"],
    ["MountAPIVFS", true],
    ["BindReadOnlyPaths", unique(optional.map((path) => `-${path}`)).join(" ")],
    ["BindReadOnlyPaths", unique([...own, ...bound, ...named]).join(" ")],
    // A socket; what may be asked of the daemon is the daemon's decision.
    ["BindReadOnlyPaths", pool.nix ? `-${NIX_DAEMON}` : undefined],
    ["BindReadOnlyPaths", CGROUPS],
    // For the account: the job's own user has no right to it.
    ["BindPaths", EXITS],
    ["InaccessiblePaths", unique([...hidden, ...(pool.nix ? [] : [NIX_DAEMON])].map((path) => `-${path}`)).join(" ")],
    ["PrivateTmp", true],
    ["ProtectSystem", "strict"],
    ["ProtectHome", "tmpfs"],
    ["PrivateDevices", true],
    ["ProtectProc", "invisible"],
    ["UMask", "0077"],
  ] as const;
}

/**
 * All of what nix, git and node were measured to run with. Missing on purpose: MemoryDenyWriteExecute and an allow list
 * of system calls, which end node, and ProcSubset=pid, which makes nix complain.
 */
const PRIVILEGES = [
  ["NoNewPrivileges", true],
  ["CapabilityBoundingSet", ""],
  ["AmbientCapabilities", ""],
  ["PrivateUsers", true],
  ["PrivateIPC", true],
  ["ProtectKernelTunables", true],
  ["ProtectKernelModules", true],
  ["ProtectKernelLogs", true],
  ["ProtectControlGroups", true],
  ["ProtectClock", true],
  ["ProtectHostname", true],
  ["LockPersonality", true],
  ["RestrictRealtime", true],
  ["RestrictSUIDSGID", true],
  ["RestrictNamespaces", true],
  ["RemoveIPC", true],
  ["SystemCallArchitectures", "native"],
  ["SystemCallFilter", "~@clock @cpu-emulation @module @mount @obsolete @raw-io @reboot @swap"],
  ["SystemCallErrorNumber", "EPERM"],
] as const;

/** systemd-resolved answers on an address of its own, which nothing else listens on. */
const RESOLVER = "127.0.0.53 127.0.0.54";

function network({ loopback }: NativePool) {
  return [
    // nix needs AF_UNIX for its daemon, and programs that list addresses AF_NETLINK.
    ["RestrictAddressFamilies", "AF_UNIX AF_INET AF_INET6 AF_NETLINK"],
    ["IPAddressAllow", loopback ? undefined : RESOLVER],
    ["IPAddressDeny", loopback ? undefined : "localhost"],
  ] as const;
}

/** The directories of programs in the packages, after that of the engines. */
function pathOf({ hostPackages }: NativePool, engines: NativePrograms["engines"]): string {
  const packages = hostPackages.map((path) => path.replace(/\/+$/, ""));
  const directories = packages.flatMap((path) => [`${path}/bin`, `${path}/sbin`]);
  return unique([...(Object.keys(engines).length === 0 ? [] : [ENGINES]), ...directories]).join(":");
}

const unique = (values: string[]): string[] => [...new Set(values)];

/** The directories that units and orchestrator share, for systemd-tmpfiles; `group` is the orchestrator's. */
export function sharedDirectories(group: string): string {
  return [
    `d ${NATIVE_RUN} 0750 root ${group} -`,
    `d ${EMPTY_ROOT} 0555 root root -`,
    `d ${CHANNELS} 0755 root root -`,
    `d ${CREDENTIALS} 1777 root root 2d`,
    `d ${EXITS} 0750 root ${group} 1d`,
    "",
  ].join("\n");
}

/** Lets one user start and stop units of these pools, and nothing else. */
export function polkitRule(user: string, pools: readonly string[]): string {
  const names = pools.map((pool) => pool.replaceAll(".", "\\.")).join("|");
  return [
    "polkit.addRule(function (action, subject) {",
    `  if (action.id !== "org.freedesktop.systemd1.manage-units" || subject.user !== ${JSON.stringify(user)}) return;`,
    '  var verb = action.lookup("verb");',
    '  if (verb !== "start" && verb !== "stop") return;',
    `  if (/^fireteact-native-(${names})@[0-9a-f]{24}\\.service$/.test(action.lookup("unit"))) {`,
    "    return polkit.Result.YES;",
    "  }",
    "});",
    "",
  ].join("\n");
}
