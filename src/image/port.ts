/** What a microVM boots: all read-only and shared; the scratch disk is made per guest. */
export interface GuestImage {
  /** Digest of the content, `sha256:...`. */
  digest: string;
  /** Root file system, a raw disk image file that is never written. */
  rootfs: string;
  rootfsType: "ext4" | "erofs" | "squashfs";
  kernel: string;
  initrd: string;
  kernelVersion: string;
}

export interface Images {
  /** The image for a reference, made or pulled when it is not here; one at a time per reference. */
  resolve(reference: string, signal: AbortSignal, progress: (line: string) => void): Promise<GuestImage>;
  /** Looks quickly whether the image that was resolved before is still here and whole; throws what is wrong with it. */
  verify(reference: string): Promise<void>;
  /** Whether an image comes from a registry: then it may take long, or never come. */
  isRemote(reference: string): boolean;
  list(): Promise<GuestImage[]>;
}

/** Writable disks of guests. */
export interface RootDisks {
  /** A fresh scratch disk for a guest, cloned from a pristine one. Returns its path. */
  clone(hex: string, directory: string, signal: AbortSignal): Promise<string>;
}
