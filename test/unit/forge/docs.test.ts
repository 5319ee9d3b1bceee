import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { CAPABILITIES, type Capability, capabilitiesOf, degradations } from "../../../src/forge/capabilities.ts";
import { FEATURES, type Feature, rightFor, SCOPES, type ScopeKind } from "../../../src/forge/rights.ts";
import { parseVersion } from "../../../src/forge/version.ts";

const root = join(import.meta.dirname, "../../..");
const lines = readFileSync(join(root, "docs/forges.md"), "utf8").split("\n");

/** The rows below the table's head. */
function table(head: string): string[] {
  const start = lines.indexOf(head);
  const rest = lines.slice(start + 2);
  return start < 0
    ? []
    : rest.slice(
        0,
        rest.findIndex((line) => !line.startsWith("|")),
      );
}

const keys = <T extends string>(record: Record<T, unknown>): T[] => Object.keys(record) as T[];

describe("docs/forges.md says what the program does", () => {
  it("about capabilities", () => {
    const rows = keys<Capability>(CAPABILITIES).map((name) => {
      const { gitea = "never", forgejo = "never", missing } = CAPABILITIES[name];
      return `| \`${name}\` | ${gitea} | ${forgejo} | ${missing} |`;
    });
    expect(table("| Capability | Gitea from | Forgejo from | Without it |")).toEqual(rows);
  });

  it("about versions", () => {
    const versions = [
      ...["1.22", "1.23", "1.24", "1.25", "1.26", "1.27", "28"].map((text) => ["Gitea", text, `${text}.0`]),
      ...Array.from({ length: 11 }, (_, index) => ["Forgejo", `${index + 7}`, `${index + 7}.0.0+gitea-1.22.0`]),
    ];
    const grouped = new Map<string, string[]>();
    for (const [forge = "", shown = "", text = ""] of versions) {
      const version = parseVersion(text);
      const missing = version === undefined ? ["?"] : degradations(capabilitiesOf(version));
      const mode = missing.length === 0 ? "full service" : `degraded: ${missing.join("; ")}`;
      const group = `${forge}|${mode}`;
      grouped.set(group, [...(grouped.get(group) ?? []), shown]);
    }
    const rows = [...grouped].map(([group, shown]) => {
      const [forge, mode] = group.split("|");
      return `| ${forge} | ${shown.join(", ")} | ${mode} |`;
    });
    expect(table("| Forge | Version | Service |")).toEqual(rows);
  });

  it("about rights", () => {
    const rows = keys<Feature>(FEATURES).flatMap((feature) =>
      keys<ScopeKind>(SCOPES).map((scope) => {
        const { token, role } = rightFor(feature, scope);
        const { optional, without } = FEATURES[feature];
        return `| ${feature}${optional ? " (optional)" : ""} | ${scope} | \`${token}\` | ${role} | ${without} |`;
      }),
    );
    expect(table("| Feature | Scope | Token right | Role | Without it |")).toEqual(rows);
  });

  it("about errors", () => {
    const source = readFileSync(join(root, "src/forge/errors.ts"), "utf8");
    const declared = [...source.matchAll(/^ {2}\| "(FORGE_[A-Z_]+)"/gm)].map(([, code]) => code);
    const documented = table("| Code | What happened |").map((row) => /`(\w+)`/.exec(row)?.[1]);
    expect(documented).toEqual(declared);
    expect(declared.length).toBeGreaterThan(10);
  });
});
