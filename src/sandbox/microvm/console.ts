import { open } from "node:fs/promises";
import { join } from "node:path";
import { ignore } from "../../base/errors.ts";

/** The last part of the console in a sandbox's directory, over both of its segments, at most `bytes`. */
export async function readConsole(directory: string, bytes: number): Promise<string> {
  const current = await tail(join(directory, "console/log"), bytes);
  const older = await tail(join(directory, "console/old"), bytes - current.length);
  return Buffer.concat([older, current]).toString();
}

async function tail(path: string, bytes: number): Promise<Buffer> {
  if (bytes <= 0) return Buffer.alloc(0);
  const file = await open(path, "r").catch(ignore("ENOENT", "ENOTDIR"));
  if (file === undefined) return Buffer.alloc(0);
  await using _ = file;
  const { size } = await file.stat();
  const buffer = Buffer.alloc(Math.min(size, bytes));
  const { bytesRead } = await file.read(buffer, 0, buffer.length, size - buffer.length);
  return buffer.subarray(0, bytesRead);
}
