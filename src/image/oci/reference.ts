import { FireteactError } from "../../base/errors.ts";

/** An image in a registry, normalised as Docker does it. */
export interface ImageReference {
  /** Host with its port, `docker.io` for Docker's own. */
  registry: string;
  /** Such as `library/debian`. */
  repository: string;
  /** What is asked for: a tag, or a digest where there is one (a tag beside it says nothing then). */
  version: { tag: string } | { digest: string };
  /** The whole of it, the same for every way of writing it. */
  text: string;
}

const MOST_CHARACTERS = 1_024;
const MOST_REPOSITORY = 255;
const DOCKER = "docker.io";

const HOST = /^(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:]+\])(?::[0-9]{1,5})?$/;
const COMPONENT = /^[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*$/;
const TAG = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/;
export const DIGEST = /^sha256:[0-9a-f]{64}$/;

/**
 * Reads a reference as Docker does: without a host it is Docker Hub's, without a tag `latest`.
 *
 * @throws FireteactError `IMAGE_REFERENCE`
 */
export function parseReference(text: string): ImageReference {
  if (text.length > MOST_CHARACTERS) throw wrong(`${text.slice(0, 60)}...`, "it is too long");
  const at = text.indexOf("@");
  const digest = at < 0 ? undefined : text.slice(at + 1);
  if (digest !== undefined && !DIGEST.test(digest)) {
    throw wrong(text, "its digest must be sha256: and 64 hexadecimal digits");
  }
  const named = at < 0 ? text : text.slice(0, at);
  const slash = named.indexOf("/");
  const first = slash < 0 ? "" : named.slice(0, slash);
  const hasHost = /[.:]/.test(first) || first === "localhost";
  const registry = hasHost ? hostOf(first.toLowerCase(), text) : DOCKER;
  const path = hasHost ? named.slice(slash + 1) : named;
  const colon = path.indexOf(":");
  const tag = colon < 0 ? undefined : path.slice(colon + 1);
  if (tag !== undefined && !TAG.test(tag))
    throw wrong(text, "its tag has other characters than letters, digits and . _ -");
  const short = colon < 0 ? path : path.slice(0, colon);
  const repository = registry === DOCKER && !short.includes("/") ? `library/${short}` : short;
  if (repository.length > MOST_REPOSITORY || !repository.split("/").every((part) => COMPONENT.test(part))) {
    throw wrong(text, "names in it must be lower-case letters and digits, with single . _ or - between them");
  }
  const version = digest === undefined ? { tag: tag ?? "latest" } : { digest };
  const end = "digest" in version ? `@${version.digest}` : `:${version.tag}`;
  return { registry, repository, version, text: `${registry}/${repository}${end}` };
}

function hostOf(host: string, text: string): string {
  if (!HOST.test(host)) throw wrong(text, `${host} is not a host`);
  return host === "index.docker.io" ? DOCKER : host;
}

const wrong = (text: string, why: string): FireteactError =>
  new FireteactError("IMAGE_REFERENCE", `${text} is not an image reference: ${why}`, {
    hint: "For example ghcr.io/owner/image:tag, or local:NAME for an image of this host",
    facts: { reference: text },
  });
