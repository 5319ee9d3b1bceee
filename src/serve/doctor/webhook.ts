import { openSecret } from "../../config/secret.ts";
import type { Settings } from "../../core/settings.ts";
import type { ForgeCapabilities } from "../../forge/port.ts";
import { bad, type Finding, failed, good, warning } from "./finding.ts";

const SHORTEST_SECRET = 16;

/** Whether signed words of the forge about new jobs can arrive. */
export function checkWebhook(settings: Settings, forges: ForgeCapabilities[]): Finding {
  const subject = "webhook";
  const { webhook, server, pollInterval } = settings;
  const able = forges.filter(({ queueWebhooks }) => queueWebhooks);
  if (webhook === undefined) {
    const poll = `none configured: new jobs are seen within ${pollInterval / 1000} s, at the next poll`;
    const blind = forges.some(({ listsQueue, queueWebhooks }) => queueWebhooks && !listsQueue);
    if (blind) {
      const detail = "none configured, and this version of Gitea shows its queue in no other way";
      return bad(subject, detail, "set webhook.secretFile, and add a webhook for 'Workflow Job' events in Gitea");
    }
    return good(subject, poll);
  }
  try {
    const { length } = openSecret({ kind: "file", path: webhook.secretFile }).read();
    if (length < SHORTEST_SECRET) {
      const detail = `the secret has only ${length} characters`;
      return warning(subject, detail, `write a random one: openssl rand -hex 32 > ${webhook.secretFile}`);
    }
  } catch (error) {
    return failed(subject, error, "make webhook.secretFile readable");
  }
  if (forges.length > 0 && able.length === 0) {
    return warning(
      subject,
      "configured, but no forge here sends webhooks about waiting jobs (Gitea does, from 1.24 on)",
      "leave webhook out of the configuration; the poll sees every job",
    );
  }
  const { host, port } = server.address;
  const path = `:${port}/webhooks/forge`;
  const local = /^(localhost|127\.|::1$)/.test(host);
  const allow =
    "Gitea sends to private addresses only with [webhook] ALLOWED_HOST_LIST in its app.ini: 'external' is its default";
  if (local) {
    return warning(
      subject,
      `the API listens on ${host} only: a forge on another machine cannot deliver`,
      `set server.address to an address that the forge reaches, or put a reverse proxy before it. ${allow}, add 'loopback' for a forge on this machine`,
    );
  }
  return good(
    subject,
    `deliveries are taken at http://<this host>${path}`,
    `add it in the forge: type Gitea, POST, application/json, the secret, event 'Workflow Job'. ${allow}, add 'private' or this host's address`,
  );
}
