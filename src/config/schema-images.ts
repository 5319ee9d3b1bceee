import * as z from "zod";
import { count, duration, httpUrl, path, text } from "./fields.ts";

const MOST_MIB = 16_777_216;
const TWELVE_HOURS = 12 * 3_600_000;

/** Images from registries. */
export const imagesSchema = z.strictObject({
  authFile: path()
    .optional()
    .describe(
      "Docker's configuration with the registries' credentials, helpers included. Default: config.json in $DOCKER_CONFIG or ~/.docker.",
    ),
  maxSizeMib: count(16, MOST_MIB)
    .default(20_480)
    .describe("Most that an image may have, packed as well as unpacked, MiB."),
  pullTimeout: duration(TWELVE_HOURS)
    .default("30m")
    .describe("How long a pull may take; what has come then is kept for the next."),
  registries: z
    .array(
      z.strictObject({
        host: text(255)
          .regex(
            /^(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:]+\])(?::[0-9]{1,5})?$/,
            "must be a host as in image references, such as ghcr.io or localhost:5000",
          )
          .describe("The registry as image references name it; docker.io for those without a host."),
        mirrors: z
          .array(httpUrl())
          .max(8)
          .default([])
          .describe("Addresses that are asked before it, in this order; one with http:// is asked without TLS."),
        plainHttp: z
          .boolean()
          .default(false)
          .describe("It has no TLS. No registry is asked without TLS unless this says so."),
        caFile: path()
          .optional()
          .describe("PEM file with certificates to trust besides the system's, for its mirrors too."),
      }),
    )
    .max(64)
    .default([])
    .describe("Registries that need more than their name."),
});
