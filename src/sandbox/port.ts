import type { Duplex } from "node:stream";
import type { Logger } from "../base/log.ts";
import type { DriverName, SandboxExit, SandboxUsage } from "../core/types.ts";

/** What every long operation is handed: when to give up, and where to say what it does. */
export interface StepContext {
  signal: AbortSignal;
  log: Logger;
  /**
   * Runs a named part of the operation. The name is log field, metric label and span; when it fails the name is part of
   * the error. Fault injection hooks in here too.
   */
  step<T>(name: string, work: () => Promise<T>): Promise<T>;
}

export interface SandboxSpec {
  /** The runner's hex; also the sandbox's name everywhere. */
  hex: string;
  runnerId: string;
  pool: string;
  memoryMib: number;
  vcpus: number;
  /** Inner host name of the guest. */
  hostname: string;
  /** What the guest reads from its metadata address before it has credentials (see metadata/document.ts). */
  metadata: MetadataDocument;
  /** Files put into the sandbox before it starts, by absolute path (the original's `.runner`). */
  files?: Record<string, { content: string; mode: number }>;
}

/** A JSON tree served to the guest. */
export type MetadataDocument = { [key: string]: unknown };

/** A sandbox as the host shows it, with the store empty. */
export interface SandboxInfo {
  hex: string;
  pool: string;
  runnerId: string;
  /** `partial`: being made or taken apart when its maker died; only fit for `remove`. */
  state: "running" | "exited" | "partial";
  exit?: SandboxExit;
  /** Uptime at which it was started. */
  startedAt?: number;
  address?: string;
}

export interface DriverCheck {
  ok: boolean;
  /** One line: what it uses (accelerator, kernel, image), or why it cannot work. */
  detail: string;
  hint?: string;
  /** How much longer guests take to boot here than with virtualisation; limits on booting are multiplied by it. */
  bootFactor?: number;
}

/**
 * Makes sandboxes of one kind for the pools that name it. Nothing a running job needs lives in this process: another
 * process can `list` and go on.
 */
export interface SandboxDriver {
  readonly name: DriverName;
  /** Finds out whether sandboxes can be made here, and prepares what they share (image, kernel, bridge). */
  prepare(context: StepContext): Promise<DriverCheck>;
  /**
   * Makes what running sandboxes need of this process work again (their metadata), before anything that may take long.
   * Repeatable; absent where they need nothing.
   */
  resume?(context: StepContext): Promise<void>;
  /** Looks quickly whether all is still there that `prepare` found; throws what is not. Absent where nothing can be lost. */
  verify?(context: StepContext): Promise<void>;
  /** Makes and starts a sandbox. A failure leaves nothing behind. */
  create(spec: SandboxSpec, context: StepContext): Promise<{ address?: string }>;
  /** Every sandbox of this host and driver, whoever made it; those that `known` accepts may be left out unread. */
  list(known?: (hex: string) => boolean): Promise<SandboxInfo[]>;
  /** Ends the sandbox, whatever it does, and removes everything of it. Twice is success. */
  remove(hex: string, context: StepContext): Promise<void>;
  /** Opens the channel's byte stream; rejects while the guest's end is not there. */
  dial(hex: string, signal: AbortSignal): Promise<Duplex>;
  /** Replaces what the guest reads from its metadata address. */
  publish(hex: string, document: MetadataDocument): Promise<void>;
  /** Calls back once when the sandbox ends, also when it has already; returns a function that stops watching. */
  watch(hex: string, onExit: (exit: SandboxExit) => void): () => void;
  /** What a sandbox took of the host, also shortly after its removal. Absent where that is not accounted. */
  usage?(hex: string): SandboxUsage | undefined;
  /** The last part of the console, at most `bytes`. */
  console(hex: string, bytes: number): Promise<string>;
  /** Stops serving (metadata, watches) without touching sandboxes. */
  close(): Promise<void>;
}
