/** What a batch used, unit by unit, and what that costs. Pure. */
import { type PricedUnit, PRICES } from "./prices.ts";

export type Tally = Record<PricedUnit, number>;

export const PRICED_UNITS = Object.keys(PRICES) as readonly PricedUnit[];

const LINES_PER_QUOTE = 1_000_000;

export function emptyTally(): Tally {
  return Object.fromEntries(PRICED_UNITS.map((unit) => [unit, 0])) as Tally;
}

/** What was counted for `from.lines` lines, converted to `to.lines` lines. */
export function scaleTally(tally: Tally, from: { readonly lines: number }, to: { readonly lines: number }): Tally {
  return Object.fromEntries(PRICED_UNITS.map((unit) => [unit, (tally[unit] * to.lines) / from.lines])) as Tally;
}

export interface Cost {
  /** Of each unit, for a million lines. */
  readonly parts: Readonly<Record<PricedUnit, number>>;
  readonly dollars: number;
}

export function priceMillionLines(tally: Tally, lines: number): Cost {
  const million = scaleTally(tally, { lines }, { lines: LINES_PER_QUOTE });
  const parts = Object.fromEntries(PRICED_UNITS.map((unit) => [unit, million[unit] * PRICES[unit].dollars])) as Tally;
  return { parts, dollars: PRICED_UNITS.reduce((sum, unit) => sum + parts[unit], 0) };
}
