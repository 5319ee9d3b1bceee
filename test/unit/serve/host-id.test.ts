import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { hostId } from "../../../src/serve/host-id.ts";
import { temporaryDirectory } from "../../support/orchestrator.ts";

function host() {
  const directory = temporaryDirectory();
  const places = { state: join(directory.path, "state"), run: join(directory.path, "run") };
  const machine = join(directory.path, "machine-id");
  writeFileSync(machine, "a machine\n");
  return { places, machine, [Symbol.dispose]: () => directory[Symbol.dispose]() };
}

describe("the host's id", () => {
  it("is made once and kept", () => {
    using here = host();
    const id = hostId(here.places, here.machine);
    expect(id).toMatch(/^[0-9a-f]{6}$/);
    expect(hostId(here.places, here.machine)).toBe(id);
  });

  it.each(["state", "run"] as const)("outlives the loss of the %s directory", (lost) => {
    using here = host();
    const id = hostId(here.places, here.machine);
    rmSync(here.places[lost], { recursive: true });
    expect(hostId(here.places, here.machine)).toBe(id);
    rmSync(here.places[lost === "run" ? "state" : "run"], { recursive: true });
    expect(hostId(here.places, here.machine)).toBe(id);
  });

  it("is another on another machine, and where the file was damaged", () => {
    using here = host();
    const id = hostId(here.places, here.machine);
    writeFileSync(here.machine, "another machine\n");
    const other = hostId(here.places, here.machine);
    expect(other).not.toBe(id);
    for (const place of Object.values(here.places)) writeFileSync(join(place, "host-id"), "../../ \n");
    expect(hostId(here.places, here.machine)).toMatch(/^[0-9a-f]{6}$/);
  });
});
