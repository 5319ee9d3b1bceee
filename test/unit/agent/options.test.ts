import { describe, expect, it } from "vitest";
import { parseGoDuration } from "../../../src/agent/duration.ts";
import { parseOptions } from "../../../src/agent/options.ts";

describe("the command line of fireteact runner", () => {
  it("has the original's defaults", () => {
    expect(parseOptions([])).toMatchObject({
      logLevel: "info",
      retryWait: 2_000,
      actRunner: "/usr/local/bin/act_runner",
      workDir: "/opt/act_runner",
      config: "/etc/act_runner/config.yaml",
      owner: "runner",
      group: "docker",
      generateConfig: true,
      channel: "virtio:org.fireteact.agent.0",
      metadata: "http://169.254.169.254",
    });
  });

  it("takes what the original's unit passes, and every way to write a flag", () => {
    expect(parseOptions(["--log-level=info", "--generate-config"])).toMatchObject({
      logLevel: "info",
      generateConfig: true,
    });
    expect(parseOptions(["--generate-config=false"]).generateConfig).toBe(false);
    expect(parseOptions(["--generate-config=f"]).generateConfig).toBe(false);
    for (const args of [["-l", "debug"], ["-ldebug"], ["-l=debug"], ["--log-level", "debug"]]) {
      expect(parseOptions(args).logLevel).toBe("debug");
    }
    expect(parseOptions(["--retry-wait", "1m30s"]).retryWait).toBe(90_000);
    expect(parseOptions(["-l", "warning"])).toMatchObject({ logLevel: "warn" });
  });

  it("replaces an unknown level by info and says which it was", () => {
    expect(parseOptions(["-l", "loud"])).toMatchObject({ logLevel: "info", unknownLevel: "loud" });
  });

  it("refuses what it does not know", () => {
    expect(() => parseOptions(["--colour"])).toThrow(/colour/);
    expect(() => parseOptions(["-c", "x"])).toThrow(/-c/);
    expect(() => parseOptions(["--generate-config=maybe"])).toThrow(/neither true nor false/);
    expect(() => parseOptions(["--retry-wait", "2"])).toThrow(/"2" is not a duration/);
  });
});

describe("a Go duration", () => {
  it.each([
    ["0", 0],
    ["2s", 2_000],
    ["500ms", 500],
    ["1m30s", 90_000],
    ["1.5h", 5_400_000],
    [".5s", 500],
    ["250us", 0.25],
    ["250µs", 0.25],
    ["1h2m3s4ms", 3_723_004],
  ])("%s is %d ms", (text, milliseconds) => {
    expect(parseGoDuration(text)).toBeCloseTo(milliseconds, 6);
  });

  it.each(["", "s", "1", "1 s", "-1s", "1s!", "1d", "s1"])("%j is none", (text) => {
    expect(() => parseGoDuration(text)).toThrow(/not a duration/);
  });
});
