import { createHash } from "node:crypto";
import { createReadStream, createWriteStream } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { join } from "node:path";
import { type Duplex, Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGunzip, createZstdDecompress } from "node:zlib";
import { systemCode } from "../../base/errors.ts";
import { badImage, tooLarge } from "./errors.ts";
import { readTar } from "./tar-read.ts";
import { createTree, type Tree } from "./tree.ts";

export interface Layers extends AsyncDisposable {
  tree: Tree;
  /** The archive of each layer, without compression. */
  archives: FileHandle[];
}

export interface LayerOptions {
  /** Private; takes the archives. */
  work: string;
  /** Most bytes of all layers together, unpacked. */
  mostBytes: number;
  signal: AbortSignal;
}

/**
 * Unpacks the layers' compression, checks each against the digest that the image's configuration has for it, and applies
 * them in their order to one tree.
 *
 * @throws FireteactError `IMAGE_INVALID`, `IMAGE_TOO_LARGE`
 */
export async function openLayers(
  files: readonly string[],
  digests: readonly string[],
  options: LayerOptions,
): Promise<Layers> {
  if (files.length !== digests.length) {
    throw badImage(`the image has ${files.length} layers, and its configuration speaks of ${digests.length}`);
  }
  const archives: FileHandle[] = [];
  const close = async () => {
    for (const archive of archives) await archive.close();
  };
  try {
    const tree = createTree();
    let left = options.mostBytes;
    for (const [index, file] of files.entries()) {
      const archive = await unpacked(
        file,
        digests[index] ?? "",
        join(options.work, `layer-${index}.tar`),
        left,
        options,
      );
      archives.push(archive);
      const { size } = await archive.stat();
      left -= size;
      for await (const entry of readTar(archive, size)) tree.add(entry, index);
      options.signal.throwIfAborted();
    }
    return { tree, archives, [Symbol.asyncDispose]: close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** By what the content says, not by what the manifest says of it. */
async function decompressor(file: string): Promise<Duplex | undefined> {
  await using handle = await open(file);
  const { buffer, bytesRead } = await handle.read(Buffer.alloc(4), 0, 4, 0);
  if (bytesRead >= 2 && buffer.readUInt16BE() === 0x1f8b) return createGunzip({ chunkSize: 256 * 1024 });
  if (bytesRead === 4 && buffer.readUInt32LE() === 0xfd2fb528) return createZstdDecompress();
  return undefined;
}

async function unpacked(
  file: string,
  digest: string,
  target: string,
  mostBytes: number,
  { signal }: LayerOptions,
): Promise<FileHandle> {
  const hash = createHash("sha256");
  let size = 0;
  const check = new Transform({
    transform(chunk: Buffer, _, done) {
      size += chunk.length;
      if (size > mostBytes) return done(tooLarge("the image's layers unpack to more than is allowed"));
      hash.update(chunk);
      done(null, chunk);
    },
  });
  const source = createReadStream(file, { highWaterMark: 1024 * 1024 });
  const decompress = await decompressor(file);
  const output = createWriteStream(target, { mode: 0o600 });
  try {
    if (decompress === undefined) await pipeline(source, check, output, { signal });
    else await pipeline(source, decompress, check, output, { signal });
  } catch (error) {
    signal.throwIfAborted();
    const code = (error as NodeJS.ErrnoException).code ?? "";
    if (/^(?:Z_|ZSTD_|ERR_ZSTD)/.test(code) || ["Z_DATA_ERROR", "Z_BUF_ERROR"].includes(systemCode(error) ?? "")) {
      throw badImage("a layer is corrupt: its compressed content ends early, or makes no sense");
    }
    throw error;
  }
  if (`sha256:${hash.digest("hex")}` !== digest) {
    throw badImage("a layer unpacks to other content than the image's configuration says", { wanted: digest });
  }
  return await open(target);
}
