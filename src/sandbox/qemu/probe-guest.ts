import { cpio } from "../microvm/initrd.ts";

/** Exit code of a QEMU whose guest ran the program below: isa-debug-exit makes 2n + 1 of what is written. */
export const PROBE_EXIT = 33;
const PROBE_VALUE = (PROBE_EXIT - 1) / 2;
const PROBE_PORT = 0xf4;

/** The device that the program writes to. */
export const PROBE_DEVICE = `isa-debug-exit,iobase=0x${PROBE_PORT.toString(16)},iosize=0x04`;

/**
 * An initramfs whose first and only program tells the machine monitor that it runs: neither a fault nor a reset of the
 * guest can end the monitor with that code.
 */
export function probeInitrd(): Buffer {
  return cpio([{ path: "init", mode: 0o100755, content: program() }]);
}

/** x86-64: `iopl(3)`, then the value to the port, then wait for the end. */
const CODE = [
  [0xbf, 3, 0, 0, 0], // mov edi, 3
  [0xb8, 172, 0, 0, 0], // mov eax, iopl
  [0x0f, 0x05], // syscall
  [0xba, PROBE_PORT, 0, 0, 0], // mov edx, port
  [0xb0, PROBE_VALUE], // mov al, value
  [0xee], // out dx, al
  [0xeb, 0xfe], // jmp to itself
].flat();

const LOAD_ADDRESS = 0x400000;
const ELF_HEADER = 64;
const PROGRAM_HEADER = 56;

/** The smallest static ELF program: one header, one segment that holds the whole file. */
function program(): Buffer {
  const size = ELF_HEADER + PROGRAM_HEADER + CODE.length;
  const file = Buffer.alloc(size);
  file.write("\x7fELF", 0, "latin1");
  file.set([2, 1, 1], 4); // 64 bits, little endian, version 1
  file.writeUInt16LE(2, 16); // executable
  file.writeUInt16LE(62, 18); // x86-64
  file.writeUInt32LE(1, 20);
  file.writeBigUInt64LE(BigInt(LOAD_ADDRESS + ELF_HEADER + PROGRAM_HEADER), 24); // entry
  file.writeBigUInt64LE(BigInt(ELF_HEADER), 32); // program headers
  file.writeUInt16LE(ELF_HEADER, 52);
  file.writeUInt16LE(PROGRAM_HEADER, 54);
  file.writeUInt16LE(1, 56);

  const segment = file.subarray(ELF_HEADER);
  segment.writeUInt32LE(1, 0); // load
  segment.writeUInt32LE(5, 4); // read and execute
  segment.writeBigUInt64LE(BigInt(LOAD_ADDRESS), 16);
  segment.writeBigUInt64LE(BigInt(LOAD_ADDRESS), 24);
  segment.writeBigUInt64LE(BigInt(size), 32);
  segment.writeBigUInt64LE(BigInt(size), 40);
  segment.writeBigUInt64LE(0x1000n, 48);
  file.set(CODE, ELF_HEADER + PROGRAM_HEADER);
  return file;
}
