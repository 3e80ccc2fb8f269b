/** Chance that repeats itself: the same seed, the same numbers. */

export type Dice = () => number;

/** Uniform in [0, 1) (mulberry32). */
export function makeDice(seed: number): Dice {
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
  /** Of the logarithm. 0: always the median. */
  readonly sigma: number;
  readonly least: number;
  readonly most: number;
}

/** Cut off at `least` and `most`, not drawn again. */
export function drawLogNormal(dice: Dice, { median, sigma, least, most }: LogNormal): number {
  const normal = Math.sqrt(-2 * Math.log(1 - dice())) * Math.cos(2 * Math.PI * dice());
  return Math.min(most, Math.max(least, median * Math.exp(sigma * normal)));
}
