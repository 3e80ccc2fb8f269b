/** What an upstream's answers say of its own limits. Their headers are read in `upstream/rate-limit-headers.ts`. */

export interface RateLimit {
  /** Null: nothing is said of it. */
  readonly requests: Quota | null;
  readonly tokens: Quota | null;
}

/** At least one of `remaining` and `limit` is said. */
export interface Quota {
  /** What it takes in a period. How long that is, no header says: a minute, or a day. */
  readonly limit: number | null;
  /** What it would still take. */
  readonly remaining: number | null;
  /** Until `remaining` is `limit` again if nothing more is sent. */
  readonly resetSeconds: number | null;
}

/** As one answer said it. */
export interface SeenRateLimit extends RateLimit {
  /** When the request of that answer was sent: what was sent later may not be counted in `remaining`. */
  readonly sentAt: Date;
  readonly answeredAt: Date;
}

/** An upstream that says that it would take this many times what may be in flight is not to be paced by that. */
export const AMPLE = 4;

/** Soon it may take no more. @param linesInFlight at most. */
export function isScarce({ requests, tokens }: RateLimit, linesInFlight: number, tokensPerLine: number): boolean {
  const requestsLeft = requests?.remaining ?? Infinity;
  const tokensLeft = tokens?.remaining ?? Infinity;
  return Math.min(requestsLeft, tokensLeft / tokensPerLine) < AMPLE * linesInFlight;
}
