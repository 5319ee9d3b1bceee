import { describe, expect, it } from "vitest";
import {
  type GuestDescription,
  guestDocument,
  withCredentials,
  withoutCredentials,
} from "../../../src/metadata/document.ts";

const guest: GuestDescription = {
  runnerId: "default-abc",
  runnerName: "runner-abc",
  pool: "default",
  labels: ["ubuntu", "big"],
  forgeUrl: "https://forge.test/git",
  engine: "shell",
  engineTimeoutSeconds: 10_800,
};
const credentials = { row: "12", uuid: "u-u", token: "t", address: "https://forge.test/git", labels: "ubuntu:host" };

describe("a guest's tree", () => {
  it("is the same under both names, all values strings", () => {
    const document = guestDocument({ ...guest, registrationToken: "legacy" });
    expect(Object.keys(document)).toEqual(["latest", "2009-04-04"]);
    expect(document["latest"]).toEqual(document["2009-04-04"]);
    expect(document["latest"]).toEqual({
      "meta-data": {
        "instance-id": "default-abc",
        "local-hostname": "runner-abc",
        fireteact: {
          gitea_instance_url: "https://forge.test/git",
          registration_token: "legacy",
          runner_name: "runner-abc",
          runner_labels: "ubuntu,big",
          pool_name: "default",
          runner_id: "default-abc",
          engine: "shell",
          engine_timeout_seconds: "10800",
        },
      },
    });
  });

  it("has a registration token that is good for nothing, unless told otherwise", () => {
    const token = (document: object): unknown =>
      (document as { latest: { "meta-data": { fireteact: { registration_token: string } } } }).latest["meta-data"]
        .fireteact.registration_token;
    expect(token(guestDocument(guest))).toMatch(/^[0-9a-f]{40}$/);
    expect(token(guestDocument(guest))).not.toBe(token(guestDocument(guest)));
  });

  it("has the pool's metadata beneath its own, and user data beside it", () => {
    const poolMetadata = {
      "instance-id": "mine",
      fireteact: { runner_name: "mine" },
      "public-keys": { 0: "ssh-ed25519 A" },
      "user-data": "#cloud-config\n",
    };
    const document = guestDocument({ ...guest, poolMetadata });
    expect(document["latest"]).toMatchObject({
      "meta-data": {
        "instance-id": "default-abc",
        "public-keys": { 0: "ssh-ed25519 A" },
        fireteact: { runner_name: "runner-abc" },
      },
      "user-data": "#cloud-config\n",
    });
    expect((document["latest"] as { "meta-data": object })["meta-data"]).not.toHaveProperty("user-data");
  });
});

describe("credentials", () => {
  it("are added under both names and taken away again, without touching the tree that was given", () => {
    const document = guestDocument(guest);
    const before = structuredClone(document);
    const given = withCredentials(document, credentials);
    for (const key of ["latest", "2009-04-04"]) {
      expect(given[key]).toMatchObject({
        "meta-data": { fireteact: { credentials: { ...credentials, ephemeral: "true" } } },
      });
    }
    expect(JSON.stringify(withoutCredentials(given))).not.toContain('"credentials"');
    expect(withoutCredentials(given)).toEqual(document);
    expect(withoutCredentials(document)).toEqual(document);
    expect(document).toEqual(before);
  });

  it("carry the handle only when there is one", () => {
    const given = withCredentials(guestDocument(guest), { ...credentials, handle: "h" });
    expect(JSON.stringify(given)).toContain('"handle":"h"');
    expect(JSON.stringify(withCredentials(guestDocument(guest), credentials))).not.toContain("handle");
  });
});
