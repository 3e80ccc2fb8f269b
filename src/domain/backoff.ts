/** Pauses that double: the one rule for whatever is tried again and again. Pure. */

/** @returns `first` for the first pause (`earlier` is 0), twice as much for the next, and so on, at most `most`. */
export function doublingPause(first: number, most: number, earlier: number): number {
  return Math.min(most, first * 2 ** earlier);
}
