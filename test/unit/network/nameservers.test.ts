import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { hostNameservers, reachableNameservers } from "../../../src/network/embedded/nameservers.ts";

it("name servers that guests can reach are those of IPv4 that are not loopback, at most three", () => {
  const text = `# nameserver 192.0.2.99
search example.org
nameserver 127.0.0.53
nameserver 192.0.2.1
nameserver\t192.0.2.2
nameserver 192.0.2.1
nameserver fe80::1%eth0
nameserver 2001:db8::1
nameserver 192.0.2.3
nameserver 192.0.2.4
options edns0`;
  expect(reachableNameservers(text)).toEqual(["192.0.2.1", "192.0.2.2", "192.0.2.3"]);
  expect(reachableNameservers("")).toEqual([]);
});

it("behind a stub on loopback are those that it asks", async () => {
  const directory = mkdtempSync(join(tmpdir(), "fireteact-dns-"));
  const [stub, upstream] = [join(directory, "stub"), join(directory, "upstream")];
  writeFileSync(stub, "nameserver 127.0.0.53\n");
  writeFileSync(upstream, "nameserver 192.0.2.1\n");
  expect(await hostNameservers([stub, upstream])).toEqual(["192.0.2.1"]);
  expect(await hostNameservers([stub, join(directory, "absent")])).toEqual([]);
  rmSync(directory, { recursive: true });
});
