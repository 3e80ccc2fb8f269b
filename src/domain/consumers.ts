/**
 * The consumers of a deployment, which all its batches share, first come, first served: how many of them one batch, and
 * one upstream, may have. Pure.
 */

/** developers.cloudflare.com/queues/platform/limits: consumers of a queue at once, as wrangler.toml asks for them. */
const CONSUMERS = 250;
/** These stay free for others: what a small batch needs, and what a dispatch needs that takes the place of another. */
const RESERVED = 10;
/** Dispatches of one batch, whatever it would like. */
export const MOST_DISPATCHES = CONSUMERS - RESERVED;

/** Lines of an upstream in flight at once: its setting, or what the consumers that it may have can hold. */
export function limitByConsumers(maxInFlight: number, linesPerInvocation: number): number {
  return Math.min(maxInFlight, MOST_DISPATCHES * linesPerInvocation);
}

/** Consumers that all upstreams together want at their limits; null when there are as many. */
export function missingConsumers(
  maxInFlights: readonly number[],
  linesPerInvocation: number,
): Readonly<Record<"wanted" | "available", number>> | null {
  const wanted = maxInFlights.reduce((sum, lines) => sum + Math.ceil(lines / linesPerInvocation), 0);
  return wanted > CONSUMERS ? { wanted, available: CONSUMERS } : null;
}
