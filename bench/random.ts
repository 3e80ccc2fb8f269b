/** Random numbers that repeat: the same seed gives the same numbers. */

export type Random = () => number;

/** Uniform in [0, 1) (mulberry32). */
export function seedRandom(seed: number): Random {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

export interface LogNormal {
  readonly median: number;
  /** Standard deviation of the logarithm. 0: always the median. */
  readonly sigma: number;
  readonly least: number;
  readonly most: number;
}

/** A value beyond `least` or `most` becomes `least` or `most`; it is not drawn again. */
export function drawLogNormal(random: Random, { median, sigma, least, most }: LogNormal): number {
  const normal = Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  return Math.min(most, Math.max(least, median * Math.exp(sigma * normal)));
}
