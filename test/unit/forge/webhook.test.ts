import { createHmac } from "node:crypto";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { ForgeScope } from "../../../src/core/types.ts";
import {
  createWebhookReader,
  type Heard,
  WebhookError,
  type WebhookPlace,
  type WebhookReader,
} from "../../../src/forge/webhook.ts";

const SECRET = "hook-secret";
const FORGE = "https://git.example.org/sub";
const target = (scope: ForgeScope, url = FORGE): WebhookPlace => ({
  key: `${url}#${scope.kind}`,
  url,
  scope,
  countsTakenAttempts: true,
  listsQueue: true,
});
const ORG = target({ kind: "org", owner: "Acme" });
/** A Gitea 1.24. */
const WITHOUT_QUEUE = { ...ORG, listsQueue: false };
const CREATED = "2026-11-01T10:00:00Z";

const reader = (...targets: WebhookPlace[]): WebhookReader =>
  createWebhookReader({
    secret: () => SECRET,
    targets: () => (targets.length === 0 ? [ORG] : targets),
    now: () => Date.parse(CREATED),
  });

const event = (action: string, id = 1, more: object = {}): Buffer =>
  Buffer.from(
    JSON.stringify({
      action,
      workflow_job: {
        id,
        url: `${FORGE}/api/v1/repos/acme/app/actions/jobs/${id}`,
        name: "build",
        labels: ["ubuntu"],
        status: action,
        run_attempt: action === "waiting" || action === "queued" ? 0 : 1,
        ...(action === "waiting" || action === "queued" ? {} : { runner_id: 9 }),
        created_at: CREATED,
        ...more,
      },
      repository: { id: 3, full_name: "acme/app" },
    }),
  );

const sign = (body: Uint8Array, secret = SECRET): string => createHmac("sha256", secret).update(body).digest("hex");
let deliveries = 0;
const signed = (body: Uint8Array, headers: Record<string, string> = {}): Headers =>
  new Headers({
    "x-gitea-event": "workflow_job",
    "x-gitea-delivery": `delivery-${++deliveries}`,
    "x-gitea-signature": sign(body),
    ...headers,
  });

function refusal(read: () => unknown): WebhookError {
  try {
    read();
  } catch (error) {
    if (error instanceof WebhookError) return error;
    throw error;
  }
  throw new Error("expected a refusal");
}

describe("signatures", () => {
  it.each(["x-gitea-signature", "x-forgejo-signature", "x-hub-signature-256"])("accepts %s", (name) => {
    const body = event("queued");
    const value = name === "x-hub-signature-256" ? `sha256=${sign(body)}` : sign(body);
    const headers = new Headers({ "x-github-event": "workflow_job", [name]: value });
    expect(reader().read(headers, body)).toMatchObject({ kind: "queued" });
  });

  it.each([
    ["none at all", {}, "WEBHOOK_UNSIGNED"],
    [
      "empty ones, as forges send without a secret",
      { "x-gitea-signature": "", "x-hub-signature-256": "sha256=" },
      "WEBHOOK_UNSIGNED",
    ],
    ["one of another secret", { "x-gitea-signature": sign(event("queued"), "other") }, "WEBHOOK_SIGNATURE"],
    ["one that is too short", { "x-gitea-signature": "abcd" }, "WEBHOOK_SIGNATURE"],
    ["one that is not hexadecimal", { "x-gitea-signature": "z".repeat(64) }, "WEBHOOK_SIGNATURE"],
  ])("refuses %s", (_, headers, code) => {
    expect(refusal(() => reader().read(new Headers(headers), event("queued")))).toMatchObject({ status: 401, code });
  });

  it("refuses everything while the secret is empty", () => {
    const open = createWebhookReader({ secret: () => "", targets: () => [ORG] });
    const body = event("queued");
    const headers = new Headers({ "x-gitea-signature": sign(body, "") });
    expect(refusal(() => open.read(headers, body))).toMatchObject({ code: "WEBHOOK_UNSIGNED" });
  });

  it("refuses any body that was changed", () => {
    const body = event("queued");
    fc.assert(
      fc.property(fc.nat(body.length - 1), fc.integer({ min: 1, max: 255 }), (at, flip) => {
        const changed = Uint8Array.from(body);
        changed[at] = (changed[at] ?? 0) ^ flip;
        return refusal(() => reader().read(signed(body), changed)).code === "WEBHOOK_SIGNATURE";
      }),
    );
  });

  it("reads no more than a mebibyte, and only JSON of the right shape", () => {
    const large = Buffer.alloc(1024 * 1024 + 1, 32);
    expect(refusal(() => reader().read(signed(large), large))).toMatchObject({ status: 413 });
    const form = Buffer.from("payload=%7B%7D");
    expect(refusal(() => reader().read(signed(form), form))).toMatchObject({ status: 400, code: "WEBHOOK_NOT_JSON" });
    const strange = Buffer.from('{"action":"queued","workflow_job":{"id":"x"}}');
    expect(refusal(() => reader().read(signed(strange), strange))).toMatchObject({
      status: 400,
      code: "WEBHOOK_BAD_BODY",
    });
  });
});

