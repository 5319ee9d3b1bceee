// Stands in for the agent: reports what it finds in the guest as JSON lines on the channel's port, and ends.
const { execFileSync, spawnSync } = require("node:child_process");
const fs = require("node:fs");

const uptime = () => Number(fs.readFileSync("/proc/uptime", "utf8").split(" ")[0]);
const started = uptime();
const read = (path) => fs.readFileSync(path, "utf8");
const run = (command, ...args) => execFileSync(command, args, { encoding: "utf8" }).trim();
const attempt = (action) => {
  try {
    action();
    return "done";
  } catch (error) {
    return error.code;
  }
};

function openPort() {
  const ports = "/sys/class/virtio-ports";
  // The console is a port too, and has no name.
  const nameOf = (port) => attemptRead(`${ports}/${port}/name`).trim();
  const port = fs.readdirSync(ports).find((one) => nameOf(one) === "org.fireteact.agent.0");
  for (;;) {
    try {
      return fs.openSync(`/dev/${port}`, "r+");
    } catch (error) {
      if (error.code !== "ENXIO") throw error;
    }
  }
}

function zombies() {
  const states = fs.readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  return states.filter((pid) => / Z /.test(attemptRead(`/proc/${pid}/stat`))).length;
}
const attemptRead = (path) => {
  try {
    return read(path);
  } catch {
    return "";
  }
};

// An orphan that ends: its parent is gone, so the first process has to take it in.
spawnSync("sh", ["-c", "(sleep 0.2) & exit 0"]);

const facts = {
  started,
  argv: process.argv.slice(2),
  node: process.version,
  git: run("git", "--version"),
  user: run("id", "runner"),
  asRunner: run("setpriv", "--reuid=runner", "--regid=runner", "--init-groups", "sh", "-c", "touch /home/runner/x /opt/act_runner/x && id -un"),
  writeRoot: attempt(() => fs.writeFileSync("/usr/bin/new-file", "x")),
  replaceFile: attempt(() => fs.appendFileSync("/etc/passwd", "x:x:2000:2000::/:/bin/sh\n")),
  writeImage: attempt(() => fs.writeFileSync("/dev/vda", "x")),
  freeMib: Math.round((fs.statfsSync("/").bavail * fs.statfsSync("/").bsize) / 2 ** 20),
  hosts: read("/etc/hosts"),
  hostname: run("hostname"),
  resolvConf: read("/etc/resolv.conf"),
  environment: Object.fromEntries(["MARK", "https_proxy", "NODE_EXTRA_CA_CERTS"].map((name) => [name, process.env[name]])),
  trustedByNode: require("node:tls").getCACertificates("extra").length,
  trustedBySystem: run("sh", "-c", "grep -c BEGIN /etc/ssl/certs/ca-certificates.crt"),
  caInSystem: read("/etc/ssl/certs/ca-certificates.crt").includes(attemptRead("/usr/lib/fireteact/ca.pem").trim()),
  firstProcess: read("/proc/1/cmdline").replaceAll("\0", " ").trim(),
  eth0: (require("node:os").networkInterfaces().eth0 ?? []).map(({ cidr }) => cidr),
  // Destination and gateway of every route, as the kernel writes them: hexadecimal, last byte first.
  routes: read("/proc/net/route").trim().split("\n").slice(1).map((line) => line.split("\t").slice(0, 3).join(" ")),
};
while (uptime() < started + 1 && zombies() === 0);
setTimeout(() => {
  facts.zombies = zombies();
  fs.writeSync(openPort(), `${JSON.stringify(facts)}\n`);
  if (read("/proc/cmdline").includes("test.crash")) process.abort();
}, 300);
