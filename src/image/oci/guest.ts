import { FireteactError } from "../../base/errors.ts";
import type { Tree } from "./tree.ts";

/** What the initramfs hands over to, and what that starts. */
export const GUEST_INIT = "/sbin/fireteact-init";
const AGENT = "/usr/bin/fireteact";

/**
 * Makes sure that a guest of this tree would start its agent: nothing else tells the host that a guest lives.
 *
 * @throws FireteactError `IMAGE_NO_AGENT`
 */
export function requireAgent(tree: Tree, name: string): void {
  for (const path of [GUEST_INIT, AGENT]) {
    const found = tree.find(path);
    if (found?.kind === "leaf" && found.entry.type === "file" && (found.entry.mode & 0o111) !== 0) continue;
    throw new FireteactError("IMAGE_NO_AGENT", `${name} cannot be a guest: it has no program ${path}`, {
      hint: "Build it from a guest image of Fireteact, or put those files into it: docs/guest-image.md, 'Images from a registry'",
      facts: { path },
    });
  }
}
