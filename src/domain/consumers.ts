/**
 * The consumers of a deployment, which all its batches share, first come, first served: how many of them one batch, and
 * one upstream, may have. Each dispatch queue has as many. Pure.
 */

/** developers.cloudflare.com/queues/platform/limits: consumers of a queue at once, as wrangler.toml asks for them. */
const CONSUMERS = 250;
/** Of each queue these stay free for others: what a small batch needs, and a dispatch that takes the place of another. */
const RESERVED = 10;

/** Dispatches of one batch, whatever it would like. */
export function mostDispatches(queues: number): number {
  return queues * (CONSUMERS - RESERVED);
}

export interface ConsumerLoad {
  readonly linesPerInvocation: number;
  /** How many dispatch queues there are. */
  readonly queues: number;
}

/** Lines of an upstream in flight at once: its setting, or what the consumers that it may have can hold. */
export function limitByConsumers(maxInFlight: number, { linesPerInvocation, queues }: ConsumerLoad): number {
  return Math.min(maxInFlight, mostDispatches(queues) * linesPerInvocation);
}

/** Consumers that all upstreams together want at their limits; null when there are as many. */
export function missingConsumers(
  maxInFlights: readonly number[],
  { linesPerInvocation, queues }: ConsumerLoad,
): Readonly<Record<"wanted" | "available", number>> | null {
  const wanted = maxInFlights.reduce((sum, lines) => sum + Math.ceil(lines / linesPerInvocation), 0);
  const available = queues * CONSUMERS;
  return wanted > available ? { wanted, available } : null;
}
