import { defineConfig } from "vitest/config";

// One project per kind of test; `tools/test.ts` prepares the machine for each and runs it.
const kind = (name: string, options: { timeout: number; parallel: boolean }) => ({
  test: {
    name,
    include: [`test/${name}/**/*.test.ts`],
    testTimeout: options.timeout,
    hookTimeout: options.timeout,
    fileParallelism: options.parallel,
    environment: "node" as const,
    pool: "forks" as const,
  },
});

export default defineConfig({
  test: {
    projects: [
      kind("unit", { timeout: 30_000, parallel: true }),
      kind("contract", { timeout: 60_000, parallel: true }),
      kind("integration", { timeout: 180_000, parallel: false }),
      kind("e2e", { timeout: 600_000, parallel: false }),
      kind("faults", { timeout: 600_000, parallel: false }),
    ],
  },
});