describe("observations", () => {
  it("gives the job as the poll would", () => {
    const body = event("queued");
    expect(reader().read(signed(body), body).jobs).toEqual([
      {
        key: `${ORG.key}/1/1`,
        target: ORG.key,
        id: 1,
        attempt: 1,
        name: "build",
        labels: ["ubuntu"],
        status: "queued",
        repository: "acme/app",
        queuedAt: Date.parse("2026-11-01T10:00:00Z"),
      },
    ]);
  });

  it("takes a delivery in once, also under another id", () => {
    const one = reader();
    const body = event("queued");
    const headers = signed(body);
    expect(one.read(headers, body).kind).toBe("queued");
    expect(one.read(headers, body)).toMatchObject({ kind: "none", jobs: [] });
    expect(one.read(signed(body), body)).toMatchObject({ kind: "none", jobs: [] });
    const other = event("in_progress", 2);
    expect(one.read(signed(other, { "x-gitea-delivery": headers.get("x-gitea-delivery") ?? "" }), other)).toMatchObject(
      { jobs: [] },
    );
  });

  it.each([
    ["whose queue can be read: it is asked whether one that was over runs again", ORG],
    ["whose queue cannot be read: one that was over and is queued once more runs again", WITHOUT_QUEUE],
  ])("only ever moves a job forward, of a forge %s", (_, place) => {
    const order = ["waiting", "queued", "in_progress", "completed"];
    fc.assert(
      fc.property(fc.array(fc.constantFrom(...order), { maxLength: 12 }), (actions) => {
        const one = reader(place);
        let highest = -1;
        for (const [index, action] of actions.entries()) {
          const body = event(action, 1, { head_sha: `${index}` });
          const rank = order.indexOf(action);
          const again = action === "queued" && highest === 3;
          const read = one.read(signed(body), body);
          expect(read.jobs).toHaveLength(rank > highest || (again && place === WITHOUT_QUEUE) ? 1 : 0);
          expect(read.read).toEqual(read.jobs.length === 0 ? [place.key] : []);
          highest = again ? rank : Math.max(highest, rank);
        }
      }),
    );
  });

  it("takes a late delivery for no demand, and the next attempt of a job for one", () => {
    const one = reader();
    const [queued, taken, done] = [event("queued"), event("in_progress"), event("completed")];
    expect(one.read(signed(taken), taken)).toMatchObject({ kind: "in_progress", jobs: [{ id: 1, attempt: 1 }] });
    expect(one.read(signed(queued), queued)).toMatchObject({ kind: "other", jobs: [], read: [ORG.key] });
    expect(one.read(signed(done), done)).toMatchObject({ kind: "completed", jobs: [{ id: 1 }] });
    const again = event("queued", 1, { run_attempt: 1 });
    expect(one.read(signed(again), again)).toMatchObject({ kind: "queued", jobs: [{ id: 1, attempt: 2 }] });
    expect(one.read(signed(again), again)).toMatchObject({ kind: "none", jobs: [], read: [] });
    const takenAgain = event("in_progress", 1, { run_attempt: 2 });
    expect(one.read(signed(takenAgain), takenAgain)).toMatchObject({ kind: "in_progress", jobs: [{ attempt: 2 }] });
  });

  describe("that come again after a restart", () => {
    it("make the queue be read, where it can be: only jobs of this process are believed, while they are young", () => {
      let now = Date.parse(CREATED) + 2_000;
      const one = createWebhookReader({ secret: () => SECRET, targets: () => [ORG], now: () => now });
      const before = event("queued", 1);
      const young = event("queued", 2, { created_at: "2026-11-01T10:00:02Z" });
      const old = event("queued", 3, { created_at: "2026-11-01T10:00:03Z" });
      const undated = event("queued", 4, { created_at: "1970-01-01T00:00:00Z" });
      expect(one.read(signed(before), before)).toMatchObject({ kind: "other", jobs: [], read: [ORG.key] });
      expect(one.read(signed(before), before)).toMatchObject({ kind: "none", read: [] });
      expect(one.read(signed(young), young)).toMatchObject({ kind: "queued", jobs: [{ id: 2 }] });
      now += 6 * 60_000;
      expect(one.read(signed(old), old)).toMatchObject({ kind: "other", jobs: [], read: [ORG.key] });
      expect(one.read(signed(undated), undated)).toMatchObject({ kind: "other", jobs: [], read: [ORG.key] });
      const taken = event("in_progress", 1);
      expect(one.read(signed(taken), taken)).toMatchObject({ kind: "in_progress", jobs: [{ id: 1 }] });
    });

    it("are known from what was kept, where the queue cannot be read", () => {
      const kept = new Map<string, Heard>();
      const restarted = (): WebhookReader =>
        createWebhookReader({
          secret: () => SECRET,
          targets: () => [WITHOUT_QUEUE],
          known: [...kept.values()],
          keep: (heard) => kept.set(heard.job.key, heard),
          now: () => Date.parse(CREATED) + 3_600_000,
        });
      const [queued, taken, done] = [event("queued"), event("in_progress"), event("completed")];
      for (const body of [queued, taken, done]) {
        expect(restarted().read(signed(body), body).jobs).toHaveLength(1);
        for (const replay of [queued, body]) expect(restarted().read(signed(replay), replay).jobs).toEqual([]);
      }
      const cancelledAndQueued = event("queued", 1, { head_sha: "another delivery" });
      expect(restarted().read(signed(cancelledAndQueued), cancelledAndQueued)).toMatchObject({ kind: "queued" });
      expect(restarted().read(signed(cancelledAndQueued), cancelledAndQueued).jobs).toEqual([]);
    });
  });

  it("finds the targets whose forge and scope have the job", () => {
    const all = [
      ORG,
      target({ kind: "instance" }),
      target({ kind: "repo", owner: "acme", repo: "app" }),
      target({ kind: "repo", owner: "acme", repo: "other" }),
      target({ kind: "org", owner: "acm" }),
      target({ kind: "instance" }, "https://git.example.org"),
      target({ kind: "instance" }, "https://elsewhere.example"),
    ];
    const body = event("queued");
    const found = reader(...all)
      .read(signed(body), body)
      .jobs.map((job) => job.target);
    expect(found).toEqual([`${FORGE}#org`, `${FORGE}#instance`, `${FORGE}#repo`, "https://git.example.org#instance"]);
  });

  it("accepts another address of the only forge there is", () => {
    const body = event("queued");
    const alone = target({ kind: "instance" }, "http://forge.internal:3000");
    expect(reader(alone).read(signed(body), body).jobs).toHaveLength(1);
  });

  it("takes other events for a poke", () => {
    const body = Buffer.from("{}");
    const one = reader();
    const headers = signed(body, { "x-gitea-event": "push" });
    expect(one.read(headers, body)).toMatchObject({ kind: "other", jobs: [], read: [ORG.key] });
    expect(one.read(headers, body)).toMatchObject({ kind: "none", jobs: [], read: [] });
  });
});
