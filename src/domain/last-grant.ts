/**
 * What a batch may have in flight while its pacer cannot be reached: what it had, and less as minutes pass, for the pacer
 * may have died with what it promised to others. One line at least, in the end, so that no batch is stranded. Pure.
 */
import type { Grant } from "./grant.ts";

/** A pacer that restarts is back within seconds. */
const UNCHANGED_FOR_MS = 60_000;
const HALVES_EVERY_MS = 60_000;
/** A batch that waits for its turn does not begin before this: the others still have all that there is. */
const WAITS_FOR_MS = 300_000;

/** By an upstream's budgets nothing is begun beyond what the pacer allowed until all of that is a minute old. */
const STARTS_ONE_EVERY_MS = 10_000;

/**
 * Tries of a batch whose upstream has budgets, beyond what its pacer allowed: few, for others do the same, and none knows of
 * them. @param unreachedMs as below.
 */
export function unaskedStarts(unreachedMs: number): number {
  return Math.max(0, Math.floor((unreachedMs - UNCHANGED_FOR_MS) / STARTS_ONE_EVERY_MS));
}

/** @param unreachedMs since the first attempt that failed after the pacer was last heard; 0: it was reached. */
export function fadeGrant(grant: Pick<Grant, "lines" | "pause">, unreachedMs: number): Pick<Grant, "lines" | "pause"> {
  if (unreachedMs < UNCHANGED_FOR_MS) return grant;
  if (grant.lines === 0) return unreachedMs < WAITS_FOR_MS ? grant : { lines: 1, pause: null };
  const halvings = 1 + Math.floor((unreachedMs - UNCHANGED_FOR_MS) / HALVES_EVERY_MS);
  // Whether the upstream is still paused nobody knows: each consumer's own brake is left.
  return { lines: Math.max(1, Math.floor(grant.lines / 2 ** halvings)), pause: null };
}
