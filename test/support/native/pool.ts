import type { NativePool, NativePrograms } from "../../../src/sandbox/native/unit.ts";

export const pool = (change: Partial<NativePool> = {}): NativePool => ({
  name: "host",
  hostPackages: ["/usr"],
  memoryMib: 512,
  swapMib: 0,
  tasks: 256,
  cpuWeight: 50,
  nix: true,
  groups: [],
  readOnlyPaths: [],
  inaccessiblePaths: [],
  loopback: false,
  lifetime: 3_600_000,
  ...change,
});

export const PROGRAMS: NativePrograms = {
  node: process.execPath,
  agent: "/usr/lib/fireteact/agent.cjs",
  engines: {},
};

/** The values of a key in a unit file, in order. */
export function valuesOf(text: string, key: string): string[] {
  const lines = text.split("\n").filter((line) => line.startsWith(`${key}=`));
  return lines.map((line) => line.slice(key.length + 1));
}

/** The words of all values of a key. */
export const wordsOf = (text: string, key: string): string[] =>
  valuesOf(text, key).flatMap((value) => value.split(" ").filter((word) => word !== ""));
