import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type CpioEntry, writeCpio } from "../../../src/image/build/cpio.ts";
import { PLACES } from "./host.ts";
import type { TestImage } from "./program.ts";

const DIRECTORY = join(PLACES.state, "initrds");

const SILENT = `#!/bin/sh
mount -t devtmpfs dev /dev
for module in /modules/*.ko; do insmod "$module"; done
echo "this guest says nothing" >/dev/hvc0
while :; do usleep 1000000; done
`;

/** A guest that boots and then never starts its agent. */
export function silentInitrd(image: TestImage): string {
  return extended("silent", image, [{ path: "init", type: "file", mode: 0o755, content: Buffer.from(SILENT) }]);
}

/**
 * A guest whose jobs run as root, as after a successful attack on the guest's kernel: the user of the same name has the
 * number 0, and has tools for forging packets.
 */
export function rootInitrd(image: TestImage): string {
  const passwd = "root:x:0:0:root:/root:/bin/bash\nrunner:x:0:0::/home/runner:/bin/bash\n";
  const directories = ["files", "files/etc", "files/usr", "files/usr/local", "files/usr/local/sbin"];
  return extended("root", image, [
    ...directories.map((path) => ({ path, type: "directory" as const, mode: 0o755 })),
    { path: "files/etc/passwd", type: "file", mode: 0o644, content: Buffer.from(passwd) },
    {
      path: "files/usr/local/sbin/busybox",
      type: "file",
      mode: 0o755,
      content: readFileSync("/bin/busybox"),
    },
  ]);
}

/**
 * A guest with a stand-in for the original's agent and for act_runner. A `stubborn` agent registers itself although it was
 * given a registration, as the oldest ones do.
 */
export function originalInitrd(image: TestImage, stubborn = false): string {
  const script = (name: string) => readFileSync(join(import.meta.dirname, "guest", name), "utf8");
  const agent = script("original-agent.sh").replace("@STUBBORN@", stubborn ? "yes" : "no");
  const program = (path: string, text: string): CpioEntry => ({
    path,
    type: "file",
    mode: 0o755,
    content: Buffer.from(text),
  });
  const directories = ["files", "files/usr", "files/usr/bin", "files/usr/local", "files/usr/local/bin"];
  return extended(`original${stubborn ? "-stubborn" : ""}`, image, [
    ...directories.map((path) => ({ path, type: "directory" as const, mode: 0o755 })),
    program("files/usr/bin/fireteact", agent),
    program("files/usr/local/bin/act_runner", script("act-runner.sh")),
  ]);
}

/** The kernel unpacks archives that follow each other; a later file takes the place of an earlier one. */
function extended(name: string, image: TestImage, entries: CpioEntry[]): string {
  mkdirSync(DIRECTORY, { recursive: true, mode: 0o755 });
  const path = join(DIRECTORY, name);
  writeFileSync(path, Buffer.concat([readFileSync(image.initrd), writeCpio(entries)]));
  return path;
}
