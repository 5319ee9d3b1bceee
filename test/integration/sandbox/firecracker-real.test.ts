import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { processes } from "../../../src/base/process.ts";
import { unixRequest } from "../../../src/base/unix-http.ts";
import { placesOf } from "../../../src/sandbox/microvm/places.ts";
import { readRecord, type SandboxRecord } from "../../../src/sandbox/microvm/record.ts";
import { firecrackerHost } from "../../support/firecracker/host.ts";
import { realBinary } from "../../support/firecracker/real.ts";
import { contextOf, hexOf, specOf } from "../../support/sandboxes.ts";

const binaryPath = realBinary("FIRECRACKER_BIN") ?? "";
const jailerPath = realBinary("JAILER_BIN") ?? "";
const HEX = hexOf(88);
const EVERYTHING = { mmds: "V2", imdsCompat: true, balloon: true, receive: 1_000_000, send: 1_000_000 } as const;

/** Whether guests get anywhere with this KVM is another question: what is looked at here needs none that does. */
describe.skipIf(binaryPath === "" || jailerPath === "")(
  "the driver with the real Firecracker",
  { timeout: 180_000 },
  () => {
    it.each([
      ["in a jail", { jailer: true }],
      ["in a jail, with all that can be set", { jailer: true, ...EVERYTHING }],
      ["without a jail", { jailer: false }],
    ])("%s starts a guest, or says what is wrong with KVM, and leaves nothing", async (_, pool) => {
      const { driver, places } = await firecrackerHost({ ...pool, binaryPath, jailerPath });
      expect(await driver.prepare(contextOf())).toMatchObject({ ok: true });
      const failure: unknown = await driver.create(specOf(HEX), contextOf()).then(
        () => undefined,
        (error: unknown) => error,
      );
      if (failure === undefined) await lookAt(placesOf(places, HEX).directory);
      else expect(failure).toMatchObject({ code: "KVM_UNUSABLE" });

      await driver.remove(HEX, contextOf());
      await driver.remove(HEX, contextOf());
      expect(await driver.list()).toEqual([]);
      const jails = join(places.state, "jails");
      const left = existsSync(jails) ? readdirSync(jails).flatMap((name) => readdirSync(join(jails, name))) : [];
      expect([...left, ...readdirSync(join(places.run, "sandboxes"))]).toEqual([]);
    });
  },
);

/** A guest that was started: all threads filtered, paused and resumed, and no snapshot written where nobody may write. */
async function lookAt(directory: string): Promise<void> {
  const { uid } = readRecord(directory) as SandboxRecord;
  const [monitor] = Array.from(processes()).filter((view) => view.uid === uid);
  const tasks = `/proc/${monitor?.pid}/task`;
  for (const task of readdirSync(tasks)) {
    const status = readFileSync(join(tasks, task, "status"), "utf8");
    expect(status).toMatch(/^Seccomp:\t2$/m);
    expect(status).toMatch(/^NoNewPrivs:\t1$/m);
  }
  const socketPath = join(directory, "vm/api.sock");
  const call = async (method: string, path: string, body: object) =>
    await unixRequest({ socketPath, method, path, body: JSON.stringify(body) });
  const snapshot = { snapshot_path: "vm/state", mem_file_path: "vm/memory" };
  expect(await call("PUT", "/snapshot/create", snapshot)).toMatchObject({ status: 400 });
  expect(await call("PATCH", "/vm", { state: "Paused" })).toMatchObject({ status: 204 });
  const refused = await call("PUT", "/snapshot/create", snapshot);
  expect(refused).toMatchObject({ status: 400, body: expect.stringMatching(/Permission denied/) });
  expect(await call("PATCH", "/vm", { state: "Resumed" })).toMatchObject({ status: 204 });
  const load = { snapshot_path: "vm/state", mem_backend: { backend_type: "File", backend_path: "vm/memory" } };
  expect(await call("PUT", "/snapshot/load", load)).toMatchObject({ status: 400 });
}
