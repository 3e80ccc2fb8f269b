/**
 * What may be sent to an upstream by what one of its answers said (`Quota`). Pure.
 *
 * Some servers fill up steadily (OpenAI, Groq, Anthropic: token buckets), others at once (fixed windows, as in many
 * proxies), and none says which, nor how long its period is. A steady one gives itself away, because its reset is just
 * the time in which what is missing comes back: OpenAI's `limit 1500000, remaining 1495621, reset 4m12.172s` is
 * 4,379 of 1,500,000 a day (community.openai.com/t/541210). Of the others nothing more is taken until the reset.
 */
import type { Quota } from "./rate-limit.ts";

export interface QuotaLevel {
  /** In ms: when the request of the answer was sent. */
  readonly sentAt: number;
  /** What might be started at `sentAt`, less what has been started since. */
  readonly level: number;
  /** Never above this; null: not known. */
  readonly limit: number | null;
  /** What comes back in each ms; 0 until the reset, where it does not fill up steadily. */
  readonly perMs: number;
  /** In ms: from here on the answer says nothing. */
  readonly until: number;
}

export interface QuotaContext {
  readonly sentAt: number;
  readonly answeredAt: number;
  /** What was started after `sentAt`. */
  readonly startedSince: number;
}

const PERIODS_MS = [60_000, 86_400_000] as const;
/** How far a steady server's reset may be from the calculated one: servers round. */
const TOLERANCE = 0.05;
/**
 * Azure says `remaining` without a reset. It looks at spans of 1 or 10 seconds
 * (learn.microsoft.com/azure/ai-services/openai/how-to/quota).
 */
const UNTOLD_RESET_MS = 10_000;
/** Not even a server that says so is left alone for longer: it is asked again, as after a `retry-after` (breaker.ts). */
const MAX_RESET_MS = 3_600_000;

/** Null: the answer restricts nothing. */
export function readQuota(
  { limit, remaining, resetSeconds }: Quota,
  { sentAt, answeredAt, startedSince }: QuotaContext,
): QuotaLevel | null {
  if (remaining === null || (limit !== null && remaining >= limit)) return null;
  const resetMs = resetSeconds === null ? UNTOLD_RESET_MS : Math.min(resetSeconds * 1000, MAX_RESET_MS);
  return {
    sentAt,
    level: remaining - startedSince,
    limit,
    perMs: limit === null || resetSeconds === null ? 0 : steadyRate(limit, limit - remaining, resetSeconds * 1000),
    until: answeredAt + resetMs,
  };
}

/** What may be started now. */
export function quotaAt(quota: QuotaLevel | null, now: number): number {
  if (quota === null || now >= quota.until) return Number.POSITIVE_INFINITY;
  const filled = quota.level + quota.perMs * Math.max(0, now - quota.sentAt);
  return Math.min(filled, quota.limit ?? filled);
}

/** In ms: when this much may be started, or all that the upstream takes in a period where that is less. */
export function quotaReaches(quota: QuotaLevel | null, amount: number, now: number): number {
  const wanted = Math.min(amount, quota?.limit ?? amount);
  const missing = wanted - quotaAt(quota, now);
  if (quota === null || missing <= 0) return now;
  return quota.perMs === 0 ? quota.until : Math.min(quota.until, now + missing / quota.perMs);
}

export function spendQuota(quota: QuotaLevel | null, amount: number): QuotaLevel | null {
  return quota === null ? null : { ...quota, level: quota.level - amount };
}

function steadyRate(limit: number, missing: number, resetMs: number): number {
  for (const period of PERIODS_MS) {
    const calculated = (missing / limit) * period;
    if (Math.abs(resetMs - calculated) <= TOLERANCE * calculated) return limit / period;
  }
  return 0;
}
