/**
 * Lets a guest store something only when its provider knows its key (docs/decisions/guests.md). Each isolate asks
 * once and remembers the answer for a while. Reading needs no check: a key that somebody invented is a tenant
 * that owns nothing.
 */
import { createMiddleware } from "hono/factory";
import type { HttpUpstream } from "../config.ts";
import { logEvent } from "../log.ts";
import { KEY_NOT_CHECKED } from "../protocol/request-problems.ts";
import { checkKey } from "../upstream/key-check.ts";
import { tooMany, tryAgain } from "./api-error.ts";
import type { CallerEnv } from "./app-env.ts";
import { wrongKey } from "./auth.ts";
import { UPSTREAM_HEADER } from "./caller.ts";
import { ExpiringMap } from "./expiring-map.ts";

const SECOND_MS = 1000;
const MINUTE_MS = 60 * SECOND_MS;

/** Ours. A key that is withdrawn stores nothing new after this. */
export const ACCEPTED_FOR_MS = 10 * MINUTE_MS;
/** Ours. A key that has just been made is not refused for longer than this. */
export const REFUSED_FOR_MS = MINUTE_MS;
/** The period of the rate limit in wrangler.toml, which says no but not for how long. */
export const BLOCKED_FOR_MS = MINUTE_MS;
/** Ours: together some hundred KiB. */
const MAX_REMEMBERED = 2000;

/** By tenant, which is an HMAC of upstream and key: the key itself is not kept. */
const verdicts = new ExpiringMap<"accepted" | "refused">(MAX_REMEMBERED);
const blockedNetworks = new ExpiringMap<true>(MAX_REMEMBERED);

/** For the routes that store something. Stands behind `authenticate`. */
export const admitGuest = createMiddleware<CallerEnv>(async (c, next) => {
  const { caller, settings, requestId } = c.var;
  const upstream = settings.upstreams.get(c.req.header(UPSTREAM_HEADER) ?? "");
  if (caller.guestKey !== null && upstream?.kind === "http") {
    const network = networkOf(c.req.header("cf-connecting-ip") ?? "");
    const { tenant, guestKey } = caller;
    await requireKnownKey({ upstream, tenant, guestKey, network, failures: c.env.GUEST_FAILURES, requestId });
  }
  await next();
});

interface Guest {
  readonly upstream: HttpUpstream;
  readonly tenant: string;
  readonly guestKey: string;
  readonly network: string;
  /** Counts failed checks, for all isolates of a Cloudflare location. */
  readonly failures: RateLimit;
  readonly requestId: string;
}

/** @throws ApiError 401 for a key that its provider refuses, 429 after many of them, 503 when the provider is away. */
async function requireKnownKey({ upstream, tenant, guestKey, network, failures, requestId }: Guest): Promise<void> {
  if (upstream.guestCheckPath === null) return;
  const known = verdicts.get(tenant, new Date());
  if (known === "accepted") return;
  if (known === "refused") throw wrongKey();
  if (blockedNetworks.get(network, new Date()) !== undefined) throw tooManyFailures();
  const verdict = await checkKey(upstream, upstream.guestCheckPath, guestKey);
  if (verdict !== "unavailable") {
    const rememberedMs = verdict === "accepted" ? ACCEPTED_FOR_MS : REFUSED_FOR_MS;
    verdicts.set(tenant, verdict, new Date(Date.now() + rememberedMs));
  }
  if (verdict === "accepted") return;
  logEvent("guest_not_admitted", { request: requestId, tenant, upstream: upstream.name, reason: verdict });
  const { success } = await failures.limit({ key: network });
  if (!success) {
    blockedNetworks.set(network, true, new Date(Date.now() + BLOCKED_FOR_MS));
    throw tooManyFailures();
  }
  if (verdict === "refused") throw wrongKey();
  throw tryAgain(KEY_NOT_CHECKED);
}

/** An IPv6 address counts as its /64, of which every client has a whole one. */
export function networkOf(address: string): string {
  if (!address.includes(":") || address.includes(".")) return address;
  const [head = [], tail] = address.split("::").map((part) => (part === "" ? [] : part.split(":")));
  const groups = [...head];
  if (tail !== undefined) groups.push(...Array.from({ length: 8 - head.length - tail.length }, () => "0"), ...tail);
  return `${groups.slice(0, 4).join(":")}::/64`;
}

function tooManyFailures() {
  return tooMany("rate_limit_exceeded", "Too many API keys that were not accepted came from your address.");
}
