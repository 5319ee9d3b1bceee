import { afterEach, beforeEach, expect, it } from "vitest";
import { guestDocument, withCredentials, withoutCredentials } from "../../../src/metadata/document.ts";
import type { GuestNetwork } from "../../../src/network/port.ts";
import { type Actor, createLab, hex, type Lab, type Reply, tcp } from "../network/lab.ts";

let lab: Lab;
beforeEach(async () => {
  lab = await createLab();
});
afterEach(async () => {
  await lab.close();
});

const SETTINGS = { nameservers: ["192.0.2.53"] };
const DOCUMENT = guestDocument({
  runnerId: "pool-1",
  runnerName: "runner-1",
  pool: "pool",
  labels: ["a", "b"],
  forgeUrl: "https://forge.test",
  engine: "shell",
  engineTimeoutSeconds: 60,
});
const CREDENTIALS = { row: "7", uuid: "u", token: "secret-of-1", address: "https://forge.test", labels: "a:host" };

const read = (guest: Actor, path: string): Promise<Reply> =>
  tcp(guest, "169.254.169.254", 80, `GET ${path} HTTP/1.1\r\nHost: metadata\r\nAccept: application/json\r\n\r\n`);

it("credentials come, go, and never come back to another guest at the same address", async () => {
  const daemon = lab.daemon({ ...SETTINGS, subnet: "10.201.0.0/29", ahead: 0 });
  await daemon.call("prepare");
  const network = await daemon.call<GuestNetwork>("attach", hex(1));
  await daemon.call("publish", hex(1), DOCUMENT);
  const guest = await lab.guest(network);
  const path = "/latest/meta-data/fireteact/credentials";
  expect((await read(guest, path)).reply).toMatch(/^HTTP\/1\.1 404 /);
  expect((await read(guest, "/2009-04-04/meta-data/instance-id")).reply).toMatch(/"pool-1"$/);

  await daemon.call("publish", hex(1), withCredentials(DOCUMENT, CREDENTIALS));
  expect((await read(guest, path)).reply).toContain('"token":"secret-of-1"');
  await daemon.call("publish", hex(1), withoutCredentials(withCredentials(DOCUMENT, CREDENTIALS)));
  expect((await read(guest, path)).reply).toMatch(/^HTTP\/1\.1 404 /);

  await daemon.call("publish", hex(1), withCredentials(DOCUMENT, CREDENTIALS));
  await guest.stop();
  await daemon.call("release", hex(1));
  let next = network;
  for (let number = 2; number <= 6; number++) next = await daemon.call<GuestNetwork>("attach", hex(number));
  expect(next.hostAddress).toBe(network.hostAddress);
  const stranger = await lab.guest(next);
  expect(await read(stranger, path)).toMatchObject({ ok: false });
  await daemon.call("publish", hex(6), { latest: {} });
  expect((await read(stranger, path)).reply).toMatch(/^HTTP\/1\.1 404 /);
});

it("a guest is answered again after the daemon was killed and started anew", async () => {
  const first = lab.daemon(SETTINGS);
  await first.call("prepare");
  const guest = await lab.guest(await first.call<GuestNetwork>("attach", hex(1)));
  await first.call("publish", hex(1), DOCUMENT);
  expect((await read(guest, "/latest/meta-data/local-hostname")).reply).toMatch(/"runner-1"$/);
  await first.kill();
  expect(await read(guest, "/")).toMatchObject({ ok: false });

  const second = lab.daemon(SETTINGS);
  await second.call("prepare");
  expect(await read(guest, "/")).toMatchObject({ ok: false });
  await second.call("publish", hex(1), DOCUMENT);
  expect((await read(guest, "/latest/meta-data/local-hostname")).reply).toMatch(/"runner-1"$/);
});

it("a guest that has no network is refused its metadata, and one that is not served gets no document", async () => {
  const daemon = lab.daemon(SETTINGS);
  await expect(daemon.call("publish", hex(1), {})).rejects.toThrow(/^NETWORK_NOT_PREPARED: /);
  await daemon.call("prepare");
  await expect(daemon.call("publish", hex(1), {})).rejects.toThrow(/^NETWORK_NOT_ATTACHED: /);
  await daemon.call("attach", hex(1));
  await expect(daemon.call("publish", hex(1), { big: "x".repeat(51_200) })).rejects.toThrow(
    /^METADATA_TOO_LARGE: .* 51210 bytes/,
  );
});
