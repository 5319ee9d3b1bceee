/** What is used of the description's language (Swagger 2.0). */
interface Schema {
  $ref?: string;
  type?: string;
  format?: string;
  enum?: unknown[];
  minimum?: number;
  maximum?: number;
  required?: string[];
  properties?: Record<string, Schema>;
  additionalProperties?: boolean | Schema;
  items?: Schema;
}

interface Operation {
  parameters?: { in: string; required?: boolean; schema?: Schema }[];
}

export interface Description {
  paths: Record<string, Record<string, Operation>>;
  definitions: Record<string, Schema>;
}

/**
 * What is wrong with a request by the API's description; nothing for one that is right. Stricter than the description is
 * written, as Firecracker is: a key that is not described is refused.
 */
export function problemsOf(description: Description, method: string, path: string, body: unknown): string[] {
  const operation = operationOf(description, method, path);
  if (operation === undefined) return [`Invalid request method and/or path: ${method} ${path}`];
  const parameter = operation.parameters?.find(({ in: place }) => place === "body");
  if (parameter?.schema === undefined) return body === undefined ? [] : ["a body where none is expected"];
  if (body === undefined) return parameter.required === true ? ["Empty request body"] : [];
  return check(description, parameter.schema, body, "body");
}

function operationOf({ paths }: Description, method: string, path: string): Operation | undefined {
  for (const [pattern, operations] of Object.entries(paths)) {
    // Ids of devices hold letters, digits and underscores only.
    const expression = new RegExp(`^${pattern.replaceAll(/\{\w+\}/g, "\\w+")}$`);
    if (expression.test(path)) return operations[method.toLowerCase()];
  }
  return undefined;
}

function check(description: Description, given: Schema, value: unknown, at: string): string[] {
  const name = given.$ref?.replace("#/definitions/", "");
  const schema = name === undefined ? given : description.definitions[name];
  if (schema === undefined) return [`${at}: the description has no ${name}`];
  if (schema.enum !== undefined && !schema.enum.includes(value)) return [`${at}: unknown variant ${String(value)}`];
  switch (schema.type) {
    case "integer":
      return checkInteger(schema, value, at);
    case "string":
    case "boolean":
      return typeof value === schema.type ? [] : [`${at}: expected ${schema.type}`];
    case "array":
      if (!Array.isArray(value)) return [`${at}: expected array`];
      return value.flatMap((item, index) => check(description, schema.items ?? {}, item, `${at}[${index}]`));
    case "object":
      return checkObject(description, schema, value, at);
    case undefined:
    default:
      return [];
  }
}

function checkInteger({ minimum, maximum }: Schema, value: unknown, at: string): string[] {
  if (!Number.isSafeInteger(value)) return [`${at}: expected integer`];
  const number = value as number;
  if (number < (minimum ?? 0)) return [`${at}: less than ${minimum ?? 0}`];
  return maximum !== undefined && number > maximum ? [`${at}: more than ${maximum}`] : [];
}

function checkObject(description: Description, schema: Schema, value: unknown, at: string): string[] {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return [`${at}: expected object`];
  const { properties = {}, required = [], additionalProperties } = schema;
  const missing = required.filter((key) => !(key in value)).map((key) => `${at}: missing field ${key}`);
  const wrong = Object.entries(value).flatMap(([key, item]) => {
    const property = properties[key] ?? (typeof additionalProperties === "object" ? additionalProperties : undefined);
    if (property !== undefined) return check(description, property, item, `${at}.${key}`);
    return additionalProperties === true ? [] : [`${at}: unknown field ${key}`];
  });
  return [...missing, ...wrong];
}
