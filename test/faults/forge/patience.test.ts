import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { eventually, FAKE_POOL, temporaryDirectory } from "../../support/orchestrator.ts";
import { many } from "../../support/world.ts";
import { ENOUGH, expectClean, openPlace, POLL, REST, WITHIN_ONE_POLL } from "./place.ts";

const tls = join(import.meta.dirname, "../../support/fixtures/tls");
const elsewhere = join(import.meta.dirname, "../../support/e2e/tls");
const certificateIn = (directory: string) => ({
  key: readFileSync(join(directory, "server.key"), "utf8"),
  cert: readFileSync(join(directory, "server.pem"), "utf8"),
});

it.concurrent.each([
  { status: 429, reason: /asks for fewer requests/ },
  { status: 503, reason: /503 Service Unavailable/ },
])(
  "a forge that answers $status with Retry-After is left alone for so long by all its scopes",
  async ({ status, reason }) => {
    const orgPool = { ...FAKE_POOL, name: "org", forge: { scope: "org", owner: "org" }, runner: { labels: ["org"] } };
    await using place = await openPlace({ pools: [FAKE_POOL, orgPool] });
    const first = await place.push(many(2, ["linux"], "running"));
    await eventually("two run", () => place.busy() === 2);
    const seconds = 5;
    const heal = await place.begin(
      { kind: "answer", status, headers: { "retry-after": `${seconds}` } },
      { match: REST, times: 1 },
    );
    place.proxy.forget();
    await eventually("both scopes are ill", () => place.orchestrator.targets().every(({ health }) => health !== "ok"));
    const [asked] = place.proxy.requests().filter(({ subject }) => REST.test(subject));
    const health = await place.verboseHealth();
    expect(health.status).toBe("degraded");
    expect(health.problems).toEqual([expect.stringMatching(reason), expect.stringMatching(reason)]);
    const later = await place.push({ later: ["linux"] });
    await eventually("both are well", () => place.isOk(), 20_000);
    const paused = performance.now() - (asked?.at ?? 0);
    expect(paused).toBeGreaterThan(seconds * 1_000);
    expect(paused).toBeLessThan(seconds * 1_000 + WITHIN_ONE_POLL);
    const during = place.proxy
      .requests()
      .filter(({ at, subject }) => REST.test(subject) && at - (asked?.at ?? 0) < seconds * 1_000 - 100);
    // The one that was refused, and at most the other scope's, which was under way.
    expect(during.length).toBeLessThanOrEqual(2);
    expect(await first.finished(ENOUGH())).toEqual({ running0: "success", running1: "success" });
    expect(await later.finished(ENOUGH())).toEqual({ later: "success" });
    await heal();
    await expectClean(place, 3);
  },
);

it.concurrent("a forge whose clock is a day off is served as any other", async () => {
  await using place = await openPlace({ script: { jobTime: 200 } });
  for (const days of [-1, 1]) {
    const date = new Date(Date.now() + days * 86_400_000).toUTCString();
    const heal = await place.begin({ kind: "headers", headers: { date } });
    const run = await place.push(many(2, ["linux"], `day${days}`));
    expect(Object.values(await run.finished(ENOUGH()))).toEqual(["success", "success"]);
    await place.cleared();
    await heal();
  }
  await expectClean(place, 4);
  expect(place.told()).toEqual([]);
});

it.concurrent("a token that is revoked freezes, and the new one in the file is found by the next poll", async () => {
  using directory = temporaryDirectory();
  const file = join(directory.path, "token");
  writeFileSync(file, "not yet a token", { mode: 0o600 });
  let token = "";
  await using place = await openPlace({
    gitea: (world) => {
      token = world.forge.addToken("root", ["all"]);
      writeFileSync(file, `${token}\n`);
      return { apiToken: undefined, apiTokenFile: file };
    },
  });
  const first = await place.push(many(2, ["linux"], "running"));
  await eventually("two run", () => place.busy() === 2);
  place.told();
  place.forge.revokeToken(token);
  await eventually("it is frozen", () => !place.isOk());
  expect((await place.verboseHealth()).problems).toEqual([expect.stringMatching(/does not accept the API token/)]);
  const later = await place.push({ later: ["linux"] });
  expect(await first.finished(ENOUGH())).toEqual({ running0: "success", running1: "success" });
  await eventually("their sandboxes are gone", () => place.scripted.running() === 0);
  expect(place.scripted.created).toHaveLength(2);
  writeFileSync(file, `${place.forge.addToken("root", ["all"])}\n`);
  const renewed = performance.now();
  await eventually("it is read", () => place.isOk());
  expect(performance.now() - renewed).toBeLessThan(WITHIN_ONE_POLL);
  expect(await later.finished(ENOUGH())).toEqual({ later: "success" });
  await expectClean(place, 3);
  expect(place.told()).toEqual([
    "warn the forge cannot be read; scaling of its pools stands still",
    "info the forge answers",
  ]);
});

it.concurrent("a certificate that is not trusted freezes, without one more word than that, until the right one is back", async () => {
  await using place = await openPlace({
    certificate: certificateIn(tls),
    gitea: () => ({ caFile: join(tls, "ca.pem") }),
    // Engines of the test know no authority of ours; this is about fireteact's own requests.
    pools: [{ ...FAKE_POOL, minIdle: 2 }],
  });
  await eventually("two wait for work", () => place.runners().filter(({ agent }) => agent.phase === "up").length === 2);
  place.told();
  place.proxy.setCertificate(certificateIn(elsewhere));
  await eventually("it is frozen", () => !place.isOk());
  const began = performance.now();
  place.proxy.forget();
  const { status, problems } = await place.verboseHealth();
  expect(status).toBe("degraded");
  expect(problems).toEqual([expect.stringMatching(/no trusted TLS connection/)]);
  expect(await place.metric("fireteact_forge_up{")).toBe(0);
  await eventually("four polls went by", () => performance.now() - began > 4 * POLL);
  expect(place.proxy.requests()).toEqual([]);
  expect([place.scripted.running(), place.scripted.created.length]).toEqual([2, 2]);
  place.proxy.setCertificate(certificateIn(tls));
  const mended = performance.now();
  await eventually("it is read", () => place.isOk());
  expect(performance.now() - mended).toBeLessThan(WITHIN_ONE_POLL);
  expect(place.told()).toEqual([
    "warn the forge cannot be read; scaling of its pools stands still",
    "info the forge answers",
  ]);
});
