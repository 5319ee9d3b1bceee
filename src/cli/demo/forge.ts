import { exec } from "../../base/exec.ts";
import { createForgeSimulator, type ForgeSimulator } from "../../forge-simulator/simulator.ts";

/** The three jobs: `package` waits for `build`, `broken` fails on purpose. */
const workflow = (label: string) => `
name: demo
on: push
jobs:
  build:
    runs-on: ${label}
    outputs:
      greeting: \${{ steps.greet.outputs.greeting }}
    steps:
      - uses: actions/checkout@v4
      - name: Look around
        run: |
          echo "kernel $(uname -r), $(nproc) CPU, user $(id -un)"
          ls
      - id: greet
        run: echo "greeting=$(cat greeting.txt)" >> "$GITHUB_OUTPUT"
  package:
    needs: build
    runs-on: ${label}
    steps:
      - name: Use what the job before found
        env:
          GREETING: \${{ needs.build.outputs.greeting }}
        run: echo "the other microVM said \\"$GREETING\\" and is gone"
  broken:
    runs-on: ${label}
    steps:
      - name: Fail on purpose
        run: |
          echo "this job fails on purpose"
          exit 3
`;

export const EXPECTED = { build: "success", package: "success", broken: "failure" };

/** An address of this host that guests can reach and that nothing outside can: an interface with nothing behind it. */
const INTERFACE = "ftdemo0";
const ADDRESS = "10.202.0.1";

/** The simulator, listening where guests reach it, with a repository to run. */
export async function startDemoForge(): Promise<{ forge: ForgeSimulator; token: string; remove: () => Promise<void> }> {
  await exec("ip", ["link", "delete", INTERFACE], { accept: [0, 1] });
  await exec("ip", ["link", "add", INTERFACE, "type", "bridge"]);
  const remove = async () => void (await exec("ip", ["link", "delete", INTERFACE], { accept: [0, 1] }));
  try {
    await exec("ip", ["address", "add", `${ADDRESS}/32`, "dev", INTERFACE]);
    await exec("ip", ["link", "set", INTERFACE, "up"]);
    const forge = await createForgeSimulator({ flavour: "gitea", version: "1.25.1", host: ADDRESS });
    forge.addUser("admin", { admin: true });
    forge.addOrganization("demo", { owners: ["admin"] });
    await forge.addRepository("demo/hello", {
      files: { "greeting.txt": "hello from a fresh microVM\n", "README.md": "# hello\n" },
    });
    return { forge, token: forge.addToken("admin", ["all"]), remove };
  } catch (error) {
    await remove();
    throw error;
  }
}

export function pushDemo(forge: ForgeSimulator, label: string) {
  return forge.pushWorkflow({ repository: "demo/hello", yaml: workflow(label), workflow: "demo.yaml" });
}
