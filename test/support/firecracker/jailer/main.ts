// Stands in for Firecracker's jailer: refuses what that refuses, makes the same jail, and becomes a stand-in for Firecracker
// in it. First argument: the directory with its orders.
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { type Group, type JailerArguments, Refusal, readArguments } from "./arguments.ts";
import { type JailerStep, readJailerOrders } from "./orders.ts";

const [, , directory = "", ...args] = process.argv;
const orders = readJailerOrders(directory);
const started = process.hrtime.bigint() / 1_000n;

if (args.includes("--version")) {
  process.stdout.write(`Jailer v${orders.version ?? "1.16.1"}\n\n`);
  process.exit(0);
}
try {
  jail(readArguments(args));
} catch (error) {
  const said = error instanceof Error ? error.message : String(error);
  // As the original: once for people, once by its runtime.
  process.stderr.write(`${said}\nError: ${error instanceof Refusal ? said : "Io"}\n`);
  process.exit(1);
}

function step<T>(name: JailerStep, work: () => T): T {
  if (orders.failAt === name) throw new Refusal(`Failed to ${name}: as ordered`);
  const result = work();
  return result;
}

function jail(wanted: JailerArguments): void {
  const { root, uid, gid } = wanted;
  const name = basename(wanted.binary);
  step("make the directory", () => mkdirSync(root, { recursive: true }));
  step("copy the binary", () => copyBinary(wanted.binary, join(root, name), uid, gid));
  if (wanted.netns !== undefined) step("join the network namespace", () => openSync(wanted.netns ?? "", "r"));
  for (const group of wanted.groups) step("set control groups", () => setGroup(group));
  for (const { directory: own, version } of wanted.groups) {
    step("enter control groups", () => writeFileSync(join(own, version === 2 ? "cgroup.procs" : "tasks"), "0\n"));
  }
  step("change the root", () => mkdirSync(join(root, "old_root")));
  execFileSync("rmdir", [join(root, "old_root")]);
  for (const folder of ["", "dev", "dev/net", "run"]) step("make directories", () => own(join(root, folder), uid, gid));
  step("make devices", () => {
    makeDevice(join(root, "dev/net/tun"), 10, 200, uid, gid);
    makeDevice(join(root, "dev/kvm"), 10, 232, uid, gid);
    makeDevice(join(root, "dev/urandom"), 1, 9, uid, gid);
  });
  step("write the process id", () => writeFileSync(join(root, `${name}.pid`), String(process.pid), { flag: "wx" }));
  step("run the binary", () => become(wanted, name));
}

function copyBinary(from: string, to: string, uid: number, gid: number): void {
  const there = lstatSync(to, { throwIfNoEntry: false });
  if (there?.isSymbolicLink() === true)
    throw new Refusal(`Failed to open file ${to}: Too many levels of symbolic links`);
  if ((there?.nlink ?? 1) > 1) throw new Refusal(`Detected hard link at: ${to}`);
  writeFileSync(to, readFileSync(from), { mode: statSync(from).mode & 0o7777 });
  chownSync(to, uid, gid);
}

function setGroup({ directory: own, mount, version, values }: Group): void {
  mkdirSync(own, { recursive: true });
  for (const [file, value] of values) {
    if (version === 2) delegate(dirname(own), mount, file.split(".")[0] ?? "");
    // The first version's groups begin with their parent's value.
    else writeFileSync(join(own, file), readFileSync(join(own, "..", file), "utf8"));
    writeFileSync(join(own, file), `${value}\n`);
  }
}

function delegate(place: string, mount: string, controller: string): void {
  if (place !== mount) delegate(dirname(place), mount, controller);
  writeFileSync(join(place, "cgroup.subtree_control"), `+${controller}\n`);
}

function own(folder: string, uid: number, gid: number): void {
  mkdirSync(folder, { recursive: true });
  chmodSync(folder, 0o700);
  chownSync(folder, uid, gid);
}

function makeDevice(path: string, major: number, minor: number, uid: number, gid: number): void {
  if (existsSync(path)) throw new Refusal(`Failed to create ${path} via mknod inside the jail: File exists`);
  execFileSync("mknod", ["-m", "600", path, "c", String(major), String(minor)]);
  chownSync(path, uid, gid);
}

/** Each part replaces the one before it, as the jailer becomes the monitor. */
function become({ root, uid, gid, netns, limits, id, rest }: JailerArguments, name: string): void {
  const times = ["--start-time-us", String(started), "--start-time-cpu-us", "1000", "--parent-cpu-time-us", "1000"];
  const command = [
    [
      "prlimit",
      `--nofile=${limits["no-file"]}`,
      ...(limits.fsize === undefined ? [] : [`--fsize=${limits.fsize}`]),
      "--",
    ],
    netns === undefined ? [] : ["nsenter", `--net=${netns}`, "--"],
    ["unshare", "--mount", "--propagation", "slave", "--"],
    ["/bin/sh", join(directory, "jail.sh"), root, String(uid), String(gid), name, directory],
    ["--id", id, ...times, ...rest],
  ].flat();
  process.execve?.("/usr/bin/env", ["env", "-i", `PATH=${process.env["PATH"] ?? ""}`, ...command]);
}
