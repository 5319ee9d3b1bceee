/** Statuses with which Firecracker ends by itself. Some are above 128, where a shell has signals. */
const FIRECRACKER: Record<number, string> = {
  1: "Firecracker failed, or the guest's processor stopped for good",
  2: "Firecracker met an unexpected error",
  148: "Firecracker made a system call that its filter forbids",
  149: "Firecracker met a bus error: no huge pages are left, or a file of its memory was cut",
  150: "Firecracker met a segmentation fault",
  151: "Firecracker wrote more to a file than it may",
  152: "Firecracker was given a bad configuration",
  153: "Firecracker was given bad arguments",
  154: "Firecracker took more processor time than it may",
  155: "Firecracker wrote to a pipe that nobody reads",
  156: "Firecracker lost its terminal",
  157: "Firecracker met an illegal instruction",
};

/** What a monitor means by the status with which it ended; undefined where it is like any program's. */
export const meaningOf = (driver: string, status: number): string | undefined =>
  driver === "firecracker" ? FIRECRACKER[status] : undefined;
