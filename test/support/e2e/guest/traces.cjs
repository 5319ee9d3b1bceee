// Runs in a guest, as root: looks for MARK_A + MARK_B wherever an earlier job could have left it, and for credentials in
// the metadata. Prints one line of JSON: what holds the mark.
const { execFileSync } = require("node:child_process");
const { closeSync, lstatSync, openSync, readdirSync, readFileSync, readSync } = require("node:fs");
const { join } = require("node:path");

const mark = process.env.MARK_A + process.env.MARK_B;
const found = new Set();
const FOLDERS = ["/tmp", "/var", "/home", "/opt", "/run", "/dev/shm", "/etc", "/root", "/srv", "/mnt", "/media"];

function search(path) {
  // The package manager's lists: thousands of files of the image.
  if (path === "/var/lib/dpkg") return;
  let entry;
  try {
    entry = lstatSync(path);
    if (path.includes(mark)) found.add(`name ${path.replace(mark, "*")}`);
    if (entry.isDirectory()) for (const name of readdirSync(path)) search(join(path, name));
    else if (entry.isFile() && entry.size < 2 ** 22 && readFileSync(path).includes(mark)) found.add(`file ${path}`);
  } catch {
    // It went away, or is nothing that can be read.
  }
}

function searchProcesses() {
  for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    for (const part of ["cmdline", "environ"]) {
      try {
        if (readFileSync(`/proc/${pid}/${part}`).includes(mark)) found.add(`process ${part}`);
      } catch {
        // It ended.
      }
    }
  }
}

function searchDisk(device) {
  execFileSync("sync");
  const piece = Buffer.alloc(2 ** 20);
  const file = openSync(device, "r");
  for (let at = 0; ; at += piece.length - 64) {
    const length = readSync(file, piece, 0, piece.length, at);
    if (piece.subarray(0, length).includes(mark)) return (found.add(`disk ${device}`), closeSync(file));
    if (length < piece.length) return closeSync(file);
  }
}

async function main() {
  for (const folder of FOLDERS) search(folder);
  searchProcesses();
  searchDisk("/dev/vdb");
  const url = "http://169.254.169.254/latest/meta-data/fireteact";
  const metadata = await (await fetch(url, { headers: { accept: "application/json" } })).json();
  const places = [...found].sort((a, b) => a.localeCompare(b));
  const result = { found: places, runner: metadata.runner_id, credentials: "credentials" in metadata };
  console.log(`RESULT ${JSON.stringify(result)}`);
}

void main();
