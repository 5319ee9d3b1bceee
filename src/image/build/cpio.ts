/** An entry of an initramfs; directories come before what they hold. */
export type CpioEntry =
  | { path: string; type: "directory"; mode: number }
  | { path: string; type: "file"; mode: number; content: Buffer }
  | { path: string; type: "link"; target: string }
  | { path: string; type: "device"; mode: number; major: number; minor: number };

const FILE_TYPES = { directory: 0o040000, file: 0o100000, link: 0o120000, device: 0o020000 } as const;

/**
 * Writes the cpio archive ("newc") that a kernel unpacks as its initramfs. The same entries give the same bytes: no
 * times, all owned by root, inode numbers in order.
 */
export function writeCpio(entries: readonly CpioEntry[]): Buffer {
  const parts = entries.flatMap((entry, index) => record(entry, index + 1));
  parts.push(...record({ path: "TRAILER!!!", type: "file", mode: 0, content: Buffer.alloc(0) }, 0));
  return Buffer.concat(parts);
}

function record(entry: CpioEntry, inode: number): Buffer[] {
  const content = contentOf(entry);
  const permissions = entry.type === "link" ? 0o777 : entry.mode;
  const trailer = inode === 0;
  const name = Buffer.from(`${entry.path}\0`);
  const fields = [
    inode,
    trailer ? 0 : FILE_TYPES[entry.type] | permissions,
    0, // uid
    0, // gid
    entry.type === "directory" ? 2 : 1,
    0, // mtime
    content.length,
    0, // device that holds it
    0,
    entry.type === "device" ? entry.major : 0,
    entry.type === "device" ? entry.minor : 0,
    name.length,
    0, // check sum, unused in this format
  ];
  const header = `070701${fields.map((field) => field.toString(16).padStart(8, "0")).join("")}`;
  return [padded(Buffer.concat([Buffer.from(header, "latin1"), name])), padded(content)];
}

function contentOf(entry: CpioEntry): Buffer {
  if (entry.type === "file") return entry.content;
  return entry.type === "link" ? Buffer.from(entry.target) : Buffer.alloc(0);
}

/** Header with name, and content, each end at a multiple of four. */
function padded(part: Buffer): Buffer {
  const rest = part.length % 4;
  return rest === 0 ? part : Buffer.concat([part, Buffer.alloc(4 - rest)]);
}
