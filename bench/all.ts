import { coldStart } from "./cold-start.ts";
import { forgeRequests } from "./forge-requests.ts";
import type { Bench } from "./harness.ts";
import { images } from "./images.ts";
import { networkPlaces } from "./network-places.ts";
import { plan } from "./plan.ts";
import { thousand } from "./thousand.ts";
import { webhookToStart } from "./webhook-to-start.ts";

export const BENCHES: Bench[] = [webhookToStart, thousand, coldStart, forgeRequests, plan, networkPlaces, images];
