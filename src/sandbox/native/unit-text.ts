import { FireteactError } from "../../base/errors.ts";

type Entry = readonly [key: string, value: string | number | boolean | undefined];

/** A section of a unit file; entries without a value are left out. */
export function section(name: string, entries: readonly Entry[]): string {
  const lines = entries.flatMap(([key, value]) => (value === undefined ? [] : [`${key}=${text(value)}`]));
  return [`[${name}]`, ...lines, ""].join("\n");
}

const text = (value: string | number | boolean): string =>
  typeof value === "boolean" ? (value ? "yes" : "no") : String(value);

/** One argument of a command line in a unit file: nothing in it is expanded. */
export const argument = (value: string): string =>
  `"${value.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("$", "$$$$").replaceAll("%", "%%")}"`;

/** A path that stands in a unit file as it is. @throws FireteactError `BAD_UNIT_PATH` */
export function plainPath(path: string): string {
  if (/^\/[A-Za-z0-9._+/@=-]+$/.test(path)) return path;
  throw new FireteactError("BAD_UNIT_PATH", `the path ${JSON.stringify(path)} cannot stand in a unit file`, {
    hint: "install what lies there at a path of letters, digits and . _ + - @ =",
  });
}
