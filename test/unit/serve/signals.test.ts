import { afterEach, describe, expect, it } from "vitest";
import { silentLogger } from "../../../src/base/log.ts";
import type { Settings } from "../../../src/core/settings.ts";
import { listenToSignals, type Signals } from "../../../src/serve/signals.ts";

let signals: Signals | undefined;
const listen = (shutdown: Settings["shutdown"]): Signals => {
  signals = listenToSignals("/nonexistent", { shutdown, drainTimeout: 60_000 } as Settings, silentLogger);
  return signals;
};
afterEach(() => signals?.close());

describe("signals", () => {
  it("end the program as the configuration says", async () => {
    const stop = listen("detach").stop(() => {});
    process.emit("SIGTERM");
    expect(await stop).toEqual({ how: "detach", drainTimeout: 60_000 });
  });

  it("cut a drain short that an operator began", async () => {
    const { interrupted, ...told } = listen("detach");
    told.drain();
    expect((await told.stop(() => {})).how).toBe("drain");
    expect(interrupted.aborted).toBe(false);
    process.emit("SIGTERM");
    expect(interrupted.aborted).toBe(true);
  });

  it("leave a drain alone where the configuration wants one anyway", () => {
    const { interrupted, ...told } = listen("drain");
    told.drain();
    process.emit("SIGTERM");
    expect(interrupted.aborted).toBe(false);
  });
});
