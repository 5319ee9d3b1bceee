import { createHash } from "node:crypto";
import { gzipSync, zstdCompressSync } from "node:zlib";
import type { TarEntry } from "../../../src/image/oci/tar-read.ts";
import { padding, tarEnd, tarHeader } from "../../../src/image/oci/tar-write.ts";

/** An image as a registry keeps it. */
export interface MadeImage {
  manifest: string;
  digest: string;
  blobs: Map<string, Buffer>;
}

export interface ImageOptions {
  architecture?: string;
  os?: string;
  compression?: "gzip" | "zstd" | "none";
  /** Instead of the digests of the layers as they are. */
  diffIds?: string[];
}

export type Entry = Partial<Omit<TarEntry, "size" | "xattrs">> & {
  name: string;
  content?: string | Buffer;
  xattrs?: [string, string][];
};

export const digestOf = (content: string | Buffer): string =>
  `sha256:${createHash("sha256").update(content).digest("hex")}`;

/** A layer's archive, with whatever names and targets. */
export function tarOf(entries: Entry[]): Buffer {
  const parts = entries.flatMap(({ content = "", xattrs = [], ...entry }) => {
    const body = Buffer.from(content as string);
    const type = entry.type ?? (entry.name.endsWith("/") ? "directory" : "file");
    const mode = entry.mode ?? (type === "directory" ? 0o755 : 0o644);
    const numbers = { uid: 0, gid: 0, mtime: 1_700_000_000, major: 0, minor: 0, target: "" };
    const header = tarHeader({ ...numbers, ...entry, type, mode, size: body.length, xattrs: new Map(xattrs) });
    return [header, body, padding(body.length)];
  });
  return Buffer.concat([...parts, tarEnd()]);
}

/** What an image needs to be a guest. */
export const GUEST_FILES: Entry[] = [
  { name: "usr/" },
  { name: "usr/sbin/" },
  { name: "usr/bin/" },
  { name: "sbin", type: "symlink", target: "usr/sbin" },
  { name: "usr/sbin/fireteact-init", mode: 0o755, content: "#!/bin/sh\n" },
  { name: "usr/bin/fireteact", mode: 0o755, content: "#!/bin/sh\n" },
];

export function makeImage(layers: Buffer[], options: ImageOptions = {}): MadeImage {
  const { compression = "gzip", architecture = "amd64", os = "linux" } = options;
  const pack = { gzip: gzipSync, zstd: zstdCompressSync, none: (layer: Buffer) => layer }[compression];
  const ends = { gzip: "+gzip", zstd: "+zstd", none: "" };
  const blobs = new Map<string, Buffer>();
  const keep = (content: Buffer, mediaType: string) => {
    const digest = digestOf(content);
    blobs.set(digest, content);
    return { mediaType, digest, size: content.length };
  };
  const diffIds = options.diffIds ?? layers.map((layer) => digestOf(layer));
  const config = keep(
    Buffer.from(JSON.stringify({ architecture, os, config: {}, rootfs: { type: "layers", diff_ids: diffIds } })),
    "application/vnd.oci.image.config.v1+json",
  );
  const mediaType = `application/vnd.oci.image.layer.v1.tar${ends[compression]}`;
  const manifest = JSON.stringify({
    schemaVersion: 2,
    mediaType: "application/vnd.oci.image.manifest.v1+json",
    config,
    layers: layers.map((layer) => keep(pack(layer), mediaType)),
  });
  return { manifest, digest: digestOf(manifest), blobs };
}

/** An index of images by architecture. */
export function makeIndex(images: Record<string, MadeImage>): { manifest: string; digest: string } {
  const manifest = JSON.stringify({
    schemaVersion: 2,
    mediaType: "application/vnd.oci.image.index.v1+json",
    manifests: Object.entries(images).map(([architecture, image]) => ({
      mediaType: "application/vnd.oci.image.manifest.v1+json",
      digest: image.digest,
      size: image.manifest.length,
      platform: { os: "linux", architecture },
    })),
  });
  return { manifest, digest: digestOf(manifest) };
}
