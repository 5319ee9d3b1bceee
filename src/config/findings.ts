import type { ConfigDocument } from "./document.ts";
import { ConfigError, type Path, type Position, type Problem, renderPath } from "./problems.ts";

const MOST_PROBLEMS = 100;

/** Collects what there is to say about one file. */
export class Findings {
  private readonly file: string;
  private readonly document: ConfigDocument;
  private readonly found = { errors: [] as Problem[], warnings: [] as Problem[] };
  private readonly refused = new Set<string>();

  constructor(file: string, document: ConfigDocument) {
    this.file = file;
    this.document = document;
  }

  add(kind: "errors" | "warnings", path: Path, message: string, position: Position = this.document.locate(path)): void {
    this.found[kind].push({ file: this.file, ...position, key: renderPath(path), message });
    if (kind === "errors") this.refused.add(JSON.stringify(path));
  }

  /** As `add`, unless one of the keys that the rule is about was refused already: the rule would only repeat it. */
  rule(kind: "errors" | "warnings", path: Path, message: string, also: Path[]): void {
    if (![path, ...also].some((one) => this.isRefused(one))) this.add(kind, path, message);
  }

  /** Whether there is an error at a place or around it. */
  isRefused(path: Path): boolean {
    return (
      path.some((_, index) => this.refused.has(JSON.stringify(path.slice(0, index)))) ||
      this.refused.has(JSON.stringify(path))
    );
  }

  warnings(): Problem[] {
    return this.bounded(this.found.warnings);
  }

  throwErrors(): void {
    if (this.found.errors.length > 0) throw new ConfigError(this.bounded(this.found.errors), this.warnings());
  }

  /** The first problems in the file's order. */
  private bounded(problems: Problem[]): Problem[] {
    const sorted = problems.toSorted(
      (one, other) => (one.line ?? 0) - (other.line ?? 0) || (one.column ?? 0) - (other.column ?? 0),
    );
    const more = sorted.length - MOST_PROBLEMS;
    if (more <= 0) return sorted;
    return [...sorted.slice(0, MOST_PROBLEMS), { file: this.file, key: "", message: `and ${more} more problems` }];
  }
}
